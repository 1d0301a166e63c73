#!/usr/bin/env python3
"""Prefill and decode speed of OpenVINO GenAI on a GGUF file, as JSON (called by bench/peers/side_by_side.py).

Runs in a virtual environment that has openvino-genai. Every prompt is new, so that a prefix cache does not help.
"""

import argparse
import json
import random

import numpy
import openvino
import openvino_genai


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64, help="0: only the prompt")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=32000)
    arguments = parser.parse_args()
    pipeline = openvino_genai.LLMPipeline(arguments.model, "CPU", INFERENCE_NUM_THREADS=arguments.threads)
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = max(1, arguments.generate)
    config.min_new_tokens = config.max_new_tokens
    config.ignore_eos = True
    config.do_sample = False
    config.apply_chat_template = False
    numbers = random.Random(1)
    prefill, decode = [], []
    for run in range(arguments.runs + 1):
        ids = numpy.array([[numbers.randrange(1000, arguments.vocabulary) for _ in range(arguments.prompt)]])
        metrics = pipeline.generate(openvino.Tensor(ids.astype(numpy.int64)), config).perf_metrics
        if run == 0:
            continue  # compiles and warms up
        prefill.append(arguments.prompt / metrics.get_ttft().mean * 1e3)
        if arguments.generate > 1:
            decode.append(1e3 / metrics.get_tpot().mean)
    print(json.dumps({"prefill_tokens_per_s": prefill, "decode_tokens_per_s": decode}))


if __name__ == "__main__":
    main()
