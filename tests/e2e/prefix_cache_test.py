#!/usr/bin/env python3
"""Prompts that begin alike are computed once and moved once, and are answered as if nothing was cached."""

import glob
import os
import random
import tempfile
import threading
import unittest

from cluster import Cluster, tiny_model, wait_until
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

    # What leaves a pool of 34 blocks goes on; each of the two long prompts takes all of them but two.

    def tier(self, cluster, name, tier):
        return cluster.metric(f"baton_node_cache_tier_{name}", tier=tier)

    def evict(self, cluster):
        for seed in (6, 7):
            self.answer(cluster, completion(prompt_of(1020, seed), 1))
        # An answer comes a moment before its blocks are given back, and what is used makes no room.
        threading.Event().wait(0.6)  # two load reports
        cluster.wait_all_free()

    def small_pool(self, *flags):
        return ["--kv-bytes", str(34 * BLOCK * TOKEN_BYTES), "--max-context", "1024", *flags]

    def test_what_the_pool_has_no_room_for_comes_back_from_host_memory(self):
        model = tiny_model()
        request = completion(prompt_of(20 * BLOCK + 1, 5), 1)
        expected = colocated(model, [request])[0]
        limit = 60 * BLOCK * TOKEN_BYTES
        with Cluster(model=model, prefill_flags=self.small_pool("--cache-host-bytes", str(limit))) as cluster:
            self.assertEqual(self.answer(cluster, request), (expected, 0))
            self.evict(cluster)
            self.assertEqual(self.answer(cluster, request), (expected, 20 * BLOCK))
            wait_until(lambda: self.tier(cluster, "hits_total", "host") == 20, 10, "hits")
            self.assertGreater(self.tier(cluster, "hit_seconds_total", "host"), 0)
            self.assertLessEqual(self.tier(cluster, "bytes", "host"), limit)

    def test_blocks_on_disk_survive_a_restart_and_damaged_ones_are_computed(self):
        model = tiny_model()
        request = completion(prompt_of(20 * BLOCK + 1, 5), 1)
        late = completion(prompt_of(20 * BLOCK + 1, 9), 1)
        expected, expected_late = colocated(model, [request, late])
        limit = 1 << 20  # 63 blocks
        with tempfile.TemporaryDirectory() as folder:
            def files():
                return [path for path in glob.glob(folder + "/*/*") if os.path.isfile(path)]

            flags = self.small_pool("--cache-disk", folder, "--cache-disk-bytes", str(limit))
            with Cluster(model=model, prefill_flags=flags) as cluster:
                self.assertEqual(self.answer(cluster, request), (expected, 0))
                self.evict(cluster)
                wait_until(lambda: self.tier(cluster, "blocks", "disk") >= 20, 10, "blocks on disk")
                self.assertEqual(self.answer(cluster, request), (expected, 20 * BLOCK))
                cluster.node("p0").kill()
                cluster.node("p0").wait()
                cluster.add_prefill(0).wait_ready()
                cluster.wait_nodes(2)
                self.assertEqual(self.answer(cluster, request), (expected, 20 * BLOCK), "after SIGKILL")
                wait_until(lambda: self.tier(cluster, "hits_total", "disk") == 20, 10, "hits")
                self.assertEqual(self.answer(cluster, late), (expected_late, 0))  # in the pool only
            with Cluster(model=model, prefill_flags=flags) as cluster:
                self.assertEqual(self.answer(cluster, late), (expected_late, 20 * BLOCK), "after SIGTERM")
                self.evict(cluster)
            size = sum(os.path.getsize(path) for path in files())
            self.assertLessEqual(size, limit)
            self.assertGreater(size, limit - 2 * BLOCK * TOKEN_BYTES)
            with Cluster(model=model, prefill_flags=flags) as cluster:
                self.answer(cluster, request)  # the last to be used: no other makes room for it
            for path in files():
                with open(path, "r+b") as file:
                    file.seek(1000)
                    byte = file.read(1)
                    file.seek(1000)
                    file.write(bytes([byte[0] ^ 1]))
            with Cluster(model=model, prefill_flags=flags) as cluster:
                self.assertEqual(self.answer(cluster, request), (expected, 0))
                wait_until(lambda: self.tier(cluster, "corrupt_total", "disk") == 1, 10, "the damaged one")
                self.assertEqual(self.answer(cluster, request), (expected, 20 * BLOCK))

    def test_on_the_next_turn_only_new_tokens_are_computed_wherever_the_last_one_ran(self):
        # Round robin sends each turn to the other pair; a slow model makes fetching pay whatever else the machine does.
        model = tiny_model(1, 100)
        weights = ("latency", "queue", "prefix", "free-blocks", "batch", "headroom")
        flags = [flag for name in weights for flag in (f"--{name}-weight", "0")]
        pool = ["--kv-bytes", str(100 * BLOCK * 25 * TOKEN_BYTES)]

        def blocks(tokens):
            return tokens // BLOCK

        with Cluster(prefill=2, decode=2, model=model, router_flags=flags, prefill_flags=pool, decode_flags=pool) as cluster:
            def computed():
                """Prompt tokens that prefill nodes computed, once their reports are in."""
                cluster.wait_all_free()
                threading.Event().wait(0.6)  # two load reports
                return cluster.metric("baton_node_prompt_tokens_computed_total", role="prefill")

            history, there, before, requests, answers = prompt_of(10 * BLOCK + 7, 1), 0, 0, [], []
            for turn in range(3):
                request = completion(history, 2 * BLOCK + 9, seed=turn)
                ids, cached = self.answer(cluster, request)
                self.assertEqual(cached, there, f"turn {turn}")
                now = computed()
                self.assertEqual(now - before, len(history) - there, f"turn {turn}")
                requests.append(request)
                answers.append(ids)
                # The last token of an answer was drawn, but not computed.
                there = blocks(len(history) + len(ids) - 1) * BLOCK
                history, before = history + ids + prompt_of(20, 100 + turn), now
                wait_until(lambda: cluster.metric("baton_node_kv_blocks", state="cached") ==
                           cluster.metric("baton_cache_index_blocks"), 10, "the router knows all blocks")
            self.assertEqual(answers, colocated(model, requests))
            ran = [cluster.metric("baton_node_tokens_generated_total", node=name) for name in ("p0", "p1", "d0", "d1")]
            self.assertTrue(all(ran), ran)
            # Turn two fetched the 12 blocks of turn one, turn three the 5 that its node lacked of 15.
            fetched = cluster.metric("baton_node_prompt_tokens_fetched_total")
            self.assertEqual(fetched, 17 * BLOCK)
            self.assertEqual(cluster.metric("baton_node_kv_fetched_bytes_total"), fetched * 25 * TOKEN_BYTES)


if __name__ == "__main__":
    unittest.main()
