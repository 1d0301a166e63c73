#!/usr/bin/env python3
"""Disaggregated output equals colocated output, token for token, over 50 prompts with mixed sampling settings."""

import random
import unittest

from cluster import Cluster, tiny_model
from oracle import colocated


def mixed_requests(count, vocabulary, seed):
    rng = random.Random(seed)
    requests = []
    for i in range(count):
        length = rng.choice([1, 2, 7, 31, 32, 33, 64, 65, 150, 513, 700])
        request = {"prompt": [rng.randrange(4, vocabulary) for _ in range(length)], "max_tokens": rng.choice([1, 2, 5, 24, 40]),
                   "ignore_eos": True, "seed": i}
        request.update(rng.choice([
            {"temperature": 0},
            {"temperature": 0, "repetition_penalty": 1.3},
            {"temperature": 0.7, "top_p": 0.9},
            {"temperature": 1.0, "top_k": 40},
            {"temperature": 1.3, "min_p": 0.02, "presence_penalty": 0.5, "frequency_penalty": 0.4},
        ]))
        requests.append(request)
    return requests


class EquivalenceTest(unittest.TestCase):
    def test_disaggregated_equals_colocated_token_for_token(self):
        model = tiny_model()
        requests = mixed_requests(50, 1024, seed=7)
        expected = colocated(model, requests)
        with Cluster(prefill=2, decode=2, model=model) as cluster:
            for request, ids in zip(requests, expected):
                status, body, _ = cluster.post("/v1/completions", {**request, "return_token_ids": True})
                self.assertEqual(status, 200, body)
                self.assertEqual(body["choices"][0]["token_ids"], ids, request)
                self.assertEqual(body["usage"]["completion_tokens"], len(ids))
            cluster.wait_all_free()


if __name__ == "__main__":
    unittest.main()
