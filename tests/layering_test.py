#!/usr/bin/env python3
"""Includes follow docs/layers.txt, and third-party libraries stay where they belong."""

import os
import re
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
# Third-party headers and the folders that may include them ("tests/" may include anything).
THIRD_PARTY = {
    r"Eigen/": ("device/cpu_reference",),
    r"grpcpp/|grpc/": ("proto", "kvcache/transfer", "server", "engine/node", "prefill_node", "decode_node", "router", "cli", "bench"),
    r"spdlog/": ("server", "prefill_node", "decode_node", "any_node", "router", "cli"),
    r"boost/": ("router", "cli", "bench", "server"),
    r"openssl/": ("server", "cli"),
}
# What a translation unit that is compiled for one ISA level may include: no library code that the linker could pick for
# everybody.
ISA_ALLOWED = re.compile(r"^(immintrin\.h|stdint\.h|device/kernels/(kernel_table\.h|[\w]+\.inl))$")


def layers(root):
    allowed = {}
    with open(os.path.join(root, "docs/layers.txt"), encoding="utf-8") as lines:
        for line in lines:
            line = line.split("#")[0].strip()
            if line:
                name, _, rest = line.partition(":")
                allowed[name.strip()] = set(rest.split())
    return allowed


def component_of(path, allowed):
    """The longest component whose folder holds `path`; kvcache/block_hash is a file pair of its own."""
    found = None
    for name in allowed:
        if path.startswith(name + "/") or path.rsplit(".", 1)[0] == name:
            if found is None or len(name) > len(found):
                found = name
    return found


def sources(root, allowed):
    for name in sorted(allowed):
        top = os.path.join(root, name)
        for folder, _, files in os.walk(top):
            for file in sorted(files):
                if file.endswith((".h", ".cc", ".inl")):
                    yield os.path.relpath(os.path.join(folder, file), root)


def check(root):
    allowed = layers(root)
    problems = []
    for path in sorted(set(sources(root, allowed))):
        mine = component_of(path, allowed)
        isa_file = os.path.basename(path).startswith("isa_") or path.endswith(".inl")
        with open(os.path.join(root, path), encoding="utf-8") as text:
            includes = re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', text.read(), re.M)
        for include in includes:
            if isa_file and not ISA_ALLOWED.match(include):
                problems.append(f"{path}: an ISA file includes {include}")
            if include.startswith("tests/"):
                problems.append(f"{path}: includes {include}")
            for pattern, folders in THIRD_PARTY.items():
                if re.match(pattern, include) and not path.startswith(tuple(f + "/" for f in folders)):
                    problems.append(f"{path}: {include} belongs only in {', '.join(folders)}")
            theirs = component_of(include, allowed)
            if theirs and theirs != mine and theirs not in allowed[mine]:
                problems.append(f"{path}: {mine} may not include {theirs} ({include})")
    for name, below in allowed.items():
        for other in below:
            if other not in allowed:
                problems.append(f"docs/layers.txt: {name} names {other}, which has no line")
            elif name in allowed[other]:
                problems.append(f"docs/layers.txt: {name} and {other} name each other")
    return problems


def finds_planted_violations():
    """The check itself can fail: each planted violation must be found."""
    with tempfile.TemporaryDirectory() as root:
        for folder in ("docs", "base", "device/kernels"):
            os.makedirs(os.path.join(root, folder))
        files = {"docs/layers.txt": "base:\ndevice: base\n", "base/a.h": '#include "device/b.h"\n',
                 "device/b.h": "#include <spdlog/spdlog.h>\n", "device/kernels/isa_x.cc": "#include <vector>\n",
                 "device/c.cc": '#include "tests/d.h"\n#  include <Eigen/Core>\n', "device/d.cc": '#include "base/a.h"\n'}
        for path, text in files.items():
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return len(check(root)) == 5


if __name__ == "__main__":
    if not finds_planted_violations():
        sys.exit("layering_test: planted violations were not found")
    found = check(ROOT)
    print("\n".join(found) or "layering: no violation")
    sys.exit(1 if found else 0)
