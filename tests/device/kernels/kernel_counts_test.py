#!/usr/bin/env python3
"""Instructions per item of work of the hot kernels, counted by callgrind: a guard that no load on the machine disturbs.

    kernel_counts_test.py kernel_counts kernel_counts.json [--update]

Fails where a kernel takes over a tenth more than kernel_counts.json allows; --update writes what was counted. Exits with
77, "skipped", on a CPU without AVX2."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

MARGIN = 1.10


def count(binary):
    """{kernel: instructions per item}."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--instr-atstart=no",
                               f"--callgrind-out-file={folder}/out", binary], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout + done.stderr)
        items = {name: int(number) for name, number in (line.split() for line in done.stdout.splitlines())}
        counts = {}
        for path in glob.glob(f"{folder}/out*"):
            text = open(path).read()
            name = re.search(r"^desc: Trigger: Client Request: (\w+)", text, re.M)
            if name:
                total = int(re.search(r"^(?:totals|summary): (\d+)", text, re.M).group(1))
                counts[name.group(1)] = total / items[name.group(1)]
    return counts


def main():
    if "avx2" not in open("/proc/cpuinfo").read():
        print("no AVX2 here: nothing to count")
        sys.exit(77)
    counts = count(sys.argv[1])
    if "--update" in sys.argv:
        with open(sys.argv[2], "w") as file:
            json.dump({name: round(value, 1) for name, value in sorted(counts.items())}, file, indent=2)
            file.write("\n")
        return
    limits = json.load(open(sys.argv[2]))
    failed = counts.keys() ^ limits.keys()
    for name in failed:
        print(f"{name}: counted or expected, but not both")
    for name in sorted(counts.keys() & limits.keys()):
        worse = counts[name] > limits[name] * MARGIN
        print(f"{name:24} {counts[name]:9.1f} instructions an item, {limits[name]:9.1f} when last recorded"
              f"{'  TOO MANY' if worse else ''}")
        failed |= {name} if worse else set()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
