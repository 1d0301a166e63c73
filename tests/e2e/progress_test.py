#!/usr/bin/env python3
"""Health means progress: a node whose engine is stuck leaves, its streams go on elsewhere, and it comes back."""

import os
import subprocess
import threading
import time
import unittest

from cluster import BIN_DIR, Cluster, SLOWNESS, wait_until
from failover_matrix import PROMPT
from oracle import Oracle
from sse import collect

BODIES = {f"seed {seed}": {"prompt": PROMPT, "max_tokens": 120, "ignore_eos": True, "temperature": 1.0, "seed": seed}
          for seed in range(6)}
PACE = "step_delay=1:5ms"


def serving(address):
    """What grpc.health.v1 says."""
    return subprocess.run([os.path.join(BIN_DIR, "baton"), "health", "--grpc", address], capture_output=True,
                          check=False).returncode == 0


class ProgressTest(unittest.TestCase):
    def test_a_wedged_engine_makes_its_node_unready_and_its_streams_go_on(self):
        # Stuck for six seconds at its 60th step, while streams run on it.
        flags = ["--stall-timeout-ms", str(int(1500 * SLOWNESS)), "--heartbeat-interval-ms", "100"]
        wedge_ms = int(6000 * SLOWNESS)
        with Cluster(decode=1, decode_flags=flags, router_flags=["--failover-wait-ms", "20000"]) as cluster:
            oracle = Oracle(cluster, BODIES)
            wedged = cluster.add_decode(1, ["--fault-injection", f"{PACE},wedge=@60:{wedge_ms}ms"])
            cluster.wait_nodes(3)
            results = {}
            clients = [threading.Thread(target=lambda name=name: results.update(
                {name: collect(cluster.http, "/v1/completions", BODIES[name])})) for name in BODIES]
            for client in clients:
                client.start()
            wait_until(lambda: any("wedge number" in line for line in wedged.log), 20, "the wedge")
            begin = time.monotonic()
            wait_until(lambda: cluster.metric("baton_node_up", node="d1") == 0, 10, "d1 to leave")
            left = time.monotonic() - begin
            print(f"figure R24: left {left:.2f} s after the wedge, with --stall-timeout-ms 1500")
            self.assertLess(left, 5 * SLOWNESS)
            self.assertFalse(serving(wedged.ready["address"]))
            for client in clients:
                client.join()
            for name, result in results.items():
                oracle.check(name, result)
            self.assertEqual(len(results), len(BODIES))
            self.assertGreater(cluster.metric("baton_retries_total", role="decode"), 0)
            # Nothing of it sticks: when the engine moves again the node is back, and nothing is stranded.
            wait_until(lambda: cluster.metric("baton_node_up", node="d1") == 1, 20, "d1 to come back")
            self.assertTrue(serving(wedged.ready["address"]))
            cluster.wait_all_free()

    def test_faults_are_refused_where_others_can_reach_the_node(self):
        with Cluster() as cluster:
            node = cluster._start("d9", ["baton-decode", "--model", cluster.model, "--router", cluster.registry,
                                         "--node-id", "d9", "--listen", "0.0.0.0:0", "--advertise", "127.0.0.1:1",
                                         "--insecure", "true", "--fault-injection", "crash=@1"])
            self.assertEqual(node.wait(), 78, node.log)
            node.killed = True  # it is gone, as it should be


class DeadlineTest(unittest.TestCase):
    def test_work_stops_when_the_deadline_of_its_request_passes(self):
        limit_ms = int(1500 * SLOWNESS)
        with Cluster(router_flags=["--request-timeout-ms", str(limit_ms)],
                     decode_flags=["--fault-injection", "step_delay=1:50ms", "--heartbeat-interval-ms", "50"]) as cluster:
            begin = time.monotonic()
            stream = collect(cluster.http, "/v1/completions", {"prompt": PROMPT, "max_tokens": 500, "ignore_eos": True})
            took = time.monotonic() - begin
            self.assertIsNotNone(stream["error"])
            self.assertGreater(took, 0.9 * limit_ms / 1e3)
            self.assertLess(took, limit_ms / 1e3 + 5 * SLOWNESS)
            free = cluster.wait_all_free(timeout=5)
            print(f"figure R21: limit {limit_ms} ms: the client heard after {took:.2f} s, every block was free {free:.2f} s later")
            steps = cluster.metric("baton_node_steps_total", node="d0")
            time.sleep(0.5)
            self.assertEqual(cluster.metric("baton_node_steps_total", node="d0"), steps)


class CorruptionTest(unittest.TestCase):
    def test_damaged_frames_are_refused_and_sent_again_and_the_answers_are_right(self):
        flags = ["--fault-injection", "seed=3,kv_corrupt=0.2,kv_duplicate=0.2", "--heartbeat-interval-ms", "100"]
        with Cluster(prefill=2, prefill_flags=flags, decode_flags=["--heartbeat-interval-ms", "100"]) as cluster:
            oracle = Oracle(cluster, BODIES)
            for _ in range(4):
                for name, body in BODIES.items():
                    oracle.check(name, collect(cluster.http, "/v1/completions", body))
            wait_until(lambda: cluster.metric("baton_node_kv_frames_refused_total") > 0, 5, "refused frames")
            corrupted = cluster.metric("baton_node_faults_injected_total", fault="kv_corrupt")
            self.assertGreater(corrupted, 0)
            wait_until(lambda: cluster.metric("baton_node_kv_frames_refused_total") == cluster.metric(
                "baton_node_faults_injected_total", fault="kv_corrupt"), 5, "each damaged frame refused")
            cluster.wait_all_free()


if __name__ == "__main__":
    unittest.main()
