#!/usr/bin/env python3
"""Every field of the API, one request each (api_cases.json), and the table that docs/api.md makes of them.
--write puts the table into docs/api.md."""

import json
import os
import re
import sys
import unittest

from cluster import Cluster, request
from sse import Stream

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
DOC = os.path.join(ROOT, "docs/api.md")
MARKS = "<!-- made by tests/e2e/conformance_test.py --write -->\n", "<!-- end -->\n"
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses",
         "messages": "/v1/messages", "embeddings": "/v1/embeddings", "count_tokens": "/v1/messages/count_tokens", "tokenize": "/tokenize",
         "detokenize": "/detokenize"}
MESSAGES = [{"role": "user", "content": "Hello"}]
GREEDY = {"temperature": 0, "ignore_eos": True}
BASES = {"chat": {"messages": MESSAGES, "max_tokens": 12, **GREEDY}, "completions": {"prompt": "Hello", "max_tokens": 12, **GREEDY},
         "responses": {"input": "Hello", "max_output_tokens": 12, "temperature": 0},
         "messages": {"model": "t0", "messages": MESSAGES, "max_tokens": 12, "temperature": 0},
         "embeddings": {"input": "Hello"}, "count_tokens": {"model": "t0", "messages": MESSAGES}, "tokenize": {"prompt": "Hello"}, "detokenize": {}}

with open(os.path.join(os.path.dirname(__file__), "api_cases.json"), encoding="utf-8") as cases_file:
    CASES = json.load(cases_file)


def table():
    lines = []
    for endpoint, path in PATHS.items():
        lines += [f"\n### {path}\n\n", "| field | |\n", "| --- | --- |\n"]
        for case in CASES:
            if case["endpoint"] == endpoint:
                lines.append(f"| {case['field']} | {'refused clearly' if 'refused' in case else 'works'} |\n")
    return "".join(lines)


def text_of(body):
    if "choices" in body:
        choice = body["choices"][0]
        return choice["text"] if "text" in choice else choice["message"]["content"]
    return body["output"][0]["content"][0]["text"]


class ConformanceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(router_flags=["--served-model-name", "t0"])

    @classmethod
    def tearDownClass(cls):
        cls.cluster.wait_all_free()
        cls.cluster.stop()

    def post(self, case):
        return self.cluster.post(PATHS[case["endpoint"]], {**BASES[case["endpoint"]], **case["body"]})

    def check_answer(self, case, body, baseline):
        if "choices" in case:
            self.assertEqual(len(body["choices"]), case["choices"])
        if "same" in case:
            self.assertEqual(text_of(body), baseline)
        if "differs" in case:
            self.assertNotEqual(text_of(body), baseline)
        if "matches" in case:
            self.assertRegex(text_of(body), case["matches"])
        if "lacks" in case:
            self.assertNotIn(case["lacks"], text_of(body))
        if "tokens" in case:
            self.assertEqual(body["usage"]["completion_tokens"], case["tokens"])
        if "finish" in case:
            self.assertEqual(body["choices"][0]["finish_reason"], case["finish"])
        if "has" in case:
            value = body
            for key in case["has"].split("."):
                value = value[int(key) if isinstance(value, list) else key]
            self.assertIsNotNone(value)

    def check_stream(self, case, baseline):
        stream = Stream(self.cluster.http, PATHS[case["endpoint"]], {**BASES[case["endpoint"]], **case["body"]})
        chunks = list(stream.events())
        stream.close()
        pieces = [c["text"] if "text" in c else c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"]]
        self.assertEqual("".join(pieces), baseline)
        self.assertTrue(pieces[0], "a chunk came before the first token")
        told = [chunk for chunk in chunks if chunk.get("usage")]
        if "usage_chunks" in case:
            self.assertGreaterEqual(len(told), case["usage_chunks"])
            self.assertEqual(told[-1]["choices"], [])

    def check_events(self, case):
        body = {**BASES[case["endpoint"]], **case["body"]}
        _, text, _ = request(self.cluster.http, "POST", PATHS[case["endpoint"]], body)
        names = re.findall(r"^event: (\S+)$", text, re.M)
        self.assertEqual([names[0], names[-1]], case["events"])

    def test_every_field(self):
        baselines = {endpoint: text_of(self.post({"endpoint": endpoint, "body": {}})[1]) for endpoint in ("chat", "completions")}
        for case in CASES:
            with self.subTest(**{k: case[k] for k in ("endpoint", "field")}):
                baseline = baselines.get(case["endpoint"])
                if "stream" in case:
                    self.check_stream(case, baseline)
                    continue
                if "events" in case:
                    self.check_events(case)
                    continue
                status, body, _ = self.post(case)
                if "refused" not in case:
                    self.assertEqual(status, 200, body)
                    self.check_answer(case, body, baseline)
                    continue
                self.assertEqual(status, 404 if case["field"] == "model" else 400, body)
                self.assertGreater(len(body["error"]["message"]), 10)
                if case["refused"]:
                    self.assertEqual(body["error"]["param"], case["refused"], body)

    def test_null_means_absent_everywhere(self):
        for endpoint in ("chat", "completions"):
            baseline = text_of(self.post({"endpoint": endpoint, "body": {}})[1])
            fields = {key for case in CASES if case["endpoint"] == endpoint for key in case["body"]}
            nulls = {key: None for key in fields - set(BASES[endpoint])}
            status, body, _ = self.post({"endpoint": endpoint, "body": nulls})
            self.assertEqual(status, 200, body)
            self.assertEqual(text_of(body), baseline)

    def test_the_document_has_the_table(self):
        with open(DOC, encoding="utf-8") as file:
            told = file.read().partition(MARKS[0])[2].partition(MARKS[1])[0]
        self.assertEqual(told, table(), "run tests/e2e/conformance_test.py --write")


def write():
    with open(DOC, encoding="utf-8") as file:
        before, first, rest = file.read().partition(MARKS[0])
    with open(DOC, "w", encoding="utf-8") as file:
        file.write(before + first + table() + MARKS[1] + rest.partition(MARKS[1])[2])


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        unittest.main()
