#!/usr/bin/env python3
"""What is read off prompts: their log-probabilities and embeddings, with prefill nodes and without, against the logits that
`baton score` gives for the same model."""

import base64
import json
import math
import os
import random
import struct
import subprocess
import tempfile
import unittest

from client_packages import FOLDER
from cluster import BIN_DIR, Cluster, tiny_model
from sse import Stream

import openai  # isort: skip

PROMPTS = [[70, 71, 72, 300, 5], [9], [random.Random(1).randrange(4, 1024) for _ in range(300)]]
VOCABULARY = 1024


def reference(device):
    """The log-probabilities of the whole vocabulary behind each token of each prompt."""
    with tempfile.TemporaryDirectory() as folder:
        ids, out = os.path.join(folder, "ids.json"), os.path.join(folder, "out.safetensors")
        with open(ids, "w", encoding="utf-8") as file:
            json.dump(PROMPTS, file)
        subprocess.run([os.path.join(BIN_DIR, "baton"), "score", "--model", tiny_model(), "--device", device, "--ids-file", ids,
                        "--out", out], check=True, capture_output=True)
        with open(out, "rb") as file:
            data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = json.loads(data[8:8 + size])
    prompts = []
    for p, ids in enumerate(PROMPTS):
        begin, end = tensors[f"prompt{p}.logits"]["data_offsets"]
        logits = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])
        rows = [logits[r * VOCABULARY:(r + 1) * VOCABULARY] for r in range(len(ids))]
        totals = [math.log(math.fsum(map(math.exp, row))) for row in rows]
        prompts.append([[x - total for x in row] for row, total in zip(rows, totals)])
    return prompts


class ReadingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        flags = ["--served-model-name", "t0"]
        cls.clusters = {"apart": Cluster(router_flags=flags, prefill_flags=["--step-tokens", "256"]),
                        "together": Cluster(prefill=0, router_flags=[*flags, "--disaggregate", "never"],
                                            decode_flags=["--device", "p_chip"])}
        cls.reference = reference("p_chip")

    @classmethod
    def tearDownClass(cls):
        for cluster in cls.clusters.values():
            cluster.wait_all_free()
            cluster.stop()

    def ask(self, cluster, path, body):
        status, answer, _ = self.clusters[cluster].post(path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def check_scores(self, prompt, told, top, form):
        """`told`: of each token from the second on, {id or text: log-probability}, its own first."""
        for at, (own, others) in enumerate(told, start=1):
            expected = self.reference[prompt][at - 1]
            self.assertAlmostEqual(own, expected[PROMPTS[prompt][at]], delta=2e-4)
            best = sorted(expected, reverse=True)[:top]
            for value, wanted in zip(sorted(others, reverse=True), best):
                self.assertAlmostEqual(value, wanted, delta=2e-4, msg=form)

    def test_an_echo_scores_its_prompt(self):
        body = {"prompt": PROMPTS, "echo": True, "logprobs": 3, "max_tokens": 0}
        answers = {name: self.ask(name, "/v1/completions", body) for name in self.clusters}
        self.assertEqual(answers["apart"]["choices"], answers["together"]["choices"])
        self.assertEqual(answers["apart"]["usage"]["completion_tokens"], 0)
        for p, choice in enumerate(answers["apart"]["choices"]):
            logprobs = choice["logprobs"]
            self.assertEqual([len(logprobs[key]) for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset")],
                             [len(PROMPTS[p])] * 4)
            self.assertIsNone(logprobs["token_logprobs"][0])
            self.assertIsNone(logprobs["top_logprobs"][0])
            told = [(own, top.values()) for own, top in zip(logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:])]
            self.check_scores(p, told, 3, "echo")

    def test_scores_are_those_of_the_slow_reference_as_far_as_quantised_arithmetic_goes(self):
        exact = reference("cpu")
        errors = []
        for p, choice in enumerate(self.ask("apart", "/v1/completions", {"prompt": PROMPTS, "echo": True, "logprobs": 0,
                                                                         "max_tokens": 0})["choices"]):
            for at in range(1, len(PROMPTS[p])):
                errors.append(abs(choice["logprobs"]["token_logprobs"][at] - exact[p][at - 1][PROMPTS[p][at]]))
        # Activations of 8 bits and weights of 4: 0.025 and 0.062 here. The probability of a token at random is e^-7.
        self.assertLess(math.sqrt(math.fsum(e * e for e in errors) / len(errors)), 0.05)
        self.assertLess(max(errors), 0.2)

    def test_prompt_logprobs_are_told_with_ranks_and_change_no_token(self):
        greedy = {"prompt": PROMPTS[2], "temperature": 0, "ignore_eos": True, "max_tokens": 8}
        plain = self.ask("apart", "/v1/completions", greedy)  # the prompt is cached now
        for name in self.clusters:
            choice = self.ask(name, "/v1/completions", {**greedy, "prompt_logprobs": 2})["choices"][0]
            self.assertEqual(choice["text"], plain["choices"][0]["text"])
            scores = choice["prompt_logprobs"]
            self.assertIsNone(scores[0])
            told = []
            for at, entries in enumerate(scores[1:], start=1):
                own = entries[str(PROMPTS[2][at])]
                row = self.reference[2][at - 1]
                self.assertEqual(own["rank"], 1 + sum(x > row[PROMPTS[2][at]] for x in row))
                told.append((own["logprob"], [e["logprob"] for e in entries.values() if e["rank"] <= 2]))
            self.check_scores(2, told, 2, "prompt_logprobs")

    def test_a_stream_and_the_way_of_lm_eval(self):
        # lm-eval asks for one token more and drops it.
        body = {"model": "t0", "prompt": [PROMPTS[0]], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0, "seed": 1234}
        choice = self.ask("apart", "/v1/completions", body)["choices"][0]
        context = 2
        logprobs = choice["logprobs"]["token_logprobs"][context:-1]
        self.assertAlmostEqual(sum(logprobs), sum(self.reference[0][at - 1][PROMPTS[0][at]] for at in range(2, 5)), delta=1e-3)
        for token, top in zip(choice["logprobs"]["tokens"][context:-1], choice["logprobs"]["top_logprobs"][context:-1]):
            self.assertIn(token, top)
        stream = Stream(self.clusters["apart"].http, "/v1/completions", {**body, "stream": True})
        chunks = [c for chunk in stream.events() for c in chunk["choices"]]
        stream.close()
        self.assertEqual([x for c in chunks if c["logprobs"] for x in c["logprobs"]["token_logprobs"]],
                         choice["logprobs"]["token_logprobs"])
        self.assertEqual("".join(c["text"] for c in chunks), choice["text"])

    def test_embeddings_have_length_one_and_depend_on_their_text_alone(self):
        body = {"input": PROMPTS}
        answers = {name: self.ask(name, "/v1/embeddings", body) for name in self.clusters}
        self.assertEqual(answers["apart"]["data"], answers["together"]["data"])
        self.assertEqual(answers["apart"]["usage"], {"prompt_tokens": 306, "total_tokens": 306})
        for p, entry in enumerate(answers["apart"]["data"]):
            self.assertEqual((entry["index"], len(entry["embedding"])), (p, 64))
            self.assertAlmostEqual(math.fsum(x * x for x in entry["embedding"]), 1, delta=1e-5)
            alone = self.ask("apart", "/v1/embeddings", {"input": PROMPTS[p], "encoding_format": "base64"})["data"][0]
            self.assertEqual(struct.unpack("<64f", base64.b64decode(alone["embedding"])),
                             tuple(struct.unpack("f", struct.pack("f", x))[0] for x in entry["embedding"]))
        raw = self.ask("apart", "/v1/embeddings", {"input": PROMPTS[1], "normalize": False})["data"][0]["embedding"]
        length = math.sqrt(math.fsum(x * x for x in raw))
        for a, b in zip(raw, answers["apart"]["data"][1]["embedding"]):
            self.assertAlmostEqual(a / length, b, delta=1e-6)

    def test_the_openai_client(self):
        client = openai.OpenAI(base_url=f"http://{self.clusters['apart'].http}/v1", api_key="none", max_retries=0)
        packed = client.embeddings.create(model="t0", input=["Hello", "you"])  # it asks for base64
        plain = client.embeddings.create(model="t0", input=["Hello", "you"], encoding_format="float")
        for a, b in zip(packed.data, plain.data):
            self.assertEqual(len(a.embedding), 64)
            for x, y in zip(a.embedding, b.embedding):
                self.assertAlmostEqual(x, y, delta=1e-7)
        self.assertEqual(packed.usage.prompt_tokens, plain.usage.total_tokens)
        with self.assertRaises(openai.BadRequestError) as caught:
            client.embeddings.create(model="t0", input="Hello", dimensions=8)
        self.assertEqual(caught.exception.param, "dimensions")
        client.close()

    def test_the_grpc_twin(self):
        code = """
import sys
import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
channel = grpc.insecure_channel(sys.argv[1])
pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
types = {m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName('baton.v1.' + m.name))
         for method in pool.FindServiceByName('baton.v1.Inference').methods for m in (method.input_type, method.output_type)}
request = types['EmbedRequest'](inputs=[{'text': 'Hello'}, {'token_ids': {'ids': [70, 71]}}])
reply = channel.unary_unary('/baton.v1.Inference/Embed', types['EmbedRequest'].SerializeToString,
                            types['EmbedReply'].FromString)(request)
print([len(e.values) for e in reply.embeddings])
"""
        done = subprocess.run(["python3", "-c", code, self.clusters["apart"].grpc], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONPATH": os.path.join(FOLDER, "python")})
        self.assertEqual(done.stdout.strip(), "[64, 64]", done.stderr)


if __name__ == "__main__":
    unittest.main()
