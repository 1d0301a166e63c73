#!/usr/bin/env python3
"""`baton serve` with a Hugging Face folder: found in the cache by its name, tokenizer and chat template from its files."""

import json
import os
import re
import shutil
import signal
import subprocess
import struct
import tempfile
import unittest

from cluster import BIN_DIR, Process, request, wait_until

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden/qwen3")
MODEL_ID = "some-org/Tiny-0.1B"
VOCABULARY = 288


def byte_characters():
    """GPT-2's character of each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def tokenizer_json():
    """Ids 0 to 3 are special, then one token a byte, then a few merges: fewer than the model has."""
    special = ["<unk>", "<|im_start|>", "<|im_end|>", "<pad>"]
    characters = byte_characters()
    merges = [["h", "e"], ["l", "l"], ["he", "ll"], ["hell", "o"]]
    tokens = special + characters + ["".join(merge) for merge in merges]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, text in enumerate(special)],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
    }


def golden(name):
    with open(os.path.join(GOLDEN, "golden.safetensors"), "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    begin, end = json.loads(data[8:8 + size])[name]["data_offsets"]
    return list(struct.unpack(f"<{(end - begin) // 4}i", data[8 + size + begin:8 + size + end]))


def make_cache(home):
    """A Hugging Face cache below `home` with the one model, as downloads leave it."""
    repository = os.path.join(home, "hub", "models--" + MODEL_ID.replace("/", "--"))
    snapshot = os.path.join(repository, "snapshots", "0123abcd")
    os.makedirs(snapshot)
    os.makedirs(os.path.join(repository, "refs"))
    with open(os.path.join(repository, "refs", "main"), "w") as file:
        file.write("0123abcd")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(os.path.join(GOLDEN, name), snapshot)
    files = {
        "tokenizer.json": json.dumps(tokenizer_json()),
        "tokenizer_config.json": json.dumps({"eos_token": "<|im_end|>", "bos_token": None, "add_bos_token": False}),
        "chat_template.jinja": "{% for m in messages %}<|im_start|>{{ m['content'] }}{{ eos_token }}{% endfor %}",
        "generation_config.json": json.dumps({"eos_token_id": [2, 3]}),
    }
    for name, text in files.items():
        with open(os.path.join(snapshot, name), "w") as file:
            file.write(text)
    return snapshot


class ServeFolder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp()
        make_cache(cls.home)
        cls.server = Process("serve", ["baton", "serve", "--model", MODEL_ID, "--port", "0", "--threads", "1",
                                       "--kv-bytes", str(16 << 20), "--max-model-len", "512"],
                             {"HF_HOME": cls.home, "HF_HUB_CACHE": ""})
        try:
            cls.http = cls.wait_http()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def wait_http(cls):
        def address():
            return next((found[1] for found in (re.match(r"\s+HTTP\s+http://(\S+)/v1", line) for line in list(cls.server.log))
                         if found), None)

        wait_until(lambda: address() or cls.server.popen.poll() is not None, 60, "the server to be ready")
        if address() is None:
            raise AssertionError("\n".join(cls.server.log[-40:]))
        return address()

    @classmethod
    def tearDownClass(cls):
        cls.server.kill(signal.SIGTERM)
        cls.server.wait(30)
        cls.server.popen.stdout.close()
        shutil.rmtree(cls.home)

    def post(self, path, body):
        status, text, _ = request(self.http, "POST", path, body)
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def test_the_model_has_the_name_it_was_asked_by_and_the_context_it_was_given(self):
        model = json.loads(request(self.http, "GET", "/v1/models")[1])["data"][0]
        self.assertEqual((model["id"], model["max_model_len"]), (MODEL_ID, 512))

    def test_greedy_tokens_are_those_of_the_reference(self):
        answer = self.post("/v1/completions", {"model": MODEL_ID, "prompt": golden("prompt0.input_ids"), "temperature": 0,
                                               "max_tokens": 24, "return_token_ids": True})
        self.assertEqual(answer["choices"][0]["token_ids"], golden("prompt0.greedy_ids"))

    def test_text_becomes_tokens_by_tokenizer_json_and_chat_by_the_template(self):
        tokens = self.post("/tokenize", {"model": MODEL_ID, "prompt": "hello<|im_end|>"})["tokens"]
        self.assertEqual(tokens, [263, 2])
        answer = self.post("/v1/chat/completions", {"model": MODEL_ID, "messages": [{"role": "user", "content": "hello"}],
                                                    "max_tokens": 5, "temperature": 0, "ignore_eos": True})
        self.assertEqual(answer["usage"]["prompt_tokens"], 3)
        self.assertEqual(answer["usage"]["completion_tokens"], 5)

    def test_a_name_that_is_nowhere_says_where_was_looked(self):
        done = subprocess.run([os.path.join(BIN_DIR, "baton"), "serve", "--model", "some-org/other"], capture_output=True,
                              text=True, timeout=60, env={**os.environ, "HF_HUB_CACHE": self.home})
        self.assertEqual(done.returncode, 1)
        self.assertIn(os.path.join(self.home, "models--some-org--other"), done.stderr)


if __name__ == "__main__":
    unittest.main()
