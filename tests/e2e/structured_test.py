#!/usr/bin/env python3
"""Answers that must follow a grammar, on a whole cluster; with the default model too where BATON_MODEL names it."""

import json
import os
import re
import unittest

from cluster import Cluster
from sse import collect

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Rome", "Wien"]},
        "people": {"type": "integer", "minimum": 0, "maximum": 9999},
        "capital": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["old", "big"]}, "maxItems": 2},
    },
    "required": ["city", "people", "capital", "tags"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": SCHEMA}}


def validate(test, text):
    value = json.loads(text)
    test.assertEqual(list(value), ["city", "people", "capital", "tags"], text)
    test.assertIn(value["city"], ["Paris", "Rome", "Wien"])
    test.assertTrue(isinstance(value["people"], int) and 0 <= value["people"] <= 9999, text)
    test.assertIsInstance(value["capital"], bool)
    test.assertTrue(len(value["tags"]) <= 2 and set(value["tags"]) <= {"old", "big"}, text)


class StructuredTest(unittest.TestCase):
    model = None

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(model=cls.model, router_flags=["--served-model-name", "m"],
                              prefill_flags=["--max-context", "512"], decode_flags=["--max-context", "512"])

    @classmethod
    def tearDownClass(cls):
        cls.cluster.wait_all_free()
        cls.cluster.stop()

    def chat(self, **fields):
        status, body, _ = self.cluster.post("/v1/chat/completions", {
            "model": "m", "messages": [{"role": "user", "content": "Describe a city as JSON."}], "max_tokens": 200,
            **fields})
        self.assertEqual(status, 200, body)
        return body

    def test_every_answer_parses_and_validates(self):
        for seed in range(4):
            body = self.chat(response_format=FORMAT, seed=seed, temperature=1.2, n=2)
            for choice in body["choices"]:
                self.assertEqual(choice["finish_reason"], "stop", choice)
                validate(self, choice["message"]["content"])

    def test_a_stream_gives_the_same_as_one_piece(self):
        fields = {"model": "m", "messages": [{"role": "user", "content": "A city?"}], "max_tokens": 200, "seed": 3,
                  "response_format": FORMAT, "logprobs": True, "top_logprobs": 2}
        stream = collect(self.cluster.http, "/v1/chat/completions", fields)
        validate(self, stream["text"][0])
        body = self.chat(**fields)
        self.assertEqual(body["choices"][0]["message"]["content"], stream["text"][0])
        self.assertEqual(len(body["choices"][0]["logprobs"]["content"]), body["usage"]["completion_tokens"])

    def test_the_other_ways_to_ask(self):
        for fields, pattern in (({"guided_regex": "[ab]{3,9}!"}, "[ab]{3,9}!"),
                                ({"guided_choice": ["yes.", "no (x)"]}, r"yes\.|no \(x\)"),
                                ({"guided_grammar": "start: \"<\" /[0-9]{1,3}/ \">\"\n"}, "<[0-9]{1,3}>"),
                                ({"structured_outputs": {"regex": "q{5}"}}, "q{5}"),
                                ({"guided_json": {"type": "integer", "minimum": 3, "maximum": 17}}, "[0-9]+")):
            for seed in range(3):
                text = self.chat(seed=seed, **fields)["choices"][0]["message"]["content"]
                self.assertRegex(text, f"^({pattern})$")

    def test_stop_strings_and_max_tokens_end_a_constrained_answer_too(self):
        body = self.chat(guided_regex="a{40}", stop=["aaaaaaaaaa"])
        self.assertEqual(body["choices"][0]["finish_reason"], "stop")
        self.assertRegex(body["choices"][0]["message"]["content"], "^a*$")
        body = self.chat(guided_regex="[abc]{200}", max_tokens=3)
        self.assertEqual(body["choices"][0]["finish_reason"], "length")

    def test_a_single_token_follows_the_grammar(self):
        body = self.chat(guided_regex="[xyz]{5}", max_tokens=1)
        self.assertRegex(body["choices"][0]["message"]["content"], "^[xyz]+$")

    def test_wrong_grammars_get_400_that_names_the_field(self):
        for field, value in (("guided_regex", "("), ("guided_json", {"type": "oops"}), ("guided_choice", []),
                             ("guided_grammar", "x"), ("response_format", {"type": "xml"})):
            status, body, _ = self.cluster.post("/v1/completions", {"model": "m", "prompt": "x", field: value})
            self.assertEqual(status, 400, body)
            self.assertTrue(body["error"]["param"].startswith(field), body)

    def test_words_and_tokens_can_be_forbidden_or_the_only_ones(self):
        tokens = self.cluster.post("/tokenize", {"prompt": "ab", "add_special_tokens": False})[1]["tokens"]
        body = self.chat(allowed_token_ids=tokens, max_tokens=12, seed=1)
        self.assertRegex(body["choices"][0]["message"]["content"], "^[ab]+$")
        body = self.chat(guided_regex="[ab]{12}", bad_words=["b"], max_tokens=30, seed=1)
        self.assertRegex(body["choices"][0]["message"]["content"], "^[ab]{1,12}$")

    def test_the_stop_string_is_shown_where_that_is_wanted(self):
        body = self.chat(guided_regex="x{2}END", stop=["END"], include_stop_str_in_output=True)
        self.assertEqual(body["choices"][0]["message"]["content"], "xxEND")
        self.assertEqual(body["choices"][0]["stop_reason"], "END")


@unittest.skipUnless(os.environ.get("BATON_MODEL"), "BATON_MODEL is not set")
class RealModelTest(StructuredTest):
    model = os.environ.get("BATON_MODEL")


if __name__ == "__main__":
    unittest.main()
