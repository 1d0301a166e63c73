"""What the tests of vocabularies and chat templates share: llama.cpp's files and the probe."""

import json
import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
SKIPPED = 77


def folder():
    """The folder of scripts/text_vectors. Ends the test as skipped where it is not there and nobody insists."""
    cache = os.environ.get("BATON_CACHE_DIR") or os.path.join(os.path.expanduser("~"), ".cache", "baton")
    path = os.path.join(cache, "text_vectors-0.3.36")
    if os.path.exists(os.path.join(path, "complete")):
        return path
    if os.environ.get("BATON_REQUIRE_MODEL") != "1":
        print("skipped: scripts/text_vectors has not been run, and BATON_REQUIRE_MODEL is not 1")
        sys.exit(SKIPPED)
    return subprocess.run([os.path.join(ROOT, "scripts", "text_vectors")], check=True, capture_output=True,
                          text=True).stdout.strip()


def probe(arguments, jobs):
    binary = os.path.join(os.environ["BATON_BIN_DIR"], "text_probe")
    result = subprocess.run([binary, *arguments], input=json.dumps(jobs), capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return json.loads(result.stdout)
