#!/usr/bin/env python3
"""Baton and llama.cpp on one model, interleaved run by run; medians and ratios (called by bench/peers/llama_cpp)."""

import argparse
import json
import platform
import statistics
import subprocess


def run_baton(arguments, device, threads, prompt, generate):
    output = subprocess.run(
        [arguments.baton, "bench", "model", "--model", arguments.model, "--device", device, "--threads", str(threads),
         "--prompt", str(prompt), "--generate", str(generate), "--context", str(arguments.context), "--runs", "1"],
        check=True, capture_output=True, text=True).stdout
    result = json.loads(output)
    key = "prefill_tokens_per_s_median" if prompt else "decode_tokens_per_s_median"
    return result[key], result["device"]


def run_llama(arguments, threads, prompt, generate):
    command = [arguments.llama_bench, "-m", arguments.model, "-t", str(threads), "-r", "1", "-o", "json",
               "-p", str(prompt), "-n", str(generate)]
    if generate:
        command += ["-d", str(arguments.context)]  # the same number of tokens in the cache as on our side
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)[0]["avg_ts"]


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--baton", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", default="1 2")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--context", type=int, default=128)
    arguments = parser.parse_args()

    print(f"CPU: {cpu_model()}; model: {arguments.model}; medians of {arguments.runs} interleaved runs, tokens/s")
    print("| threads | work | Baton | llama.cpp | ratio | Baton min .. max | llama.cpp min .. max |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in [int(t) for t in arguments.threads.split()]:
        for name, device, prompt, generate in (
                (f"prefill {arguments.prompt}", "p_chip", arguments.prompt, 0),
                (f"decode at {arguments.context}", "d_chip", 0, arguments.generate)):
            ours, theirs = [], []
            for _ in range(arguments.runs):
                speed, described = run_baton(arguments, device, threads, prompt, generate)
                ours.append(speed)
                theirs.append(run_llama(arguments, threads, prompt, generate))
            ratio = statistics.median(ours) / statistics.median(theirs)
            print(f"| {threads} | {name} ({described}) | {statistics.median(ours):.1f} | {statistics.median(theirs):.1f} "
                  f"| {ratio:.2f} | {min(ours):.1f} .. {max(ours):.1f} | {min(theirs):.1f} .. {max(theirs):.1f} |",
                  flush=True)


if __name__ == "__main__":
    main()
