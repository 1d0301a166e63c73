#!/usr/bin/env python3
"""docs/metrics.md and deploy/monitoring/ against what a live router prints, and the alert rules against promtool."""

import importlib.machinery
import json
import os
import re
import shutil
import subprocess
import unittest

from cluster import Cluster

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
MONITORING = os.path.join(ROOT, "deploy/monitoring")
docs = importlib.machinery.SourceFileLoader("docs", os.path.join(ROOT, "scripts/docs")).load_module()

# Prometheus adds these to every sample that it scrapes.
SCRAPED = {"instance": None, "job": None}
SELECTOR = re.compile(r"\b(baton_\w+|vllm:\w+|up)\b(?:\{([^{}]*)\})?")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def rule_expressions(text):
    """The PromQL of a rule file: `expr: ...` in one line, or a block of deeper lines after `expr: |`."""
    found = []
    for indent, first, block in re.findall(r"^( +)expr: (.+)\n((?:\1 +.*\n)*)", text, re.M):
        found.append(block if first.strip() == "|" else first)
    return found


def panel_expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def samples_of(exposition):
    """{sample name: {label: {values}}}."""
    found = {"up": {}}
    for line in exposition.splitlines():
        if line.startswith("#"):
            continue
        name, labels = re.match(r"([\w:]+)(?:\{(.*)\})? ", line).groups()
        own = found.setdefault(name, {})
        for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""):
            own.setdefault(label, set()).add(value)
    return found


def complaints(expression, samples):
    """What an expression asks for that no router prints."""
    used = []
    without_labels = re.sub(r"label_values\((.*), (\w+)\)", r"\1 by (\2)", expression)
    for name, labels in SELECTOR.findall(without_labels):
        if name not in samples:
            yield f"{name}: no such metric"
            continue
        known = {**samples[name], **SCRAPED}
        used.append(known)
        for label, relation, value in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', labels):
            if label not in known:
                yield f"{name}: has no label {label}"
            elif relation in ("=", "!=") and known[label] and label not in docs.OPEN_LABELS and value not in known[label]:
                yield f'{name}: {label} is never "{value}"'
    if not used:
        yield "uses no metric"
    for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", without_labels):
        for label in re.split(r",\s*", labels):
            if not any(label in known for known in used):
                yield f"no metric has the label {label}"


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Cluster() as cluster:
            # An answered request, so that nothing is missing that only appears with traffic.
            cluster.post("/v1/completions", {"model": "", "prompt": [1, 2, 3], "max_tokens": 3})
            cls.exposition = cluster.get("/metrics")[1]
        cls.samples = samples_of(cls.exposition)

    def check(self, where, expression):
        self.assertEqual(list(complaints(expression, self.samples)), [], f"{where}: {expression}")

    def test_the_metrics_reference_is_what_the_code_says(self):
        self.assertEqual(read(ROOT, "docs/metrics.md"), docs.metrics_markdown(self.exposition),
                         "docs/metrics.md is not current: run scripts/docs")

    def test_every_family_has_a_help_text_and_a_type(self):
        for name, kind, text, _ in docs.families(self.exposition):
            self.assertIn(kind, ("counter", "gauge", "histogram"), name)
            self.assertGreater(len(text), 8, name)
            if name.startswith("baton_"):
                self.assertEqual(kind == "counter", name.endswith("_total"), name)

    def test_the_dashboard_asks_for_what_there_is(self):
        dashboard = json.loads(read(MONITORING, "grafana/baton.json"))
        expressions = panel_expressions(dashboard)
        self.assertGreater(len(expressions), 30)
        expressions += [v["definition"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
        for expression in expressions:
            self.check("dashboard", expression)
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
        self.assertEqual(len(places), len(set(places)), "panels lie upon each other")
        self.assertEqual(len({p["id"] for p in dashboard["panels"]}), len(dashboard["panels"]))

    def test_the_alerts_ask_for_what_there_is(self):
        text = read(MONITORING, "alerts.yml")
        expressions = rule_expressions(text)
        self.assertEqual(len(expressions), text.count("- alert: "))
        for expression in expressions:
            self.check("alerts", expression)
        for series in re.findall(r"series: '([^']*)'", read(MONITORING, "alerts_test.yml")):
            self.check("alerts_test", re.sub(r'\b(le)="[^"]*"', r'\1="+Inf"', series))

    def test_the_checker_finds_planted_mistakes(self):
        for wrong in ("baton_no_such_thing", 'baton_nodes{colour="red"}', 'baton_nodes{role="router"}', "1 + 1",
                      "sum by (colour) (baton_nodes)", "rate(baton_request_seconds[5m])",
                      'label_values(baton_node_up{rank="1"}, node)'):
            self.assertTrue(list(complaints(wrong, self.samples)), wrong)

    def test_each_alert_is_explained_and_tested(self):
        names = re.findall(r"- alert: (\w+)", read(MONITORING, "alerts.yml"))
        tests = read(MONITORING, "alerts_test.yml")
        guide = read(ROOT, "docs/troubleshooting.md")
        for name in names:
            self.assertRegex(tests, rf"alertname: {name}\n *eval_time: \w+\n *exp_alerts:", name)
            self.assertIn(name, guide)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed (Debian package prometheus)")
    def test_promtool_accepts_the_rules_and_sees_them_fire(self):
        for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
            done = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
