#!/usr/bin/env python3
"""The tools round a cluster: doctor, top, configuration, completion, manual page, and what `baton serve` says."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from cluster import BIN_DIR, SLOWNESS, Cluster, Process, request, tiny_model, wait_until

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BATON = os.path.join(BIN_DIR, "baton")


def baton(*arguments, environment=None):
    """Runs `baton` to its end: (exit code, stdout, stderr). It sees no BATON_ variable but those of `environment`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATON_")}
    done = subprocess.run([BATON, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60 * SLOWNESS, env={**inherited, **(environment or {})})
    return done.returncode, done.stdout, done.stderr


def doctor(*arguments):
    """(exit code, {verdict: [what]}) of `baton doctor --json`."""
    code, out, errors = baton("doctor", "--json", *arguments)
    assert not errors, errors
    verdicts = {"good": [], "note": [], "warning": [], "error": []}
    for finding in json.loads(out)["findings"]:
        verdicts[finding["verdict"]].append(finding["what"])
    return code, verdicts


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "wb" if isinstance(text, bytes) else "w") as file:
        file.write(text)
    return path


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


class OnACluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.url = f"http://{cls.cluster.http}"

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def test_doctor_finds_nothing_wrong_with_a_good_cluster(self):
        code, verdicts = doctor("--url", self.url)
        self.assertEqual((code, verdicts["error"], verdicts["warning"]), (0, [], []))
        self.assertTrue(any("all run Baton" in what for what in verdicts["good"]), verdicts)
        code, out, _ = baton("doctor", "--url", self.url)
        self.assertEqual(code, 0)
        self.assertIn("0 errors, 0 warnings", out)
        self.assertNotIn("\033", out)

    def test_top_prints_one_frame_where_there_is_no_terminal(self):
        code, out, errors = baton("top", "--once", "--interval-s", 0.2, "--url", self.url)
        self.assertEqual((code, errors), (0, ""))
        self.assertIn("2 nodes up", out)
        self.assertRegex(out, r"p0 +prefill +0 ")
        self.assertRegex(out, r"d0 +decode +0 ")
        self.assertNotIn("\033", out)

    def run_top(self, environment, columns):
        """What `baton top` writes to a terminal of that width until q is pressed, and its exit code."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(environment)
            os.execv(BATON, [BATON, "top", "--url", self.url, "--interval-s", "0.2"])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
        text, deadline, pressed = b"", time.monotonic() + 20 * SLOWNESS, False
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    text += os.read(terminal, 65536)
                except OSError:  # the other end is closed
                    break
            if not pressed and text.count(b"\033[H") >= 4:
                os.write(terminal, b"q")
                pressed = True
        else:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        return text.decode(errors="replace"), code

    def test_top_draws_until_q_and_leaves_the_terminal_as_it_was(self):
        text, code = self.run_top({"NO_COLOR": ""}, 100)
        self.assertEqual(code, 0)
        self.assertIn("\033[?1049h", text)
        self.assertTrue(text.rstrip().endswith("\033[?1049l"), text[-200:])
        self.assertRegex(text, "\033\\[\\d+m")
        text, code = self.run_top({"NO_COLOR": "1"}, 40)
        self.assertEqual(code, 0)
        self.assertNotRegex(text, "\033\\[[\\d;]*m")
        # The first frame may come before the terminal has its width.
        for line in text.split("\033[H")[-1].split("\033[K"):
            self.assertLessEqual(len(re.sub("\033\\[[?\\w;]*", "", line).strip()), 40)

    def test_top_and_doctor_say_who_does_not_answer(self):
        code, _, errors = baton("top", "--url", "http://127.0.0.1:9")
        self.assertEqual(code, 1)
        self.assertIn("127.0.0.1:9", errors)
        code, verdicts = doctor("--url", "http://127.0.0.1:9")
        self.assertEqual(code, 1)
        self.assertIn("127.0.0.1:9", verdicts["error"][0])

    def test_doctor_names_a_node_that_is_gone_and_a_port_that_is_taken(self):
        extra = self.cluster.add_decode(7)
        extra.wait_ready()
        self.cluster.wait_nodes(3)
        extra.kill(signal.SIGKILL)
        self.cluster.wait_nodes(2)
        code, verdicts = doctor("--url", self.url)
        self.assertEqual(code, 0)
        self.assertIn("d7 was here and is gone", verdicts["warning"])
        with tempfile.TemporaryDirectory() as folder:
            port = self.cluster.http.rsplit(":", 1)[1]
            config = write(folder, "router", f'model: "{tiny_model()}"\nport: {port}\ngrpc_listen: "127.0.0.1:0"\n'
                           'cluster_listen: "127.0.0.1:0"\n')
            code, verdicts = doctor("--role", "router", "--config", config)
        self.assertEqual((code, verdicts["error"]), (1, [f"port: port {port} of 127.0.0.1 is in use"]))


class Doctor(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_a_model_that_cannot_be_served_is_refused_with_the_reason(self):
        with open(tiny_model(), "rb") as file:
            good = file.read()
        cases = {
            "cut": (good[:len(good) // 2], "cut"),
            "empty": (b"", "empty"),
            "noise": (b"\x00\x01" * 4096, "noise"),
            "family": (good.replace(b"llama", b"lamma"), "lamma"),
        }
        for name, (content, says) in cases.items():
            code, verdicts = doctor("--port", 0, "--model", write(self.folder, name + ".gguf", content))
            self.assertEqual(code, 1, name)
            self.assertIn(says, " ".join(verdicts["error"]), name)
        code, verdicts = doctor("--port", 0, "--model", os.path.join(self.folder, "none.gguf"))
        self.assertEqual(code, 1)
        self.assertIn("none.gguf", verdicts["error"][0])

    def test_a_good_model_is_described_and_one_too_large_for_the_memory_is_not_accepted(self):
        code, verdicts = doctor("--port", 0, "--model", tiny_model(), "--kv-bytes", 16 << 20)
        self.assertEqual(verdicts["error"], [], verdicts)
        self.assertIn("llama, 4 layers", " ".join(verdicts["good"]))
        _, verdicts = doctor("--port", 0, "--model", tiny_model(), "--nodes", 128, "--kv-bytes", 1 << 40)
        self.assertTrue(any("128 nodes here need about" in what for what in verdicts["warning"]), verdicts)

    def test_a_bad_configuration_is_refused_by_key(self):
        for role, text, says in (("decode", "max_batsh: 3\n", "max_batsh"), ("router", "http_threads: 1000\n", "1 to 64"),
                                 ("prefill", 'listen: "0.0.0.0:0"\ninsecure: true\n', "advertise is empty"),
                                 ("decode", 'listen: "nowhere.invalid:1"\n', "nowhere.invalid"),
                                 ("prefill", 'router: "nowhere.invalid:1"\n', "nowhere.invalid"),
                                 ("prefill", 'router: "noport"\n', "noport"), ("router", "port: 0\n", "model is empty"),
                                 ("decode", 'certs: "/none"\n', "/none")):
            code, verdicts = doctor("--role", role, "--config", write(self.folder, "config", text))
            self.assertEqual(code, 1, text)
            self.assertIn(says, " ".join(verdicts["error"]), text)

    def test_certificates_of_others_and_old_ones_are_refused(self):
        code, _, errors = baton("certs", "--out", self.folder, "--days", 10, "--node", "decode:d0:localhost", "--node",
                                "router:r:localhost")
        self.assertEqual(code, 0, errors)
        folder = os.path.join(self.folder, "d0")
        _, verdicts = doctor("--certs", folder, "--role", "decode")
        self.assertTrue(any("decode/d0, valid for 9 days" in what for what in verdicts["warning"]), verdicts)
        code, verdicts = doctor("--certs", folder, "--role", "prefill")
        self.assertEqual(code, 1)
        self.assertIn(f"{folder}/node.pem is of a decode, this is a prefill", verdicts["error"])
        shutil.copy(os.path.join(self.folder, "r", "node.key"), folder)
        code, verdicts = doctor("--certs", folder)
        self.assertEqual(code, 1)
        self.assertIn("node.key is not the key", " ".join(verdicts["error"]))
        other = os.path.join(self.folder, "other")
        baton("certs", "--out", other, "--node", "router:r:localhost")
        shutil.copy(os.path.join(other, "ca.pem"), os.path.join(self.folder, "r"))
        code, verdicts = doctor("--certs", os.path.join(self.folder, "r"))
        self.assertIn("was not issued by", " ".join(verdicts["error"]))

    def test_the_configurations_of_deploy_are_good_but_for_what_their_containers_have(self):
        for role in ("router", "prefill", "decode"):
            _, verdicts = doctor("--role", role, "--config", os.path.join(ROOT, f"deploy/config/{role}.textproto"))
            self.assertTrue(any("every key is known" in what for what in verdicts["good"]), verdicts)


class Reference(unittest.TestCase):
    def test_the_configuration_reference_is_what_the_code_says(self):
        code, out, _ = baton("config", "--markdown")
        self.assertEqual(code, 0)
        self.assertEqual(read(ROOT, "docs/configuration.md"), out, "docs/configuration.md is not current: run scripts/docs")

    def test_a_printed_configuration_is_one_that_is_accepted(self):
        with tempfile.TemporaryDirectory() as folder:
            for role in ("router", "prefill", "decode"):
                code, out, _ = baton("config", role)
                self.assertEqual(code, 0)
                uncommented = re.sub(r"^#(\w+: )", r"\1", out, flags=re.M)
                self.assertGreater(uncommented.count("\n"), out.count("\n#") // 2)
                _, verdicts = doctor("--role", role, "--config", write(folder, role, uncommented))
                self.assertTrue(any("every key is known" in what for what in verdicts["good"]), verdicts)
        self.assertEqual(baton("config")[0], 2)

    def test_help_is_short_and_grouped(self):
        code, out, _ = baton("--help")
        self.assertEqual(code, 0)
        self.assertLess(out.count("\n"), 45)
        for group in ("Serve:", "Watch:", "Use:", "Check models:", "Shell:"):
            self.assertIn(group, out)

    def commands(self, path=()):
        """Every command with its flags, from the helps."""
        out = baton(*path, "--help")[1]
        yield path, set(re.findall(r"^ +(?:-\w,)?(--[\w-]+)", out, re.M)) - {"--help", "--version"}
        if "SUBCOMMAND" in out:
            for group in re.split(r"\n\n", out)[1:]:
                for name in re.findall(r"^  ([a-z]+)  ", group, re.M):
                    yield from self.commands((*path, name))

    def test_every_flag_is_in_the_manual_page_and_in_the_completions(self):
        man = baton("man")[1].replace("\\-", "-")
        bash = baton("completion", "bash")[1]
        commands = list(self.commands())
        self.assertGreater(len(commands), 12)
        for path, flags in commands:
            if path:
                self.assertIn(f".SS baton {' '.join(path)}\n", man)
            for flag in flags:
                self.assertIn(f"\\fB{flag}\\fR", man, path)
                self.assertRegex(bash, rf'[" ]{flag}[" ]', path)
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z"], input=baton("man")[1], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def complete(self, *words):
        script = baton("completion", "bash")[1] + """
COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _baton; printf '%s\\n' "${COMPREPLY[@]}"
"""
        done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash_completes_commands_flags_values_and_files(self):
        self.assertIn("serve", self.complete("baton", ""))
        self.assertEqual(self.complete("baton", "be"), ["bench"])
        self.assertIn("--num-prompts", self.complete("baton", "bench", "serve", "--num"))
        self.assertEqual(self.complete("baton", "serve", "--log-level", ""), ["debug", "info", "warn", "error"])
        self.assertIn("router", self.complete("baton", "config", ""))
        self.assertIn("/etc/passwd", self.complete("baton", "serve", "--model", "/etc/passw"))

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_accepts_its_script(self):
        done = subprocess.run(["zsh", "-n"], input=baton("completion", "zsh")[1], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_each_flag_has_an_environment_variable_and_a_flag_wins_over_it(self):
        code, _, errors = baton("chat", environment={"BATON_CHAT_URL": "http://127.0.0.1:9"})
        self.assertEqual(code, 1)
        self.assertIn("127.0.0.1:9", errors)
        # Another command's variable, with a value that it would refuse, is nobody else's affair.
        self.assertEqual(baton("config", "router", environment={"BATON_PREFILL": "many", "BATON_CHAT_URL": "?"})[0], 0)
        code, _, errors = baton("serve", "--model", "/none", environment={"BATON_PREFILL": "many"})
        self.assertEqual(code, 2)
        code, _, errors = baton("serve", "--model", "/none", "--prefill", "1", environment={"BATON_PREFILL": "many"})
        self.assertIn("/none", errors)


class Serve(unittest.TestCase):
    def test_serve_says_what_it_chose_logs_objects_and_counts_what_runs(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            config = write(folder, "all", f'model: "{tiny_model()}"\nkv_bytes: {16 << 20}\nmax_batch: 3\nlog_format: "json"\n')
            serve = Process("serve", ["baton", "serve", "--config", config, "--speculation", "ngram", "--status-interval-s", "1"],
                            {"BATON_PORT": str(port), "BATON_SERVED_MODEL_NAME": "t0"})
            try:
                wait_until(lambda: any("curl" in line for line in serve.log), 30, lambda: "\n".join(serve.log))
                banner = "\n".join(line for line in serve.log if not line.startswith("{"))
                for what in ("is ready after", "t0 (llama, ", "the best of what this CPU has", "prefill-0  p_chip", "as --kv-bytes says",
                             f"http://127.0.0.1:{port}/v1; the page at /"):
                    self.assertIn(what, banner)
                body = {"model": "t0", "prompt": [1, 2, 3], "max_tokens": 40}
                status, _, head = request(f"127.0.0.1:{port}", "POST", "/v1/completions", body)
                self.assertEqual(status, 200)

                def logged():
                    return [json.loads(line) for line in serve.log if line.startswith("{")]
                wait_until(lambda: any(line["child"] == "serve" and "output tokens/s" in line["message"] for line in logged()), 20,
                           lambda: "\n".join(serve.log))
                self.assertTrue(any(head["x-request-id"] in line["message"] for line in logged()), serve.log)
            finally:
                serve.kill(signal.SIGINT)
            self.assertEqual(serve.wait(), 0, serve.log)
            serve.popen.stdout.close()

    def test_serve_refuses_what_makes_no_sense(self):
        for arguments, says in ((["--model", "/m", "--listen", "127.0.0.1:1"], "needs --role"), (["--role", "router", "--max-batch", "3"], "--max-batch"),
                                (["--role", "king"], "king"), (["--model", "/m", "--max-batch", "0"], "1 to 1024"), ([], "--model is required")):
            code, _, errors = baton("serve", *arguments)
            self.assertEqual(code, 2, arguments)
            self.assertIn(says, errors)

    def test_a_role_takes_its_keys_and_leaves_the_environment_of_others(self):
        node = Process("node", ["baton", "serve", "--role", "decode", "--model", tiny_model(), "--router", "127.0.0.1:9", "--insecure", "--kv-bytes",
                                str(16 << 20)], {"BATON_HTTP_THREADS": "3", "BATON_THREADS": "1"})
        self.assertIn("1 thread", node.wait_ready()["device"])
        node.kill(signal.SIGTERM)
        self.assertEqual(node.wait(), 0, node.log)
        node.popen.stdout.close()


if __name__ == "__main__":
    unittest.main()
