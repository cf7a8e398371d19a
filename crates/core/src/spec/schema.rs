//! The JSON Schema of a spec, printed from the table that validation walks.

use serde_json::{Map, Value, json};

use super::shape::{Field, Format, SPEC, Shape};

/// The schema, for editors (`seachange schema > seachange.schema.json`).
///
/// It accepts a text wherever a variable may stand, so it is a little more liberal than validation: what a variable
/// holds is not known in an editor.
pub fn schema() -> Value {
    let mut schema = of(&SPEC);
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!("Seachange spec"));
        object.insert("patternProperties".to_owned(), json!({ "^x-": true }));
    }
    schema
}

fn of(shape: &Shape) -> Value {
    match shape {
        Shape::Object(fields) => object(fields),
        Shape::List(item, _) => json!({ "type": "array", "minItems": 1, "items": of(item) }),
        Shape::Texts => json!({
            "type": "object",
            "propertyNames": { "pattern": r"^[^=\s\u0000-\u001f\u007f-\u009f]+$" },
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        Shape::Text(format) => text(*format),
        Shape::Number(least, most) => json!({
            "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, variable()],
        }),
        Shape::Flag => json!({ "anyOf": [{ "type": "boolean" }, variable()] }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(of).collect::<Vec<_>>() }),
    }
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = of(&field.shape);
            if let Some(object) = schema.as_object_mut() {
                object.insert("description".to_owned(), json!(field.about));
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn text(format: Format) -> Value {
    match format {
        // A YAML parser reads an unquoted `1.0` or `123` as a number; as a secret or a plain text it is as good.
        Format::Any | Format::Secret => {
            json!({ "type": ["string", "number", "boolean"], "minLength": 1 })
        }
        _ => json!({ "anyOf": [{ "type": "string", "pattern": format.pattern().0 }, variable()] }),
    }
}

fn variable() -> Value {
    json!({ "type": "string", "pattern": r"\$\{(env|var):[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}" })
}
