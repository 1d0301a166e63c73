//! JSON schemas made ready for the compiler of grammars: what that reads more loosely than the
//! standard says is rewritten in terms that it holds.

use serde_json::{json, Map, Value};

use crate::error::Error;

/// White space between the parts of a JSON text: a model that likes blanks must still come to an end.
const JSON_WHITESPACE: &str = r"[\x20\x0A\x0D\x09]{1,16}";
/// Dates of the Gregorian calendar; times as in RFC 3339 without leap seconds.
const DATE: &str = "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])\
                    |(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))\
                    |(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
const TIME: &str =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
/// White space of ECMA 262, which JSON schema's patterns are written in.
const SPACE: &str =
    "\\t\\n\\x0b\\x0c\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff";
/// Members whose values are data, not schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Members that are maps from names to schemas.
const MAPS: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// The schema of `source`, ready to be compiled. `lenient`: keywords that cannot be enforced are left
/// out instead of refused.
pub fn prepare(source: &str, lenient: bool) -> Result<Value, Error> {
    let mut schema: Value = serde_json::from_str(source)
        .map_err(|error| Error::invalid(format!("the schema is not valid JSON: {error}")))?;
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    if !schema.is_object() {
        return Err(Error::invalid("the schema must be a JSON object"));
    }
    rewrite(&mut schema);
    schema["x-guidance"] = json!({ "whitespace_pattern": JSON_WHITESPACE, "lenient": lenient });
    Ok(schema)
}

/// The depth of a schema is limited by the parser of JSON.
fn rewrite(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(members) => rewrite_members(members),
        _ => {}
    }
}

fn rewrite_members(members: &mut Map<String, Value>) {
    if let Some(Value::String(pattern)) = members.get_mut("pattern") {
        *pattern = ecma_spaces(pattern);
    }
    let strict = match members.get("format").and_then(Value::as_str) {
        Some("date") => Some(format!("^{DATE}$")),
        Some("time") => Some(format!("^{TIME}$")),
        Some("date-time") => Some(format!("^{DATE}[Tt]{TIME}$")),
        _ => None,
    };
    if let Some(pattern) = strict {
        members.remove("format");
        if members.contains_key("pattern") {
            let all = members.entry("allOf").or_insert(json!([]));
            if let Value::Array(all) = all {
                all.push(json!({ "pattern": pattern }));
            }
        } else {
            members.insert("pattern".into(), pattern.into());
        }
    }
    if let Some(Value::Object(named)) = members.get_mut("patternProperties") {
        *named = std::mem::take(named)
            .into_iter()
            .map(|(pattern, schema)| (ecma_spaces(&pattern), schema))
            .collect();
    }
    for (name, value) in members.iter_mut() {
        if DATA.contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::Object(named) if MAPS.contains(&name.as_str()) => {
                named.values_mut().for_each(rewrite);
            }
            _ => rewrite(value),
        }
    }
}

/// `\s` and `\S` spelled out.
fn ecma_spaces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('s') => out.push_str(&format!("[{SPACE}]")),
            Some('S') => out.push_str(&format!("[^{SPACE}]")),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_patterns_and_data_stays() {
        let source = r#"{"properties": {"format": {"format": "date"}}, "const": {"format": "date"},
                         "items": [{"format": "time", "pattern": "1"}]}"#;
        let schema = prepare(source, false).unwrap();
        assert!(schema["properties"]["format"]["pattern"].is_string());
        assert_eq!(schema["const"]["format"], "date");
        assert!(schema["items"][0]["allOf"][0]["pattern"].is_string());
    }

    #[test]
    fn spaces_are_those_of_ecma() {
        assert_eq!(ecma_spaces(r"\\s\d"), r"\\s\d");
        assert!(ecma_spaces(r"a\Sb").starts_with(r"a[^\t"));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(prepare("[]", false).is_err());
        assert!(prepare("{", false).is_err());
        assert!(prepare("true", false).is_ok());
    }
}
