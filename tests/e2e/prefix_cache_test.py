#!/usr/bin/env python3
"""Prompts that begin alike are computed once and moved once, and are answered as if nothing was cached."""

import random
import threading
import unittest

from cluster import Cluster, tiny_model
from oracle import colocated

BLOCK = 32
TOKEN_BYTES = 4 * 2 * 2 * 16 * 2  # of T0: layers, keys and values, heads, dimensions, f16


def prompt_of(length, seed):
    rng = random.Random(seed)
    return [rng.randrange(4, 1024) for _ in range(length)]


def completion(prompt, max_tokens, seed=1, **more):
    return {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "seed": seed, "return_token_ids": True, **more}


class PrefixCacheTest(unittest.TestCase):
    def answer(self, cluster, request):
        """Token ids and cached tokens."""
        status, body, _ = cluster.post("/v1/completions", request)
        self.assertEqual(status, 200, body)
        return body["choices"][0]["token_ids"], body["usage"]["prompt_tokens_details"]["cached_tokens"]

    def received(self, cluster):
        """Bytes of keys and values that decode nodes got, once every report is in."""
        cluster.wait_all_free()
        name = "baton_node_kv_received_bytes_total"
        before = -1
        while before != cluster.metric(name):
            before = cluster.metric(name)
            threading.Event().wait(0.6)  # two load reports
        return before

    def test_the_second_turn_computes_and_moves_what_is_new(self):
        model = tiny_model()
        first = completion(prompt_of(20 * BLOCK, 1), 2 * BLOCK)
        with Cluster(model=model) as cluster:
            ids, cached = self.answer(cluster, first)
            self.assertEqual(ids, colocated(model, [first])[0])
            self.assertEqual(cached, 0)
            moved = self.received(cluster)
            block = moved // 20
            self.assertEqual(moved, 20 * block)
            second = completion(first["prompt"] + ids + prompt_of(BLOCK, 2), 4)
            ids, cached = self.answer(cluster, second)
            self.assertEqual(ids, colocated(model, [second])[0])
            self.assertGreaterEqual(cached, 20 * BLOCK)
            # The last token of the first answer was drawn, but not computed: with it 21 full blocks are there.
            self.assertEqual(self.received(cluster) - moved, 2 * block)

    def test_choices_of_one_request_share_its_prefill(self):
        request = completion(prompt_of(15 * BLOCK + 5, 3), 6, n=4)
        with Cluster() as cluster:
            status, body, _ = cluster.post("/v1/completions", request)
            self.assertEqual(status, 200, body)
            self.assertEqual(len({tuple(choice["token_ids"]) for choice in body["choices"]}), 4)
            self.received(cluster)
            self.assertEqual(cluster.metric("baton_node_prompt_tokens_computed_total", role="prefill"),
                             len(request["prompt"]) + 3 * 5)

    def test_a_pool_that_holds_less_than_half_of_the_load_only_makes_it_slower(self):
        model = tiny_model()
        requests = [completion(prompt_of(150 + 10 * i, 50 + i), 120, seed=i) for i in range(8)]
        expected = colocated(model, requests)
        flags = ["--max-context", "512", "--kv-bytes", str(32 * BLOCK * TOKEN_BYTES)]
        with Cluster(model=model, decode_flags=flags) as cluster:
            total = cluster.blocks("d0")["total"]
            need = sum((len(r["prompt"]) + r["max_tokens"] + BLOCK - 1) // BLOCK for r in requests)
            self.assertLessEqual(total, 0.4 * need + 1)
            answers = [None] * len(requests)

            def ask(i):
                # Where the leases alone take the whole pool the router asks to come again.
                status = 429
                while status == 429:
                    status, body, _ = cluster.post("/v1/completions", requests[i])
                answers[i] = body["choices"][0]["token_ids"] if status == 200 else body
            clients = [threading.Thread(target=ask, args=(i,)) for i in range(len(requests))]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            self.assertEqual(answers, expected)
            cluster.wait_all_free()


if __name__ == "__main__":
    unittest.main()
