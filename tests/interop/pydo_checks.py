"""What the scenario of the Python client stands on: shapes of objects, checks, and the client with its last answer."""

import contextlib
import json
import time
import urllib.parse
import urllib.request

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy
from azure.core.rest import HttpRequest
from pydo import Client

NUMBER = (int, float)
NONE = type(None)

# What DigitalOcean's API file says an object has, with its types.
ACCOUNT = dict(
    droplet_limit=int,
    floating_ip_limit=int,
    email=str,
    uuid=str,
    email_verified=bool,
    status=str,
    status_message=str,
)
SIZES = dict(
    slug=str,
    memory=int,
    vcpus=int,
    disk=int,
    transfer=NUMBER,
    price_monthly=NUMBER,
    price_hourly=NUMBER,
    regions=list,
    available=bool,
    description=str,
)
REGIONS = dict(name=str, slug=str, features=list, available=bool, sizes=list)
IMAGES = dict(
    id=int,
    name=str,
    type=str,
    distribution=str,
    slug=(str, NONE),
    public=bool,
    regions=list,
    created_at=str,
    min_disk_size=int,
    size_gigabytes=NUMBER,
    description=str,
    tags=list,
    status=str,
)
DROPLET = dict(
    id=int,
    name=str,
    memory=int,
    vcpus=int,
    disk=int,
    locked=bool,
    status=str,
    created_at=str,
    features=list,
    backup_ids=list,
    next_backup_window=(dict, NONE),
    snapshot_ids=list,
    image=dict,
    volume_ids=list,
    size=dict,
    size_slug=str,
    networks=dict,
    region=dict,
    tags=list,
    vpc_uuid=str,
)
NETWORK = dict(ip_address=str, netmask=str, gateway=str, type=str)
ACTION = dict(
    id=int,
    status=str,
    type=str,
    started_at=str,
    completed_at=(str, NONE),
    resource_id=int,
    resource_type=str,
    region=dict,
    region_slug=str,
)
LINK = dict(id=int, rel=str, href=str)
ADDRESS = dict(ip=str, region=dict, droplet=(dict, NONE), locked=bool, project_id=str)
DOMAIN = dict(name=str, ttl=(int, NONE), zone_file=(str, NONE))
RECORD = dict(
    id=int,
    type=str,
    name=str,
    data=str,
    ttl=int,
    priority=(int, NONE),
    port=(int, NONE),
    weight=(int, NONE),
    flags=(int, NONE),
    tag=(str, NONE),
)
KEY = dict(id=int, name=str, public_key=str, fingerprint=str)
TAG = dict(name=str, resources=dict)
ERROR = dict(id=str, message=str, request_id=str)


class Wrong(Exception):
    """Something is not as it should be."""


class Checks:
    """Counts what was found to be as it should be."""

    total = 0

    @classmethod
    def holds(cls, what, holds, expected, seen):
        if not holds:
            cls.fail(what, expected, seen)
        cls.total += 1

    @staticmethod
    def fail(what, expected, seen):
        raise Wrong(f"{what}\n  expected: {expected}\n  seen:     {seen}")


def same(what, seen, expected):
    Checks.holds(what, seen == expected and type(seen) is type(expected), repr(expected), repr(seen))


def shaped(what, value, shape):
    """The value has every field of the shape, of its type."""
    Checks.holds(what, isinstance(value, dict), "an object", repr(value))
    # To Python true is a number; to JSON it is not.
    fits = lambda found, kind: isinstance(found, kind) and (kind is bool or not isinstance(found, bool))
    for name, kind in shape.items():
        if name not in value or not fits(value[name], kind):
            Checks.fail(f"{what}: field {name}", kind, repr(value.get(name, "(missing)")))
    return value


class PlainHttp(HeadersPolicy):
    """Lets the client send its token to an address without TLS."""

    def on_request(self, request):
        super().on_request(request)
        request.context.options["enforce_https"] = False


class Cloud:
    """A client, and the last answer that it got, whatever it made of it."""

    def __init__(self, url, token):
        self.url = url
        self.last = None
        self.sent = 0
        # Its own ten tries of everything would hide for minutes that nothing answers.
        self.client = Client(
            token=token, endpoint=url, headers_policy=PlainHttp(), raw_response_hook=self.look, retry_total=3
        )

    def look(self, response):
        """Every answer, whatever its status, has the headers that DigitalOcean gives all of them."""
        self.last = response.http_response
        self.sent += 1
        numbers = [self.last.headers.get(f"ratelimit-{name}", "") for name in ("limit", "remaining", "reset")]
        if not all(text.isdigit() for text in numbers) or not self.last.headers.get("x-request-id"):
            expected = "ratelimit-limit, -remaining and -reset, and x-request-id"
            Checks.fail(f"headers of {self.last.request.url}", expected, dict(self.last.headers))

    def answered(self, what, status, answer):
        """The answer of a call that ought to be done."""
        same(f"{what}: status", self.last.status_code, status)
        return answer

    def refused(self, what, status, word, call, *arguments, says="", **options):
        """The call is refused, in DigitalOcean's words; the client raises some refusals and returns the others."""
        try:
            call(*arguments, retry_total=0, **options)
        except HttpResponseError:
            pass
        same(f"{what}: status", self.last.status_code, status)
        body = shaped(f"{what}: error", json.loads(self.last.body()), ERROR)
        same(f"{what}: id of the error", body["id"], word)
        same(f"{what}: request id in body and header", body["request_id"], self.last.headers["x-request-id"])
        Checks.holds(f"{what}: message", says.lower() in body["message"].lower(), f"…{says}…", body["message"])

    def missing(self, what, call, *arguments, **options):
        self.refused(what, 404, "not_found", call, *arguments, **options)

    def unfit(self, what, says, call, *arguments, **options):
        self.refused(what, 422, "unprocessable_entity", call, *arguments, says=says, **options)

    def local(self, method, path, body=None):
        """One of the local cloud's own paths, for what DigitalOcean's API cannot be asked: to fail."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/_local/{path}", data, method=method)
        ) as answer:
            return answer.read()


@contextlib.contextmanager
def slowly(cloud, what):
    """What is begun meanwhile lasts for three seconds, so that something can be asked while it is under way."""
    timings = json.loads(cloud.local("GET", "timings"))
    cloud.local("PUT", "timings", {**timings, what: 3000})
    yield
    cloud.local("PUT", "timings", timings)


def until(what, look, is_so):
    """Looks until it is so, for a minute at most. However often it looks, that is one check."""
    end, checked = time.monotonic() + 60, Checks.total
    while True:
        seen = look()
        if is_so(seen):
            Checks.total = checked + 1
            return seen
        if time.monotonic() > end:
            Checks.fail(what, "within a minute", repr(seen))
        time.sleep(0.05)


def listed(what, answer, key, shape):
    """A list with its links and its total; its items."""
    shaped(what, answer, {key: list, "links": dict, "meta": dict})
    shaped(f"{what}: meta", answer["meta"], dict(total=int))
    for item in answer[key]:
        shaped(f"{what}: item", item, shape)
    return answer[key]


def pages(cloud, what, first, key, shape, size):
    """All items of a list: its first page, and whatever `links.pages.next` leads to, asked for as it is written."""
    page, number, items = first, 1, []
    total = first["meta"]["total"]
    last = max(1, -(-total // size))
    while True:
        found = listed(f"{what}, page {number}", page, key, shape)
        same(f"{what}, page {number}: total", page["meta"]["total"], total)
        same(f"{what}, page {number}: length", len(found), min(size, total - (number - 1) * size))
        items += found
        links = page["links"].get("pages", {})
        wanted = {"first": 1, "prev": number - 1} if number > 1 else {}
        wanted |= {"next": number + 1, "last": last} if number < last else {}
        led = {
            name: int(urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["page"][0])
            for name, link in links.items()
        }
        same(f"{what}, page {number}: links", led, wanted)
        if number == last:
            break
        answer = cloud.client.send_request(HttpRequest("GET", links["next"]))
        same(f"{what}, page {number + 1}: status", answer.status_code, 200)
        page, number = answer.json(), number + 1
    same(f"{what}: every item once", len({json.dumps(item, sort_keys=True) for item in items}), total)
    return items


def done(cloud, what, id):
    """Polls an action until it has ended well."""
    look = lambda: shaped(what, cloud.client.actions.get(id)["action"], ACTION)
    action = until(f"{what} ends", look, lambda action: action["status"] != "in-progress")
    same(f"{what}: status at its end", action["status"], "completed")
    Checks.holds(f"{what}: when it ended", action["completed_at"] is not None, "a time", action["completed_at"])
    return action


def ready(cloud, id):
    """A droplet once it is active, has a public address and no event holds it."""
    public = lambda droplet: [net for net in droplet["networks"]["v4"] if net["type"] == "public"]
    look = lambda: shaped(f"droplet {id}", cloud.client.droplets.get(id)["droplet"], DROPLET)
    droplet = until(
        f"droplet {id} is ready",
        look,
        lambda droplet: droplet["status"] == "active" and not droplet["locked"] and public(droplet),
    )
    for network in droplet["networks"]["v4"]:
        shaped(f"droplet {id}: network", network, NETWORK)
    return droplet


def gone(cloud, id):
    """A droplet after its delete."""
    until(
        f"droplet {id} is gone",
        lambda: cloud.client.droplets.get(id),
        lambda answer: answer.get("id") == "not_found",
    )
