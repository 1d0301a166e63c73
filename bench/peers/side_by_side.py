#!/usr/bin/env python3
"""Baton and its peers on one model, interleaved run by run; medians and ratios (called by bench/peers/llama_cpp and all)."""

import argparse
import json
import platform
import statistics
import subprocess


def output_of(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_baton(arguments, kv, threads, prompt, generate, context):
    result = output_of(
        [arguments.baton, "bench", "model", "--model", arguments.model, "--device", "d_chip" if generate else "p_chip",
         "--threads", str(threads), "--prompt", str(prompt), "--generate", str(generate), "--context", str(context),
         "--kv", kv, "--runs", "1"])
    return result["decode_tokens_per_s_median" if generate else "prefill_tokens_per_s_median"]


def run_llama(arguments, threads, prompt, generate, context):
    command = [arguments.llama_bench, "-m", arguments.model, "-t", str(threads), "-r", "1", "-o", "json",
               "-p", str(prompt), "-n", str(generate)]
    if generate:
        command += ["-d", str(context)]  # the same number of tokens in the cache as on our side
    return output_of(command)[0]["avg_ts"]


def run_openvino(arguments, threads, prompt, generate, context):
    result = output_of(
        [arguments.openvino_python, arguments.openvino_run, "--model", arguments.model, "--threads", str(threads),
         "--prompt", str(context if generate else prompt), "--generate", str(generate), "--runs", "1"])
    return result["decode_tokens_per_s" if generate else "prefill_tokens_per_s"][0]


def contestants(arguments):
    runs = {}
    for kv in arguments.kv.split():
        runs[f"Baton, KV {kv}"] = lambda *work, kv=kv: run_baton(arguments, kv, *work)
    if arguments.llama_bench:
        runs["llama.cpp"] = lambda *work: run_llama(arguments, *work)
    if arguments.openvino_python:
        runs["OpenVINO GenAI"] = lambda *work: run_openvino(arguments, *work)
    return runs


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-bench")
    parser.add_argument("--openvino-python")
    parser.add_argument("--openvino-run")
    parser.add_argument("--baton", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--kv", default="f16", help="cache types of Baton, separated by blanks")
    parser.add_argument("--threads", default="1 2")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--prompt", default="512", help="lengths of prompts, separated by blanks")
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--context", default="128", help="tokens before the generated ones, separated by blanks")
    arguments = parser.parse_args()
    works = [(f"prefill {n}", int(n), 0, 0) for n in arguments.prompt.split()]
    works += [(f"decode at {n}", 0, arguments.generate, int(n)) for n in arguments.context.split()]
    runs = contestants(arguments)
    names = list(runs)

    print(f"CPU: {cpu_model()}; model: {arguments.model}; {arguments.runs} interleaved runs, tokens/s: median (min .. max), "
          f"and how many times that {names[0]} does")
    print("| threads | work | " + " | ".join(names) + " |")
    print("| --- | --- |" + " --- |" * len(names))
    for threads in [int(t) for t in arguments.threads.split()]:
        for name, prompt, generate, context in works:
            speeds = {n: [] for n in names}
            for _ in range(arguments.runs):
                for n in names:
                    speeds[n].append(runs[n](threads, prompt, generate, context))
            ours = statistics.median(speeds[names[0]])
            cells = []
            for n in names:
                median = statistics.median(speeds[n])
                ratio = "" if n == names[0] else f", {ours / median:.2f}x"
                cells.append(f"{median:.1f} ({min(speeds[n]):.1f} .. {max(speeds[n]):.1f}){ratio}")
            print(f"| {threads} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
