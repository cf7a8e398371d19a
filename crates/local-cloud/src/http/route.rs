//! Which path does what.

use std::net::Ipv4Addr;

use seachange_core::cloud::{DropletCreate, DropletId};
use seachange_core::secret::Secret;
use serde_json::{Value, json};

use super::render;
use super::{Ask, Reply};
use crate::world::droplets::{Filter, Subject};
use crate::world::refusal::{Answer, Refusal};
use crate::world::{World, catalogue, dns};

/// Answers a request.
pub(super) fn route(world: &World, ask: &Ask<'_>) -> Answer<Reply> {
    let path: Vec<&str> = ask.path.iter().map(String::as_str).collect();
    let Some((&"v2", path)) = path.split_first() else { return Err(Refusal::not_found()) };
    match (ask.method, path) {
        (_, ["droplets", rest @ ..]) => droplets(world, ask, rest),
        ("GET", ["actions"]) => {
            let actions = world.actions(None);
            Ok(Reply::List(
                "actions",
                actions.iter().map(|action| render::action(action, "reserved_ip")).collect(),
            ))
        }
        ("GET", ["actions", id]) => {
            let action = world.action(number(id)?)?;
            Ok(Reply::Body(200, json!({ "action": render::action(&action, "reserved_ip") })))
        }
        (_, ["tags", rest @ ..]) => tags(world, ask, rest),
        (_, ["reserved_ips", rest @ ..]) => {
            reserved(world, ask, rest, "reserved_ip", "reserved_ips")
        }
        (_, ["floating_ips", rest @ ..]) => {
            reserved(world, ask, rest, "floating_ip", "floating_ips")
        }
        (_, ["domains", rest @ ..]) => domains(world, ask, rest),
        ("GET", ["account"]) => {
            Ok(Reply::Body(200, json!({ "account": render::account(world.limits()) })))
        }
        (_, ["account", "keys", rest @ ..]) => keys(world, ask, rest),
        ("GET", ["sizes"]) => {
            Ok(Reply::List("sizes", catalogue::SIZES.iter().map(render::size).collect()))
        }
        ("GET", ["regions"]) => Ok(Reply::List(
            "regions",
            catalogue::REGIONS.iter().map(|slug| render::region(slug)).collect(),
        )),
        ("GET", ["images"]) => {
            // All there are come from distributions, are public, and have no tag.
            let fits = ask.query("type").is_none_or(|kind| kind == "distribution")
                && ask.query("private").is_none_or(|private| private != "true")
                && ask.query("tag_name").is_none();
            let images = catalogue::IMAGES.iter().filter(|_| fits);
            Ok(Reply::List("images", images.map(render::image).collect()))
        }
        ("GET", ["images", name]) => {
            let image = catalogue::image(name).ok_or_else(Refusal::not_found)?;
            Ok(Reply::Body(200, json!({ "image": render::image(image) })))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn droplets(world: &World, ask: &Ask<'_>, path: &[&str]) -> Answer<Reply> {
    let render = |droplet| render::droplet(&droplet);
    match (ask.method, path) {
        ("GET", []) => {
            let (tag, name) = (ask.query("tag_name"), ask.query("name"));
            if tag.is_some() && name.is_some() {
                return Err(Refusal::bad_request("name and tag_name cannot be used together"));
            }
            if ask.query("type") == Some("gpus") {
                return Ok(Reply::List("droplets", Vec::new()));
            }
            let filter = Filter { tag: tag.map(str::to_owned), name: name.map(str::to_owned) };
            Ok(Reply::List("droplets", world.droplets(&filter).into_iter().map(render).collect()))
        }
        ("POST", []) => create(world, &ask.body),
        ("DELETE", []) => {
            let tag =
                ask.query("tag_name").ok_or_else(|| Refusal::bad_request("tag_name is needed"))?;
            world.delete_tagged(tag).map(|()| Reply::Empty(204))
        }
        ("GET", [id]) => Ok(Reply::Body(
            200,
            json!({ "droplet": render(world.droplet(DropletId(number(id)?))?) }),
        )),
        ("DELETE", [id]) => {
            world.delete_droplet(DropletId(number(id)?)).map(|()| Reply::Empty(204))
        }
        ("GET", [id, "actions"]) => {
            let droplet = world.droplet(DropletId(number(id)?))?;
            let actions = world.actions(Some(Subject::Droplet(droplet.id)));
            Ok(Reply::List(
                "actions",
                actions.iter().map(|action| render::action(action, "reserved_ip")).collect(),
            ))
        }
        ("POST", [id, "actions"]) => {
            let kind = text(&ask.body, "type")
                .ok_or_else(|| Refusal::unprocessable("Type can't be blank"))?;
            let action =
                world.act_on_droplet(DropletId(number(id)?), kind, text(&ask.body, "name"))?;
            Ok(Reply::Body(201, json!({ "action": render::action(&action, "reserved_ip") })))
        }
        ("GET", [id, "actions", action]) => {
            let action = world.action(number(action)?)?;
            if action.on != Subject::Droplet(DropletId(number(id)?)) {
                return Err(Refusal::not_found());
            }
            Ok(Reply::Body(200, json!({ "action": render::action(&action, "reserved_ip") })))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn create(world: &World, body: &Value) -> Answer<Reply> {
    let texts = |key: &str| -> Vec<String> {
        let items = body.get(key).and_then(Value::as_array).into_iter().flatten();
        items.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    };
    let owned = |key: &str| {
        body.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let single = text(body, "name");
    let names = match (single, body.get("names")) {
        (Some(name), None) => vec![name.to_owned()],
        (None, Some(_)) => texts("names"),
        _ => return Err(Refusal::unprocessable("Exactly one of name and names is needed.")),
    };
    let create = DropletCreate {
        names,
        region: owned("region").unwrap_or_else(|| "nyc3".to_owned()),
        size: owned("size").ok_or_else(|| Refusal::unprocessable("You need to specify a size."))?,
        image: owned("image")
            .ok_or_else(|| Refusal::unprocessable("You need to specify an image."))?,
        ssh_keys: texts("ssh_keys"),
        tags: texts("tags"),
        user_data: text(body, "user_data").map(Secret::new),
    };
    let created = world.create_droplets(&create)?;
    let links: Vec<Value> =
        created.iter().map(|(_, action)| render::action_link(*action, "create")).collect();
    let droplets: Vec<Value> =
        created.iter().map(|(droplet, _)| render::droplet(droplet)).collect();
    let body = match (single, droplets.as_slice()) {
        (Some(_), [droplet]) => json!({ "droplet": droplet, "links": { "actions": links } }),
        _ => json!({ "droplets": droplets, "links": { "actions": links } }),
    };
    Ok(Reply::Body(202, body))
}

fn tags(world: &World, ask: &Ask<'_>, path: &[&str]) -> Answer<Reply> {
    let mark = |tag: &str, on: bool| {
        let resources = ask.body.get("resources").and_then(Value::as_array);
        let resources =
            resources.ok_or_else(|| Refusal::unprocessable("Resources can't be blank"))?;
        let id = |resource: &Value| match text(resource, "resource_type") {
            Some("droplet") => {
                number(text(resource, "resource_id").unwrap_or_default()).map(DropletId)
            }
            // Of everything else that can be tagged there is nothing here.
            _ => Err(Refusal::not_found()),
        };
        let ids: Vec<DropletId> = resources.iter().map(id).collect::<Answer<_>>()?;
        world.mark(tag, &ids, on).map(|()| Reply::Empty(204))
    };
    match (ask.method, path) {
        ("GET", []) => Ok(Reply::List(
            "tags",
            world.tags().iter().map(|(tag, ids)| render::tag(tag, ids)).collect(),
        )),
        ("POST", []) => {
            let tag = world.create_tag(text(&ask.body, "name").unwrap_or_default())?;
            let (tag, ids) = world.tag(&tag.name)?;
            Ok(Reply::Body(201, json!({ "tag": render::tag(&tag, &ids) })))
        }
        ("GET", [name]) => {
            let (tag, ids) = world.tag(name)?;
            Ok(Reply::Body(200, json!({ "tag": render::tag(&tag, &ids) })))
        }
        ("DELETE", [name]) => world.delete_tag(name).map(|()| Reply::Empty(204)),
        ("POST", [name, "resources"]) => mark(name, true),
        ("DELETE", [name, "resources"]) => mark(name, false),
        _ => Err(Refusal::not_found()),
    }
}

fn reserved(
    world: &World,
    ask: &Ask<'_>,
    path: &[&str],
    key: &'static str,
    list: &'static str,
) -> Answer<Reply> {
    let address = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| Refusal::not_found());
    match (ask.method, path) {
        ("GET", []) => {
            let all = world.reserved_ips();
            Ok(Reply::List(
                list,
                all.iter()
                    .map(|(reserved, locked)| render::reserved(world, reserved, *locked))
                    .collect(),
            ))
        }
        ("POST", []) => {
            let droplet = ask.body.get("droplet_id").and_then(Value::as_u64).map(DropletId);
            let (reserved, action) = world.reserve(droplet, text(&ask.body, "region"))?;
            let mut body = json!({ key: render::reserved(world, &reserved, action.is_some()) });
            if let (Some(action), Some(DropletId(droplet))) = (action, droplet) {
                let link = json!({ "id": droplet, "rel": "droplet", "href": format!("https://api.digitalocean.com/v2/droplets/{droplet}") });
                body["links"] = json!({ "droplets": [link], "actions": [render::action_link(action.id, "assign_ip")] });
            }
            Ok(Reply::Body(202, body))
        }
        ("GET", [ip]) => {
            let (reserved, locked) = world.reserved_ip(address(ip)?)?;
            Ok(Reply::Body(200, json!({ key: render::reserved(world, &reserved, locked) })))
        }
        ("DELETE", [ip]) => world.release(address(ip)?).map(|()| Reply::Empty(204)),
        ("GET", [ip, "actions"]) => {
            let (reserved, _) = world.reserved_ip(address(ip)?)?;
            let actions = world.actions(Some(Subject::Address(reserved.ip)));
            Ok(Reply::List(
                "actions",
                actions.iter().map(|action| render::action(action, key)).collect(),
            ))
        }
        ("POST", [ip, "actions"]) => {
            let id = ask.body.get("droplet_id");
            let id =
                id.and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok())).map(DropletId);
            let to = match text(&ask.body, "type") {
                Some("assign") => {
                    Some(id.ok_or_else(|| Refusal::unprocessable("Droplet can't be blank"))?)
                }
                Some("unassign") => None,
                _ => return Err(Refusal::unprocessable("Type is not included in the list")),
            };
            let action = world.move_reserved_ip(address(ip)?, to)?;
            Ok(Reply::Body(201, json!({ "action": render::action(&action, key) })))
        }
        ("GET", [ip, "actions", id]) => {
            let action = world.action(number(id)?)?;
            if action.on != Subject::Address(address(ip)?) {
                return Err(Refusal::not_found());
            }
            Ok(Reply::Body(200, json!({ "action": render::action(&action, key) })))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn domains(world: &World, ask: &Ask<'_>, path: &[&str]) -> Answer<Reply> {
    match (ask.method, path) {
        ("GET", []) => {
            let zones = world.zones();
            zones
                .iter()
                .map(|zone| Ok(render::zone(zone, &world.records(zone)?)))
                .collect::<Answer<_>>()
                .map(|all| Reply::List("domains", all))
        }
        ("POST", []) => {
            let name = text(&ask.body, "name")
                .ok_or_else(|| Refusal::unprocessable("Name can't be blank"))?;
            let address = text(&ask.body, "ip_address").and_then(|text| text.parse().ok());
            world.create_zone(name, address)?;
            Ok(Reply::Body(
                201,
                json!({ "domain": { "name": name, "ttl": null, "zone_file": null } }),
            ))
        }
        ("GET", [zone]) => {
            Ok(Reply::Body(200, json!({ "domain": render::zone(zone, &world.records(zone)?) })))
        }
        ("DELETE", [zone]) => world.delete_zone(zone).map(|()| Reply::Empty(204)),
        ("GET", [zone, "records"]) => {
            let full = |record: &dns::Record| {
                if record.name == "@" {
                    (*zone).to_owned()
                } else {
                    format!("{}.{zone}", record.name)
                }
            };
            let fits = |record: &&dns::Record| {
                ask.query("name").is_none_or(|name| name == full(record))
                    && ask.query("type").is_none_or(|kind| kind == record.kind)
            };
            Ok(Reply::List(
                "domain_records",
                world.records(zone)?.iter().filter(fits).map(|record| json!(record)).collect(),
            ))
        }
        ("POST", [zone, "records"]) => {
            let record = world.edit_record(zone, None, |blank| merged(&ask.body, blank, zone))?;
            Ok(Reply::Body(201, json!({ "domain_record": record })))
        }
        ("GET" | "PUT" | "PATCH" | "DELETE", [zone, "records", id]) => {
            let id = number(id)?;
            if ask.method == "DELETE" {
                return world.delete_record(zone, id).map(|()| Reply::Empty(204));
            }
            let record = match ask.method {
                "GET" => {
                    let mut records = world.records(zone)?.into_iter();
                    records.find(|record| record.id == id).ok_or_else(Refusal::not_found)?
                }
                _ => world.edit_record(zone, Some(id), |old| merged(&ask.body, old, zone))?,
            };
            Ok(Reply::Body(200, json!({ "domain_record": record })))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// A record with the fields of a body put over it.
fn merged(body: &Value, old: dns::Record, zone: &str) -> Answer<dns::Record> {
    let own = |key: &str, old: String| text(body, key).map_or(old, str::to_owned);
    let number = |key: &str, old: Option<u32>| match body.get(key).filter(|value| !value.is_null())
    {
        None => Ok(old),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number.map(Some).ok_or_else(|| Refusal::unprocessable(format!("{key} is not a number")))
        }
    };
    let data = own("data", old.data);
    Ok(dns::Record {
        kind: own("type", old.kind),
        name: own("name", old.name),
        data: if data == "@" { zone.to_owned() } else { data },
        ttl: number("ttl", Some(old.ttl))?.unwrap_or(old.ttl),
        priority: number("priority", old.priority)?,
        port: number("port", old.port)?,
        weight: number("weight", old.weight)?,
        flags: number("flags", old.flags)?,
        tag: text(body, "tag").map(str::to_owned).or(old.tag),
        ..old
    })
}

fn keys(world: &World, ask: &Ask<'_>, path: &[&str]) -> Answer<Reply> {
    match (ask.method, path) {
        ("GET", []) => {
            Ok(Reply::List("ssh_keys", world.keys().iter().map(|key| json!(key)).collect()))
        }
        ("POST", []) => {
            let key = world.add_key(
                text(&ask.body, "name").unwrap_or_default(),
                text(&ask.body, "public_key").unwrap_or_default(),
            )?;
            Ok(Reply::Body(201, json!({ "ssh_key": key })))
        }
        ("GET", [id]) => Ok(Reply::Body(200, json!({ "ssh_key": world.key(id)? }))),
        ("PUT", [id]) => {
            let name = text(&ask.body, "name").unwrap_or_default();
            Ok(Reply::Body(200, json!({ "ssh_key": world.rename_key(id, name)? })))
        }
        ("DELETE", [id]) => world.remove_key(id).map(|()| Reply::Empty(204)),
        _ => Err(Refusal::not_found()),
    }
}

fn text<'v>(body: &'v Value, key: &str) -> Option<&'v str> {
    body.get(key).and_then(Value::as_str)
}

fn number(text: &str) -> Answer<u64> {
    text.parse().map_err(|_| Refusal::not_found())
}
