//! Values as Python writes them: json.dumps for `tojson`, str() for what a template prints.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// Values nested deeper than this are refused; parsed JSON never is.
const DEPTH_LIMIT: usize = 200;

/// Arguments of json.dumps.
struct JsonStyle {
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<usize>,
    item_separator: String,
    key_separator: String,
}

/// The filter `tojson` of transformers: json.dumps(x, ensure_ascii=False, indent, separators,
/// sort_keys).
pub fn tojson(value: Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let separators: Option<(String, String)> =
        match arguments.get::<Option<Vec<String>>>("separators")? {
            None => None,
            Some(pair) if pair.len() == 2 => Some((pair[0].clone(), pair[1].clone())),
            Some(_) => return Err(invalid("tojson: separators must be two strings")),
        };
    let item_separator = if indent.is_some() { "," } else { ", " };
    let (item_separator, key_separator) =
        separators.unwrap_or((item_separator.to_string(), ": ".to_string()));
    let style = JsonStyle {
        ensure_ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item_separator,
        key_separator,
    };
    arguments.assert_all_used()?;
    let mut out = String::new();
    style.append(&value, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

/// The filter `string`: str(value).
pub fn string(value: Value) -> Result<String, Error> {
    let mut text = String::new();
    append_str(&value, &mut text)?;
    Ok(text)
}

/// The filter `trim`: str(value).strip(characters).
pub fn trim(value: Value, characters: Option<String>) -> Result<String, Error> {
    let text = string(value)?;
    Ok(match characters {
        None => text.trim().to_string(),
        Some(set) => text.trim_matches(|c| set.contains(c)).to_string(),
    })
}

/// The test `iterable`. None is not, unlike in minijinja; templates ask this of `tools` and
/// `content`.
pub fn is_iterable(value: Value) -> bool {
    value.kind() == ValueKind::Iterable || is_sequence(value)
}

/// The test `sequence`: has a length and items. In Python that holds for strings and dicts too.
pub fn is_sequence(value: Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Undefined
            | ValueKind::String
            | ValueKind::Seq
            | ValueKind::Map
            | ValueKind::Bytes
    )
}

/// str(value): what `{{ value }}` prints in Python. Strings come out as they are.
pub fn append_str(value: &Value, out: &mut String) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.push_str(text),
        None if value.is_undefined() => {}
        None => append_repr(value, 0, out)?,
    }
    Ok(())
}

impl JsonStyle {
    fn append(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > DEPTH_LIMIT {
            return Err(invalid("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => append_number(value, true, out),
            ValueKind::String => self.append_string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.append_container(('[', ']'), items.len(), depth, out, |index, out| {
                    self.append(&items[index], depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.append_container(('{', '}'), keys.len(), depth, out, |index, out| {
                    self.append_key(&keys[index], out)?;
                    out.push_str(&self.key_separator);
                    self.append(&value.get_item(&keys[index])?, depth + 1, out)
                })?;
            }
            kind => return Err(invalid(format!("Object of type {kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn append_container(
        &self,
        brackets: (char, char),
        count: usize,
        depth: usize,
        out: &mut String,
        mut append_item: impl FnMut(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(brackets.0);
        for index in 0..count {
            if index > 0 {
                out.push_str(&self.item_separator);
            }
            self.append_line_break(depth + 1, out);
            append_item(index, out)?;
        }
        if count > 0 {
            self.append_line_break(depth, out);
        }
        out.push(brackets.1);
        Ok(())
    }

    fn append_line_break(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent.min(64) * depth));
        }
    }

    /// JSON keys are strings: Python writes numbers, booleans and None as their JSON text.
    fn append_key(&self, key: &Value, out: &mut String) -> Result<(), Error> {
        match key.as_str() {
            Some(text) => self.append_string(text, out),
            None => {
                let mut text = String::new();
                self.append(key, DEPTH_LIMIT, &mut text)?;
                self.append_string(&text, out);
            }
        }
        Ok(())
    }

    fn append_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ensure_ascii && (c as u32) > 0x7E) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}").expect("writing to a string");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn append_repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > DEPTH_LIMIT {
        return Err(invalid("the value is nested too deeply to be printed"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => append_number(value, false, out),
        ValueKind::String => append_string_repr(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                append_repr(&item, depth + 1, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                append_repr(&key, depth + 1, out)?;
                out.push_str(": ");
                append_repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// repr() of an int or float; json.dumps differs only in how it writes what is not finite.
fn append_number(value: &Value, json: bool, out: &mut String) {
    if value.is_integer() {
        out.push_str(&value.to_string());
        return;
    }
    let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    let unusual = match (json, number.is_nan(), number.is_infinite(), number > 0.0) {
        (true, true, _, _) => Some("NaN"),
        (false, true, _, _) => Some("nan"),
        (true, _, true, true) => Some("Infinity"),
        (true, _, true, false) => Some("-Infinity"),
        (false, _, true, true) => Some("inf"),
        (false, _, true, false) => Some("-inf"),
        _ => None,
    };
    match unusual {
        Some(text) => out.push_str(text),
        None => append_finite(number, out),
    }
}

/// The shortest digits that give the number back; an exponent below 1e-4 and from 1e16 on.
fn append_finite(number: f64, out: &mut String) {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes an integer");
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs()).expect("writing to a string");
    } else {
        let fixed = format!("{number}");
        out.push_str(&fixed);
        if !fixed.contains('.') {
            out.push_str(".0");
        }
    }
}

fn append_string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (c as u32) == 0x7F => {
                write!(out, "\\x{:02x}", c as u32).expect("writing to a string");
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: &str) -> String {
        let value = Value::from_serialize(serde_json::from_str::<serde_json::Value>(json).unwrap());
        let mut out = String::new();
        append_str(&value, &mut out).unwrap();
        out
    }

    #[test]
    fn values_print_as_in_python() {
        let json = r#"{"b": [true, null, 1.0, 1e20, 1e-5, 0.1, -3], "a": "it's \"x\"\n"}"#;
        assert_eq!(
            printed(json),
            r#"{'b': [True, None, 1.0, 1e+20, 1e-05, 0.1, -3], 'a': 'it\'s "x"\n'}"#
        );
        assert_eq!(printed("\"plain\""), "plain");
    }
}
