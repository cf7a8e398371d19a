//! From OpenAPI 3.0's dialect to JSON Schema 2020-12, with the faults of DigitalOcean's file repaired.
//!
//! Undeclared keys are refused where a value begins (a body, a property, an item), never inside the branches of an
//! `allOf`, so that branches may declare different halves of one object. A discriminator becomes `if`/`then`, so that
//! the branch named by the value decides alone, and its errors are the ones reported.

use serde_json::{Map, Value, json};

/// Which way a body goes: requests have no read-only properties, answers no write-only ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From us to the API.
    Request,
    /// From the API to us.
    Response,
}

/// Mends what the file says wrongly about correct bodies, and adds what it says only in prose.
pub(super) fn repair(file: &mut Value) {
    let schemas = &mut file["components"]["schemas"];
    // `flags` and `tag` belong to CAA records only.
    for name in ["domain_record_txt", "domain_record_ns", "domain_record_srv"] {
        for branch in schemas[name]["allOf"].as_array_mut().into_iter().flatten() {
            if let Some(required) = branch.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|key| key != "flags" && key != "tag");
            }
        }
    }
    // A closed list that lacks the newer regions.
    if let Some(slug) = schemas["region_slug"].as_object_mut() {
        slug.remove("enum");
    }
    // Misspelt; the service says `images`.
    let kinds = &mut schemas["tags"]["properties"]["resources"]["allOf"][1]["properties"];
    if let Some(images) = kinds.get("imgages").cloned() {
        kinds["images"] = images;
    }
    // A reserved IP's droplet is null or a droplet, but the null branch takes any object.
    for name in ["reserved_ip", "floating_ip"] {
        let branches = &mut schemas[name]["properties"]["droplet"]["anyOf"];
        for branch in branches.as_array_mut().into_iter().flatten() {
            if branch["title"] == "null" {
                *branch = json!({ "type": "null" });
            }
        }
    }
    // Rules that the file has only in prose.
    schemas["tags"]["required"] = json!(["name"]);
    schemas["domain"]["required"] = json!(["name"]);
    schemas["domain_record"]["properties"]["ttl"]["minimum"] = json!(30);
    schemas["droplet_create"]["properties"]["user_data"]["maxLength"] = json!(65_536);
    let names = &mut schemas["droplet_multi_create"]["allOf"][0]["properties"]["names"];
    names["minItems"] = json!(1);
    names["maxItems"] = json!(10);
}

/// All component schemas, converted, in the shape that the file's own references expect.
pub(super) fn convert_components(file: &Value, direction: Direction) -> Value {
    let schemas = file["components"]["schemas"].as_object().into_iter().flatten();
    let converted: Map<_, _> =
        schemas.map(|(name, schema)| (name.clone(), branch(file, schema, direction))).collect();
    json!({ "schemas": converted })
}

/// A schema where a value begins.
pub(super) fn convert(file: &Value, schema: &Value, direction: Direction) -> Value {
    let mut converted = branch(file, schema, direction);
    if declares_properties(file, schema, 0)
        && let Some(object) = converted.as_object_mut()
    {
        object.insert("unevaluatedProperties".to_owned(), json!(false));
    }
    converted
}

/// What an answer must have at its root: every property beside paging and links.
pub(super) fn root_keys(file: &Value, schema: &Value) -> Vec<String> {
    let schema = resolve(file, schema);
    let own = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
    let branches = schema["allOf"].as_array().into_iter().flatten();
    own.filter(|key| !matches!(key.as_str(), "links" | "meta" | "request_id"))
        .chain(branches.flat_map(|branch| root_keys(file, branch)))
        .collect()
}

/// Follows one local reference, and those that it leads to.
pub(super) fn resolve<'a>(file: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => match file.pointer(pointer) {
            Some(target) => resolve(file, target),
            None => panic!("the file refers to {pointer}, which it does not have"),
        },
        None => value,
    }
}

/// A schema that is perhaps only a part of a value's description.
fn branch(file: &Value, schema: &Value, direction: Direction) -> Value {
    let Some(source) = schema.as_object() else { return schema.clone() };
    let mut target = Map::new();
    for (key, value) in source {
        let value = match key.as_str() {
            // No statement about values, or handled together with another key below.
            "example" | "discriminator" | "nullable" | "description" | "title" | "default"
            | "readOnly" | "writeOnly" | "deprecated" => continue,
            "properties" => properties(file, value, direction),
            "items" | "additionalProperties" if value.is_object() => {
                convert(file, value, direction)
            }
            "allOf" | "anyOf" | "oneOf" => {
                let branches = value.as_array().into_iter().flatten();
                branches.map(|schema| branch(file, schema, direction)).collect()
            }
            "required" => required(file, source, value, direction),
            _ => value.clone(),
        };
        target.insert(key.clone(), value);
    }
    discriminate(source, &mut target);
    if source.get("nullable") == Some(&json!(true)) {
        if let Some(kind) = target.get_mut("type") {
            *kind = json!([kind.take(), "null"]);
        }
        if let Some(words) = target.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
    }
    Value::Object(target)
}

fn properties(file: &Value, properties: &Value, direction: Direction) -> Value {
    let all = properties.as_object().into_iter().flatten();
    let kept = all.filter(|(_, schema)| !hidden(file, schema, direction));
    Value::Object(
        kept.map(|(key, schema)| (key.clone(), convert(file, schema, direction))).collect(),
    )
}

fn required(
    file: &Value,
    schema: &Map<String, Value>,
    keys: &Value,
    direction: Direction,
) -> Value {
    let property = |key: &Value| schema.get("properties")?.get(key.as_str()?);
    let keys = keys.as_array().into_iter().flatten();
    keys.filter(|key| !property(key).is_some_and(|schema| hidden(file, schema, direction)))
        .cloned()
        .collect()
}

fn hidden(file: &Value, schema: &Value, direction: Direction) -> bool {
    let mark = match direction {
        Direction::Request => "readOnly",
        Direction::Response => "writeOnly",
    };
    resolve(file, schema)[mark] == true
}

/// Replaces the choice between branches by the one that the value names. A discriminator without branches beside it
/// (the file has three) decides nothing.
fn discriminate(source: &Map<String, Value>, target: &mut Map<String, Value>) {
    let Some(discriminator) = source.get("discriminator") else { return };
    if target.remove("anyOf").or_else(|| target.remove("oneOf")).is_none() {
        return;
    }
    let property = &discriminator["propertyName"];
    let Some(name) = property.as_str() else { return };
    let mapping = discriminator["mapping"].as_object().into_iter().flatten();
    let mut rules = vec![];
    let mut words = vec![];
    for (word, reference) in mapping {
        words.push(word.clone());
        rules.push(json!({
            "if": { "properties": { name: { "const": word } }, "required": [name] },
            "then": { "$ref": reference },
        }));
    }
    rules.push(json!({ "properties": { name: { "enum": words } }, "required": [name] }));
    target.insert("allOf".to_owned(), Value::Array(rules));
}

/// Whether a schema names any property of its own; one that names none describes a free-form object.
fn declares_properties(file: &Value, schema: &Value, depth: usize) -> bool {
    let schema = resolve(file, schema);
    let branches = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
    schema["properties"].as_object().is_some_and(|properties| !properties.is_empty())
        || depth < 16
            && branches.flatten().any(|branch| declares_properties(file, branch, depth + 1))
}
