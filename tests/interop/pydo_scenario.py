"""DigitalOcean's own Python client (PyPI: pydo) uses a local cloud for everything that it simulates.

Usage: pydo_scenario.py WORLD.env LIMITED.env, the files that `seachange local serve` has written of two fresh worlds:
one with room for 500 droplets, one with `--rate-limits`. Ends at the first thing that DigitalOcean answers otherwise.
"""

import base64
import hashlib
import json
import re
import sys
import time
import traceback

from azure.core.exceptions import ClientAuthenticationError
from azure.core.rest import HttpRequest

from pydo_checks import (
    ACCOUNT,
    ACTION,
    ADDRESS,
    DOMAIN,
    DROPLET,
    IMAGES,
    KEY,
    LINK,
    NONE,
    RECORD,
    REGIONS,
    SIZES,
    TAG,
    Checks,
    Cloud,
    Wrong,
    done,
    gone,
    listed,
    pages,
    ready,
    same,
    shaped,
    slowly,
    until,
)

SIZE, IMAGE, REGION = "s-1vcpu-1gb", "ubuntu-24-04-x64", "fra1"
MANY = 450


def wanted(**options):
    """The body that creates droplets."""
    return {"region": REGION, "size": SIZE, "image": IMAGE, **options}


def account_and_catalogue(cloud):
    client = cloud.client
    account = shaped("account", client.account.get()["account"], ACCOUNT)
    same("account: droplet limit", account["droplet_limit"], 500)
    same("account: limit of reserved IPs", account["floating_ip_limit"], 3)
    same("account: status", account["status"], "active")

    sizes = pages(cloud, "sizes", client.sizes.list(), "sizes", SIZES, 20)
    size = next((size for size in sizes if size["slug"] == SIZE), None)
    Checks.holds(f"sizes: {SIZE}", size is not None and REGION in size["regions"], f"in {REGION}", size)
    regions = pages(cloud, "regions", client.regions.list(), "regions", REGIONS, 20)
    region = next((region for region in regions if region["slug"] == REGION), None)
    Checks.holds(f"regions: {REGION}", region is not None and SIZE in region["sizes"], f"with {SIZE}", region)
    images = pages(cloud, "images", client.images.list(), "images", IMAGES, 20)
    image = next((image for image in images if image["slug"] == IMAGE), None)
    Checks.holds(f"images: {IMAGE}", image is not None and REGION in image["regions"], f"in {REGION}", image)
    same("image by its slug", client.images.get(IMAGE)["image"], image)
    same("image by its id", client.images.get(image["id"])["image"], image)
    cloud.missing("image that is not there", client.images.get, "no-such-image")
    same("images of type distribution", client.images.list(type="distribution")["meta"]["total"], len(images))
    same("images of type application", client.images.list(type="application")["images"], [])
    same("the user's own images", client.images.list(private=True)["images"], [])
    same("images with a tag", client.images.list(tag_name="pydo:none")["images"], [])


def ssh_keys(cloud):
    keys = cloud.client.ssh_keys
    before = keys.list()["meta"]["total"]
    blob = b"".join(
        len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", hashlib.sha256(b"pydo").digest())
    )
    text = f"ssh-ed25519 {base64.b64encode(blob).decode()} pydo@example.org"
    digest = hashlib.md5(blob).hexdigest()
    made = cloud.answered("create a key", 201, keys.create({"name": "pydo", "public_key": text}))["ssh_key"]
    shaped("created key", made, KEY)
    same("key: fingerprint", made["fingerprint"], ":".join(digest[at : at + 2] for at in range(0, 32, 2)))
    same("key: text", made["public_key"], text)
    cloud.unfit("the same key again", "already in use", keys.create, {"name": "again", "public_key": text})
    cloud.unfit("what is no key", "invalid", keys.create, {"name": "pydo", "public_key": "ssh-ed25519 nonsense"})
    for name in (made["id"], made["fingerprint"]):
        same(f"key by {name}", keys.get(name)["ssh_key"], made)
    listing = listed("keys", keys.list(per_page=200), "ssh_keys", KEY)
    Checks.holds("keys: the new one is listed", made in listing and len(listing) == before + 1, made, listing)
    renamed = cloud.answered("rename a key", 200, keys.update(made["id"], {"name": "renamed"}))["ssh_key"]
    same("renamed key", renamed, {**made, "name": "renamed"})
    same("renamed key, by its fingerprint", keys.get(made["fingerprint"])["ssh_key"], renamed)
    cloud.unfit("a key without a name", "blank", keys.update, made["id"], {"name": ""})
    cloud.answered("delete a key", 204, keys.delete(made["fingerprint"]))
    cloud.missing("deleted key", keys.get, made["id"])
    cloud.missing("rename of a deleted key", keys.update, made["id"], {"name": "late"})
    cloud.missing("delete of a deleted key", keys.delete, made["id"])


def droplets(cloud, key):
    client = cloud.client
    one = wanted(name="pydo-one", tags=["Pydo:Web", "pydo:one"], ssh_keys=[key], user_data="#cloud-config\n{}\n")
    with slowly(cloud, "boot"):
        answer = cloud.answered("create a droplet", 202, client.droplets.create(one))
        id = answer["droplet"]["id"]
        cloud.unfit(
            "action on a droplet that boots", "pending", client.droplet_actions.post, id, {"type": "reboot"}
        )
    first = shaped("created droplet", answer["droplet"], DROPLET)
    same("created droplet: status", first["status"], "new")
    same("created droplet: tags", sorted(first["tags"]), ["Pydo:Web", "pydo:one"])
    same("created droplet: networks", first["networks"]["v4"], [])
    link = shaped("created droplet: link to its action", answer["links"]["actions"][0], LINK)
    same("created droplet: rel of the link", link["rel"], "create")

    several = wanted(names=["pydo-two", "pydo-three", "pydo-four"], tags=["pydo:web"], ssh_keys=[key])
    answer = cloud.answered("create several droplets", 202, client.droplets.create(several))
    same("several droplets: names in their order", [one["name"] for one in answer["droplets"]], several["names"])
    same("several droplets: no single one", "droplet" in answer, False)
    same("several droplets: an action each", len({link["id"] for link in answer["links"]["actions"]}), 3)
    for droplet in answer["droplets"]:
        shaped("one of several droplets", droplet, DROPLET)
        same("one of several droplets: the tag in its first spelling", droplet["tags"], ["Pydo:Web"])
    ids = [first["id"]] + [droplet["id"] for droplet in answer["droplets"]]

    action = done(cloud, "create", link["id"])
    same(
        "create: whose",
        (action["type"], action["resource_type"], action["resource_id"]),
        ("create", "droplet", first["id"]),
    )
    found = [ready(cloud, id) for id in ids]
    same(
        "droplets: addresses of their own",
        len({net["ip_address"] for one in found for net in one["networks"]["v4"]}),
        8,
    )
    same(
        "droplet: size, image, region",
        (found[0]["size"]["slug"], found[0]["image"]["slug"], found[0]["region"]["slug"]),
        (SIZE, IMAGE, REGION),
    )
    same("droplet: memory and disk", (found[0]["memory"], found[0]["disk"]), (1024, 25))
    Checks.holds("droplet: no user data", "user_data" not in found[0], "never given back", found[0])

    for tag, expected in (("Pydo:Web", ids), ("pydo:web", ids), ("pydo:one", ids[:1]), ("pydo:none", [])):
        listing = listed(f"droplets with {tag}", client.droplets.list(tag_name=tag), "droplets", DROPLET)
        same(f"droplets with {tag}", sorted(droplet["id"] for droplet in listing), sorted(expected))
    same(
        "droplets by name",
        [droplet["id"] for droplet in client.droplets.list(name="PYDO-TWO")["droplets"]],
        ids[1:2],
    )
    same("droplets of type droplets", client.droplets.list(type="droplets")["meta"]["total"], 4)
    same("droplets of type gpus", client.droplets.list(type="gpus")["droplets"], [])
    cloud.refused(
        "name and tag at once", 400, "bad_request", client.droplets.list, name="pydo-two", tag_name="pydo:one"
    )

    same(
        "a droplet's actions",
        [
            action["id"]
            for action in listed("a droplet's actions", client.droplet_actions.list(first["id"]), "actions", ACTION)
        ],
        [link["id"]],
    )
    same("a droplet's action", client.droplet_actions.get(first["id"], link["id"])["action"], action)
    cloud.missing("another droplet's action", client.droplet_actions.get, ids[1], link["id"])
    return ids


def droplet_actions(cloud, ids):
    client = cloud.client
    id = ids[0]

    def act(body, status, name, meanwhile=None):
        answer = client.droplet_actions.post(id, body)
        action = shaped(body["type"], cloud.answered(body["type"], 201, answer)["action"], ACTION)
        same(
            f"{body['type']}: begins",
            (action["type"], action["status"], action["completed_at"]),
            (body["type"], "in-progress", None),
        )
        if meanwhile:
            meanwhile()
        done(cloud, body["type"], action["id"])
        droplet = shaped("droplet", client.droplets.get(id)["droplet"], DROPLET)
        same(
            f"{body['type']}: droplet after it",
            (droplet["status"], droplet["name"], droplet["locked"]),
            (status, name, False),
        )
        return action["id"]

    def second():
        same("rename: droplet is locked", client.droplets.get(id)["droplet"]["locked"], True)
        cloud.unfit("a second action meanwhile", "pending", client.droplet_actions.post, id, {"type": "reboot"})

    with slowly(cloud, "action"):
        made = [act({"type": "rename", "name": "pydo-uno"}, "active", "pydo-uno", second)]
    made.append(act({"type": "power_off"}, "off", "pydo-uno"))
    cloud.unfit("power_off of one that is off", "already", client.droplet_actions.post, id, {"type": "power_off"})
    made.append(act({"type": "power_on"}, "active", "pydo-uno"))
    made += [act({"type": kind}, "active", "pydo-uno") for kind in ("reboot", "power_cycle")]
    made.append(act({"type": "shutdown"}, "off", "pydo-uno"))
    made.append(act({"type": "power_on"}, "active", "pydo-uno"))
    cloud.unfit("rename without a name", "name", client.droplet_actions.post, id, {"type": "rename"})
    cloud.unfit(
        "rename to what is no host name",
        "hostname",
        client.droplet_actions.post,
        id,
        {"type": "rename", "name": "not a name"},
    )
    cloud.unfit("action that nobody knows", "", client.droplet_actions.post, id, {"type": "nonsense"})
    cloud.unfit("action without a type", "type", client.droplet_actions.post, id, {})
    cloud.missing("action on no droplet", client.droplet_actions.post, 1, {"type": "reboot"})
    cloud.missing("actions of no droplet", client.droplet_actions.list, 1)

    listing = [action["id"] for action in listed("actions", client.droplet_actions.list(id), "actions", ACTION)]
    same("a droplet's actions, newest first", listing[:-1], made[::-1])
    everything = [
        action["id"] for action in listed("all actions", client.actions.list(per_page=200), "actions", ACTION)
    ]
    Checks.holds("all actions", set(made) <= set(everything), f"{made} among them", everything)


def tags(cloud, ids):
    client = cloud.client
    made = cloud.answered("create a tag", 201, client.tags.create({"name": "pydo:Fresh"}))["tag"]
    shaped("created tag", made, TAG)
    same("created tag: resources", made["resources"]["count"], 0)
    again = cloud.answered("the tag again", 201, client.tags.create({"name": "PYDO:fresh"}))["tag"]
    same("the tag again, in its first spelling", again, made)
    client.tags.create({"name": "no spaces"})
    same("a tag with a space: status", cloud.last.status_code, 400)
    shaped(
        "a tag with a space",
        json.loads(cloud.last.body()),
        dict(error=str, messages=(list, NONE), root_causes=list),
    )

    resources = {"resources": [{"resource_id": str(id), "resource_type": "droplet"} for id in ids[:2]]}
    for which in ("first", "second"):
        cloud.answered(f"tag droplets, {which} time", 204, client.tags.assign_resources("pydo:Fresh", resources))
        tag = client.tags.get("pydo:Fresh")["tag"]
        same("tag: resources", (tag["resources"]["count"], tag["resources"]["droplets"]["count"]), (2, 2))
    same(
        "tag: the droplet tagged last",
        tag["resources"]["droplets"]["last_tagged_uri"].rsplit("/", 1)[-1],
        str(ids[1]),
    )
    Checks.holds(
        "droplet has the tag",
        "pydo:Fresh" in client.droplets.get(ids[0])["droplet"]["tags"],
        "pydo:Fresh",
        "not there",
    )
    listing = listed("tags", client.tags.list(), "tags", TAG)
    names = {tag["name"] for tag in listing}
    Checks.holds("tags", {"pydo:Fresh", "Pydo:Web", "pydo:one"} <= names, "all that were used", names)
    one = {"resources": resources["resources"][:1]}
    cloud.answered("untag a droplet", 204, client.tags.unassign_resources("pydo:Fresh", one))
    same(
        "after untagging",
        [droplet["id"] for droplet in client.droplets.list(tag_name="pydo:Fresh")["droplets"]],
        ids[1:2],
    )
    cloud.missing("tag in another spelling", client.tags.get, "PYDO:FRESH")
    cloud.missing("a tag that is not there, on droplets", client.tags.assign_resources, "pydo:none", resources)
    for kind, id in (("droplet", "1"), ("volume", "7724db7c-e098-11e5-b522-000f53304e51")):
        absent = {"resources": [{"resource_id": id, "resource_type": kind}]}
        cloud.missing(f"tag a {kind} that is not there", client.tags.assign_resources, "pydo:Fresh", absent)
    cloud.answered("delete a tag", 204, client.tags.delete("pydo:Fresh"))
    cloud.missing("deleted tag", client.tags.get, "pydo:Fresh")
    cloud.missing("delete of a deleted tag", client.tags.delete, "pydo:Fresh")
    same("droplet lost the tag", client.droplets.get(ids[1])["droplet"]["tags"], ["Pydo:Web"])


def reserved_ips(cloud, ids):
    client = cloud.client
    addresses, actions = client.reserved_ips, client.reserved_ips_actions
    one, two, three = ids[:3]
    holder = lambda ip: shaped(ip, addresses.get(ip)["reserved_ip"], ADDRESS)

    def points(ip, id):
        address = holder(ip)
        droplet = address["droplet"]
        same(f"{ip}: where it points", (droplet and droplet["id"], address["locked"]), (id, False))
        if droplet:
            shaped(f"{ip}: its droplet", droplet, DROPLET)

    answer = cloud.answered("reserve for a region", 202, addresses.create({"region": REGION}))
    free = shaped("reserved for a region", answer["reserved_ip"], ADDRESS)
    same("reserved for a region", (free["droplet"], free["locked"], free["region"]["slug"]), (None, False, REGION))
    answer = cloud.answered("reserve for a droplet", 202, addresses.create({"droplet_id": one}))
    made = shaped("reserved for a droplet", answer["reserved_ip"], ADDRESS)
    ip = made["ip"]
    same("reserved for a droplet: held until it points there", (made["droplet"], made["locked"]), (None, True))
    same("reserved for a droplet: link to the droplet", answer["links"]["droplets"][0]["id"], one)
    link = shaped("reserved for a droplet: link to its action", answer["links"]["actions"][0], LINK)
    same("reserved for a droplet: rel of the link", link["rel"], "assign_ip")
    done(cloud, "assign_ip", link["id"])
    points(ip, one)

    listing = listed("reserved IPs", addresses.list(), "reserved_ips", ADDRESS)
    same(
        "reserved IPs",
        {(address["ip"], (address["droplet"] or {}).get("id")) for address in listing},
        {(free["ip"], None), (ip, one)},
    )

    with slowly(cloud, "action"):
        answer = cloud.answered("move", 201, actions.post(ip, {"type": "assign", "droplet_id": two}))
    move = shaped("move", answer["action"], ACTION)
    number = int.from_bytes(bytes(int(part) for part in ip.split(".")), "big")
    same(
        "move: what it is",
        (move["type"], move["status"], move["resource_type"], move["resource_id"]),
        ("assign_ip", "in-progress", "reserved_ip", number),
    )
    same("move: until its end nothing has moved", (holder(ip)["droplet"]["id"], holder(ip)["locked"]), (one, True))
    cloud.unfit("a second move meanwhile", "pending", actions.post, ip, {"type": "assign", "droplet_id": three})
    cloud.unfit("unassign meanwhile", "pending", actions.post, ip, {"type": "unassign"})
    cloud.unfit("delete meanwhile", "pending", addresses.delete, ip)
    cloud.unfit(
        "another address on its droplet-to-be",
        "already",
        actions.post,
        free["ip"],
        {"type": "assign", "droplet_id": two},
    )
    action = done(cloud, "move", move["id"])
    same("move, asked for at the address", actions.get(ip, move["id"])["action"], action)
    points(ip, two)

    move = cloud.answered("unassign", 201, actions.post(ip, {"type": "unassign"}))["action"]
    same("unassign: what it is", move["type"], "unassign_ip")
    done(cloud, "unassign", move["id"])
    points(ip, None)
    cloud.unfit("unassign what points nowhere", "not assigned", actions.post, ip, {"type": "unassign"})
    listing = [action["type"] for action in listed("an address's actions", actions.list(ip), "actions", ACTION)]
    same("an address's actions, newest first", listing, ["unassign_ip", "assign_ip", "assign_ip"])

    cloud.unfit("both a region and a droplet", "", addresses.create, {"region": REGION, "droplet_id": one})
    cloud.unfit("neither region nor droplet", "", addresses.create, {})
    cloud.unfit("a region that is none", "region", addresses.create, {"region": "mars1"})
    cloud.missing("reserve for no droplet", addresses.create, {"droplet_id": 1})
    cloud.unfit("an action that nobody knows", "", actions.post, ip, {"type": "nonsense"})
    cloud.missing("assign to no droplet", actions.post, ip, {"type": "assign", "droplet_id": 1})
    far = cloud.answered("the last one", 202, addresses.create({"region": "nyc3"}))["reserved_ip"]
    cloud.unfit("assign across regions", "region", actions.post, far["ip"], {"type": "assign", "droplet_id": one})
    cloud.unfit("one more than the account may have", "limit", addresses.create, {"region": REGION})
    for address in (far["ip"], free["ip"], ip):
        cloud.answered("give back", 204, addresses.delete(address))
        cloud.missing("given back", addresses.get, address)
    cloud.missing("delete again", addresses.delete, ip)
    for address in (ip, "192.0.2.1"):
        cloud.missing(f"actions of {address}", actions.list, address)
        cloud.missing(f"action on {address}", actions.post, address, {"type": "unassign"})
    same("reserved IPs at the end", addresses.list()["reserved_ips"], [])


def domains(cloud):
    client, zone = cloud.client.domains, "pydo.example.org"
    made = cloud.answered("create a domain", 201, client.create({"name": zone, "ip_address": "192.0.2.1"}))[
        "domain"
    ]
    same("created domain", shaped("created domain", made, DOMAIN)["name"], zone)
    cloud.unfit("the domain again", "exists", client.create, {"name": zone})
    cloud.unfit("a domain with a bad name", "", client.create, {"name": "not a domain"})
    found = shaped("domain", client.get(zone)["domain"], DOMAIN)
    Checks.holds("domain: zone file", zone in (found["zone_file"] or ""), f"$ORIGIN {zone}.", found["zone_file"])
    same("domains", [one["name"] for one in listed("domains", client.list(), "domains", DOMAIN)], [zone])
    own = listed("records of a new domain", client.list_records(zone, per_page=200), "domain_records", RECORD)
    same("records of a new domain", sorted(record["type"] for record in own), ["A", "NS", "NS", "NS", "SOA"])

    def create(body, data):
        answer = client.create_record(zone, body)
        record = shaped(f"create {body}", cloud.answered(f"create {body}", 201, answer)["domain_record"], RECORD)
        same(
            f"created {body}",
            record,
            {
                "ttl": 1800,
                **dict.fromkeys(("priority", "port", "weight", "flags", "tag")),
                **body,
                "id": record["id"],
                "data": data,
            },
        )
        same(f"read {body}", client.get_record(zone, record["id"])["domain_record"], record)
        return record

    mail = {"type": "MX", "name": "@", "data": "mail.example.org.", "priority": 10}
    service = {
        "type": "SRV",
        "name": "_sip._tcp",
        "data": "sip.example.org.",
        "priority": 1,
        "port": 5060,
        "weight": 5,
    }
    authority = {"type": "CAA", "name": "@", "data": "letsencrypt.org.", "flags": 0, "tag": "issue"}
    www = create({"type": "A", "name": "www", "data": "192.0.2.1", "ttl": 300}, "192.0.2.1")
    twin = create({"type": "A", "name": "www", "data": "192.0.2.1", "ttl": 300}, "192.0.2.1")
    create({"type": "AAAA", "name": "www", "data": "2001:db8::1"}, "2001:db8::1")
    create({"type": "CNAME", "name": "alias", "data": "@"}, zone)
    create({"type": "TXT", "name": "@", "data": "v=spf1 -all"}, "v=spf1 -all")
    create({"type": "NS", "name": "sub", "data": "ns1.example.org."}, "ns1.example.org")
    create(mail, "mail.example.org")
    sip = create(service, "sip.example.org")
    create(authority, "letsencrypt.org")

    without = lambda body, field: {name: value for name, value in body.items() if name != field}
    for why, body, says in (
        ("A without IPv4", {"type": "A", "name": "x", "data": "2001:db8::1"}, "IPv4"),
        ("AAAA without IPv6", {"type": "AAAA", "name": "x", "data": "192.0.2.1"}, "IPv6"),
        ("no data", {"type": "A", "name": "x"}, "data"),
        ("no name", {"type": "A", "data": "192.0.2.1"}, "name"),
        ("no type", {"name": "x", "data": "192.0.2.1"}, "type"),
        ("a type that nobody knows", {"type": "HINFO", "name": "x", "data": "y"}, "type"),
        ("a TTL below 30", {"type": "A", "name": "x", "data": "192.0.2.1", "ttl": 29}, "TTL"),
        ("MX without priority", without(mail, "priority"), "priority"),
        ("SRV without priority", without(service, "priority"), "priority"),
        ("SRV without port", without(service, "port"), "port"),
        ("SRV without weight", without(service, "weight"), "weight"),
        ("CAA without flags", without(authority, "flags"), "flags"),
        ("CAA without tag", without(authority, "tag"), "tag"),
        ("CAA with flags above 255", {**authority, "flags": 256}, "flags"),
        ("CAA with a tag that nobody knows", {**authority, "tag": "allow"}, "tag"),
        ("CNAME beside others", {"type": "CNAME", "name": "www", "data": "example.org."}, "CNAME"),
        ("beside a CNAME", {"type": "A", "name": "alias", "data": "192.0.2.1"}, "CNAME"),
        ("a second SOA", {"type": "SOA", "name": "@", "data": "1800"}, "SOA"),
    ):
        cloud.unfit(why, says, client.create_record, zone, body)
    soa = next(record for record in own if record["type"] == "SOA")
    cloud.unfit("SOA with other data", "SOA", client.patch_record, zone, soa["id"], {"type": "SOA", "data": "x"})
    cloud.unfit("delete of the SOA", "SOA", client.delete_record, zone, soa["id"])
    changed = client.patch_record(zone, soa["id"], {"type": "SOA", "ttl": 3600})["domain_record"]
    same("SOA with another TTL", changed, {**soa, "ttl": 3600})

    full = f"www.{zone}"
    same(
        "records by name",
        sorted(record["type"] for record in client.list_records(zone, name=full)["domain_records"]),
        ["A", "A", "AAAA"],
    )
    same(
        "records by type",
        {record["id"] for record in client.list_records(zone, type="A", name=full)["domain_records"]},
        {www["id"], twin["id"]},
    )
    changed = client.patch_record(zone, www["id"], {"type": "A", "data": "192.0.2.9", "ttl": 60})["domain_record"]
    same("patched record", changed, {**www, "data": "192.0.2.9", "ttl": 60})
    same("its twin shares the TTL", client.get_record(zone, twin["id"])["domain_record"], {**twin, "ttl": 60})
    changed = client.update_record(zone, sip["id"], {**service, "priority": 3})["domain_record"]
    same("updated record", changed, {**sip, "priority": 3})
    cloud.unfit(
        "update to what is no address", "IPv4", client.update_record, zone, www["id"], {"type": "A", "data": "x"}
    )
    cloud.answered("delete a record", 204, client.delete_record(zone, www["id"]))
    cloud.missing("deleted record", client.get_record, zone, www["id"])
    cloud.missing("patch of a deleted record", client.patch_record, zone, www["id"], {"type": "A", "ttl": 60})
    cloud.missing("delete of a deleted record", client.delete_record, zone, www["id"])
    same("records at the end", client.list_records(zone)["meta"]["total"], 5 + 8)
    cloud.answered("delete a domain", 204, client.delete(zone))
    for what, call in (("domain", client.get), ("records", client.list_records), ("delete", client.delete)):
        cloud.missing(f"{what} of a deleted domain", call, zone)
    cloud.missing("record in a deleted domain", client.create_record, zone, mail)


def deletes(cloud, ids):
    client = cloud.client
    ip = client.reserved_ips.create({"droplet_id": ids[0]})["reserved_ip"]["ip"]
    until(
        "the address points", lambda: client.reserved_ips.get(ip)["reserved_ip"], lambda address: address["droplet"]
    )
    cloud.answered("delete a droplet", 204, client.droplets.destroy(ids[0]))
    gone(cloud, ids[0])
    same("the address of a droplet that is gone", client.reserved_ips.get(ip)["reserved_ip"]["droplet"], None)
    cloud.answered("give back", 204, client.reserved_ips.delete(ip))
    cloud.missing("delete of a deleted droplet", client.droplets.destroy, ids[0])
    cloud.answered("delete by tag", 204, client.droplets.destroy_by_tag(tag_name="Pydo:Web"))
    for id in ids[1:]:
        gone(cloud, id)
    same("droplets after all deletes", client.droplets.list()["droplets"], [])


def paging(cloud):
    client, tag, created = cloud.client, "pydo:many", []
    begun = time.monotonic()
    for ten in range(0, MANY, 10):
        names = [f"pydo-{number:03}" for number in range(ten, ten + 10)]
        created += client.droplets.create(wanted(names=names, tags=[tag]))["droplets"]
    created_in = time.monotonic() - begun
    ids = {droplet["id"] for droplet in created}
    same("droplets: ids of their own", len(ids), MANY)
    cloud.unfit(
        "eleven names", "10", client.droplets.create, wanted(names=[f"more-{number}" for number in range(11)])
    )
    for names in range(0, 50, 10):
        client.droplets.create(wanted(names=[f"rest-{number}" for number in range(names, names + 10)]))
    cloud.unfit("more than the account may have", "limit", client.droplets.create, wanted(name="one-more"))
    same("droplets: total", client.droplets.list(per_page=1)["meta"]["total"], MANY + 50)
    until(
        "all are active",
        lambda: [
            droplet for page in (1, 2, 3) for droplet in client.droplets.list(per_page=200, page=page)["droplets"]
        ],
        lambda all_: {one["status"] for one in all_} == {"active"},
    )
    until(
        "nothing is under way",
        lambda: client.actions.list(per_page=200)["actions"],
        lambda all_: {one["status"] for one in all_} == {"completed"},
    )

    begun = time.monotonic()
    for size, options in ((20, {}), (200, {"per_page": 200})):
        found = pages(
            cloud, f"droplets by {size}", client.droplets.list(tag_name=tag, **options), "droplets", DROPLET, size
        )
        same(f"droplets by {size}: which", {droplet["id"] for droplet in found}, ids)
    read_in = time.monotonic() - begun
    everything = pages(cloud, "all droplets", client.droplets.list(per_page=200), "droplets", DROPLET, 200)
    same("all droplets", len(everything), MANY + 50)
    actions = pages(cloud, "actions", client.actions.list(per_page=200), "actions", ACTION, 200)
    creates = {action["resource_id"] for action in actions if action["type"] == "create"}
    Checks.holds("actions: a create for each", ids <= creates, "all droplets", len(ids & creates))
    beyond = client.droplets.list(tag_name=tag, per_page=200, page=9)
    same("a page beyond the last", (beyond["droplets"], beyond["meta"]["total"]), ([], MANY))
    for options in ({"per_page": 201}, {"per_page": 0}, {"page": 0}):
        cloud.refused(f"list with {options}", 400, "bad_request", client.droplets.list, **options)

    begun = time.monotonic()
    cloud.answered("delete them by tag", 204, client.droplets.destroy_by_tag(tag_name=tag))
    until("they are gone", lambda: client.droplets.list(tag_name=tag)["meta"]["total"], lambda total: total == 0)
    same("the others are left", client.droplets.list()["meta"]["total"], 50)
    deleted_in = time.monotonic() - begun
    return f"{MANY} droplets: created {created_in:.1f} s, read twice {read_in:.1f} s, deleted {deleted_in:.1f} s"


def errors(cloud):
    client = cloud.client
    cloud.missing("no such droplet", client.droplets.get, 1)
    cloud.missing("no such action", client.actions.get, 1)
    cloud.missing("no such domain", client.domains.get, "nobody.example.org")
    cloud.missing("not simulated: volumes", client.volumes.list)

    create = client.droplets.create
    for why, body, says in (
        ("no size", {"name": "x", "image": IMAGE, "region": REGION}, "size"),
        ("no image", {"name": "x", "size": SIZE, "region": REGION}, "image"),
        ("no name", wanted(), "name"),
        ("name and names", wanted(name="x", names=["y"]), "name"),
        ("a name that is no host name", wanted(name="not_a_host"), "hostname"),
        ("an unknown size", wanted(name="x", size="s-1000vcpu"), "size"),
        ("an unknown image", wanted(name="x", image="plan9"), "image"),
        ("an unknown region", wanted(name="x", region="mars1"), "region"),
        ("an unknown key", wanted(name="x", ssh_keys=[1]), "key"),
        ("a tag with a space", wanted(name="x", tags=["no spaces"]), "tag"),
        ("user data of more than 64 KiB", wanted(name="x", user_data="x" * 65537), "data"),
    ):
        cloud.unfit(f"create with {why}", says, create, body)
    cloud.refused(
        "a body that is no JSON",
        400,
        "bad_request",
        lambda **options: client.send_request(HttpRequest("POST", "/v2/tags", content="{"), **options),
    )

    stranger = Cloud(cloud.url, "dop_v1_wrong")
    stranger.refused("a wrong token", 401, "unauthorized", stranger.client.account.get, says="authenticate")
    try:
        stranger.client.account.get()
        raised = None
    except ClientAuthenticationError as error:
        raised = error.status_code
    same("a wrong token: the client's own error", raised, 401)

    # What the client repeats by itself: it has to find the status and `retry-after` where it looks for them.
    for effect in ({"status": 429, "retry_after": 1}, {"status": 500}, {"status": 503, "body": "html"}):
        cloud.local("POST", "faults", {"method": "GET", "path": "/v2/account", "effect": {"fail": effect}})
        before, begun = cloud.sent, time.monotonic()
        shaped(f"account after {effect}", client.account.get()["account"], ACCOUNT)
        same(f"account after {effect}: requests", cloud.sent - before, 2)
        if "retry_after" in effect:
            waited = time.monotonic() - begun
            Checks.holds(f"account after {effect}: waited", waited >= 1, "a second", f"{waited:.2f} s")
    cloud.local("POST", "faults", {"method": "GET", "path": "/v2/account", "effect": {"fail": {"status": 500}}})
    cloud.refused("a server error", 500, "server_error", client.account.get)


def rate_limits(cloud):
    client = cloud.client
    remaining = None
    for _ in range(250):
        client.account.get()
        headers = {name: int(cloud.last.headers[f"ratelimit-{name}"]) for name in ("limit", "remaining", "reset")}
        if remaining is not None:
            same("remaining goes down by one", headers["remaining"], remaining - 1)
        remaining = headers["remaining"]
    same("limit and what remains of it", (headers["limit"], remaining), (5000, 4750))
    ahead = headers["reset"] - time.time()
    Checks.holds("reset", 3400 < ahead <= 3601, "when the first request is an hour old", f"in {ahead:.0f} s")
    cloud.refused("the 251st request of a minute", 429, "too_many_requests", client.account.get, says="rate limit")
    same("429: remaining", cloud.last.headers["ratelimit-remaining"], "0")
    wait = cloud.last.headers.get("retry-after", "")
    Checks.holds("429: retry-after", wait.isdigit() and 1 <= int(wait) <= 60, "1 to 60 seconds", wait)


def environment(path):
    """What a served world exported."""
    with open(path, encoding="utf-8") as file:
        return dict(re.findall(r"^export (\w+)=(.*)$", file.read(), re.M))


def unexpected(error, last):
    """Where in this file something else than a check went wrong, and after which answer."""
    places = traceback.extract_tb(error.__traceback__)
    line = [place.lineno for place in places if place.filename == __file__][-1]
    after = f"{last.request.method} {last.request.url}: {last.status_code} {last.text()}" if last else "no answer"
    return f"line {line}\n  expected: an answer\n  seen:     {error!r}\n  after:    {after}"


def main(world, limited):
    world, limited = environment(world), environment(limited)
    cloud = Cloud(world["DIGITALOCEAN_API_URL"], world["DIGITALOCEAN_TOKEN"])
    slow = Cloud(limited["DIGITALOCEAN_API_URL"], limited["DIGITALOCEAN_TOKEN"])
    ids = []
    parts = [
        ("account, sizes, regions, images", lambda: account_and_catalogue(cloud)),
        ("SSH keys", lambda: ssh_keys(cloud)),
        ("droplets", lambda: ids.extend(droplets(cloud, world["SSH_KEY_FINGERPRINT"]))),
        ("droplet actions", lambda: droplet_actions(cloud, ids)),
        ("tags", lambda: tags(cloud, ids)),
        ("reserved IPs", lambda: reserved_ips(cloud, ids)),
        ("domains and records", lambda: domains(cloud)),
        ("deletes", lambda: deletes(cloud, ids)),
        ("paging", lambda: paging(cloud)),
        ("errors", lambda: errors(cloud)),
        ("rate limits", lambda: rate_limits(slow)),
    ]
    for name, part in parts:
        checked, sent = Checks.total, cloud.sent + slow.sent
        try:
            note = part()
        except Wrong as wrong:
            sys.exit(f"pydo: {name}: {wrong}")
        except Exception as error:  # What the client raises, or a field that is not there.
            sys.exit(f"pydo: {name}: {unexpected(error, slow.last or cloud.last)}")
        note = f" ({note})" if note else ""
        print(
            f"pydo: {name}: {Checks.total - checked} checks, {cloud.sent + slow.sent - sent} requests{note}",
            flush=True,
        )
    print(f"{Checks.total} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
