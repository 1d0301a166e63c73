#!/usr/bin/env python3
"""Makes unigram_vectors.json: texts and their ids by sentencepiece itself, given the vocabulary and the character map of
llama.cpp's ggml-vocab-nomic-bert-moe.gguf, for which it publishes no ids.
Run by hand:   pip install gguf sentencepiece protobuf && tests/models/text/make_unigram_vectors.py >
               tests/models/text/unigram_vectors.json"""

import json
import os
import random

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

import text_vectors

CHARACTERS = "a\u00e9 \u00fc\ufb01\u00bd\u00b2\u2460\u2163\u3000\uff76\uff9e\ud55c\uae00\u6f22\u5b57\u304b\u306a\u0301\u200b\t\n ... e"


def processor(path):
    fields = gguf.GGUFReader(path).fields

    def read(key):
        return fields["tokenizer.ggml." + key].contents()

    model = sentencepiece_model_pb2.ModelProto()
    for text, score, kind in zip(read("tokens"), read("scores"), read("token_type")):
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    model.trainer_spec.unk_id = read("unknown_token_id")
    model.normalizer_spec.precompiled_charsmap = bytes(byte & 255 for byte in read("precompiled_charsmap"))
    model.normalizer_spec.add_dummy_prefix = read("add_space_prefix")
    model.normalizer_spec.remove_extra_whitespaces = read("remove_extra_whitespaces")
    made = sentencepiece.SentencePieceProcessor()
    made.LoadFromSerializedProto(model.SerializeToString())
    return made


def main():
    folder = os.path.join(text_vectors.folder(), "vocabularies")
    with open(os.path.join(folder, "ggml-vocab-gpt-2.gguf.inp"), encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    choose = random.Random(4)
    texts += ["".join(choose.choice(CHARACTERS) for _ in range(choose.randrange(1, 30))) for _ in range(60)]
    encode = processor(os.path.join(folder, "ggml-vocab-nomic-bert-moe.gguf")).EncodeAsIds
    print(json.dumps([{"text": text, "ids": encode(text)} for text in texts], indent=None).replace("}, {", "},\n{"))


main()
