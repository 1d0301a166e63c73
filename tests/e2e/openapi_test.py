#!/usr/bin/env python3
"""/openapi.json tells the truth: schemathesis finds no request that is answered otherwise than it says."""

import json
import os
import subprocess
import sys
import unittest

from client_packages import FOLDER
from cluster import Cluster

CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemathesis.toml")
EXAMPLES = os.environ.get("BATON_SCHEMATHESIS_EXAMPLES", "8")  # a path


class OpenApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(router_flags=["--served-model-name", "t0"])

    @classmethod
    def tearDownClass(cls):
        cls.cluster.wait_all_free()
        cls.cluster.stop()

    def test_every_path_is_described_and_answers(self):
        description = json.loads(self.cluster.get("/openapi.json")[1])
        self.assertEqual(description["openapi"], "3.1.0")
        self.assertRegex(description["info"]["version"], r"^\d")
        for path, methods in description["paths"].items():
            status, _, headers = self.cluster.get(path.replace("{id}", "t0"))
            self.assertEqual(status, 200 if "get" in methods else 405, path)
            if status == 405:
                self.assertEqual(headers["allow"], "POST")

    def test_schemathesis_finds_no_failure(self):
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", f"http://{self.cluster.http}/openapi.json", "--seed", "1",
             "--max-examples", EXAMPLES, "--suppress-health-check", "all", "--no-color", "--request-timeout", "60"],
            env={**os.environ, "PYTHONPATH": os.path.join(FOLDER, "python")}, capture_output=True, text=True, timeout=280,
            cwd=FOLDER)
        said = "\n".join(line[:800] for line in run.stdout.splitlines() if line)
        self.assertEqual(run.returncode, 0, said[-12000:] + run.stderr[-2000:])


if __name__ == "__main__":
    unittest.main()
