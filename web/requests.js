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

// The part of an id that tells requests apart at a glance; the whole is in the label and in the detail.
const shortId = (id) => (id.length > 16 ? `${id.slice(0, 12)}…` : id);

const placed = (sequence) => [[sequence.prefill_node, sequence.decode_node].filter(Boolean).join(" → "),
  `${number(sequence.output_tokens)} tokens`, sequence.retries ? `${sequence.retries} moved` : ""].filter(Boolean).join(", ");

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
  element("span", { class: "name" }, `${sequence.state === "running" ? "● " : ""}${shortId(request.request_id)} `,
    element("small", {}, placed(sequence))),
  element("span", { class: "track" }, ...parts),
  element("span", { class: "took" }, duration(took / 1000)));
}

function phaseRow(sequence, [phase, color], sum) {
  const ms = sequence.phases[`${phase}_ms`] || 0;
  return element("tr", {}, element("td", {}, element("i", { class: "dot", style: `background:${color}` }), phase.replaceAll("_", " ")),
    element("td", {}, duration(ms / 1000)), element("td", {}, sum > 0 ? `${number((100 * ms) / sum)} %` : "–"));
}

function sequenceDetail(request, sequence) {
  const sum = PHASES.reduce((all, [phase]) => all + (sequence.phases[`${phase}_ms`] || 0), 0);
  return element("div", {},
    element("p", {}, `${request.request_id}: ${sequence.state}, ${placed(sequence)}; ${number(request.prompt_tokens)} prompt tokens, ` +
      `${number(sequence.cached_tokens)} of them cached`),
    element("table", {}, element("tr", {}, ...["Phase", "Time", "Share"].map((name) => element("th", {}, name))),
      ...PHASES.map((phase) => phaseRow(sequence, phase, sum))));
}

function showDetail(request) {
  const detail = document.getElementById("detail");
  const open = detail.querySelector("details")?.open;
  const raw = element("details", {}, element("summary", {}, "Everything that is known of it"),
    element("pre", {}, JSON.stringify(request, null, 2)));
  raw.open = Boolean(open);
  detail.replaceChildren(...request.sequences.map((sequence) => sequenceDetail(request, sequence)), raw);
  detail.hidden = false;
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
