#!/usr/bin/env python3
"""The command `baton` as a person at a terminal meets it."""

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from cluster import BIN_DIR, SLOWNESS, Cluster, Process, request, tiny_model, wait_until

BATON = os.path.join(BIN_DIR, "baton")


def baton(*arguments, stdin=""):
    """Runs `baton` to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([BATON, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                          timeout=60 * SLOWNESS)
    return done.returncode, done.stdout, done.stderr


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}."""
    with open(path, "rb") as file:
        data = file.read()
    header_bytes = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + header_bytes])
    body = data[8 + header_bytes:]
    return {name: (t["dtype"], t["shape"], body[t["data_offsets"][0]:t["data_offsets"][1]])
            for name, t in header.items() if name != "__metadata__"}


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file)
    return path


class ClusterCommands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(router_flags=["--served-model-name", "t0"])
        cls.url = f"http://{cls.cluster.http}"

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def test_chat_answers_each_line_of_a_pipe_and_remembers_the_first(self):
        code, out, errors = baton("chat", "--url", self.url, "--max-tokens", 4, "--temperature", 0,
                                  stdin="one\ntwo\n/exit\nnever read\n")
        self.assertEqual((code, errors), (0, ""))
        self.assertGreaterEqual(len(out.splitlines()), 2)

    def test_chat_on_a_terminal_takes_several_lines_and_tells_the_times(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(BATON, [BATON, "chat", "--url", self.url, "--max-tokens", "4", "--temperature", "0"])
        text, sent, deadline = "", 0, time.monotonic() + 30 * SLOWNESS
        steps = [("> ", "one\\\n"), ("... ", "two\n"), ("prompt tokens cached]\r\n> ", "\x04")]
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    text += os.read(terminal, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
            if sent < len(steps) and text.endswith(steps[sent][0]):
                os.write(terminal, steps[sent][1].encode())
                sent += 1
        else:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, text)
        os.close(terminal)
        self.assertRegex(text, r"\[\d+ ms to the first token, .*4 tokens; \d+ of \d+ prompt tokens cached\]")

    def test_chat_says_what_is_wrong_when_nobody_answers(self):
        code, _, errors = baton("chat", "--url", "http://127.0.0.1:9", stdin="hello\n")
        self.assertEqual(code, 1)
        self.assertIn("127.0.0.1:9", errors)

    def test_health_follows_the_server(self):
        self.assertEqual(baton("health", "--url", self.url)[0], 0)
        self.assertNotEqual(baton("health", "--url", "http://127.0.0.1:9")[0], 0)

    def test_bench_serve_counts_what_the_server_counted(self):
        before = self.cluster.metrics()["vllm:generation_tokens_total"][0][1]
        with tempfile.TemporaryDirectory() as folder:
            result = os.path.join(folder, "result.json")
            code, out, errors = baton("bench", "serve", "--base-url", self.url, "--model", "t0", "--dataset-name", "random",
                                      "--random-input-len", 20, "--random-output-len", 6, "--num-prompts", 10,
                                      "--ignore-eos", "--save-result", "--result-filename", result)
            self.assertEqual(code, 0, out + errors)
            with open(result) as file:
                report = json.load(file)
        self.assertEqual((report["completed"], report["total_output_tokens"]), (10, 60))
        self.assertEqual(self.cluster.metrics()["vllm:generation_tokens_total"][0][1] - before, 60)
        self.assertRegex(out, r"Median TTFT \(ms\): +[\d.]+")


class OfflineCommands(unittest.TestCase):
    def test_an_unknown_command_is_named_with_those_that_there_are(self):
        code, _, errors = baton("serv")
        self.assertEqual(code, 2)
        self.assertIn("'serv'", errors)
        self.assertIn("serve", errors.replace("'serv'", ""))

    def start(self, name, arguments):
        process = Process(name, arguments)
        self.addCleanup(process.kill)  # also when the test fails
        return process

    def score(self, device, folder):
        ids = write_json(os.path.join(folder, "ids.json"), [[1, 2, 3, 4, 5], [7]])
        out = os.path.join(folder, device + ".safetensors")
        code, _, errors = baton("score", "--model", tiny_model(), "--device", device, "--ids-file", ids, "--out", out,
                                "--greedy", 6)
        self.assertEqual(code, 0, errors)
        return read_safetensors(out)

    def test_score_gives_logits_of_every_position_and_chips_agree_with_the_reference(self):
        with tempfile.TemporaryDirectory() as folder:
            reference, p_chip, d_chip = (self.score(device, folder) for device in ("cpu", "p_chip", "d_chip"))
        self.assertEqual(reference["prompt0.logits"][:2], ("F32", [5, 1024]))
        self.assertEqual(reference["prompt1.logits"][:2], ("F32", [1, 1024]))
        self.assertEqual(reference["prompt0.greedy_ids"][:2], ("I32", [6]))
        self.assertEqual(p_chip, d_chip, "the chips differ in a bit")
        for name in ("prompt0.logits", "prompt1.logits"):
            count = len(reference[name][2]) // 4
            a = struct.unpack(f"<{count}f", reference[name][2])
            b = struct.unpack(f"<{count}f", p_chip[name][2])
            self.assertLess(max(abs(x - y) for x, y in zip(a, b)), 0.05 * max(map(abs, a)))

    def perplexity(self, text, *arguments):
        code, out, errors = baton("perplexity", "--model", tiny_model(), "--text", text, "--chunk", 64, *arguments)
        self.assertEqual(code, 0, errors)
        return {name: re.findall(r"[\d.]+", rest) for name, rest in re.findall(r"^([\w -]+):(.*)$", out, re.M)}

    def test_perplexity_measures_the_distance_from_another_device(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
            text.write("The quick brown fox jumps over the lazy dog. " * 5)
            text.flush()
            chips = self.perplexity(text.name, "--device", "p_chip", "--reference", "d_chip")
            judged = self.perplexity(text.name, "--device", "d_chip", "--reference", "cpu")
        self.assertEqual(chips["mean KL"], ["0.000000", "0.000000"], "the chips differ in a bit")
        self.assertEqual(chips["same top-1"], ["100.00"])
        self.assertEqual(judged["perplexity"], chips["perplexity"])
        mean, largest = map(float, judged["mean KL"])
        self.assertTrue(0 < mean <= largest, judged)
        # Logits that err by 0.1 rms move a softmax by at most about 0.01 nats.
        self.assertLess(mean, 0.01)
        self.assertLess(abs(float(judged["its perplexity"][1]) - 1), 0.05)

    def test_score_names_the_bad_token(self):
        with tempfile.TemporaryDirectory() as folder:
            ids = write_json(os.path.join(folder, "ids.json"), [[1, 99999]])
            code, _, errors = baton("score", "--model", tiny_model(), "--device", "cpu", "--ids-file", ids, "--out",
                                    os.path.join(folder, "out"))
            self.assertNotEqual(code, 0)
            self.assertIn("99999", errors)
            self.assertFalse(os.path.exists(os.path.join(folder, "out")))

    def test_certs_are_made_once_and_serve_a_cluster(self):
        with tempfile.TemporaryDirectory() as folder:
            nodes = []
            for role in ("router", "prefill", "decode"):
                nodes += ["--node", f"{role}:{role}:127.0.0.1,localhost"]
            for _ in range(2):
                code, _, errors = baton("certs", "--out", folder, *nodes)
                self.assertEqual(code, 0, errors)
            self.assertEqual(os.stat(os.path.join(folder, "decode", "node.key")).st_mode & 0o077, 0)
            tls = {role: ["--certs", os.path.join(folder, role)] for role in ("router", "prefill", "decode")}
            router = self.start("router", ["baton-router", "--model", tiny_model(), "--port", "0", "--grpc-listen", "127.0.0.1:0",
                                           "--cluster-listen", "127.0.0.1:0", *tls["router"]])
            registry = router.wait_ready()["cluster"]
            # A node proves its name and role; a decode certificate does not make a prefill node.
            wrong = self.start("wrong", ["baton-prefill", "--model", tiny_model(), "--router", registry, "--node-id", "decode",
                                         *tls["decode"]])
            good = [self.start(role, [f"baton-{role}", "--model", tiny_model(), "--router", registry, "--node-id", role,
                                       *tls[role]]) for role in ("prefill", "decode")]
            for process in [*good, wrong]:
                process.wait_ready()
            wait_until(lambda: request(router.ready["http"], "GET", "/ready")[0] == 200, 10, "the nodes to join")
            code, out, errors = baton("chat", "--url", "http://" + router.ready["http"], "--max-tokens", 3, stdin="hello\n")
            self.assertEqual(code, 0, errors)
            self.assertTrue(any("role" in line for line in wrong.log), wrong.log)
            for process in [*good, wrong, router]:
                process.kill(signal.SIGTERM)
                self.assertEqual(process.wait(), 0, "\n".join(process.log))
                process.popen.stdout.close()

    def test_a_node_refuses_bad_configuration_by_name_and_range(self):
        for flags, says in ((["--threads", "9999"], "0 to 256"), (["--block-tokens", "33"], "block_tokens"),
                            (["--listen", "0.0.0.0:0"], "--advertise"),
                            (["--listen", "0.0.0.0:0", "--advertise", "127.0.0.1:1"], "--insecure"), (["--model", "/none"], "/none")):
            model = [] if "--model" in flags else ["--model", tiny_model()]
            node = self.start("node", ["baton-decode", "--router", "127.0.0.1:9", *model, *flags])
            self.assertEqual(node.wait(), 78, node.log)
            node.popen.stdout.close()
            self.assertIn(says, "\n".join(node.log))

    def test_serve_once_streams_one_answer_with_its_times_and_stops(self):
        code, out, errors = baton("serve", "--model", tiny_model(), "--port", 0, "--once", "Why?", "--max-tokens", 8,
                                  "--kv-bytes", 16 << 20, "--threads", 1)
        self.assertEqual(code, 0, errors)
        for what in ("TTFT", "time to second token", "TPOT", "prefill-0 computed the prompt", "decode-0 took over"):
            self.assertIn(what, out)

    def test_serve_says_within_its_banner_what_to_try_and_ctrl_c_stops_everything(self):
        serve = self.start("serve", ["baton", "serve", "--model", tiny_model(), "--port", "0", "--prefill", "2", "--decode", "2",
                                  "--kv-bytes", str(16 << 20), "--threads", "1"])
        try:
            for _ in range(int(500 * SLOWNESS)):
                if any("curl" in line for line in serve.log):
                    break
                serve._reader.join(0.02)
            text = "\n".join(serve.log)
            self.assertRegex(text, r"ready after [\d.]+ s")
            command = re.search(r"curl -N http://(\S+)/v1/chat", text)
            self.assertIsNotNone(command, text)
        finally:
            serve.kill(signal.SIGINT)
        self.assertEqual(serve.wait(), 0, serve.log)
        serve.popen.stdout.close()


if __name__ == "__main__":
    unittest.main()
