#!/usr/bin/env python3
"""Makes the checkpoints in this folder: one matrix [16, 128] each, packed as AutoAWQ and AutoGPTQ pack it, beside its values.
Run by hand:   pip install numpy safetensors && python3 tests/models/int4/make_int4.py"""

import json
import os

import numpy as np
from safetensors.numpy import save_file

FOLDER = os.path.dirname(os.path.abspath(__file__))
OUTPUTS, INPUTS = 16, 128
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack(numbers, order):
    """Int32 words of eight numbers along the last axis; the number at place order[i] takes bits 4 i."""
    numbers = numbers.reshape(*numbers.shape[:-1], -1, 8).astype(np.uint32)
    words = np.zeros(numbers.shape[:-1], np.uint32)
    for i, place in enumerate(order):
        words |= numbers[..., place] << np.uint32(4 * i)
    return words.view(np.int32)


def make(name, quantisation, group, order, zeros_less_one=None, group_of=None):
    random = np.random.default_rng(len(name))
    groups = INPUTS // group
    q = random.integers(0, 16, (OUTPUTS, INPUTS))
    z = random.integers(0, 16, (OUTPUTS, groups))
    s = (random.random((OUTPUTS, groups)) * 0.02 + 0.001).astype(np.float16)
    if group_of is None:
        group_of = np.arange(INPUTS) // group
    values = (q - z[:, group_of]).astype(np.float32) * s[:, group_of].astype(np.float32)
    tensors = {"w.scales": np.ascontiguousarray(s.T), "values": values}
    if zeros_less_one is None:  # AWQ: along the outputs
        tensors["w.qweight"] = pack(np.ascontiguousarray(q.T), order)
        tensors["w.qzeros"] = pack(np.ascontiguousarray(z.T), order)
    else:  # GPTQ: along the inputs
        tensors["w.qweight"] = np.ascontiguousarray(pack(q, range(8)).T)
        tensors["w.qzeros"] = pack(np.ascontiguousarray((z.T - zeros_less_one) & 15), range(8))
        tensors["w.g_idx"] = group_of.astype(np.int32)
    os.makedirs(os.path.join(FOLDER, name), exist_ok=True)
    save_file(tensors, os.path.join(FOLDER, name, "model.safetensors"))
    config = {"model_type": "llama", "quantization_config": {"bits": 4, "group_size": group, **quantisation}}
    with open(os.path.join(FOLDER, name, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
        file.write("\n")


def main():
    make("awq", {"quant_method": "awq", "version": "gemm", "zero_point": True}, 64, AWQ_ORDER)
    make("gptq", {"quant_method": "gptq", "desc_act": False, "sym": False}, 32, None, 1)
    make("gptq_v2", {"quant_method": "gptq", "checkpoint_format": "gptq_v2", "desc_act": False, "sym": False}, 128, None, 0)
    order = np.random.default_rng(1).permutation(INPUTS) // 32
    make("gptq_act_order", {"quant_method": "gptq", "desc_act": True, "sym": False}, 32, None, 1, order)


main()
