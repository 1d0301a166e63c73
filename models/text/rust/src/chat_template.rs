//! Chat templates rendered as transformers' apply_chat_template does: Jinja with trim_blocks and
//! lstrip_blocks, Python's methods and number formats, and a budget, because a template comes with
//! a model file.

use std::cell::Cell;
use std::fmt;
use std::io;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error as JinjaError, ErrorKind, UndefinedBehavior};

use crate::calendar::format_time;
use crate::error::{Code, Error};
use crate::python_text;

/// Instructions that one rendering may take: a fixed part and a part a message, up to a limit.
/// Published templates take 20 to 200 a message.
const BASE_FUEL: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 1_000;
const FUEL_LIMIT: u64 = 2_000_000;
/// Every instruction can nest a value one level deeper, and values are destroyed recursively, at
/// about 150 bytes of stack a level. Up to this many run on the caller's stack; what needs more
/// runs on a stack of its own.
const FUEL_ON_CALLERS_STACK: u64 = 8_000;
const STACK_BYTES_PER_FUEL: usize = 512;
/// Bytes that one rendering may print, also into variables.
const OUTPUT_LIMIT_BYTES: usize = 16 << 20;
const NAME: &str = "chat_template";

thread_local! {
    /// What this thread's rendering may still print. One rendering runs on one thread.
    static REMAINING_BYTES: Cell<usize> = const { Cell::new(0) };
    /// The time that strftime_now prints.
    static LOCAL_SECONDS: Cell<i64> = const { Cell::new(0) };
}

/// Immutable; shared by threads.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// bos_token and the like: a JSON object.
    globals: serde_json::Map<String, serde_json::Value>,
}

/// What raise_exception was given.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
impl std::error::Error for Raised {}

impl ChatTemplate {
    /// `globals_json`: an object whose members every rendering sees.
    pub fn new(source: &str, globals_json: &str) -> Result<ChatTemplate, Error> {
        let globals = match serde_json::from_str(globals_json) {
            Ok(serde_json::Value::Object(globals)) => globals,
            _ => return Err(Error::internal("the globals of a chat template are not an object")),
        };
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_recursion_limit(100);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, _state, value| {
            let mut text = String::new();
            python_text::append_str(value, &mut text)?;
            take_from_budget(text.len())?;
            out.write_str(&text).map_err(JinjaError::from)
        });
        environment.add_filter("tojson", python_text::tojson);
        environment.add_filter("string", python_text::string);
        environment.add_filter("trim", python_text::trim);
        environment.add_filter("upper", |value| Ok(python_text::string(value)?.to_uppercase()));
        environment.add_filter("lower", |value| Ok(python_text::string(value)?.to_lowercase()));
        environment.add_test("iterable", python_text::is_iterable);
        environment.add_test("sequence", python_text::is_sequence);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, JinjaError> {
                Err(JinjaError::new(ErrorKind::InvalidOperation, "raise_exception")
                    .with_source(Raised(message)))
            },
        );
        environment.add_function("strftime_now", |format: String| {
            format_time(&format, LOCAL_SECONDS.with(Cell::get))
        });
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| Error::unsupported(format!("tokenizer.chat_template: {error}")))?;
        Ok(ChatTemplate { environment, globals })
    }

    /// Renders `messages_json`, a JSON array. `variables_json`: an object of further variables,
    /// which may hide those that every rendering sees. `local_seconds`: now, in seconds since 1970-01-01
    /// 00:00 local time.
    pub fn render(
        &self,
        messages_json: &str,
        variables_json: &str,
        add_generation_prompt: bool,
        local_seconds: i64,
    ) -> Result<String, Error> {
        let messages: serde_json::Value = serde_json::from_str(messages_json)
            .map_err(|error| Error::invalid(format!("messages are not valid JSON: {error}")))?;
        let Some(count) = messages.as_array().map(Vec::len) else {
            return Err(Error::invalid("messages must be a JSON array"));
        };
        let mut context = self.globals.clone();
        context.insert("messages".into(), messages);
        context.insert("tools".into(), serde_json::Value::Null);
        context.insert("documents".into(), serde_json::Value::Null);
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        match serde_json::from_str(variables_json) {
            Ok(serde_json::Value::Object(variables)) => context.extend(variables),
            _ => return Err(Error::invalid("chat template variables must be a JSON object")),
        }

        let context = Value::from_serialize(&context);
        let fuel = (BASE_FUEL + FUEL_PER_MESSAGE * count as u64).min(FUEL_LIMIT);
        match self.render_within(&context, FUEL_ON_CALLERS_STACK, local_seconds) {
            Err(error) if error.code == Code::ResourceExhausted => {}
            done => return done,
        }
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("chat-template".into())
                .stack_size(fuel as usize * STACK_BYTES_PER_FUEL)
                .spawn_scoped(scope, || self.render_within(&context, fuel, local_seconds))
                .map_err(|error| {
                    Error::exhausted(format!("no stack for the chat template: {error}"))
                })?
                .join()
                .unwrap_or_else(|_| Err(Error::internal("panic while rendering the chat template")))
        })
    }

    fn render_within(
        &self,
        context: &Value,
        fuel: u64,
        local_seconds: i64,
    ) -> Result<String, Error> {
        REMAINING_BYTES.with(|remaining| remaining.set(OUTPUT_LIMIT_BYTES));
        LOCAL_SECONDS.with(|seconds| seconds.set(local_seconds));
        let mut output = BoundedOutput { bytes: Vec::new(), overflowed: false };
        // The fuel is a setting of the environment; a clone shares the compiled template.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment
            .get_template(NAME)
            .map_err(|error| Error::internal(format!("chat template: {error}")))?;
        let rendered = template.render_captured_to(context, &mut output).map(|_| ());
        match rendered {
            Ok(()) => String::from_utf8(output.bytes)
                .map_err(|_| Error::internal("the chat template printed invalid UTF-8")),
            Err(_) if output.overflowed => Err(output_error()),
            Err(error) => Err(render_error(&error, fuel)),
        }
    }
}

/// Counts what is printed; an error when the budget is gone.
fn take_from_budget(bytes: usize) -> Result<(), JinjaError> {
    REMAINING_BYTES.with(|remaining| match remaining.get().checked_sub(bytes) {
        Some(rest) => {
            remaining.set(rest);
            Ok(())
        }
        None => {
            Err(JinjaError::new(ErrorKind::InvalidOperation, "output").with_source(OutputExhausted))
        }
    })
}

#[derive(Debug)]
struct OutputExhausted;

impl fmt::Display for OutputExhausted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the output limit is reached")
    }
}
impl std::error::Error for OutputExhausted {}

fn output_error() -> Error {
    Error::exhausted(format!(
        "the chat template printed more than the limit of {OUTPUT_LIMIT_BYTES} bytes"
    ))
}

fn render_error(error: &JinjaError, fuel: u64) -> Error {
    if error.kind() == ErrorKind::OutOfFuel {
        return Error::exhausted(format!(
            "the chat template took more than the limit of {fuel} instructions"
        ));
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref::<Raised>() {
            return Error::invalid(message.clone());
        }
        if current.is::<OutputExhausted>() {
            return output_error();
        }
        if let Some(inner) = current.downcast_ref::<JinjaError>() {
            if inner.kind() == ErrorKind::OutOfFuel {
                return render_error(inner, fuel);
            }
        }
        cause = current.source();
    }
    Error::invalid(format!("the chat template cannot render these messages: {error}"))
}

/// The rendered text; refuses to grow beyond the limit.
struct BoundedOutput {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > OUTPUT_LIMIT_BYTES {
            self.overflowed = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// transformers marks the assistant's part with {% generation %} blocks, which print their body and
/// nothing else. They become {% if true %} blocks with the same white-space control.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(length) = rest[open..].find("%}") else { break };
        let close = open + length;
        let inner = &rest[open + 2..close];
        let keyword = inner.trim_matches(['-', '+']).trim();
        let replacement = match keyword {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        match replacement {
            Some(words) => {
                out.push_str(&rest[..open + 2]);
                out.push_str(&inner.replacen(keyword, &format!(" {words} "), 1));
                out.push_str("%}");
            }
            None => out.push_str(&rest[..close + 2]),
        }
        rest = &rest[close + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &str) -> Result<String, Error> {
        ChatTemplate::new(source, r#"{"bos_token": "<s>"}"#)?.render(messages, "{}", true, 0)
    }

    #[test]
    fn tojson_is_that_of_python() {
        let messages = r#"[{"z": 1, "a": [1.0, "é\u0001<"], "e": {}}]"#;
        assert_eq!(
            render("{{ messages[0] | tojson }}", messages).unwrap(),
            r#"{"z": 1, "a": [1.0, "é\u0001<"], "e": {}}"#
        );
        assert_eq!(
            render("{{ messages | tojson(indent=2, ensure_ascii=True) }}", messages).unwrap(),
            "[\n  {\n    \"z\": 1,\n    \"a\": [\n      1.0,\n      \"\\u00e9\\u0001<\"\n    ],\n    \"e\": {}\n  }\n]"
        );
    }

    #[test]
    fn the_message_of_raise_exception_comes_through() {
        let error = render("{{ raise_exception('roles must alternate') }}", "[]").unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (Code::InvalidArgument, "roles must alternate")
        );
    }

    #[test]
    fn hostile_templates_run_into_a_budget() {
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert_eq!(render(endless, "[]").unwrap_err().code, Code::ResourceExhausted);
        let flood = "{% set x = 'x' * 1000000 %}{% for a in range(999) %}{{ x }}{% endfor %}";
        assert_eq!(render(flood, "[]").unwrap_err().code, Code::ResourceExhausted);
        let captured = format!("{{% set y %}}{flood}{{% endset %}}");
        assert_eq!(render(&captured, "[]").unwrap_err().code, Code::ResourceExhausted);
        let deep = "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}";
        assert!(render(deep, "[]").is_err());
        let nested = "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = [[[[[[n.x]]]]]] %}{% endfor %}";
        assert_eq!(render(nested, "[]").unwrap_err().code, Code::ResourceExhausted);
        let recursive = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(render(recursive, "[]").is_err());
    }

    #[test]
    fn generation_blocks_print_their_body() {
        assert_eq!(render("a {%- generation -%} b {%- endgeneration %} c", "[]").unwrap(), "ab c");
    }

    #[test]
    fn tests_and_filters_see_values_as_python_does() {
        let source = "{% for x in [none, 1, 'a', [1], {'b': 1}, missing] %}\
                      {{ x is iterable }} {{ x is sequence }};{% endfor %}";
        let yes = "True True;";
        assert_eq!(
            render(source, "[]").unwrap(),
            format!("False False;False False;{yes}{yes}{yes}{yes}")
        );
        let source = "{{ [' a', none] | trim }}|{{ ' b\u{a0}' | trim }}|{{ '--c-' | trim('-') }}";
        assert_eq!(render(source, "[]").unwrap(), "[' a', None]|b|c");
        let source = "{{ ['a', none] | upper }}|{{ 'aß' | upper }}|{{ ['B'] | lower }}";
        assert_eq!(render(source, "[]").unwrap(), "['A', NONE]|ASS|['b']");
    }

    #[test]
    fn tools_and_documents_are_none_and_globals_are_seen() {
        let source =
            "{{ bos_token }}{% if tools is none and not documents %}{{ tools }}{% endif %}{{ missing }}";
        assert_eq!(render(source, "[]").unwrap(), "<s>None");
    }
}
