#!/usr/bin/env python3
"""Ten minutes under load while everything that can fail does: two routers, two prefill and two decode nodes on this machine.

  scripts/reliability --soak               ten minutes; the report goes to stdout
  SOAK_SEED=7 SOAK_REPORT=report.md ...    other traffic; the report also into a file

No part of the test suite: it takes ten minutes, and root for iptables (without it, what iptables does is SKIPPED and counted).
Exit code 0: no wrong answer, no stream cut off without an excuse, no leak, every fault took effect.
"""

import datetime
import os
import platform
import random
import re
import subprocess
import sys
import threading
import time

from cluster import tiny_model
from oracle import Oracle
from soak_faults import Faults, SoakCluster, iptables_works
from soak_load import Background, Canary, Traffic, make_bodies
from sse import collect

SEED = int(os.environ.get("SOAK_SEED", "1"))
MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))  # fewer: faults follow each other without the pauses between them
LOAD = 0.6             # of what was measured in the first minute
QUIESCE_S = 15
SAMPLE_S = 5
# Growth of a process's memory that counts as flat: the larger of the two.
GROWTH_SHARE, GROWTH_KB = 0.02, 8 << 10
THREADS_MORE = 4  # gRPC starts one when all of its threads are busy
NODE = ["--max-context", "640", "--heartbeat-interval-ms", "100"]


def schedule(faults):
    """(minute, what, act); act returns how the fault proved that it took effect."""
    cut = [(3.0, "p0 -> d0 cut", lambda: faults.cut("p0", "d0")),
           (3.35, "router1 -> d1 cut, one way", lambda: faults.cut("router1", "d1")),
           (3.7, "connections of router1's clients reset", lambda: faults.reset_connections(1)),
           (5.5, "5 % of the packets of d0 lost", lambda: faults.loss("d0", 0.05))]
    rest = [(1.0, "p0 killed", lambda: faults.kill("p0")),
            (1.35, "d0 killed", lambda: faults.kill("d0")),
            (1.7, "router0 killed", lambda: faults.kill_router(0)),
            (2.1, "d1 frozen", lambda: faults.freeze("d1")),
            (2.5, "p1 frozen", lambda: faults.freeze("p1")),
            (4.0, "all six restarted with SIGTERM", faults.rolling_restart),
            (5.8, "p0 damages, repeats and delays KV frames", lambda: faults.frames(
                "p0", f"seed={SEED},kv_corrupt=0.05,kv_duplicate=0.1,kv_delay=0.1:20ms")),
            (6.5, "p0 loses frames and breaks streams", lambda: faults.frames("p0", f"seed={SEED},kv_drop=0.02,kv_break=0.02")),
            (7.1, "d0's engine stuck", lambda: faults.wedge("d0")),
            (8.0, "d0 with 40 blocks, three times the load, nine of ten leave", lambda: faults.small_pool("d0", 40 * 16384))]
    if not iptables_works():
        print(f"SKIPPED: no iptables: {len(cut)} faults", flush=True)
        cut = []
    return sorted(cut + rest, key=lambda entry: entry[0]), 4 - len(cut)


class Samples(Background):
    """Memory, descriptors and threads of every process, over time."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.seen = {}  # pid: (name, [(seconds, rss_kb, descriptors, threads)])
        self.start()

    def take(self):
        for process in self.cluster.running():
            pid = process.popen.pid
            try:
                with open(f"/proc/{pid}/status") as status:
                    text = status.read()
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            except (FileNotFoundError, ProcessLookupError):
                continue
            rss, threads = (int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1)) for key in ("VmRSS", "Threads"))
            self.seen.setdefault(pid, (process.name, []))[1].append((time.monotonic(), rss, descriptors, threads))

    def _loop(self):
        while not self.stopping.wait(SAMPLE_S):
            self.take()

    def growth(self, since):
        """(name, seconds, kB early, kB now, descriptors early, now, threads early, now) of each process that runs and did before
        `since`. Early: the most in the first half of its life, after the first ten seconds. The load is off now, so that nothing
        of what it took may be left."""
        alive = {p.popen.pid for p in self.cluster.running()}
        rows = []
        for pid, (name, samples) in sorted(self.seen.items(), key=lambda item: item[1][0]):
            if pid not in alive or samples[0][0] > since:
                continue
            begin, now = samples[0][0], samples[-1]
            life = now[0] - begin
            early = [s for s in samples if 10 <= s[0] - begin <= life / 2]
            most = [max(values) for values in zip(*early)]
            rows.append((name, life, most[1], now[1], most[2], now[2], most[3], now[3]))
        return rows


def calibrate(cluster, oracle):
    """Answers a second of eight clients that ask without a pause, for twenty seconds."""
    done, end = [], time.monotonic() + 20
    names = list(oracle.bodies)

    def client(seed):
        rng = random.Random(seed)
        while time.monotonic() < end:
            name = rng.choice(names)
            oracle.check(name, collect(rng.choice(cluster.addresses()), "/v1/completions", oracle.bodies[name]))
            done.append(name)
    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return len(done) / 20


def strike(faults, traffic, begin, scale):
    """Runs the schedule; a row for each fault."""
    rows = []
    plan, skipped = schedule(faults)
    for minute, what, act in plan:
        time.sleep(max(0.0, begin + minute * 60 * scale - time.monotonic()))
        at = time.monotonic() - begin
        try:
            evidence, good = act(), True
            faults.whole()
        except BaseException as error:
            evidence, good = f"FAILED: {error!r}"[:600], False
            traffic.problem(f"fault {what!r}: {error!r}")
        rows.append((at, what, evidence, good))
        print(f"{at:6.1f} s  {what}: {evidence}; problems so far: {len(traffic.problems)}", flush=True)
    return rows, skipped


def audit(cluster, traffic, samples, since):
    """After the load: what is left behind. Returns the table of growth."""
    time.sleep(QUIESCE_S)
    for address in cluster.addresses():
        cluster.wait_nodes(4, http=address)
        cluster.wait_all_free(timeout=1, http=address)
    samples.take()
    for process in cluster.processes:
        code = process.popen.poll()
        if code not in (None, 0, -9):
            traffic.problem(f"{process.name} ended with {code}: {process.log[-5:]}")
    rows = samples.growth(since)
    for name, _, first_kb, now_kb, first_fds, fds, first_threads, threads in rows:
        if now_kb - first_kb > max(GROWTH_SHARE * first_kb, GROWTH_KB):
            traffic.problem(f"{name} grew from {first_kb} to {now_kb} kB")
        if fds > first_fds or threads > first_threads + THREADS_MORE:
            traffic.problem(f"{name}: {first_fds} descriptors and {first_threads} threads grew to {fds} and {threads}")
    return rows


def cpu():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    return f"{os.cpu_count()} CPUs, {model.group(1) if model else platform.machine()}"


def report(facts, rows, growth, traffic, canary, skipped):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    verdict = "FAILED" if traffic.problems else "PASSED"
    lines = [f"{datetime.date.today()}, commit {commit or 'unknown'}, seed {SEED}, {cpu()}; {facts}", "",
             f"**{verdict}**: {len(traffic.problems)} problems, {len(rows)} faults, {skipped} skipped.", "", "| what became of a request | |", "| --- | --- |"]
    lines += [f"| {what} | {count:,} |" for what, count in sorted(traffic.counts.items())]
    lines += [f"| longest pause in a canary's answer | {canary.worst_gap_s:.2f} s |", "",
              "| at | fault | how it proved that it took effect |", "| --- | --- | --- |"]
    lines += [f"| {at:.0f} s | {what} | {evidence} |" for at, what, evidence, _ in rows]
    lines += ["", "| process | age | memory, early and at the end | descriptors | threads |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {name} | {life:.0f} s | {a / 1024:.1f} MiB, {b / 1024:.1f} MiB | {c}, {d} | {e}, {f} |"
              for name, life, a, b, c, d, e, f in growth]
    if traffic.problems:
        lines += ["", "Problems:", ""] + [f"- {at} s: {text}" for at, text in traffic.problems]
    return "\n".join(lines) + "\n"


def main():
    rng = random.Random(SEED)
    bodies = make_bodies(rng)
    with SoakCluster(model=tiny_model(), prefill_flags=[*NODE, "--transfer-timeout-ms", "2000"],
                     decode_flags=NODE) as cluster:
        oracle = Oracle(cluster, bodies)
        begin = time.monotonic()
        capacity = calibrate(cluster, oracle)
        print(f"{capacity:.1f} answers a second with eight clients; the load is {LOAD * capacity:.1f}", flush=True)
        traffic, samples = Traffic(cluster.addresses, oracle, SEED), Samples(cluster)
        traffic.rate = LOAD * capacity
        canary = Canary(traffic, "stream 0")
        try:
            rows, skipped = strike(Faults(cluster, traffic), traffic, begin, MINUTES / 10)
            time.sleep(max(0.0, begin + MINUTES * 60 - QUIESCE_S - time.monotonic()))
        finally:
            canary.stop()
            traffic.stop()
            samples.stop()
        growth = audit(cluster, traffic, samples, time.monotonic() - QUIESCE_S - 90)
        facts = f"{time.monotonic() - begin:.0f} s, {capacity:.1f} answers a second at most, load {LOAD * capacity:.1f} a second"
        text = report(facts, rows, growth, traffic, canary, skipped)
    print(text)
    if os.environ.get("SOAK_REPORT"):
        with open(os.environ["SOAK_REPORT"], "w") as file:
            file.write(text)
    return 1 if traffic.problems else 0


if __name__ == "__main__":
    sys.exit(main())
