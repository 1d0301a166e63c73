#!/usr/bin/env python3
"""Every RPC has a deadline: each file that makes a call sets one, or is listed here with its reason."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ["base", "device", "models", "kvcache", "engine", "server", "prefill_node", "decode_node", "router", "cli",
           "bench"]
# Streams that last as long as a membership; keepalive pings notice a peer that vanished.
WITHOUT = {"server/registration.cc", "bench/router/modelled_node.cc"}


class DeadlineTest(unittest.TestCase):
    def test_who_makes_calls_sets_deadlines(self):
        without, callers = [], 0
        for folder in FOLDERS:
            for path in sorted((ROOT / folder).rglob("*")):
                if path.suffix not in (".cc", ".h"):
                    continue
                text = path.read_text()
                # A context that is made here, not one that is only named.
                made = len(re.findall(r"grpc::ClientContext (?:\w+;|context\b)", text))
                if not made:
                    continue
                callers += 1
                name = str(path.relative_to(ROOT))
                sets = "set_deadline(" in text or (path.name == "stream_call.h")  # node_client.cc sets those
                if not sets and name not in WITHOUT:
                    without.append(name)
        self.assertEqual(without, [])
        self.assertGreaterEqual(callers, 4)


if __name__ == "__main__":
    unittest.main()
