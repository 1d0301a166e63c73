#!/usr/bin/env python3
"""A router that dies, and a rolling restart of every node under load."""

import random
import signal
import threading
import time
import unittest

from cluster import Cluster, SLOWNESS, tiny_model, wait_until
from failover_matrix import LAYERS, NODE_FLAGS, PROMPT, modes
from oracle import Oracle
from sse import Refused, Stream, collect

NODES = 4


class RouterDeathTest(unittest.TestCase):
    def test_a_new_router_knows_its_nodes_and_nothing_of_the_old_ones_requests_is_left(self):
        with Cluster(prefill=2, decode=2, model=tiny_model(1, LAYERS), prefill_flags=NODE_FLAGS,
                     decode_flags=[*NODE_FLAGS, "--isa", "scalar"]) as cluster:
            body = {"prompt": PROMPT, "max_tokens": 500, "ignore_eos": True, "temperature": 0}
            streams = [Stream(cluster.http, "/v1/completions", body) for _ in range(6)]
            for stream in streams:
                next(stream.events())
            wait_until(lambda: all(cluster.blocks(n).get("used", 0) > 0 for n in ("d0", "d1")), 5, "running streams")
            cluster.router.kill()
            cluster.router.wait()
            begin = time.monotonic()
            again = cluster.add_router(like=cluster.router)
            again.wait_ready()
            ready = time.monotonic()
            cluster.wait_nodes(NODES)
            rebuilt = time.monotonic() - ready
            cluster.wait_all_free(timeout=12)
            clean = time.monotonic() - begin
            print(f"figure R13: router killed: a new one knew its nodes {rebuilt:.2f} s after it was ready, every block was "
                  f"free after {clean:.2f} s", flush=True)
            self.assertLess(rebuilt, 2 * SLOWNESS)
            self.assertIsNone(collect(cluster.http, "/v1/completions", {**body, "max_tokens": 8})["error"])
            for stream in streams:
                stream.close()


class SeveralRoutersTest(unittest.TestCase):
    def test_one_router_dies_and_the_clients_of_the_other_do_not_notice(self):
        bodies = {name: body for name, body in modes(tokens=60).items() if name in ("greedy", "seeded", "n=2")}
        with Cluster(routers=2, model=tiny_model(1, LAYERS), prefill_flags=NODE_FLAGS,
                     decode_flags=[*NODE_FLAGS, "--isa", "scalar"]) as cluster:
            other = cluster.routers[1].ready["http"]
            cluster.wait_nodes(2, http=other)
            oracle = Oracle(cluster, bodies)
            doomed = [Stream(cluster.http, "/v1/completions", {"prompt": PROMPT, "max_tokens": 500, "ignore_eos": True})
                      for _ in range(2)]
            results = {}
            clients = [threading.Thread(target=lambda name=name: results.update({name: collect(other, "/v1/completions", bodies[name])}))
                       for name in bodies]
            for client in clients:
                client.start()
            for stream in doomed:
                next(stream.events())
            cluster.router.kill()
            cluster.router.wait()
            for client in clients:
                client.join()
            for name in bodies:
                oracle.check(name, results[name])
            # Every router hears what the caches hold.
            wait_until(lambda: cluster.metric("baton_cache_index_blocks", other) > 0, 5, "cached blocks at the other router")
            # What ran for the dead router is gone; what the other one runs was left alone.
            cluster.wait_all_free(timeout=12, http=other)
            cluster.add_router(like=cluster.router).wait_ready()
            cluster.wait_nodes(2)
            oracle.check("greedy", collect(cluster.http, "/v1/completions", bodies["greedy"]))
            for stream in doomed:
                stream.close()


class Load:
    """Clients that ask without end; each answer is checked."""

    def __init__(self, cluster, oracle, clients, pause):
        self.cluster, self.oracle, self.pause = cluster, oracle, pause
        self.stop = threading.Event()
        self.answers, self.failures = 0, []
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, seed):
        rng = random.Random(seed)
        while not self.stop.is_set():
            name = rng.choice(list(self.oracle.bodies))
            try:
                self.oracle.check(name, collect(self.cluster.http, "/v1/completions", self.oracle.bodies[name]))
                self.answers += 1
            except BaseException as error:
                self.failures.append(f"{name}: {error!r}")
            time.sleep(self.pause * rng.random())

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


class ColdStartTest(unittest.TestCase):
    CLIENTS, ANSWERS = 12, 3  # answers of each client after the start

    def client(self, cluster, oracle, seed, refused, answers):
        """Asks until it has its answers, and asks again where it is refused."""
        rng = random.Random(seed)
        right = 0
        while right < self.ANSWERS:
            name, begin = rng.choice(list(oracle.bodies)), time.monotonic()
            try:
                oracle.check(name, collect(cluster.http, "/v1/completions", oracle.bodies[name]))
                right += 1
                answers.append(time.monotonic())
            except Refused as error:
                refused.append((begin, error.status))
                time.sleep(0.1)

    def test_all_nodes_start_at_once_while_clients_wait(self):
        bodies = {name: body for name, body in modes(tokens=20).items() if name in ("greedy", "seeded")}
        with Cluster(prefill=2, decode=2, prefill_flags=NODE_FLAGS, decode_flags=NODE_FLAGS) as cluster:
            oracle = Oracle(cluster, bodies)
            for node in cluster.prefill + cluster.decode:
                node.kill()
            cluster.wait_nodes(0)
            refused, answers = [], []
            clients = [threading.Thread(target=self.client, args=(cluster, oracle, seed, refused, answers))
                       for seed in range(self.CLIENTS)]
            for client in clients:
                client.start()
            wait_until(lambda: len(refused) >= self.CLIENTS, 10, "clients that are refused")
            begin = time.monotonic()
            for index in (0, 1):
                cluster.add_prefill(index)
                cluster.add_decode(index)
            wait_until(lambda: cluster.get("/ready")[0] == 200, 20, "the cluster to be ready")
            ready = time.monotonic()
            cluster.wait_nodes(NODES)
            whole = time.monotonic()
            for client in clients:
                client.join()
            late = [entry for entry in refused if entry[0] > ready]
            print(f"figure R22: ready after {ready - begin:.2f} s, all nodes after {whole - begin:.2f} s; {len(answers)} answers right, "
                  f"{len(refused)} refused before, {len(late)} after", flush=True)
            self.assertEqual(len(answers), self.CLIENTS * self.ANSWERS)
            self.assertEqual(late, [])
            self.assertEqual({status for _, status in refused}, {503})
            self.assertLess(whole - begin, 10 * SLOWNESS)


def drain(process):
    """SIGTERM; the seconds until the process has ended."""
    process.kill(signal.SIGTERM)
    begin = time.monotonic()
    assert process.wait(40) == 0, process.log[-20:]
    return time.monotonic() - begin


class DrainTest(unittest.TestCase):
    def test_what_a_node_cannot_finish_in_time_moves_to_another(self):
        body = {"prompt": PROMPT, "max_tokens": 200, "ignore_eos": True, "temperature": 1.0, "seed": 4}
        with Cluster(decode=2, decode_flags=["--drain-timeout-ms", "300", "--fault-injection", "step_delay=1:10ms"]) as cluster:
            oracle, results = Oracle(cluster, {"long": body}), {}
            client = threading.Thread(target=lambda: results.update(long=collect(cluster.http, "/v1/completions", body)))
            client.start()

            def serving():
                return [name for name in ("d0", "d1") if cluster.blocks(name).get("used", 0) > 0]
            wait_until(serving, 10, "a running stream")
            drain(cluster.node(serving()[0]))
            client.join()
            oracle.check("long", results["long"])
            self.assertEqual(cluster.metric("baton_retries_total"), 1)
            cluster.wait_all_free()


class RollingRestartTest(unittest.TestCase):
    def test_every_node_is_restarted_under_load_and_no_client_notices(self):
        chosen = {name: body for name, body in modes(tokens=40).items() if name in ("greedy", "seeded", "n=2")}
        with Cluster(prefill=2, decode=2, model=tiny_model(1, LAYERS), prefill_flags=NODE_FLAGS,
                     decode_flags=[*NODE_FLAGS, "--isa", "scalar"]) as cluster:
            load = Load(cluster, Oracle(cluster, chosen), clients=4, pause=0.1)
            took = []
            try:
                for role in ("prefill", "decode"):
                    for index in range(2):
                        answers = load.answers
                        wait_until(lambda: load.answers >= answers + 4 or load.failures, 30, "answers")
                        took.append(drain(cluster.node(f"{role[0]}{index}")))
                        getattr(cluster, f"add_{role}")(index).wait_ready()
                        cluster.wait_nodes(NODES)
            finally:
                load.end()
            print(f"figure R16: {load.answers} answers, {len(load.failures)} failures; the nodes took "
                  f"{', '.join(f'{t:.1f}' for t in took)} s to drain", flush=True)
            self.assertEqual(load.failures, [])
            self.assertGreater(load.answers, 10)
            self.assertLess(max(took), 30 * SLOWNESS)


if __name__ == "__main__":
    unittest.main()
