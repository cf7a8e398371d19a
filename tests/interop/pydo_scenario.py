"""DigitalOcean's own Python client, through all that the local cloud simulates. Arguments: the API's address and its token.

What the client sends and what it makes of the answers is its own; only what a user of it would look at is looked at here."""

import subprocess
import sys
import tempfile
import time
import urllib.request

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from pydo import Client

URL, TOKEN = sys.argv[1:]
REGION, SIZE, IMAGE = "fra1", "s-1vcpu-1gb", "ubuntu-24-04-x64"
checks = 0


class Plain(SansIOHTTPPolicy):
    """Lets the client send a token without TLS: this machine has only itself to listen."""

    def on_request(self, request):
        request.context.options["enforce_https"] = False


def connect(token):
    return Client(token, endpoint=URL, per_call_policies=[Plain()], retry_total=0)


client = connect(TOKEN)


def check(what, seen, expected=True):
    global checks
    checks += 1
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, got {seen!r}")


def refused(what, status, call, word=None):
    """The call fails with this status, and an error body as documented."""
    try:
        answer = call()
    except HttpResponseError as error:
        check(f"{what}: status", error.status_code, status)
        body = error.response.json()
        check(f"{what}: has id, message", all(isinstance(body.get(key), str) and body[key] for key in ("id", "message")))
        if word:
            check(f"{what}: says {word!r}", word in body["message"], True)
        return error.response.headers
    # The client gives 404 and a few more back as an answer.
    check(f"{what}: error id", answer.get("id"), {401: "unauthorized", 404: "not_found", 429: "too_many_requests"}.get(status))
    return {}


def until(what, look, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    sys.exit(f"{what}: not within {seconds} s")


def done(action):
    found = until(f"action {action}", lambda: [a for a in [client.actions.get(action)["action"]] if a["status"] != "in-progress"])
    check(f"action {action}", found[0]["status"], "completed")
    return found[0]


def active(droplet):
    def look():
        found = client.droplets.get(droplet)["droplet"]
        return found if found["status"] == "active" and found["networks"]["v4"] and not found["locked"] else None
    return until(f"droplet {droplet} is active", look)


def every(list_page, key, per_page):
    """All pages, by following the links."""
    page, found, pages = 1, [], 0
    while True:
        answer = list_page(per_page=per_page, page=page)
        found += answer[key]
        pages += 1
        links = answer.get("links", {}).get("pages", {})
        if "next" not in links:
            return found, pages, answer["meta"]["total"]
        check("the next page is the next", f"page={page + 1}" in links["next"], True)
        page += 1


def spec(**more):
    return {"region": REGION, "size": SIZE, "image": IMAGE, **more}


def part(name):
    print(f"{name}: {checks} checks so far", flush=True)


# The account and what can be had.
account = client.account.get()["account"]
check("the account is active", account["status"], "active")
check("it has a limit", account["droplet_limit"] >= 450)
check("the region is there", REGION in [region["slug"] for region in client.regions.list(per_page=200)["regions"]])
check("the size is there", SIZE in [size["slug"] for size in client.sizes.list(per_page=200)["sizes"]])
check("the image is there", client.images.get(IMAGE)["image"]["slug"], IMAGE)
part("account")

# Keys.
with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pydo", "-f", f"{folder}/key"], check=True)
    public = open(f"{folder}/key.pub", encoding="ascii").read().strip()
key = client.ssh_keys.create({"name": "pydo", "public_key": public})["ssh_key"]
check("a key by id", client.ssh_keys.get(key["id"])["ssh_key"]["fingerprint"], key["fingerprint"])
check("a key by fingerprint", client.ssh_keys.get(key["fingerprint"])["ssh_key"]["id"], key["id"])
check("a key in the list", key["id"] in [one["id"] for one in client.ssh_keys.list(per_page=200)["ssh_keys"]])
refused("the same key again", 422, lambda: client.ssh_keys.create({"name": "again", "public_key": public}), "already in use")
part("keys")

# Droplets: one, then three at once.
created = client.droplets.create(spec(name="web-1", tags=["web", "Blue"], ssh_keys=[key["id"]], user_data="#cloud-config\n"))
first = created["droplet"]["id"]
check("a new droplet is new", created["droplet"]["status"], "new")
done(created["links"]["actions"][0]["id"])
web = active(first)
check("its name", web["name"], "web-1")
check("its tags", sorted(web["tags"]), ["Blue", "web"])
check("its region", web["region"]["slug"], REGION)
check("its size", web["size_slug"], SIZE)
check("a public address", [net["type"] for net in web["networks"]["v4"]].count("public"), 1)
created = client.droplets.create(spec(names=["web-2", "web-3", "web-4"], tags=["web"]))
check("three at once", [droplet["name"] for droplet in created["droplets"]], ["web-2", "web-3", "web-4"])
others = [active(droplet["id"])["id"] for droplet in created["droplets"]]
tagged = client.droplets.list(tag_name="web", per_page=200)
check("by tag", sorted(droplet["id"] for droplet in tagged["droplets"]), sorted([first, *others]))
check("by name", [droplet["id"] for droplet in client.droplets.list(name="web-3")["droplets"]], [others[1]])
refused("a size that is none", 422, lambda: client.droplets.create(spec(name="x") | {"size": "s-none"}))
refused("a name that is none", 422, lambda: client.droplets.create(spec(name="under_score")))
part("droplets")

# Actions.
action = client.droplet_actions.post(first, {"type": "rename", "name": "web-one"})["action"]
check("an action begins in progress", (action["status"], action["type"]), ("in-progress", "rename"))
refused("another one meanwhile", 422, lambda: client.droplet_actions.post(first, {"type": "power_off"}), "pending event")
check("it ends with a time", done(action["id"])["completed_at"] is not None)
check("the name is another", client.droplets.get(first)["droplet"]["name"], "web-one")
for kind, status in [("power_off", "off"), ("power_on", "active")]:
    done(client.droplet_actions.post(first, {"type": kind})["action"]["id"])
    check(f"after {kind}", client.droplets.get(first)["droplet"]["status"], status)
kinds = [action["type"] for action in client.droplet_actions.list(first, per_page=200)["actions"]]
check("all of them, newest first", kinds, ["power_on", "power_off", "rename", "create"])
check("one of the droplet", client.droplet_actions.get(first, action["id"])["action"]["type"], "rename")
check("the account has them too", client.actions.list(per_page=200)["meta"]["total"] >= 7)
part("actions")

# Reserved IPs: made for a droplet, moved, taken off, made for a region, given back.
reserved = client.reserved_ips.create({"droplet_id": first})
ip = reserved["reserved_ip"]["ip"]


def points_to():
    droplet = client.reserved_ips.get(ip)["reserved_ip"]["droplet"]
    return droplet["id"] if droplet else None


until("it points to its droplet", lambda: points_to() == first)
until("it is unlocked", lambda: not client.reserved_ips.get(ip)["reserved_ip"]["locked"])
move = client.reserved_ips_actions.post(ip, {"type": "assign", "droplet_id": others[0]})["action"]
refused("a second move meanwhile", 422, lambda: client.reserved_ips_actions.post(ip, {"type": "assign", "droplet_id": others[1]}), "pending event")
done(move["id"])
check("it points to the other one", points_to(), others[0])
check("its actions", "assign_ip" in [action["type"] for action in client.reserved_ips_actions.list(ip)["actions"]])
check("one of them", client.reserved_ips_actions.get(ip, move["id"])["action"]["status"], "completed")
done(client.reserved_ips_actions.post(ip, {"type": "unassign"})["action"]["id"])
check("it points nowhere", points_to(), None)
regional = client.reserved_ips.create({"region": REGION})["reserved_ip"]
check("one for a region", (regional["region"]["slug"], regional["droplet"]), (REGION, None))
check("both are listed", {ip, regional["ip"]} <= {one["ip"] for one in client.reserved_ips.list(per_page=200)["reserved_ips"]})
for address in (ip, regional["ip"]):
    client.reserved_ips.delete(address)
refused("one that was given back", 404, lambda: client.reserved_ips.get(ip))
part("reserved IPs")

# Domain and records.
zone = "pydo.example"
check("a zone", client.domains.create({"name": zone})["domain"]["name"], zone)
refused("the same zone again", 422, lambda: client.domains.create({"name": zone}))
record = client.domains.create_record(zone, {"type": "A", "name": "www", "data": "203.0.113.7", "ttl": 300})["domain_record"]
check("a record", (record["type"], record["name"], record["data"], record["ttl"]), ("A", "www", "203.0.113.7", 300))
mail = client.domains.create_record(zone, {"type": "MX", "name": "@", "data": f"mail.{zone}.", "priority": 10})["domain_record"]
check("its priority", mail["priority"], 10)
refused("an A record of a name", 422, lambda: client.domains.create_record(zone, {"type": "A", "name": "bad", "data": "no address"}))
refused("an MX record without priority", 422, lambda: client.domains.create_record(zone, {"type": "MX", "name": "@", "data": f"mail.{zone}."}))
changed = client.domains.update_record(zone, record["id"], {"type": "A", "data": "203.0.113.8"})["domain_record"]
check("its data is another", changed["data"], "203.0.113.8")
check("a change of its time to live", client.domains.patch_record(zone, record["id"], {"type": "A", "ttl": 600})["domain_record"]["ttl"], 600)
found = client.domains.list_records(zone, name=f"www.{zone}", type="A")["domain_records"]
check("by name and type", [one["id"] for one in found], [record["id"]])
check("name servers of its own", len([one for one in client.domains.list_records(zone, per_page=200)["domain_records"] if one["type"] == "NS"]), 3)
client.domains.delete_record(zone, record["id"])
refused("a record that is gone", 404, lambda: client.domains.get_record(zone, record["id"]))
client.domains.delete(zone)
refused("a zone that is gone", 404, lambda: client.domains.get(zone))
part("domain")

# Tags.
check("a tag", client.tags.create({"name": "pydo"})["tag"]["name"], "pydo")
resources = {"resources": [{"resource_id": str(others[2]), "resource_type": "droplet"}]}
client.tags.assign_resources("pydo", resources)
check("a droplet has it", "pydo" in client.droplets.get(others[2])["droplet"]["tags"])
check("it counts it", client.tags.get("pydo")["tag"]["resources"]["droplets"]["count"], 1)
client.tags.unassign_resources("pydo", resources)
check("no droplet has it", client.droplets.list(tag_name="pydo")["droplets"], [])
client.tags.delete("pydo")
refused("a tag that is gone", 404, lambda: client.tags.get("pydo"))
part("tags")

# Deletes, by id and by tag.
client.droplets.destroy(others[2])
until("it is gone", lambda: others[2] not in [droplet["id"] for droplet in client.droplets.list(tag_name="web")["droplets"]])
refused("a droplet that is gone", 404, lambda: client.droplets.get(others[2]))
client.droplets.destroy_by_tag(tag_name="web")
until("all with the tag are gone", lambda: client.droplets.list(tag_name="web")["meta"]["total"] == 0)
part("deletes")

# Paging over 450 droplets.
for batch in range(45):
    client.droplets.create(spec(names=[f"many-{batch}-{number}" for number in range(10)], tags=["many"]))
for per_page, pages in [(200, 3), (20, 23), (150, 3)]:
    found, seen, total = every(lambda **page: client.droplets.list(tag_name="many", **page), "droplets", per_page)
    check(f"pages of {per_page}", (seen, total, len(found), len({one["id"] for one in found})), (pages, 450, 450, 450))
check("without a number it is 20", len(client.droplets.list()["droplets"]), 20)
check("past the end there is nothing", client.droplets.list(per_page=200, page=9)["droplets"], [])
until("all are active", lambda: all(one["status"] == "active" for one in every(lambda **page: client.droplets.list(tag_name="many", **page), "droplets", 200)[0]), 60)
client.droplets.destroy_by_tag(tag_name="many")
until("all are gone", lambda: client.droplets.list(tag_name="many")["meta"]["total"] == 0, 60)
client.ssh_keys.delete(key["id"])
part("450 droplets")

# Errors.
refused("a token that is wrong", 401, lambda: connect("dop_v1_wrong").account.get())
refused("a droplet that never was", 404, lambda: client.droplets.get(1))
refused("an action of a kind that is none", 422, lambda: client.reserved_ips.create({}))
rule = b'{"method":"GET","path":"/v2/account","effect":{"fail":{"status":429,"retry_after":7}}}'
urllib.request.urlopen(urllib.request.Request(f"{URL}/_local/faults", rule))
headers = refused("too many requests", 429, lambda: client.account.get())
check("they say when to come back", headers.get("retry-after"), "7")
check("they say how many are left", "ratelimit-remaining" in headers and "ratelimit-reset" in headers)
check("the next one is let in", client.account.get()["account"]["status"], "active")
print(f"{checks} checks passed")
