#!/usr/bin/env python3
"""Chat templates of many models render exactly as transformers' apply_chat_template renders them: Jinja in its sandbox, with
transformers' settings, filters and functions."""

import datetime
import glob
import html
import json
import os
import sys

import text_vectors

FOLDER = text_vectors.folder()
sys.path.insert(0, os.path.join(FOLDER, "python"))
import jinja2  # noqa: E402
import jinja2.ext  # noqa: E402
import jinja2.nodes  # noqa: E402
import jinja2.sandbox  # noqa: E402

NOW = datetime.datetime(2026, 3, 5, 17, 4, 9)
SECONDS = int((NOW - datetime.datetime(1970, 1, 1)).total_seconds())
GLOBALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
TEMPLATES_LEAST, RENDERED_LEAST = 70, 415

TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place \u2014 'now' & \"soon\" <b>",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "a city"},
                "days": {"type": "integer", "enum": [1, 2], "default": 1},
                "units": {"type": ["string", "null"]},
            },
            "required": ["place"],
        },
    },
}, {
    "type": "function",
    "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
}]


def call(arguments):
    return {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def tool_conversation(arguments):
    return [
        {"role": "user", "content": "Weather in K\u00f6ln?"},
        {"role": "assistant", "content": "", "tool_calls": [call(arguments)]},
        {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"sky\": \"grey\", \"c\": 3.5}"},
        {"role": "assistant", "content": "Grey, 3.5 degrees."},
        {"role": "user", "content": "Thanks!"},
    ]


PLAIN = [{"role": "user", "content": "Hi <there> & 'you'"}, {"role": "assistant", "content": "Hello!\n\nSecond line. "},
         {"role": "user", "content": "  Tell me more \u2026"}]
SYSTEM = [{"role": "system", "content": "Be brief."}] + PLAIN
# Name, messages, variables, add_generation_prompt.
CONVERSATIONS = [
    ("plain", PLAIN, {}, True),
    ("system", SYSTEM, {}, True),
    ("tools", SYSTEM[:2], {"tools": TOOLS}, True),
    ("tool call", tool_conversation({"place": "K\u00f6ln", "days": 2}), {"tools": TOOLS}, True),
    ("tool call as text", tool_conversation("{\"place\": \"K\u00f6ln\", \"days\": 2}"), {"tools": TOOLS}, True),
    ("no prompt", SYSTEM[:3], {}, False),
    ("thinking off", PLAIN[:1], {"enable_thinking": False}, True),
]

# Where transformers fails over a slip of the template, and Baton renders what was meant: None has no elements, and a lazy
# sequence is written as a list.
FORGIVEN = ("'NoneType' object is not iterable", "Object of type generator is not JSON serializable")
# `'text'|safe + description` writes the description's quotes as HTML in Python; Baton leaves them as they are.
NOT_ESCAPED = ("meetkai-functionary-medium-v3.1.jinja", {"tools", "tool call", "tool call as text"})


class Generation(jinja2.ext.Extension):
    """{% generation %}: prints its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                        extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


def wanted(source, messages, variables, generate):
    """(text, None), or (None, error)."""
    context = {"tools": None, "documents": None, **GLOBALS, **variables}
    try:
        template = environment().from_string(source)
        return template.render(messages=messages, add_generation_prompt=generate, **context), None
    except Exception as error:  # pylint: disable=broad-except
        return None, error


def difference(text, other):
    at = next((i for i, (a, b) in enumerate(zip(text, other)) if a != b), min(len(text), len(other)))
    return f"at {at}: needed {text[max(0, at - 40):at + 60]!r}\n  got {other[max(0, at - 40):at + 60]!r}"


def main():
    paths = sorted(glob.glob(os.path.join(FOLDER, "templates", "*.jinja")))
    jobs, cases = [], []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            source = file.read()
        for name, messages, variables, generate in CONVERSATIONS:
            cases.append((os.path.basename(path), name, wanted(source, messages, variables, generate)))
            jobs.append({"template": source, "globals": GLOBALS, "messages": messages, "variables": variables,
                         "generate": generate, "seconds": SECONDS})
    results = text_vectors.probe(["render"], jobs)
    failures, rendered, refused, forgiven, not_escaped = [], 0, 0, 0, 0
    for (template, name, (text, error)), got in zip(cases, results):
        if error is None and got.get("text") == text:
            rendered += 1
        elif error is None and template == NOT_ESCAPED[0] and name in NOT_ESCAPED[1] and got.get("text") == html.unescape(text):
            not_escaped += 1
        elif error is None:
            what = difference(text, got["text"]) if "text" in got else got["error"]
            failures.append(f"{template}, {name}: {what}")
        elif str(error) in FORGIVEN and "text" in got:
            forgiven += 1
        elif "error" not in got or (type(error) is jinja2.exceptions.TemplateError and str(error) not in got["error"]):
            failures.append(f"{template}, {name}: needed {type(error).__name__}: {error}\n  got {str(got)[:300]}")
        else:
            refused += 1
    print(f"{len(paths)} templates: {rendered} conversations rendered alike, {refused} refused alike, {forgiven} rendered where "
          f"transformers fails over the template, {not_escaped} without HTML escapes, {len(failures)} wrong")
    if rendered < RENDERED_LEAST:
        failures.append(f"{rendered} conversations rendered alike, needed at least {RENDERED_LEAST}")
    if len(paths) < TEMPLATES_LEAST:
        failures.append(f"{len(paths)} templates, needed at least {TEMPLATES_LEAST}")
    print("\n".join(failures))
    sys.exit(1 if failures else 0)


main()
