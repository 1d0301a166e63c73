#!/usr/bin/env python3
"""Every command that the documentation shows, run as it stands against one cluster.

A block of ```sh, ```python or ```js is run, unless a comment before it says `<!-- not run: REASON -->`. `<!-- until ready -->`: it
serves; it is interrupted once it says that it is ready. What is replaced: the addresses of the default ports by the test's cluster,
model names that stand for a file by the tiny model.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from client_packages import FOLDER, NODE_PATH
from cluster import BIN_DIR, SLOWNESS, Cluster, tiny_model

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
DOCUMENTS = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "README.md", "docs/*.md",
                            "deploy/*.md", "examples/*.md"], check=True, capture_output=True, text=True).stdout.split()
BLOCK = re.compile(r"(?:^ *<!-- (not run: [^>]+|until ready) -->\n)?^( *)```(sh|python|js)\n(.*?)^ *```$", re.M | re.S)
# Four spaces make a block too; commands belong into fences, where this test sees them.
HIDDEN = re.compile(r"^    (?:\$ )?(?:baton|scripts/|curl|docker|promtool|prometheus|apt|python3|cmake|build/release)\b.*$", re.M)


def blocks_of(text):
    """[(mark or "", language, code)]."""
    return [(mark, language, re.sub(rf"^{indent}", "", code, flags=re.M)) for mark, indent, language, code in BLOCK.findall(text)]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A short context ends the answers that no command limits.
        short = ["--max-context", "512"]
        cls.cluster = Cluster(router_flags=["--served-model-name", "SmolLM2-135M-Instruct"], prefill_flags=short, decode_flags=short)
        cls.folder = tempfile.mkdtemp()
        # What a command writes must not land in the repository.
        for name in os.listdir(ROOT):
            if name not in (".git", "build", "certs"):
                os.symlink(os.path.join(ROOT, name), os.path.join(cls.folder, name))
        os.makedirs(os.path.join(cls.folder, "build/release"))
        os.symlink(BIN_DIR, os.path.join(cls.folder, "build/release/bin"))
        os.symlink(NODE_PATH, os.path.join(cls.folder, "node_modules"))
        os.symlink(tiny_model(), os.path.join(cls.folder, "model.gguf"))
        cls.environment = {**os.environ, "PATH": BIN_DIR + ":" + os.environ["PATH"], "NO_COLOR": "1",
                           "PYTHONPATH": os.path.join(FOLDER, "python")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        cls.cluster.stop()

    def as_run(self, code):
        for shown, real in (("127.0.0.1:8000", self.cluster.http), ("127.0.0.1:8001", self.cluster.grpc),
                            ("--port 8000", "--port 0")):
            code = code.replace(shown, real)
        # `baton` without --url means the default port.
        return re.sub(r"\bbaton (chat|top)\b(?!.*--url)", rf"baton \1 --url http://{self.cluster.http}", re.sub(
            r"\bbaton bench serve\b(?!.*--base-url)", f"baton bench serve --base-url http://{self.cluster.http}", code))

    def run_until_ready(self, code):
        process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", "exec " + code.strip()], cwd=self.folder, env=self.environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text, deadline = "", time.monotonic() + 60 * SLOWNESS
        for line in process.stdout:
            text += line
            if "curl -N" in line:
                process.send_signal(signal.SIGINT)
            self.assertLess(time.monotonic(), deadline, text)
        process.stdout.close()
        return process.wait(), text

    def run_block(self, mark, language, code):
        if mark == "until ready":
            return self.run_until_ready(self.as_run(code))
        program = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"],
                   "js": ["node", "--input-type=module", "-e"]}[language]
        done = subprocess.run([*program, self.as_run(code)], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120 * SLOWNESS)
        return done.returncode, done.stdout

    def test_every_command_that_is_shown_works(self):
        ran = 0
        for document in DOCUMENTS:
            for mark, language, code in blocks_of(read(document)):
                if mark.startswith("not run") or (language == "js" and not shutil.which("node")):
                    continue
                with self.subTest(document=document, code=code):
                    status, output = self.run_block(mark, language, code)
                    self.assertEqual(status, 0, output)
                    ran += 1
        self.assertGreaterEqual(ran, 15)

    def test_no_command_hides_outside_a_block_that_is_run(self):
        for document in DOCUMENTS:
            text = BLOCK.sub("", read(document))
            self.assertEqual(HIDDEN.findall(text), [], document)
            self.assertNotRegex(text, r"```(sh|bash|console|python|js)\n", document)

    def test_the_examples_answer(self):
        question, url = "Why is the sky blue?", f"http://{self.cluster.http}"
        langchain = {"PYTHONPATH": os.path.join(FOLDER, "langchain")}
        shutil.copy(os.path.join(ROOT, "examples/openai_client.mjs"), self.folder)
        examples = [(["examples/chat.sh", question, url], {}), ([sys.executable, "examples/openai_client.py", question, url + "/v1"], {}),
                    ([sys.executable, "examples/langchain_client.py", question, url + "/v1"], langchain),
                    ([sys.executable, "examples/grpc_client.py", question, self.cluster.grpc], {}),
                    (["build/release/bin/grpc_client", question, self.cluster.grpc], {})]
        if shutil.which("node"):
            examples.append((["node", "openai_client.mjs", question, url + "/v1"], {}))
        for command, environment in examples:
            with self.subTest(command=command):
                done = subprocess.run(command, cwd=self.folder, env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=120 * SLOWNESS)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertGreater(len(done.stdout), 20)


if __name__ == "__main__":
    unittest.main()
