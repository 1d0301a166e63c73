"""A real cluster of processes on loopback for end-to-end tests: start, observe, kill.

BATON_BIN_DIR names the folder with the binaries (set by CTest). The model is T0, made by make_tiny_gguf, unless a test
asks for another one.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from answers import check_body

BIN_DIR = os.environ.get("BATON_BIN_DIR", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
# Sanitizer builds are several times slower; every time-out of a test is multiplied by this.
SLOWNESS = float(os.environ.get("BATON_TEST_SLOWNESS", "1"))


def tiny_model(seed=1, layers=4):
    """Path of the seeded tiny model T0, made once per process; with many layers it is as slow as a large one."""
    path = os.path.join(tempfile.gettempdir(), f"baton-t0-{os.getpid()}-{seed}-{layers}.gguf")
    if not os.path.exists(path):
        subprocess.run([os.path.join(BIN_DIR, "make_tiny_gguf"), path, str(seed), "q4_1", str(layers)], check=True,
                       stdout=subprocess.DEVNULL)
    return path


class Process:
    """One server process; its output is collected, its READY line parsed."""

    def __init__(self, name, arguments, environment=None):
        self.name = name
        self.ready = {}
        self.log = []
        self.killed = False  # by the test, on purpose
        self._ready_event = threading.Event()
        self.popen = subprocess.Popen(
            [os.path.join(BIN_DIR, arguments[0])] + arguments[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, errors="replace", env={**os.environ, **(environment or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.popen.stdout:
            self.log.append(line.rstrip("\n"))
            if line.startswith("BATON READY "):
                self.ready = dict(re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", line))
                self._ready_event.set()
        self._ready_event.set()

    def wait_ready(self, timeout=20):
        self._ready_event.wait(timeout * SLOWNESS)
        if not self.ready:
            raise AssertionError(f"{self.name} is not ready (exit code {self.popen.poll()}):\n" + "\n".join(self.log[-40:]))
        return self.ready

    def kill(self, sig=signal.SIGKILL):
        self.killed = self.killed or sig == signal.SIGKILL
        if self.popen.poll() is None:
            self.popen.send_signal(sig)

    def wait(self, timeout=20):
        code = self.popen.wait(timeout * SLOWNESS)
        self._reader.join(5)
        return code


class Cluster:
    """Routers, prefill nodes and decode nodes; `router` and the addresses are the first router's. Use as a context
    manager."""

    def __init__(self, prefill=1, decode=1, model=None, router_flags=(), prefill_flags=(), decode_flags=(), routers=1):
        self.model = model or tiny_model()
        self.router_flags = list(router_flags)
        self.prefill_flags = list(prefill_flags)
        self.decode_flags = list(decode_flags)
        self.processes = []
        self.routers = [self.add_router() for _ in range(routers)]
        self.router = self.routers[0]
        try:
            ready = [router.wait_ready() for router in self.routers]
            self.http = ready[0]["http"]
            self.grpc = ready[0]["grpc"]
            self.registry = ",".join(r["cluster"] for r in ready)
            self.prefill = [self.add_prefill(i) for i in range(prefill)]
            self.decode = [self.add_decode(i) for i in range(decode)]
            for node in self.prefill + self.decode:
                node.wait_ready()
            self.wait_nodes(prefill + decode)
        except BaseException:
            self.stop(expect_clean=False)
            raise

    def _start(self, name, arguments):
        process = Process(name, arguments)
        self.processes.append(process)
        return process

    def node(self, name):
        """The latest process of that name."""
        return [p for p in self.processes if p.name == name][-1]

    def _node(self, binary, name, flags):
        pool = [] if "--kv-bytes" in flags else ["--kv-bytes", str(16 << 20)]
        return self._start(name, [binary, "--model", self.model, "--router", self.registry, "--node-id", name,
                                  "--threads", "1", *pool, *flags])

    def add_router(self, like=None):
        """Another router; `like`: at the addresses of one that is gone."""
        ready = like.ready if like else {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "cluster": "127.0.0.1:0"}
        return self._start("router", [
            "baton-router", "--model", self.model, "--port", ready["http"].rsplit(":", 1)[1],
            "--grpc-listen", ready["grpc"], "--cluster-listen", ready["cluster"], *self.router_flags])

    def add_prefill(self, index, flags=()):
        return self._node("baton-prefill", f"p{index}", [*self.prefill_flags, *flags])

    def add_decode(self, index, flags=()):
        return self._node("baton-decode", f"d{index}", [*self.decode_flags, *flags])

    def add_any(self, index, flags=()):
        return self._node("baton-any", f"a{index}", list(flags))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop(expect_clean=kind is None)

    def stop(self, expect_clean=True):
        """SIGTERM to all; with expect_clean every process that still ran must exit 0 in time."""
        running = [p for p in self.processes if p.popen.poll() is None and not p.killed]
        for process in running:
            process.kill(signal.SIGCONT)
            process.kill(signal.SIGTERM)
        bad = []
        for process in running:
            try:
                code = process.wait()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = "hung"
            process.popen.stdout.close()
            if code != 0:
                bad.append(f"{process.name}: {code}\n" + "\n".join(process.log[-30:]))
        if expect_clean and bad:
            raise AssertionError("processes did not stop cleanly:\n" + "\n".join(bad))

    # What the cluster says of itself.

    def get(self, path, timeout=10):
        """(status, body as text, headers)."""
        return request(self.http, "GET", path, timeout=timeout)

    def post(self, path, body, timeout=60, headers=None):
        """(status, parsed JSON or text, headers)."""
        status, text, head = request(self.http, "POST", path, body, timeout=timeout, headers=headers)
        try:
            reply = json.loads(text)
        except ValueError:
            return status, text, head
        if status == 200 and isinstance(reply, dict) and "choices" in reply:
            check_body(reply)
        return status, reply, head

    def debug_requests(self):
        """{"running": [...], "ended": [...]}: what the router says of its requests."""
        return json.loads(self.get("/debug/requests")[1])

    def metrics(self, http=None):
        """{name: [(labels, value)]} of /metrics; `http`: of another router than the first."""
        result = {}
        for line in request(http or self.http, "GET", "/metrics", timeout=10)[1].splitlines():
            match = re.match(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
                result.setdefault(match.group(1), []).append((labels, float(match.group(3))))
        return result

    def blocks(self, node, http=None):
        """{"free": n, "leased": n, "used": n, "total": n} of one node."""
        return {labels["state"]: int(value) for labels, value in self.metrics(http).get("baton_node_kv_blocks", [])
                if labels.get("node") == node}

    def metric(self, name, http=None, **labels):
        """The sum of the samples of `name` that have these labels."""
        return sum(value for own, value in self.metrics(http).get(name, [])
                   if all(own.get(key) == wanted for key, wanted in labels.items()))

    def wait_nodes(self, count, timeout=10, http=None):
        """Waits until the router counts `count` nodes."""
        def good():
            return self.metric("baton_node_up", http) == count
        wait_until(good, timeout, lambda: f"{count} nodes up; router log:\n" + "\n".join(self.router.log[-20:]))

    def wait_all_free(self, timeout=5, http=None):
        """Waits until every block of every live node is free again; returns the seconds that it took."""
        def good():
            counts = {}
            for labels, value in self.metrics(http).get("baton_node_kv_blocks", []):
                counts.setdefault(labels["node"], {})[labels["state"]] = value
            return counts and all(c["free"] + c.get("cached", 0) == c["total"] > 0 for c in counts.values())
        begin = time.monotonic()
        wait_until(good, timeout, lambda: "all blocks free: " + str(self.metrics(http).get("baton_node_kv_blocks")))
        return time.monotonic() - begin


def wait_until(condition, timeout, what):
    """Polls until condition() is true; fails with what() (a text or a function that makes one)."""
    deadline = time.monotonic() + timeout * SLOWNESS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("timed out waiting for " + (what() if callable(what) else what))
        time.sleep(0.02)


def request(host, method, path, body=None, timeout=60, headers=None):
    """One HTTP request: (status, text, headers). `body` is a JSON value, bytes, or None."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    message = urllib.request.Request(f"http://{host}{path}", data=data, method=method,
                                     headers={"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(message, timeout=timeout * SLOWNESS) as reply:
            return reply.status, reply.read().decode(), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers
