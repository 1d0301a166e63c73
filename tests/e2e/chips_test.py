#!/usr/bin/env python3
"""`baton chips` and `baton doctor`: the timing model's tables, and a chip that is not ours."""

import json
import os
import subprocess
import tempfile
import unittest

from cluster import BIN_DIR, SLOWNESS, Cluster

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BATON = os.path.join(BIN_DIR, "baton")
PLAIN = os.path.join(BIN_DIR, "..", "tests", "device", "plugin", "libplain_chip.so")


def baton(*arguments):
    done = subprocess.run([BATON, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=300 * SLOWNESS)
    return done.returncode, done.stdout, done.stderr


class Chips(unittest.TestCase):
    def test_every_spec_file_reads_and_every_figure_has_a_source(self):
        code, out, errors = baton("chips", "list")
        self.assertEqual((code, errors), (0, ""))
        names = [line.split()[0] for line in out.splitlines()]
        self.assertLessEqual({"p_chip_gen1", "d_chip_gen1", "d_chip_gen2", "h100_sxm", "h200", "b200"}, set(names))
        for name in names:
            code, out, errors = baton("chips", "show", name)
            self.assertEqual((code, errors), (0, ""), name)
            self.assertGreater(len(out.splitlines()), 6)

    def test_a_plan_of_deepseek_v3_has_the_sizes_that_its_makers_publish(self):
        code, out, _ = baton("chips", "plan", "--model", "deepseek-v3", "--chip", "d_chip_gen1", "--json")
        self.assertEqual(code, 0)
        plan = json.loads(out)
        self.assertEqual(plan["kind"], "modelled")
        self.assertAlmostEqual(plan["weights"] / 1e9, 671, delta=1)
        self.assertAlmostEqual(plan["active_weights"] / 1e9, 37, delta=1)
        self.assertEqual(plan["kv_bytes_per_token"], 70272)
        self.assertLessEqual(plan["weight_bytes"] / plan["chips"], 64e9)
        self.assertAlmostEqual(sum(op["seconds"] for op in plan["ops"]), plan["seconds"], delta=1e-9)

    def test_every_table_says_that_it_is_modelled(self):
        for arguments in (["compare"], ["roofline", "--chip", "h200"], ["plan", "--chip", "h200"]):
            code, out, _ = baton("chips", *arguments, "--model", "llama-3.1-8b")
            self.assertEqual(code, 0)
            self.assertIn("modelled", out.splitlines()[0])

    def test_roofline_draws_itself(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "step.svg")
            self.assertEqual(baton("chips", "roofline", "--model", "qwen3-8b", "--chip", "b200", "--svg", path)[0], 0)
            with open(path) as file:
                self.assertIn("modelled", file.read())

    def test_what_is_wrong_is_named(self):
        code, _, errors = baton("chips", "show", "nothing")
        self.assertEqual(code, 2)
        self.assertIn("h100_sxm", errors)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.textproto")
            with open(path, "w") as file:
                file.write('name: "x" dies {value: 1}')
            code, _, errors = baton("chips", "show", path)
            self.assertEqual(code, 2)
            self.assertIn("dies has no source", errors)


class Plugin(unittest.TestCase):
    def test_doctor_passes_the_example_chip_and_names_what_it_lacks(self):
        code, out, errors = baton("doctor", "--quick", "--device", f"plugin:{PLAIN}")
        self.assertEqual(code, 0, out)
        self.assertIn(", 0 failed", out.splitlines()[-1])
        self.assertIn("rms_norm", errors)

    def test_doctor_says_why_a_device_does_not_open(self):
        code, _, errors = baton("doctor", "--device", "plugin:/nowhere.so")
        self.assertEqual(code, 1)
        self.assertIn("/nowhere.so", errors)

    def test_a_plugin_decodes_what_a_p_chip_prefilled(self):
        answers = []
        for device in ("cpu", f"plugin:{PLAIN}"):
            cluster = Cluster(router_flags=["--served-model-name", "t0"], decode_flags=["--device", device])
            try:
                status, body, _ = cluster.post("/v1/completions", {
                    "model": "t0", "prompt": [5, 6, 7, 8, 9], "max_tokens": 8, "temperature": 0})
                self.assertEqual(status, 200, body)
                answers.append(body["choices"][0]["text"])
            finally:
                cluster.stop()
        self.assertEqual(answers[0], answers[1])


if __name__ == "__main__":
    unittest.main()
