//! Objects that name their properties and say nothing of others have no others.
//!
//! JSON Schema leaves such an object open, and a model fills it with keys of its own until a limit ends the answer.
//! Whoever writes `properties` means these; llama.cpp's own server reads schemas in the same way.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Keywords whose value is a schema.
const SCHEMA: &[&str] =
    &["items", "additionalItems", "contains", "if", "then", "else", "not", "additionalProperties"];
/// Keywords whose value is a list of schemas.
const LISTS: &[&str] = &["anyOf", "oneOf", "allOf", "prefixItems", "items"];
/// Keywords whose value maps names to schemas.
const MAPS: &[&str] = &["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords that already say which other keys there may be.
const SAID: &[&str] = &["additionalProperties", "patternProperties", "unevaluatedProperties"];

/// Closes every object of a schema that names its properties, but for parts of an `allOf` with several parts: each
/// of them describes a share of one object, and closed they would exclude each other.
pub(super) fn close(schema: &mut Value) {
    let mut shares = HashSet::new();
    find_shares(schema, &mut shares);
    close_within(schema, "#", &shares, false);
}

/// The definitions that a composed object refers to.
fn find_shares(schema: &Value, shares: &mut HashSet<String>) {
    match schema {
        Value::Object(object) => {
            if is_composed(object) {
                let parts = object.get("allOf").and_then(Value::as_array).into_iter().flatten();
                let own = object.get("$ref").into_iter();
                let refs = parts.filter_map(|part| part.get("$ref")).chain(own).filter_map(Value::as_str);
                shares.extend(refs.map(str::to_owned));
            }
            object.values().for_each(|value| find_shares(value, shares));
        }
        Value::Array(all) => all.iter().for_each(|value| find_shares(value, shares)),
        _ => {}
    }
}

/// Whether an object is described by several parts together.
fn is_composed(object: &Map<String, Value>) -> bool {
    let parts = object.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
    let own = usize::from(object.contains_key("properties")) + usize::from(object.contains_key("$ref"));
    let choices =
        ["anyOf", "oneOf", "if", "then", "else"].iter().filter(|key| object.contains_key(**key)).count();
    parts + own + choices > 1
}

/// `share`: the schema describes a part of an object only.
fn close_within(schema: &mut Value, pointer: &str, shares: &HashSet<String>, share: bool) {
    let Value::Object(object) = schema else { return };
    let composed = is_composed(object);
    let open = share || composed || shares.contains(pointer);
    if !open && object.contains_key("properties") && !SAID.iter().any(|key| object.contains_key(*key)) {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in object.iter_mut() {
        // What a keyword applies to the same object is a share of it where that is composed.
        let inherits =
            open && matches!(key.as_str(), "anyOf" | "oneOf" | "allOf" | "if" | "then" | "else" | "not");
        let at = format!("{pointer}/{key}");
        match value {
            Value::Object(map) if MAPS.contains(&key.as_str()) => {
                for (name, value) in map.iter_mut() {
                    close_within(value, &format!("{at}/{name}"), shares, false);
                }
            }
            Value::Array(all) if LISTS.contains(&key.as_str()) => {
                for (index, value) in all.iter_mut().enumerate() {
                    close_within(value, &format!("{at}/{index}"), shares, inherits);
                }
            }
            Value::Object(_) if SCHEMA.contains(&key.as_str()) => close_within(value, &at, shares, inherits),
            _ => {}
        }
    }
}
