#!/usr/bin/env python3
"""Disaggregated output equals colocated output, token for token, over 50 prompts with mixed sampling settings."""

import random
import unittest

from cluster import Cluster, tiny_model, wait_until
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

    def test_drafts_change_no_token_and_are_counted(self):
        def drafted():
            return tuple(cluster.metric(f"baton_node_draft_tokens{name}_total") for name in ("", "_kept"))
        with Cluster() as cluster:  # which drafts only when asked to
            # Two tokens take turns at random: what stood before comes again, but not always.
            body = {"prompt": [100, 101] * 8, "max_tokens": 150, "ignore_eos": True, "temperature": 0.7, "return_token_ids": True,
                    "logit_bias": {"100": 20, "101": 20}}
            answers = {}
            for speculate in (None, False, True):
                answers[speculate] = [cluster.post("/v1/completions", {**body, "seed": seed, "speculate": speculate})[1]["choices"]
                                      for seed in range(3)]
                if not speculate:
                    self.assertEqual(drafted(), (0, 0))
            self.assertEqual(answers[True], answers[False])
            self.assertEqual(answers[None], answers[False])
            wait_until(lambda: drafted()[0] > drafted()[1] > 10, 5, lambda: f"drafts in the metrics: {drafted()}")
            # Nor where the node drafts by itself.
            cluster.add_decode(1, ["--speculation", "ngram"]).wait_ready()
            cluster.wait_nodes(3)
            cluster.node("d0").kill()
            cluster.wait_nodes(2)
            self.assertEqual(cluster.post("/v1/completions", {**body, "seed": 0})[1]["choices"], answers[False][0])
            wait_until(lambda: cluster.metric("baton_node_draft_tokens_total", node="d1") > 0, 5, "drafts of d1")


if __name__ == "__main__":
    unittest.main()
