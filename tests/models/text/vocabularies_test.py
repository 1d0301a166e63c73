#!/usr/bin/env python3
"""Token ids equal those of llama.cpp on the vocabularies that it publishes texts and ids for, and those of sentencepiece on a
unigram vocabulary."""

import glob
import json
import os
import sys

import text_vectors

SEPARATOR = "\n__ggml_vocab_test__\n"
# WordPiece vocabularies belong to encoders, which Baton does not serve.
REFUSED = {"bert-bge": 'tokenizer.ggml.model is "bert"'}
EXPECTED = {"command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe", "llama-spm", "mpt",
            "phi-3", "qwen2", "qwen35", "refact", "starcoder"}


def main():
    failures, seen = [], set()
    for path in sorted(glob.glob(os.path.join(text_vectors.folder(), "vocabularies", "*.gguf.inp"))):
        model = path[:-len(".inp")]
        name = os.path.basename(model)[len("ggml-vocab-"):-len(".gguf")]
        with open(path, encoding="utf-8", newline="") as file:
            texts = file.read().split(SEPARATOR)
        texts = texts[:-1] if texts[-1] == "" else texts  # each ends in a separator
        with open(model + ".out", encoding="utf-8") as file:
            wanted = [[int(token) for token in line.split()] for line in file.read().splitlines()]
        if len(texts) != len(wanted):
            failures.append(f"{name}: {len(texts)} texts, {len(wanted)} lines of ids")
            continue
        try:
            got = text_vectors.probe(["encode", model], texts)
        except RuntimeError as error:
            if name in REFUSED and REFUSED[name] in str(error):
                print(f"{name}: refused, as it should be")
            else:
                failures.append(f"{name}: {error}")
            continue
        seen.add(name)
        wrong = [index for index in range(len(texts)) if got[index] != wanted[index]]
        print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} texts")
        for index in wrong[:5]:
            failures.append(f"{name}: {texts[index]!r}\n  needed {wanted[index]}\n  got    {got[index]}")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "unigram_vectors.json"), encoding="utf-8") as file:
        vectors = json.load(file)
    model = os.path.join(text_vectors.folder(), "vocabularies", "ggml-vocab-nomic-bert-moe.gguf")
    got = text_vectors.probe(["encode", model], [vector["text"] for vector in vectors])
    wrong = [(vector, ids) for vector, ids in zip(vectors, got) if vector["ids"] != ids]
    print(f"nomic-bert-moe (unigram): {len(vectors) - len(wrong)} of {len(vectors)} texts, ids of sentencepiece")
    failures += [f"nomic-bert-moe: {vector['text']!r}\n  needed {vector['ids']}\n  got    {ids}" for vector, ids in wrong[:5]]
    if seen != EXPECTED:
        failures.append(f"vocabularies: {sorted(seen)}, needed {sorted(EXPECTED)}")
    print("\n".join(failures))
    sys.exit(1 if failures else 0)


main()
