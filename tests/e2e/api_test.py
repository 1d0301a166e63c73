#!/usr/bin/env python3
"""The HTTP API of a whole cluster, as clients use it."""

import json
import threading
import unittest

from cluster import Cluster, request
from sse import collect

PROMPT = list(range(10, 50))


class ApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(router_flags=["--served-model-name", "t0"])

    @classmethod
    def tearDownClass(cls):
        cls.cluster.wait_all_free()
        cls.cluster.stop()

    def complete(self, **fields):
        status, body, _ = self.cluster.post(
            "/v1/completions", {"model": "t0", "prompt": PROMPT, "temperature": 0, "ignore_eos": True, **fields})
        self.assertEqual(status, 200, body)
        return body

    def test_models_name_the_served_model_with_its_context(self):
        status, text, _ = self.cluster.get("/v1/models")
        card = json.loads(text)["data"][0]
        self.assertEqual((status, card["id"], card["max_model_len"]), (200, "t0", 4096))

    def test_streamed_and_collected_answers_are_the_same(self):
        body = self.complete(max_tokens=24)
        stream = collect(self.cluster.http, "/v1/completions",
                         {"model": "t0", "prompt": PROMPT, "temperature": 0, "ignore_eos": True, "max_tokens": 24,
                          "stream_options": {"include_usage": True}})
        self.assertEqual(stream["text"][0], body["choices"][0]["text"])
        self.assertEqual(stream["finish"], {0: "length"})
        self.assertEqual(stream["usage"]["completion_tokens"], 24)
        self.assertEqual(body["usage"], {**body["usage"], "prompt_tokens": len(PROMPT), "completion_tokens": 24})

    def test_chat_renders_the_template_and_the_first_chunk_has_role_and_text(self):
        stream = collect(self.cluster.http, "/v1/chat/completions",
                         {"model": "t0", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "seed": 3})
        self.assertEqual(stream["chunks"][0]["choices"][0]["delta"]["role"], "assistant")
        self.assertIn("content", stream["chunks"][0]["choices"][0]["delta"])

    def test_a_seed_gives_the_same_answer_again(self):
        first = self.complete(max_tokens=16, temperature=1.0, seed=5)["choices"][0]["text"]
        self.assertEqual(first, self.complete(max_tokens=16, temperature=1.0, seed=5)["choices"][0]["text"])
        self.assertNotEqual(first, self.complete(max_tokens=16, temperature=1.0, seed=6)["choices"][0]["text"])

    def test_n_answers_and_batched_prompts_are_counted(self):
        body = self.complete(prompt=[PROMPT, PROMPT[:5]], n=2, max_tokens=3, temperature=1.0, seed=1)
        self.assertEqual([c["index"] for c in body["choices"]], [0, 1, 2, 3])
        self.assertEqual(body["usage"]["prompt_tokens"], len(PROMPT) + 5)
        self.assertEqual(body["usage"]["completion_tokens"], 12)

    def test_one_token_needs_no_decode_node(self):
        body = self.complete(max_tokens=1, timings=True)
        self.assertEqual(body["usage"]["completion_tokens"], 1)
        self.assertEqual(body["timings"]["decode_node"], "")

    def test_stop_strings_end_the_text_before_them(self):
        text = self.complete(max_tokens=24)["choices"][0]["text"]
        stop = text[6:9]
        body = self.complete(max_tokens=24, stop=[stop])
        self.assertEqual(body["choices"][0]["text"], text[:text.index(stop)])
        self.assertEqual(body["choices"][0]["finish_reason"], "stop")

    def test_logprobs_come_for_every_token_on_both_sides_of_the_hand_over(self):
        logprobs = self.complete(max_tokens=6, logprobs=3)["choices"][0]["logprobs"]
        self.assertEqual(len(logprobs["token_logprobs"]), 6)
        for token, top in zip(logprobs["token_logprobs"], logprobs["top_logprobs"]):
            self.assertAlmostEqual(token, max(top.values()), places=5)  # greedy: the likeliest one

    def test_errors_name_the_parameter(self):
        for fields, param in (({"temperature": -1}, "temperature"), ({"max_tokens": 0}, "max_tokens"),
                              ({"n": 10**6}, "n"), ({"prompt": [10**9]}, "prompt"), ({"top_p": "x"}, "top_p")):
            status, body, _ = self.cluster.post("/v1/completions", {"model": "t0", "prompt": PROMPT, **fields})
            self.assertEqual((status, body["error"]["param"]), (400, param), body)

    def test_codes_for_what_is_not_there(self):
        self.assertEqual(self.cluster.post("/v1/completions", {"model": "other", "prompt": "x"})[0], 404)
        self.assertEqual(self.cluster.get("/nothing")[0], 404)
        self.assertEqual(self.cluster.get("/v1/completions")[0], 405)
        self.assertEqual(request(self.cluster.http, "POST", "/v1/completions", b"x" * (9 << 20))[0], 413)
        status, body, _ = self.cluster.post("/v1/completions", {"model": "t0", "prompt": [5] * 5000})
        self.assertEqual((status, body["error"]["code"]), (400, "context_length_exceeded"))

    def test_tokenize_and_back(self):
        _, body, _ = self.cluster.post("/tokenize", {"model": "t0", "prompt": "Hello, world!"})
        _, text, _ = self.cluster.post("/detokenize", {"model": "t0", "tokens": body["tokens"]})
        self.assertEqual(text["prompt"], "Hello, world!")

    def test_many_streams_at_once_equal_the_same_requests_alone(self):
        bodies = [{"model": "t0", "prompt": PROMPT[:i + 1], "max_tokens": 20, "temperature": 1.0, "seed": i,
                   "ignore_eos": True} for i in range(16)]
        alone = [self.cluster.post("/v1/completions", b)[1]["choices"][0]["text"] for b in bodies]
        together = [None] * len(bodies)

        def run(i):
            together[i] = collect(self.cluster.http, "/v1/completions", bodies[i])["text"][0]
        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)

    def test_metrics_count_under_both_names(self):
        self.complete(max_tokens=4)
        metrics = self.cluster.metrics()
        self.assertGreater(metrics["vllm:time_to_first_token_seconds_count"][0][1], 0)
        self.assertGreater(metrics["baton_time_to_second_token_seconds_count"][0][1], 0)


if __name__ == "__main__":
    unittest.main()
