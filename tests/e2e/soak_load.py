"""The traffic of the soak: requests whose answers are known, from clients of every sort, and what became of them."""

import collections
import json
import random
import socket
import threading
import time

from cluster import request
from sse import Refused, Stream, collect

PATH = "/v1/completions"
SLOW_READ_S = 0.1
HOSTILE = [(b"{", 400), ({"prompt": 5}, 400), ({"prompt": "x", "max_tokens": -1}, 400), ({"prompt": "x", "n": 1 << 40}, 400),
           ({"prompt": [1 << 30]}, 400), ({"prompt": "x", "model": "another"}, 404), ({"prompt": [5] * 5000}, 400),
           ({"prompt": "x", "guided_regex": "(" * 500}, 400), ({"prompt": "x", "temperature": "hot"}, 400)]


def make_bodies(rng):
    """{name: request}, each with a seed. Prompts of a family begin alike."""
    families = [[rng.randrange(4, 1000) for _ in range(length)] for length in (32, 64, 64, 96, 160, 320)]
    bodies = {}
    for kind, count in (("stream", 24), ("whole", 10), ("guided", 6), ("n=2", 3), ("logprobs", 3)):
        for number in range(count):
            own = [rng.randrange(4, 1000) for _ in range(int(rng.paretovariate(1.2) * 6) % 120 + 1)]
            body = {"prompt": rng.choice(families) + own, "max_tokens": rng.choice([8, 24, 24, 48, 96]), "ignore_eos": True,
                    "seed": rng.randrange(1000), "temperature": rng.choice([0, 1.0])}
            body.update({"guided": {"guided_regex": "[a-z]{200}"}, "n=2": {"n": 2}, "logprobs": {"logprobs": 2}}.get(kind, {}))
            bodies[f"{kind} {number}"] = body
    return bodies


# How often clients ask for which kind, and how they behave.
KINDS = {"stream": 60, "whole": 20, "guided": 10, "n=2": 5, "logprobs": 5}
LEAVE, SLOW, HOSTILE_SHARE = 0.15, 0.05, 0.05
OWN_CACHE = 0.5  # of the requests find nothing of theirs cached


class Background:
    """A thread that runs `_loop` until `stop`; whoever derives from it calls `start` once all is there that `_loop` uses."""

    def start(self):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._loop)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join()


class Traffic(Background):
    """Open loop: requests begin at random moments, `rate` a second on average, whatever became of those before."""

    THREADS_MAX = 96

    def __init__(self, routers, oracle, seed):
        """`routers`: a function that names the HTTP addresses that clients know."""
        self.routers, self.oracle = routers, oracle
        self.rng = random.Random(seed)
        self.rate, self.leave_share = 0.0, LEAVE
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.problems = []     # (seconds, text): nothing may be here
        self.outages = []      # [address, begin, end]: times at which clients of a router may be cut off
        self.latencies = []    # (moment of the end, seconds) of whole answers
        self.begin = time.monotonic()
        self.busy = set()
        self.start()

    def stop(self):
        super().stop()
        for thread in list(self.busy):
            thread.join()

    def outage(self, address):
        """From now on clients of `address` may be cut off; the returned function ends that."""
        entry = [address, time.monotonic(), float("inf")]
        self.outages.append(entry)

        def end():
            entry[2] = time.monotonic()
        return end

    def problem(self, text):
        with self.lock:
            self.problems.append((round(time.monotonic() - self.begin, 1), text))
            print(f"PROBLEM {self.problems[-1]}", flush=True)

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def excused(self, address, begin):
        """Whether the router at `address` was taken away while a request that began at `begin` ran."""
        return any(a == address and since <= time.monotonic() and begin <= until for a, since, until in self.outages)

    def median_latency(self, since, until):
        values = sorted(s for moment, s in list(self.latencies) if since <= moment < until)
        return values[len(values) // 2] if values else None

    def _loop(self):
        while not self.stopping.is_set():
            if self.rate <= 0:
                time.sleep(0.02)
                continue
            time.sleep(min(self.rng.expovariate(self.rate), 1.0))
            if len(self.busy) >= self.THREADS_MAX:
                self.count("not sent: too many run")
                continue
            thread = threading.Thread(target=self._one, args=(random.Random(self.rng.random()),))
            self.busy.add(thread)
            thread.start()

    def _one(self, rng):
        try:
            address = rng.choice(self.routers())
            if rng.random() < HOSTILE_SHARE:
                self.judge(address, "hostile", lambda: self.hostile(address, rng))
            else:
                kind = rng.choices(list(KINDS), KINDS.values())[0]
                name = rng.choice([n for n in self.oracle.bodies if n.startswith(kind + " ")])
                self.judge(address, name, lambda: self.ask(address, name, rng))
        finally:
            self.busy.discard(threading.current_thread())

    def judge(self, address, name, act):
        """Runs one request and counts what became of it; what has no excuse is a problem."""
        begin = time.monotonic()
        try:
            self.count(act())
        except Refused as error:
            if error.status == 429:
                self.count("shed with 429")
            elif error.status == 503 and self.excused(address, begin):
                self.count("503 while its router was away")
            else:
                self.problem(f"{name} at {address}: {error}")
        except AssertionError as error:
            if "WRONG ANSWER" in str(error):
                self.problem(f"{name} at {address}: {error}")
            else:
                self.cut(address, name, begin, str(error))
        except Exception as error:  # a connection that broke, maybe in the middle of a line
            self.cut(address, name, begin, repr(error))

    def cut(self, address, name, begin, text):
        if self.excused(address, begin):
            self.count("cut off with its router")
        else:
            self.problem(f"{name} at {address}, after {time.monotonic() - begin:.1f} s: {text}")

    def ask(self, address, name, rng):
        body = self.oracle.bodies[name]
        if rng.random() < OWN_CACHE:
            body = {**body, "cache_salt": f"{rng.random()}"}
        if rng.random() < self.leave_share:
            return self.leave(address, body, rng)
        begin = time.monotonic()
        if name.startswith("whole"):
            self.whole(address, name, body)
        elif rng.random() < SLOW:
            self.check(name, collect(address, PATH, body, on_event=lambda _: time.sleep(SLOW_READ_S)))
            return "right, to a slow reader"
        else:
            self.check(name, collect(address, PATH, body))
        self.latencies.append((time.monotonic(), time.monotonic() - begin))
        return "right"

    def check(self, name, result):
        if result["error"] is not None:
            raise AssertionError(f"an error event: {result['error']}")
        try:
            self.oracle.check(name, result)
        except AssertionError as error:
            raise AssertionError(f"WRONG ANSWER {error}") from error

    def whole(self, address, name, body):
        status, text, _ = request(address, "POST", PATH, {**body, "return_token_ids": True})
        if status != 200:
            raise Refused(status, text)
        ids = json.loads(text)["choices"][0]["token_ids"]
        if ids != self.oracle.ids[name, 0]:
            raise AssertionError(f"WRONG ANSWER {ids}")

    def leave(self, address, body, rng):
        """Goes away at a random moment."""
        try:
            stream = Stream(address, PATH, body, timeout=0.02 + rng.random() ** 2)
            for _ in stream.events():
                if rng.random() < 0.1:
                    break
            stream.close()
        except socket.timeout:
            pass  # what is left of the connection closes with it
        return "left by the client"

    def hostile(self, address, rng):
        body, wanted = rng.choice(HOSTILE)
        status, text, _ = request(address, "POST", PATH, body)
        if status in (429, 503):
            raise Refused(status, text)
        if status != wanted:
            raise AssertionError(f"{str(body)[:60]} was answered with {status}, wanted {wanted}: {text[:200]}")
        return "hostile, refused"


class Canary(Background):
    """Every two seconds one greedy request; its answer must be the oracle's, and no token may be long in coming."""

    PERIOD_S = 2.0

    def __init__(self, traffic, name):
        self.traffic, self.name = traffic, name
        self.right, self.worst_gap_s = 0, 0.0
        self.start()

    def _loop(self):
        turn = 0
        while not self.stopping.wait(self.PERIOD_S):
            addresses = self.traffic.routers()
            address, turn = addresses[turn % len(addresses)], turn + 1
            self.traffic.judge(address, "canary", lambda address=address: self._ask(address))

    def _ask(self, address):
        result = collect(address, PATH, self.traffic.oracle.bodies[self.name])
        self.traffic.check(self.name, result)
        self.right += 1
        self.worst_gap_s = max(self.worst_gap_s, result["stream"].gap())
        return "canary, right"
