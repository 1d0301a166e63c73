// A chat over the public API, with the times of each answer as this page sees them.
import { duration, element, number } from "./elements.js";

const byId = (id) => document.getElementById(id);
const messages = [];
let running = null; // AbortController of the answer that streams

function body(model, next) {
  const system = byId("system").value.trim();
  const request = {
    model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages, ...next],
    temperature: Number(byId("temperature").value),
    max_tokens: Number(byId("max-tokens").value),
  };
  if (byId("seed").value !== "") request.seed = Number(byId("seed").value);
  return request;
}

/** Calls on_event for each JSON event of a server-sent stream. */
async function readEvents(reply, onEvent) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") onEvent(JSON.parse(line.slice(6)));
    }
  }
}

function times(begin, first, last, usage) {
  if (first === null) return "no token";
  const tokens = usage ? usage.completion_tokens : null;
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  return [`first token ${duration((first - begin) / 1000)}`,
    tokens > 1 ? `each further ${duration((last - first) / 1000 / (tokens - 1))}` : null,
    tokens !== null ? `${number(tokens)} tokens of ${number(usage.prompt_tokens)} in` : null,
    cached ? `${number(cached)} from the cache` : null].filter(Boolean).join(" · ");
}

async function answer(model, text) {
  const own = { role: "user", content: text };
  const request = { ...body(model, [own]), stream: true, stream_options: { include_usage: true } };
  const shown = element("span", {});
  const note = element("small", {}, "…");
  const box = element("div", { class: "message" }, shown, note);
  byId("conversation").append(element("div", { class: "message user" }, text), box);
  running = new AbortController();
  byId("send").disabled = true;
  byId("stop").disabled = false;
  const begin = performance.now();
  let first = null;
  let last = null;
  let usage = null;
  try {
    const reply = await fetch("/v1/chat/completions", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal: running.signal,
    });
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    await readEvents(reply, (event) => {
      if (event.error) throw new Error(event.error.message);
      usage = event.usage || usage;
      const piece = event.choices?.[0]?.delta?.content;
      if (!piece) return;
      last = performance.now();
      first ??= last;
      shown.textContent += piece;
    });
    note.textContent = times(begin, first, last, usage);
  } catch (error) {
    const stopped = error.name === "AbortError";
    note.textContent = stopped ? `stopped · ${times(begin, first, last, usage)}` : error.message;
    if (!stopped) box.classList.add("error");
  }
  if (shown.textContent) messages.push(own, { role: "assistant", content: shown.textContent });
  running = null;
  byId("send").disabled = false;
  byId("stop").disabled = true;
  byId("prompt").focus();
}

function asCurl(request) {
  const quoted = JSON.stringify(request).replaceAll("'", "'\\''");
  return `curl -N ${location.origin}/v1/chat/completions -H 'Content-Type: application/json' -d '${quoted}'`;
}

// JSON is Python but for three words, which are replaced where they are values.
function toPython(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(toPython).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${toPython(item)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

function asPython(request) {
  const fields = Object.entries(request).map(([key, value]) => `    ${key}=${toPython(value)},`).join("\n");
  return `from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1", api_key="none")\n` +
    `answer = client.chat.completions.create(\n${fields}\n)\nprint(answer.choices[0].message.content)\n`;
}

export function startPlayground(model) {
  const send = () => {
    const text = byId("prompt").value.trim();
    if (!text || running) return;
    byId("prompt").value = "";
    answer(model, text);
  };
  const copy = (button, make) => byId(button).addEventListener("click", async () => {
    const draft = byId("prompt").value.trim();
    await navigator.clipboard.writeText(make(body(model, draft ? [{ role: "user", content: draft }] : [])));
    byId(button).textContent = "Copied";
    setTimeout(() => { byId(button).textContent = button === "copy-curl" ? "Copy as curl" : "Copy as Python"; }, 1500);
  });
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("clear").addEventListener("click", () => {
    running?.abort();
    messages.length = 0;
    byId("conversation").replaceChildren();
  });
  copy("copy-curl", asCurl);
  copy("copy-python", asPython);
}
