//! Holds a value against a JSON schema: as much of JSON Schema 2020-12 as `report.schema.json` uses. A keyword that is not known
//! here is an error, so that none is believed to be checked that is not.

use serde_json::Value;

/// Where and why `value` is not as `schema` has it; empty if it is. `at` is the value's path.
pub(crate) fn violations(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(anything) = schema.as_bool() {
        return if anything { Vec::new() } else { vec![format!("{at}: nothing may be here")] };
    }
    let keywords = schema.as_object().expect("a schema is an object or a bool");
    keywords
        .iter()
        .flat_map(|(keyword, argument)| check(root, schema, keyword, argument, value, at))
        .collect()
}

fn check(
    root: &Value,
    schema: &Value,
    keyword: &str,
    argument: &Value,
    value: &Value,
    at: &str,
) -> Vec<String> {
    let must =
        |held: bool, what: &str| if held { Vec::new() } else { vec![format!("{at}: {what} {argument}")] };
    let number = || value.as_f64();
    let bound = || argument.as_f64().expect("a bound is a number");
    match keyword {
        "$schema" | "$id" | "$defs" | "title" | "description" => Vec::new(),
        "$ref" => violations(root, referred(root, argument), value, at),
        "type" => must(is_of(argument, value), "is not a"),
        "const" => must(value == argument, "is not"),
        "enum" => must(list(argument).contains(value), "is none of"),
        "minimum" => must(number().is_none_or(|number| number >= bound()), "is below"),
        "maximum" => must(number().is_none_or(|number| number <= bound()), "is above"),
        "minItems" => {
            must(value.as_array().is_none_or(|items| items.len() as f64 >= bound()), "has fewer items than")
        }
        "maxItems" => {
            must(value.as_array().is_none_or(|items| items.len() as f64 <= bound()), "has more items than")
        }
        "required" => required(argument, value, at),
        "properties" => properties(root, argument, value, at),
        "additionalProperties" => additional(root, schema, argument, value, at),
        "prefixItems" => prefix(root, argument, value, at),
        "items" => items(root, schema, argument, value, at),
        "anyOf" => {
            let fits = |schema: &Value| violations(root, schema, value, at).is_empty();
            must(list(argument).iter().any(fits), "fits none of")
        }
        unknown => panic!("{unknown} is a keyword that this check does not know"),
    }
}

fn referred<'a>(root: &'a Value, reference: &Value) -> &'a Value {
    let pointer = text(reference).trim_start_matches('#');
    root.pointer(pointer).unwrap_or_else(|| panic!("{reference} refers to nothing"))
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match text(name) {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("{unknown} is no type"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

fn required(names: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let missing = list(names).iter().filter(|name| !object.contains_key(text(name)));
    missing.map(|name| format!("{at}: {name} is missing")).collect()
}

fn properties(root: &Value, schemas: &Value, value: &Value, at: &str) -> Vec<String> {
    let schemas = schemas.as_object().expect("properties are an object").iter();
    let found = schemas.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
    found.flat_map(|(name, schema, value)| violations(root, schema, value, &format!("{at}/{name}"))).collect()
}

fn additional(root: &Value, schema: &Value, rest: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let named =
        |name: &String| schema.get("properties").is_some_and(|properties| properties.get(name).is_some());
    let others = object.iter().filter(|(name, _)| !named(name));
    others.flat_map(|(name, value)| violations(root, rest, value, &format!("{at}/{name}"))).collect()
}

fn prefix(root: &Value, schemas: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(values) = value.as_array() else { return Vec::new() };
    let pairs = list(schemas).iter().zip(values).enumerate();
    pairs
        .flat_map(|(place, (schema, value))| violations(root, schema, value, &format!("{at}/{place}")))
        .collect()
}

fn items(root: &Value, schema: &Value, each: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(values) = value.as_array() else { return Vec::new() };
    let before = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
    let rest = values.iter().enumerate().skip(before);
    rest.flat_map(|(place, value)| violations(root, each, value, &format!("{at}/{place}"))).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the schema has a list here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the schema has a text here")
}
