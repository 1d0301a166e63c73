// Reads the server once a second and hands the latest two samples to the views.
import { drawCharts } from "./charts.js";
import { drawCluster } from "./cluster.js";
import { parse } from "./metrics.js";
import { startPlayground } from "./playground.js";
import { drawRequests } from "./requests.js";

const PERIOD_MS = 1000;
const HISTORY = 120; // samples that the charts show
const history = [];
let view = "cluster";

const byId = (id) => document.getElementById(id);

function sayState(text, good) {
  byId("state").textContent = text;
  byId("state").className = good ? "good" : "bad";
}

async function read(path) {
  const reply = await fetch(path, { signal: AbortSignal.timeout(5000) });
  return { ok: reply.ok, text: await reply.text() };
}

async function tick() {
  if (document.hidden) return; // nobody looks: no load on the server
  const metrics = await read("/metrics");
  const before = history.at(-1) || null;
  const now = { time: performance.now(), families: parse(metrics.text) };
  history.push(now);
  if (history.length > HISTORY) history.shift();
  if (view === "cluster") {
    drawCharts(history);
    drawCluster(before, now);
  }
  if (view === "requests") {
    const requests = await read("/debug/requests");
    if (requests.ok) drawRequests(JSON.parse(requests.text));
    else byId("gantt").textContent = "This server does not list its requests (/debug/requests).";
  }
  const ready = await read("/ready");
  if (ready.ok) sayState("● ready", true);
  else sayState(`● ${JSON.parse(ready.text).error.message}`, false);
}

async function loop() {
  for (;;) {
    try {
      await tick();
    } catch (error) {
      sayState(`● no answer (${error.name})`, false);
    }
    await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  }
}

function show(name) {
  view = name;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === name));
    byId(`view-${button.dataset.view}`).hidden = button.dataset.view !== name;
  }
  history.length && tick().catch(() => {});
}

function startTheme() {
  const wanted = localStorage.getItem("theme") ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = wanted;
  byId("theme").addEventListener("click", () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = other;
    localStorage.setItem("theme", other);
  });
}

async function start() {
  startTheme();
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => show(button.dataset.view));
  }
  if (["requests", "playground"].includes(location.hash.slice(1))) show(location.hash.slice(1));
  try {
    const model = JSON.parse((await read("/v1/models")).text).data[0];
    byId("model").textContent = `${model.id}, context ${model.max_model_len.toLocaleString("en")}`;
    startPlayground(model.id);
  } catch {
    byId("model").textContent = "model not known yet";
  }
  loop();
}

start();
