#!/usr/bin/env python3
"""The JSON-Schema test suite, Draft 2020-12: each schema is enforced or refused, none enforced wrongly, and docs/api.md
tells how many. --print shows every text that is refused although it is valid."""

import glob
import json
import os
import re
import subprocess
import sys
import unittest

from client_packages import ROOT, SCHEMA_SUITE
from cluster import BIN_DIR, tiny_model


def groups():
    root = os.path.join(SCHEMA_SUITE, "tests/draft2020-12")
    for path in sorted(glob.glob(os.path.join(root, "**/*.json"), recursive=True)):
        with open(path, encoding="utf-8") as file:
            for group in json.load(file):
                yield os.path.relpath(path, root), group


class SchemaSuiteTest(unittest.TestCase):
    def test_no_schema_is_enforced_wrongly(self):
        cases = list(groups())
        self.assertGreater(len(cases), 300)
        lines = [json.dumps({"kind": "json", "source": json.dumps(group["schema"]),
                             "texts": [json.dumps(t["data"], ensure_ascii=False) for t in group["tests"]]})
                 for _, group in cases]
        probe = subprocess.run([os.path.join(BIN_DIR, "grammar_probe"), tiny_model()], input="\n".join(lines) + "\n",
                               capture_output=True, text=True, check=True)
        answers = [json.loads(line) for line in probe.stdout.splitlines()]
        self.assertEqual(len(answers), len(cases))
        enforced = refused = narrow = 0
        wrong = []
        for (path, group), answer in zip(cases, answers):
            if "error" in answer:
                refused += 1
                self.assertGreater(len(answer["error"]), 10)  # says why
                continue
            enforced += 1
            for test, accepted in zip(group["tests"], answer["accepted"]):
                if accepted and not test["valid"]:
                    wrong.append((path, group["description"], test["description"]))
                if not accepted and test["valid"]:
                    narrow += 1
                    if "--print" in sys.argv:
                        print("narrower:", path, "|", group["description"], "|", test["description"])
        self.assertEqual(wrong, [])
        self.assertGreater(enforced, 150)
        with open(os.path.join(ROOT, "docs/api.md"), encoding="utf-8") as file:
            told = re.search(r"\*\*(\d+) schemas are enforced, (\d+) are refused", file.read())
        self.assertEqual((str(enforced), str(refused)), told.groups(), f"docs/api.md; {narrow} valid texts are refused")


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a != "--print"])
