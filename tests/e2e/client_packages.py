"""The official client libraries, installed once by scripts/clients; import this before them."""

import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
FOLDER = subprocess.run([os.path.join(ROOT, "scripts/clients")], check=True, capture_output=True, text=True).stdout.strip()
sys.path.insert(0, os.path.join(FOLDER, "python"))
SCHEMA_SUITE = os.path.join(FOLDER, "schema_suite")
NODE_PATH = os.path.join(FOLDER, "node_modules")
