#!/usr/bin/env python3
"""Nodes of role any become what requests wait for, and no request notices."""

import socket
import threading
import unittest

from cluster import Cluster, tiny_model, wait_until
from oracle import colocated
from prefix_cache_test import BLOCK, TOKEN_BYTES, completion, prompt_of

LAYERS = 100  # slow enough that prompts wait in line


class RolesTest(unittest.TestCase):
    def ask_all(self, cluster, requests):
        """The answers to requests that are sent at once."""
        answers = [None] * len(requests)

        def ask(i):
            status = 429  # where the leases alone take the whole pool the router asks to come again
            while status == 429:
                status, body, _ = cluster.post("/v1/completions", requests[i], timeout=120)
            answers[i] = body["choices"][0]["token_ids"] if status == 200 else body
        clients = [threading.Thread(target=ask, args=(i,)) for i in range(len(requests))]
        for client in clients:
            client.start()
        return clients, answers

    def flood(self, cluster, requests, expected, condition, what):
        """Each client asks its request again and again until `condition` holds, however fast the nodes are: how many answers came."""
        over, answered = threading.Event(), []

        def ask(i):
            while not over.is_set():
                status, body, _ = cluster.post("/v1/completions", requests[i], timeout=120)
                if status != 429:  # where the leases alone take the whole pool the router asks to come again
                    answered.append(status == 200 and body["choices"][0]["token_ids"] == expected[i])
        clients = [threading.Thread(target=ask, args=(i,)) for i in range(len(requests))]
        for client in clients:
            client.start()
        try:
            wait_until(condition, 60, what)
        finally:
            over.set()
            for client in clients:
                client.join()
        self.assertTrue(all(answered), answered)
        return len(answered)

    def moved(self, cluster, reason):
        return cluster.metric("baton_role_moves_total", reason=reason)

    def test_a_node_moves_to_where_requests_wait_and_back(self):
        model = tiny_model(1, LAYERS)
        # Prompts that keep a prefill node busy, then answers that need more blocks than a decode node has.
        prompts = [completion(prompt_of(60, i), 2, seed=i) for i in range(60)]
        answers = [completion(prompt_of(60, 100 + i), 100, seed=i) for i in range(40)]
        expected = colocated(model, prompts + answers)
        pool = ["--kv-bytes", str(64 * BLOCK * LAYERS // 4 * TOKEN_BYTES), "--max-context", "1024"]
        with Cluster(model=model, prefill_flags=pool, decode_flags=pool,
                     router_flags=["--role-hold-ms", "300", "--role-dwell-ms", "500", "--dispatch-window-ms", "1"]) as cluster:
            spare = cluster.add_any(0, pool)
            spare.wait_ready()
            cluster.wait_nodes(3)
            self.assertEqual(cluster.metric("baton_nodes", role="decode"), 2)
            count = self.flood(cluster, prompts, expected, lambda: cluster.metric("baton_nodes", role="prefill") == 2, "the spare node prefills")
            self.assertEqual(self.moved(cluster, "prefill_busy"), 1)
            self.assertEqual(self.moved(cluster, "decode_busy"), 0)
            count += self.flood(cluster, answers, expected[len(prompts):], lambda: self.moved(cluster, "decode_busy") >= 1 and
                                cluster.metric("baton_nodes", role="decode") == 2, "the spare node decodes")
            self.assertEqual(cluster.metric("baton_requests_total", outcome="length"), count)
            self.assertEqual(cluster.metric("baton_requests_total", outcome="error"), 0)
            self.assertTrue(any("a0 is to become a prefill node: prefill nodes have held" in line for line in cluster.router.log))
            cluster.wait_all_free()

    def test_a_cluster_of_such_nodes_alone_finds_both_roles(self):
        model = tiny_model()
        request = completion(prompt_of(100, 1), 20)
        with Cluster(model=model, prefill=0, decode=0, router_flags=["--role-hold-ms", "300"]) as cluster:
            for i in range(2):
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    address = "127.0.0.1:%d" % free.getsockname()[1]
                cluster.add_any(i, ["--listen", address])  # the same one in both roles
            wait_until(lambda: cluster.metric("baton_nodes", role="prefill") == 1 == cluster.metric("baton_nodes", role="decode"), 30,
                       "one of each")
            clients, got = self.ask_all(cluster, [request])
            clients[0].join()
            self.assertEqual(got, colocated(model, [request]))
            self.assertEqual(self.moved(cluster, "prefill_missing"), 1)
            # It ends as any other, also while it is one of the two.
            node = cluster.node("a0")
            node.kill(15)
            self.assertEqual(node.wait(), 0)


if __name__ == "__main__":
    unittest.main()
