#!/usr/bin/env python3
"""Makes format_vectors.json: blocks of every weight format of GGUF and what they mean, by the Python package gguf (0.19.0).
Run by hand:   pip install gguf numpy && python3 tests/device/make_format_vectors.py > tests/device/format_vectors.json"""

import json
import sys

import gguf
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
# Where a block keeps fp16 numbers; random bits there would give infinities and NaN.
HALVES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "MXFP4": []}
VALUES = 1024  # of each type: four K blocks or 32 small ones


def blocks_of(name, random):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = VALUES // elements
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES.get(name, [0]):
        scales = (random.standard_normal(count) * 0.02).astype(np.float16)
        scales[0] = np.float16(6e-7)  # a subnormal one
        blocks[:, at:at + 2] = scales.reshape(-1, 1).view(np.uint8)
    if name == "MXFP4":
        # Close together, so that no few groups decide a row.
        blocks[:, 0] = random.integers(119, 123, count)
        blocks[:4, 0] = [0, 1, 2, 250]
    # The extremes of every field.
    keep = np.ones(size, dtype=bool)
    for at in HALVES.get(name, [0]):
        keep[at:at + 2] = False
    if name == "MXFP4":
        keep[0] = False
    blocks[1, keep] = 0
    blocks[2, keep] = 255
    return blocks


def main():
    random = np.random.default_rng(7)
    vectors = {}
    for name in TYPES:
        blocks = blocks_of(name, random)
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
        vectors[name] = {"blocks": blocks.tobytes().hex(), "values": values.astype("<f4").tobytes().hex()}
    json.dump(vectors, sys.stdout, indent=0)
    print()


main()
