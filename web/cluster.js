// The nodes: a map of both roles while they are few, a heat map and a table of the busiest when they are many.
import { bytes, drawing, element, number } from "./elements.js";
import { find, rate, total } from "./metrics.js";

const MAP_MAX = 12; // nodes of a role that are drawn one by one
const STATES = [
  ["used", "var(--decode)"],
  ["leased", "var(--transfer)"],
  ["cached", "var(--stream)"],
  ["free", "var(--line)"],
];

function readNodes(before, now) {
  return (now.families.get("baton_node_up") || []).map(({ labels, value }) => {
    const node = { name: labels.node, role: labels.role, up: value === 1 };
    const own = { node: node.name };
    node.blocks = Object.fromEntries(
      [...STATES.map(([state]) => state), "total"].map((state) =>
        [state, total(now.families, "baton_node_kv_blocks", { ...own, state })]));
    node.running = find(now.families, "baton_node_sequences_running", own);
    node.waiting = find(now.families, "baton_node_sequences_waiting", own);
    node.queued = find(now.families, "baton_node_prompt_tokens_queued", own);
    const info = (now.families.get("baton_node_info") || []).find((sample) => sample.labels.node === node.name);
    node.info = info ? `${info.labels.device}; Baton ${info.labels.version}; ${info.labels.address}` : "";
    node.draining = find(now.families, "baton_node_draining", own) === 1;
    const prefills = node.role === "prefill";
    node.tokens = rate(before, now,
      prefills ? "baton_node_prompt_tokens_computed_total" : "baton_node_tokens_generated_total", own);
    node.moved = rate(before, now, prefills ? "baton_node_kv_sent_bytes_total" : "baton_node_kv_received_bytes_total", own);
    node.load = node.blocks.total ? 1 - (node.blocks.free + node.blocks.cached) / node.blocks.total : 0;
    return node;
  });
}

function stateText(node) {
  return !node.up ? "gone" : node.draining ? "draining" : "up";
}

function summary(node) {
  return `${node.name}, ${node.role}, ${stateText(node)}: ${number(node.running)} running, ${number(node.waiting)} waiting, ` +
    `${number(100 * node.load)} % of KV blocks in use`;
}

function card(node, x, y) {
  const width = 300;
  let at = x + 14;
  const blocks = STATES.map(([state, color]) => {
    const size = node.blocks.total ? ((width - 28) * node.blocks[state]) / node.blocks.total : 0;
    const bar = drawing("rect", { x: at, y: y + 56, width: size, height: 8, fill: color });
    at += size;
    return bar;
  });
  const unit = node.role === "prefill" ? "prompt tokens/s" : "tokens/s";
  return drawing("g", { role: "img", "aria-label": `${summary(node)}; ${node.info}`, opacity: node.up ? 1 : 0.45 },
    drawing("title", {}, node.info),
    drawing("rect", { x, y, width, height: 78, rx: 9, fill: "var(--page)", stroke: `var(--${node.role})`, "stroke-width": 1.5 }),
    drawing("circle", { cx: x + 18, cy: y + 19, r: 5, fill: node.up && !node.draining ? "var(--good)" : "var(--bad)" }),
    drawing("text", { x: x + 30, y: y + 23, "font-weight": 600 }, node.name + (node.draining ? " (draining)" : "")),
    drawing("text", { x: x + width - 14, y: y + 23, "text-anchor": "end", class: "soft" },
      `${number(node.running)} running, ${number(node.waiting)} waiting`),
    drawing("text", { x: x + 14, y: y + 45 }, `${number(node.tokens, 1)} ${unit}`),
    drawing("text", { x: x + width - 14, y: y + 45, "text-anchor": "end", class: "soft" },
      `${bytes(node.moved)}/s ${node.role === "prefill" ? "sent" : "received"}`),
    ...blocks);
}

// On a phone: one column, without the links that there is no room for.
function column(prefill, decode) {
  const heading = (y, text) => drawing("text", { x: 10, y, class: "soft" }, text);
  const below = 26 + prefill.length * 92;
  return drawing("svg", { viewBox: `0 0 320 ${below + 26 + decode.length * 92}`, style: "width:100%", role: "group",
    "aria-label": "Prefill nodes, then decode nodes" },
    heading(14, "Prefill: computes prompts"), ...prefill.map((node, i) => card(node, 10, 26 + i * 92)),
    heading(below + 14, "Decode: writes answers"), ...decode.map((node, i) => card(node, 10, below + 26 + i * 92)));
}

function map(nodes) {
  const prefill = nodes.filter((node) => node.role === "prefill");
  const decode = nodes.filter((node) => node.role === "decode");
  if (innerWidth < 640) return column(prefill, decode);
  const rows = Math.max(prefill.length, decode.length, 1);
  const height = rows * 92 + 26;
  const y = (list, i) => 26 + (rows - list.length) * 46 + i * 92;
  const most = Math.max(...prefill.map((node) => node.moved || 0), 1);
  const links = prefill.flatMap((from, i) => decode.map((to, j) => {
    const share = (from.moved || 0) / most / Math.max(decode.length, 1);
    return drawing("path", {
      d: `M310 ${y(prefill, i) + 39} C 410 ${y(prefill, i) + 39}, 410 ${y(decode, j) + 39}, 510 ${y(decode, j) + 39}`,
      fill: "none", stroke: from.up && to.up && from.moved > 0 ? "var(--transfer)" : "var(--line)", "stroke-width": 1.5 + 5 * share,
    });
  }));
  return drawing("svg", { viewBox: `0 0 820 ${height}`, style: `width:100%;max-width:1100px;min-width:560px`,
    role: "group", "aria-label": "Prefill nodes on the left, decode nodes on the right" },
    drawing("text", { x: 10, y: 14, class: "soft" }, "Prefill: computes prompts"),
    drawing("text", { x: 510, y: 14, class: "soft" }, "Decode: writes answers"),
    ...links,
    ...prefill.map((node, i) => card(node, 10, y(prefill, i))),
    ...decode.map((node, i) => card(node, 510, y(decode, i))));
}

function table(nodes) {
  const row = (cells, tag = "td") => element("tr", {}, ...cells.map((cell) => element(tag, {}, cell)));
  const busiest = [...nodes].sort((a, b) => b.load - a.load).slice(0, 20);
  return element("table", {},
    row(["Busiest nodes", "Role", "State", "Running", "Waiting", "Tokens/s", "KV in use"], "th"),
    ...busiest.map((node) => row([node.name, node.role, stateText(node), number(node.running), number(node.waiting),
      number(node.tokens, 1), `${number(100 * node.load)} %`])));
}

function heat(nodes) {
  return nodes.map((node) => element("i", {
    title: summary(node),
    style: `background: ${node.up ? `color-mix(in srgb, var(--${node.role}) ${Math.round(15 + 85 * node.load)}%, var(--panel))` : "var(--bad)"}`,
  }));
}

function drawPlacements(now) {
  const samples = (now.families.get("baton_placements_total") || []).filter(({ value }) => value > 0);
  const all = samples.reduce((sum, { value }) => sum + value, 0);
  document.getElementById("placements").replaceChildren(samples.length
    ? element("table", {}, element("tr", {}, ...["Prompt", "Reason", "Requests", "Share"].map((text) => element("th", {}, text))),
      ...samples.sort((a, b) => b.value - a.value).map(({ labels, value }) => element("tr", {},
        ...[`computed on the ${labels.prefill} node`, labels.reason || "", number(value), `${number((100 * value) / all)} %`]
          .map((text) => element("td", {}, text)))))
    : element("p", { class: "empty" }, "No request yet."));
}

export function drawCluster(before, now) {
  const nodes = readNodes(before, now);
  const few = ["prefill", "decode"].every((role) => nodes.filter((node) => node.role === role).length <= MAP_MAX);
  document.getElementById("map").replaceChildren(
    nodes.length === 0 ? element("p", { class: "empty" }, "No node is registered.") : few ? map(nodes) : table(nodes));
  document.getElementById("heat").replaceChildren(...(few ? [] : heat(nodes)));
  drawPlacements(now);
}
