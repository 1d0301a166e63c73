// The latest requests, each a bar of its phases.
import { duration, element, number } from "./elements.js";

const PHASES = [
  ["admit", "var(--queue)"],
  ["tokenise", "var(--queue)"],
  ["queue_prefill", "var(--queue)"],
  ["prefill", "var(--prefill)"],
  ["transfer_exposed", "var(--transfer)"],
  ["queue_decode", "var(--queue)"],
  ["decode", "var(--decode)"],
  ["stream", "var(--stream)"],
];
const SHOWN = 60;
let chosen = null;

function drawLegend() {
  const legend = document.getElementById("legend");
  if (legend.childElementCount) return;
  const parts = [["queues", "var(--queue)"], ["prefill", "var(--prefill)"], ["exposed transfer", "var(--transfer)"],
    ["decode", "var(--decode)"], ["stream", "var(--stream)"]];
  legend.append(...parts.map(([name, color]) => element("span", {}, element("i", { style: `background:${color}` }), name)));
}

function bar(request, sequence, longest) {
  const took = request.took_ms || request.age_ms;
  const parts = PHASES.map(([phase, color]) => {
    const ms = sequence.phases[`${phase}_ms`] || 0;
    return element("i", { style: `width:${(100 * ms) / longest}%;background:${color}`, title: `${phase}: ${duration(ms / 1000)}` });
  });
  const label = `${request.request_id}: ${sequence.state}, ${number(request.prompt_tokens)} prompt tokens, ` +
    `${number(sequence.output_tokens)} output tokens, ${duration(took / 1000)}`;
  return element("button", { class: "bar", "aria-label": label, onclick: () => {
    chosen = request.request_id;
    showDetail(request);
  } },
  element("span", { class: "name" }, `${sequence.state === "running" ? "● " : ""}${request.request_id}`),
  element("span", { class: "track" }, ...parts),
  element("span", { class: "took" }, duration(took / 1000)));
}

function showDetail(request) {
  const detail = document.getElementById("detail");
  detail.hidden = false;
  detail.textContent = JSON.stringify(request, null, 2);
}

export function drawRequests({ running, ended }) {
  drawLegend();
  const filter = document.getElementById("filter").value.trim().toLowerCase();
  const all = [...ended, ...running].reverse()
    .filter((request) => !filter || JSON.stringify(request).toLowerCase().includes(filter)).slice(0, SHOWN);
  const longest = Math.max(...all.map((request) => request.took_ms || request.age_ms), 1);
  const focused = document.activeElement?.closest?.("#gantt") ? document.activeElement.getAttribute("aria-label") : null;
  const bars = all.flatMap((request) => request.sequences.map((sequence) => bar(request, sequence, longest)));
  document.getElementById("gantt").replaceChildren(
    ...(bars.length ? bars : [element("p", { class: "empty" }, filter ? "Nothing matches." : "No request yet.")]));
  if (focused) bars.find((one) => one.getAttribute("aria-label").split(":")[0] === focused.split(":")[0])?.focus();
  const again = all.find((request) => request.request_id === chosen);
  if (again) showDetail(again);
}
