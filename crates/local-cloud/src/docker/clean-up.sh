# Takes away everything that has the lab's names; nothing of it being there is fine. Run by docker/janitor.rs and tests/lab/teardown.
ids=$(docker ps --all --quiet --filter label=seachange.lab)
[ -z "$ids" ] || docker rm --force --volumes $ids > /dev/null
docker network rm seachange-lab > /dev/null 2>&1
for hook in PREROUTING OUTPUT; do
  while iptables -w -t nat -D $hook -j SEACHANGE-LAB 2> /dev/null; do :; done
done
while iptables -w -t nat -D POSTROUTING -s 198.18.0.0/16 -o seachange-lab -m conntrack --ctstate DNAT -j MASQUERADE 2> /dev/null; do :; done
iptables -w -t nat -F SEACHANGE-LAB 2> /dev/null
iptables -w -t nat -X SEACHANGE-LAB 2> /dev/null
true
