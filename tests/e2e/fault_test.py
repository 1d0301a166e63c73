#!/usr/bin/env python3
"""Clients that leave and nodes that die: a clear result, and every block free again."""

import json
import signal
import socket
import threading
import time
import unittest

from cluster import Cluster, SLOWNESS, wait_until
from sse import Stream, collect

LONG = {"prompt": [7 + i % 900 for i in range(3000)], "ignore_eos": True, "temperature": 0}
SHORT = {"prompt": list(range(10, 40)), "ignore_eos": True, "temperature": 0}
# The reference device is slow enough to be caught in the middle.
SLOW = ["--device", "cpu"]


class LeavingClientTest(unittest.TestCase):
    def test_leaving_during_prefill_frees_both_nodes(self):
        with Cluster(prefill_flags=SLOW + ["--step-tokens", "64"]) as cluster:
            stream = threading.Thread(target=lambda: self.leave_after(cluster, LONG, 0.3))
            stream.start()
            wait_until(lambda: cluster.blocks("d0").get("leased", 0) > 0, 5, "a lease")
            stream.join()
            self.assertLess(cluster.wait_all_free(), 2 * SLOWNESS)

    def leave_after(self, cluster, body, seconds):

        host, port = cluster.http.rsplit(":", 1)

        text = json.dumps({**body, "stream": True, "max_tokens": 50})
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall((f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                f"Content-Length: {len(text)}\r\n\r\n{text}").encode())
            time.sleep(seconds * SLOWNESS)

    def test_leaving_during_decode_frees_both_nodes(self):
        with Cluster(decode_flags=SLOW) as cluster:
            stream = Stream(cluster.http, "/v1/completions", {**SHORT, "max_tokens": 4000})
            events = stream.events()
            for _ in range(5):
                next(events)
            wait_until(lambda: cluster.blocks("d0")["used"] > 0, 5, "blocks in use")
            stream.close()
            self.assertLess(cluster.wait_all_free(), 2 * SLOWNESS)

    def test_a_hundred_clients_that_leave_at_once_leave_nothing_behind(self):
        with Cluster(decode_flags=SLOW) as cluster:
            threads = [threading.Thread(target=self.leave_after, args=(cluster, SHORT, 0.01 * i)) for i in range(100)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            cluster.wait_all_free()
            self.assertEqual(cluster.post("/v1/completions", {**SHORT, "max_tokens": 4})[0], 200)


class DyingNodeTest(unittest.TestCase):
    def test_prefill_killed_before_the_first_token_is_replaced_by_another(self):
        with Cluster(prefill=2, prefill_flags=SLOW + ["--step-tokens", "64"]) as cluster:
            expected = cluster.post("/v1/completions", {**LONG, "max_tokens": 8})[1]["choices"][0]["text"]
            result = {}
            # A salt of its own: nothing that is cached makes its prefill too short to be struck.
            client = threading.Thread(target=lambda: result.update(
                collect(cluster.http, "/v1/completions", {**LONG, "max_tokens": 8, "cache_salt": "struck"})))
            client.start()

            def busy():
                return [n for n in ("p0", "p1") if cluster.blocks(n).get("used", 0) > 0]
            wait_until(busy, 10, "a busy prefill node")
            cluster.prefill[int(busy()[0][1])].kill()
            client.join()
            self.assertIsNone(result["error"])
            self.assertEqual(result["text"][0], expected)
            cluster.wait_all_free()

    def test_only_prefill_killed_gives_a_clear_error_and_frees_the_lease(self):
        with Cluster(prefill_flags=SLOW + ["--step-tokens", "64"], router_flags=["--failover-wait-ms", "300"]) as cluster:
            result = {}
            client = threading.Thread(target=lambda: result.update(
                zip(("status", "body"), cluster.post("/v1/completions", {**LONG, "max_tokens": 8})[:2])))
            client.start()
            wait_until(lambda: cluster.blocks("p0").get("used", 0) > 0, 10, "a busy prefill node")
            cluster.prefill[0].kill()
            client.join()
            self.assertGreaterEqual(result["status"], 500)
            self.assertIn("message", result["body"]["error"])
            cluster.wait_all_free()

    def test_only_decode_killed_in_the_middle_ends_the_stream_with_an_error_event(self):
        with Cluster(decode_flags=SLOW, router_flags=["--failover-wait-ms", "300"]) as cluster:
            result = {}
            client = threading.Thread(target=lambda: result.update(
                collect(cluster.http, "/v1/completions", {**SHORT, "max_tokens": 4000})))
            client.start()
            wait_until(lambda: cluster.blocks("d0").get("used", 0) > 0, 10, "a running stream")
            time.sleep(0.2)
            cluster.decode[0].kill()
            client.join()
            self.assertIsNotNone(result["error"])
            self.assertEqual(result["finish"], {})
            wait_until(lambda: cluster.blocks("p0")["used"] == 0, 5, "prefill's blocks")

    def test_a_node_that_is_gone_or_frozen_is_noticed_within_two_seconds(self):
        for sig in (signal.SIGKILL, signal.SIGSTOP):
            with Cluster(decode=2) as cluster:
                begin = time.monotonic()
                cluster.decode[0].kill(sig)

                def up():
                    return sum(v for _, v in cluster.metrics()["baton_node_up"])
                wait_until(lambda: up() == 2, 5, "one node less")
                self.assertLess(time.monotonic() - begin, 2 * SLOWNESS)
                self.assertEqual(cluster.post("/v1/completions", {**SHORT, "max_tokens": 4})[0], 200)
                cluster.decode[0].kill()

    def test_a_node_that_starts_again_serves_again(self):
        with Cluster() as cluster:
            cluster.decode[0].kill()
            wait_until(lambda: cluster.get("/ready")[0] == 503, 5, "503 without a decode node")
            status, body, headers = cluster.post("/v1/completions", {**SHORT, "max_tokens": 4})
            self.assertEqual(status, 503, body)
            self.assertIn("Retry-After", headers)
            cluster.decode.append(cluster.add_decode(1))
            wait_until(lambda: cluster.get("/ready")[0] == 200, 10, "ready again")
            self.assertEqual(cluster.post("/v1/completions", {**SHORT, "max_tokens": 4})[0], 200)


# Slow, and with the bits of every other instruction set: a stream may move from such a node to a prefill node and back.
SCALAR = ["--isa", "scalar"]
TOKENS = int(400 / SLOWNESS) + 160

# What a stream may be asked for; each must go on exactly as if nothing had happened.
MODES = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 1.0, "seed": 11, "top_p": 0.95},
    "penalties": {"temperature": 0.8, "seed": 5, "frequency_penalty": 0.7, "repetition_penalty": 1.1},
    "two answers": {"temperature": 1.0, "seed": 3, "n": 2},
    "logprobs": {"temperature": 0.7, "seed": 9, "logprobs": 3},
}


class FailoverTest(unittest.TestCase):
    """A decode node that dies under a stream: another goes on with the identical continuation."""

    def ask(self, cluster, mode, tokens):
        return collect(cluster.http, "/v1/completions",
                       {"prompt": SHORT["prompt"], "ignore_eos": True, "max_tokens": tokens, **MODES[mode],
                        "stream_options": {"include_usage": True}})

    def interrupted(self, cluster, tokens, strike):
        """Starts one stream of each mode, calls strike() when all run, and returns their results."""
        results = {}
        clients = [threading.Thread(target=lambda mode=mode: results.update({mode: self.ask(cluster, mode, tokens)}))
                   for mode in MODES]
        for client in clients:
            client.start()
        # How the streams are shared out is the scheduler's business: the node that has some is the one to strike.
        busy = []
        def running():
            busy[:] = [node for i, node in enumerate(cluster.decode) if cluster.blocks(f"d{i}").get("used", 0) > 0]
            return busy
        wait_until(running, 20, "streams on a decode node")
        time.sleep(0.1)
        strike(busy[0])
        for client in clients:
            client.join()
        return results

    expected = {}  # by mode, of a cluster in which nothing happens

    def check(self, cluster, tokens, strike):
        expected = FailoverTest.expected
        if not expected:
            expected.update({mode: self.ask(cluster, mode, tokens) for mode in MODES})
        results = self.interrupted(cluster, tokens, strike)
        for mode, result in results.items():
            with self.subTest(mode):
                self.assertIsNone(result["error"])
                self.assertEqual(result["text"], expected[mode]["text"])
                self.assertEqual(result["finish"], expected[mode]["finish"])
                self.assertEqual(result["usage"]["completion_tokens"], expected[mode]["usage"]["completion_tokens"])
        retries = {labels["role"]: value for labels, value in cluster.metrics()["baton_retries_total"]}
        self.assertGreater(retries["decode"], 0, "no stream was on the node that was struck")

    def test_killed(self):
        with Cluster(decode=2, decode_flags=SCALAR) as cluster:
            self.check(cluster, TOKENS, lambda node: node.kill())
            cluster.wait_all_free()

    def test_frozen(self):
        with Cluster(decode=2, decode_flags=SCALAR) as cluster:
            self.check(cluster, TOKENS, lambda node: node.kill(signal.SIGSTOP))
            for node in cluster.decode:
                node.kill(signal.SIGCONT)

    def test_both_killed_and_one_started_again(self):
        with Cluster(decode=2, decode_flags=SCALAR) as cluster:
            def strike(_):
                for node in cluster.decode:
                    node.kill()
                cluster.decode.append(cluster.add_decode(2))
            self.check(cluster, TOKENS, strike)
            cluster.wait_all_free()


class DrainTest(unittest.TestCase):
    def test_sigterm_lets_a_running_stream_finish(self):
        cluster = Cluster(decode_flags=SCALAR)
        result = {}
        client = threading.Thread(target=lambda: result.update(
            collect(cluster.http, "/v1/completions", {**SHORT, "max_tokens": int(1000 / SLOWNESS)})))
        client.start()
        wait_until(lambda: cluster.blocks("d0").get("used", 0) > 0, 10, "a running stream")
        cluster.stop()
        client.join()
        self.assertIsNone(result["error"])
        self.assertEqual(result["finish"], {0: "length"})


if __name__ == "__main__":
    unittest.main()
