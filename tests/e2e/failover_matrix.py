"""Nodes killed and frozen at chosen tokens and phases: what the client sees must be the oracle's answer.

Used by failover_test.py: a few points in CI, all of them, repeated, with REPEAT=20.
"""

import glob
import signal
import threading
import time
import uuid

from cluster import Cluster, SLOWNESS, tiny_model
from oracle import Oracle
from sse import collect

TOKENS = 36
POINTS = [0, 1, 2, 15, 16, 17, 31, 32, TOKENS - 1]
# Pauses that a client may see, seconds. What CI's two busy cores add is the factor of the tests that check it.
GAP_KILL, GAP_FREEZE = 2.0, 6.0
PROMPT = [3 + i % 900 for i in range(40)]
LONG_PROMPT = [7 + i % 900 for i in range(480)]
# Slow enough to be caught at a token of one's choice: many layers, and decode without vector instructions.
LAYERS = 48
NODE_FLAGS = ["--max-context", "640", "--heartbeat-interval-ms", "100"]


def modes(prompt=None, tokens=TOKENS):
    base = {"prompt": prompt or PROMPT, "max_tokens": tokens, "ignore_eos": True}
    return {
        "greedy": {**base, "temperature": 0, "seed": 0},
        "seeded": {**base, "temperature": 1.0, "seed": 11, "top_p": 0.95},
        "n=2": {**base, "temperature": 1.0, "seed": 3, "n": 2},
        "logprobs": {**base, "temperature": 0.7, "seed": 9, "logprobs": 3},
        "stop strings": {**base, "temperature": 0, "seed": 0, "stop": ["\u0000 never there", "\u0001\u0002\u0003"]},
        "guided": {**base, "temperature": 1.0, "seed": 21, "guided_regex": "[a-z]{200}"},
    }


class Arena:
    """A cluster with two nodes of the role that is struck, replaced as they fall, and the oracle of its answers."""

    def __init__(self, role, bodies, prefill_flags=()):
        self.role = role
        self.next = 2
        self.retries = 0
        self.moved = 0  # strikes that made a stream move; one at the last token may come too late for that
        self.cluster = Cluster(**{role: 2}, model=tiny_model(1, LAYERS), decode_flags=[*NODE_FLAGS, "--isa", "scalar"],
                               prefill_flags=[*NODE_FLAGS, *prefill_flags])
        self.oracle = Oracle(self.cluster, bodies)
        self.logprobs = {}  # by mode, of an undisturbed run
        self.first_token_s = 0
        for name in bodies:
            result = collect(self.cluster.http, "/v1/completions", self.body(name), timeout=120)
            self.oracle.check(name, result)
            self.logprobs[name] = logprobs_of(result)
            self.first_token_s = result["stream"].times[0] - result["stream"].sent

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.cluster.stop(expect_clean=kind is None)

    def body(self, name):
        # Of its own: nothing of it is in a cache.
        return {**self.oracle.bodies[name], "cache_salt": uuid.uuid4().hex}

    def computed(self):
        """CPU time of each node of the role, in ns."""
        nodes = [p for p in self.cluster.processes if p.name[0] == self.role[0] and p.popen.poll() is None]
        return {node.name: cpu_ns(node) for node in nodes}

    def serving(self, before):
        """The name of the node that has worked since `before`: what it does at rest is far less than a request."""
        return max((now - before[name], name) for name, now in self.computed().items())[1]

    def strike(self, name, sig, when):
        """Runs the request `name`, sends `sig` to a node that serves it when `when(tokens, share)` says so, and checks the
        answer. `tokens`: of the answer so far; `share`: how much of the usual wait for the first has passed. Returns the
        longest pause, in seconds."""
        before = self.computed()
        begin = time.monotonic()
        state = {"struck": None, "tokens": 0}
        outcome = {}

        def look():
            if not state["struck"] and when(state["tokens"], (time.monotonic() - begin) / self.first_token_s):
                state["struck"] = self.cluster.node(self.serving(before))
                state["struck"].kill(sig)

        def on_event(result):
            state["tokens"] = max(map(len, result["ids"].values()), default=0)
            look()

        def run():
            try:
                outcome["result"] = collect(self.cluster.http, "/v1/completions", self.body(name), on_event, timeout=120)
            except BaseException as error:
                outcome["error"] = error

        client = threading.Thread(target=run)
        client.start()
        while client.is_alive() and not state["struck"]:
            if state["tokens"] == 0:
                look()
            time.sleep(0.002)
        client.join()
        if "error" in outcome:
            raise outcome["error"]
        assert state["struck"], f"{name}: no node was struck before the answer was there"
        self.verify(state["struck"], sig)
        self.oracle.check(name, outcome["result"])
        assert logprobs_of(outcome["result"]) == self.logprobs[name], f"{name}: the log-probabilities differ"
        self.heal(state["struck"], sig)
        return outcome["result"]["stream"].gap()

    def verify(self, victim, sig):
        """The fault took effect: the process is gone, or the kernel says that it is stopped."""
        if sig == signal.SIGKILL:
            assert victim.wait() == -signal.SIGKILL, victim.popen.returncode
        else:
            with open(f"/proc/{victim.popen.pid}/stat") as stat:
                assert stat.read().rsplit(")", 1)[1].split()[0] == "T", f"{victim.name} is not stopped"
        retries, self.retries = self.retries, self.cluster.metric("baton_retries_total")
        self.moved += self.retries > retries

    def heal(self, victim, sig):
        """Two nodes again; a thawed one has come back and freed what it held."""
        if sig == signal.SIGKILL:
            index, self.next = self.next, self.next + 1
            getattr(self.cluster, f"add_{self.role}")(index).wait_ready()
        else:
            victim.kill(signal.SIGCONT)
        self.cluster.wait_nodes(3)
        self.cluster.wait_all_free()


def cpu_ns(process):
    """CPU time of all threads of a process."""
    total = 0
    for path in glob.glob(f"/proc/{process.popen.pid}/task/*/schedstat"):
        try:
            with open(path) as file:
                total += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread that has just ended
    return total


def logprobs_of(result):
    """Log-probabilities of each choice in one list, however the stream was cut into chunks."""
    return {index: [value for piece in pieces for value in piece["token_logprobs"]]
            for index, pieces in result["logprobs"].items()}


def strike_decode(arena, points, names, sig, gaps):
    """Every point with every mode; the pauses are added to `gaps`."""
    for point in points:
        for name in names:
            # Before the first token: while the prompt is computed and handed over.
            when = (lambda tokens, share: share > 0.6) if point == 0 else (lambda tokens, _, point=point: tokens >= point)
            gaps.append(arena.strike(name, sig, when))


# When the prefill node is struck: by the share of the usual time to the first token, then by tokens.
PREFILL_PHASES = {
    "queued": lambda tokens, share: tokens == 0 and share > 0.05,
    "first chunk": lambda tokens, share: tokens == 0 and share > 0.15,
    "middle": lambda tokens, share: tokens == 0 and share > 0.5,
    "last chunk": lambda tokens, share: tokens == 0 and share > 0.85,
    "hand-over": lambda tokens, share: tokens == 1,
    "committed": lambda tokens, share: tokens >= 2,
}


def strike_prefill(arena, phases, names, sig, gaps):
    """Every phase with every mode: only the first token may come later. A prefill that is faster than usual may be over
    before a late phase; the strike then comes with the first token."""
    for phase in phases:
        when = PREFILL_PHASES[phase]
        for name in names:
            gaps.append(arena.strike(name, sig, lambda tokens, share: when(tokens, share) or tokens >= 1 and phase != "committed"))


def decode_arena():
    return Arena("decode", modes())


def prefill_arena():
    return Arena("prefill", modes(LONG_PROMPT, 8), ["--step-tokens", "64"])
