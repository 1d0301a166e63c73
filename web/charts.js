// The figures at the top and the series below them.
import { drawing, duration, element, number } from "./elements.js";
import { quantile, rate, total } from "./metrics.js";

const WINDOW = 30; // samples that a quantile covers

const SERIES = [
  { title: "Time to first token", name: "vllm:time_to_first_token_seconds", text: duration },
  { title: "Between tokens", name: "vllm:inter_token_latency_seconds", text: duration },
];

function quantileAt(history, index, name, share) {
  const before = history[Math.max(0, index - WINDOW)];
  return index > 0 ? quantile(before, history[index], name, share) : null;
}

function polyline(values, top, color) {
  const points = values
    .map((value, i) => (value === null ? null : `${(i / Math.max(values.length - 1, 1)) * 300},${84 - (value / top) * 72}`))
    .filter((point) => point !== null);
  return drawing("polyline", {
    points: points.join(" "), fill: "none", stroke: color, "stroke-width": 2, "stroke-linejoin": "round",
    "vector-effect": "non-scaling-stroke",
  });
}

/** lines: [{name, color, values}] of one length. */
function chart(title, lines, text) {
  const top = Math.max(...lines.flatMap((line) => line.values.filter((v) => v !== null)), 1e-9) * 1.1;
  const last = lines.map((line) => `${line.name} ${text(line.values.at(-1))}`).join(" · ");
  return element("div", { class: "chart", role: "img", "aria-label": `${title}: ${last}` },
    element("h3", {}, title, element("span", {}, last)),
    drawing("svg", { viewBox: "0 0 300 92", preserveAspectRatio: "none" },
      drawing("line", { x1: 0, x2: 300, y1: 84, y2: 84, stroke: "var(--line)" }),
      ...lines.map((line) => polyline(line.values, top, line.color))));
}

function figure(value, label) {
  return element("div", { class: "figure" }, element("b", {}, value), element("span", {}, label));
}

export function drawCharts(history) {
  const now = history.at(-1);
  const recent = history[Math.max(0, history.length - 1 - WINDOW)];
  const before = history.length > 1 ? recent : null;
  const cached = rate(before, now, "baton_node_prompt_tokens_cached_total");
  const computed = rate(before, now, "baton_node_prompt_tokens_computed_total");
  const share = cached + computed > 0 ? (100 * cached) / (cached + computed) : null;
  document.getElementById("figures").replaceChildren(
    figure(number(rate(before, now, "baton_node_tokens_generated_total")), "output tokens/s"),
    figure(number(computed), "prompt tokens/s computed"),
    figure(share === null ? "–" : `${number(share)} %`, "of prompts from the prefix cache"),
    figure(duration(quantile(before, now, "vllm:time_to_first_token_seconds", 0.5)), "median time to first token"),
    figure(duration(quantile(before, now, "vllm:inter_token_latency_seconds", 0.99)), "p99 between tokens"),
    figure(number(total(now.families, "baton_node_sequences_running")), "sequences running"),
  );
  const charts = SERIES.map(({ title, name, text }) =>
    chart(title, [
      { name: "p50", color: "var(--decode)", values: history.map((_, i) => quantileAt(history, i, name, 0.5)) },
      { name: "p99", color: "var(--prefill)", values: history.map((_, i) => quantileAt(history, i, name, 0.99)) },
    ], text));
  const rates = (name) => history.map((sample, i) => (i ? rate(history[Math.max(0, i - 5)], sample, name) : null));
  charts.push(chart("Tokens per second", [
    { name: "output", color: "var(--decode)", values: rates("baton_node_tokens_generated_total") },
    { name: "prompt", color: "var(--prefill)", values: rates("baton_node_prompt_tokens_computed_total") },
  ], (value) => number(value, value < 100 ? 1 : 0)));
  document.getElementById("charts").replaceChildren(...charts);
}
