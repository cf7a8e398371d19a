#!/bin/sh
# The tutorial's own release, call by call and in its own order (its stage "deploy app"): read both droplets by their tags; on
# FALLBACK pull, remove, run; swap the tags; move the floating IP. It waits for nothing and looks at no answer, as there.
# Takes DIGITALOCEAN_API_URL, DIGITALOCEAN_TOKEN, SSH_PRIVATE_KEY_FILE and the image.
set -eu
image=$1

api() {
  curl -s -H "Authorization: Bearer $DIGITALOCEAN_TOKEN" -H 'Content-Type: application/json' "$@"
}
# field NAME PATH: one value of the answer to a GET.
field() {
  api "$DIGITALOCEAN_API_URL/v2/$1" | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"
}
# tag METHOD NAME DROPLET
tag() {
  api -X "$1" -d "{\"resources\":[{\"resource_id\":\"$3\",\"resource_type\":\"droplet\"}]}" \
    "$DIGITALOCEAN_API_URL/v2/tags/$2/resources"
}

fallback=$(field 'droplets?tag_name=FALLBACK' '["droplets"][0]["id"]')
# The first address, as there; but the public one, since today's API begins with the private one.
fallback_ip=$(api "$DIGITALOCEAN_API_URL/v2/droplets?tag_name=FALLBACK" | python3 -c '
import json, sys
addresses = json.load(sys.stdin)["droplets"][0]["networks"]["v4"]
print(next(one["ip_address"] for one in addresses if one["type"] == "public"))')
prod=$(field 'droplets?tag_name=PROD' '["droplets"][0]["id"]')
# It asks for PROD's address too, and makes no use of it.
field 'droplets?tag_name=PROD' '["droplets"][0]["networks"]["v4"][0]["ip_address"]' > /dev/null
floating_ip=$(field floating_ips '["floating_ips"][0]["ip"]')

# Its playbook copies a script of these three lines to the droplet, and checks no host key.
ssh -i "$SSH_PRIVATE_KEY_FILE" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
  "root@$fallback_ip" "docker pull $image; docker rm -f webgui || true; docker run -d -p 8080:8080 --name=webgui $image" < /dev/null

tag DELETE PROD "$prod"
tag DELETE FALLBACK "$fallback"
tag POST FALLBACK "$prod"
tag POST PROD "$fallback"
api -X POST -d "{\"type\":\"assign\",\"droplet_id\":\"$fallback\"}" \
  "$DIGITALOCEAN_API_URL/v2/floating_ips/$floating_ip/actions"
