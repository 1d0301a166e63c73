#!/usr/bin/env python3
"""The official client libraries of OpenAI and Anthropic against a whole cluster."""

import json
import os
import shutil
import subprocess
import unittest

from client_packages import NODE_PATH
from cluster import Cluster

import anthropic  # isort: skip
import grpc  # isort: skip
import openai  # isort: skip
import pydantic  # isort: skip

MESSAGES = [{"role": "user", "content": "How is the weather in Rome?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1,
                                                                                      "maximum": 9}},
              "required": ["city", "days"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": PARAMETERS}}]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
NODE = """
const OpenAI = require('openai');
const client = new OpenAI({baseURL: process.argv[1] + '/v1', apiKey: 'none'});
(async () => {
  const stream = client.chat.completions.stream({model: 't0', messages: [{role: 'user', content: 'Hi'}], max_tokens: 200,
    seed: 1, tools: JSON.parse(process.argv[2]), tool_choice: 'required', parallel_tool_calls: false});
  const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
  const types = [];
  for await (const event of await client.responses.create({model: 't0', input: 'Hi', max_output_tokens: 8, stream: true}))
    types.push(event.type);
  let code = null;
  try { await client.chat.completions.create({model: 'other', messages: [{role: 'user', content: 'Hi'}]}); } catch (error) { code = error.status; }
  console.log(JSON.stringify({name: call.function.name, arguments: call.function.arguments, types, code}));
})();
"""


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=8)
    size: int


class ClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(router_flags=["--served-model-name", "t0"])
        cls.openai = openai.OpenAI(base_url=f"http://{cls.cluster.http}/v1", api_key="none", max_retries=0)
        cls.anthropic = anthropic.Anthropic(base_url=f"http://{cls.cluster.http}", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.openai.close()
        cls.anthropic.close()
        cls.cluster.wait_all_free()
        cls.cluster.stop()

    def check_arguments(self, text):
        arguments = json.loads(text)
        self.assertIn(arguments["city"], ["Rome", "Oslo"])
        self.assertIn(arguments["days"], range(1, 10))

    def test_models(self):
        self.assertEqual([m.id for m in self.openai.models.list()], ["t0"])
        self.assertEqual(self.openai.models.retrieve("t0").id, "t0")
        with self.assertRaises(openai.NotFoundError):
            self.openai.models.retrieve("other")

    def test_completions(self):
        answer = self.openai.completions.create(model="t0", prompt=["ab", "c"], n=2, max_tokens=4, logprobs=2, seed=1,
                                                stop=None, extra_body={"ignore_eos": True})
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2, 3])
        self.assertEqual(len(answer.choices[0].logprobs.tokens), 4)
        echo = self.openai.completions.create(model="t0", prompt="ab", echo=True, max_tokens=2)
        self.assertTrue(echo.choices[0].text.startswith("ab"))

    def test_chat_stream_with_usage_and_logprobs(self):
        chunks = list(self.openai.chat.completions.create(
            model="t0", messages=MESSAGES, max_completion_tokens=6, stream=True, logprobs=True, top_logprobs=2, seed=2,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(chunks[-1].usage.completion_tokens, 6)
        self.assertEqual(sum(len(c.choices[0].logprobs.content) for c in chunks if c.choices and c.choices[0].logprobs), 6)

    def test_parsed_answers(self):
        answer = self.openai.chat.completions.parse(model="t0", messages=MESSAGES, response_format=City, max_tokens=200, seed=1)
        self.assertIsInstance(answer.choices[0].message.parsed, City)
        answer = self.openai.responses.parse(model="t0", input="A city?", text_format=City, max_output_tokens=200)
        self.assertIsInstance(answer.output_parsed, City)

    def test_tool_calls(self):
        for choice in ("required", NAMED):
            message = self.openai.chat.completions.create(model="t0", messages=MESSAGES, tools=TOOLS, tool_choice=choice,
                                                          parallel_tool_calls=False, max_tokens=200, seed=3).choices[0]
            self.assertEqual(message.finish_reason, "tool_calls")
            call = message.message.tool_calls[0]
            self.assertEqual(call.function.name, "get_weather")
            self.check_arguments(call.function.arguments)
        # The answer goes back with the history of the call.
        history = MESSAGES + [message.message.model_dump(exclude_none=True),
                              {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        answer = self.openai.chat.completions.create(model="t0", messages=history, tools=TOOLS, max_tokens=4)
        self.assertEqual(answer.usage.completion_tokens <= 4, True)

    def test_streamed_tool_calls(self):
        with self.openai.chat.completions.stream(model="t0", messages=MESSAGES, tools=TOOLS, tool_choice="required",
                                                 parallel_tool_calls=False, max_tokens=200, seed=4) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion().choices[0]
        self.assertIn("tool_calls.function.arguments.delta", kinds)
        self.check_arguments(final.message.tool_calls[0].function.arguments)

    def test_responses(self):
        tools = [{"type": "web_search"}, {"type": "function", "strict": True, **TOOLS[0]["function"]}]
        with self.openai.responses.stream(model="t0", input=MESSAGES, instructions="Be short.", tools=tools,
                                          tool_choice="required", parallel_tool_calls=False, max_output_tokens=200) as stream:
            for _ in stream:
                pass
            final = stream.get_final_response()
        self.assertEqual(final.status, "completed")
        self.check_arguments(final.output[0].arguments)
        answer = self.openai.responses.create(model="t0", input="Hi", max_output_tokens=3, extra_body={"ignore_eos": True})
        self.assertEqual((answer.status, answer.usage.output_tokens), ("incomplete", 3))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.openai.responses.create(model="t0", input="Hi", previous_response_id="resp_1")
        self.assertEqual(caught.exception.param, "previous_response_id")

    def test_messages(self):
        tools = [{"name": "get_weather", "input_schema": PARAMETERS}]
        fields = {"model": "t0", "max_tokens": 200, "messages": MESSAGES, "system": "Be short.", "tools": tools}
        with self.anthropic.messages.stream(tool_choice={"type": "any", "disable_parallel_tool_use": True}, **fields) as stream:
            for _ in stream:
                pass
            final = stream.get_final_message()
        self.assertEqual(final.stop_reason, "tool_use")
        self.check_arguments(json.dumps(final.content[0].input))
        count = self.anthropic.messages.count_tokens(model="t0", messages=MESSAGES, system="Be short.", tools=tools)
        self.assertGreater(count.input_tokens, 20)
        answer = self.anthropic.beta.messages.create(model="t0", max_tokens=5, messages=MESSAGES, betas=["tools-2024-04-04"])
        self.assertIn(answer.stop_reason, ("max_tokens", "end_turn"))
        with self.assertRaises(anthropic.NotFoundError):
            self.anthropic.messages.create(model="other", max_tokens=5, messages=MESSAGES)

    def test_errors_and_request_ids(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.openai.chat.completions.create(model="t0", messages=MESSAGES, temperature=9)
        self.assertEqual(caught.exception.param, "temperature")
        raw = self.openai.chat.completions.with_raw_response.create(model="t0", messages=MESSAGES, max_tokens=1,
                                                                    extra_headers={"X-Request-Id": "mine-1"})
        self.assertEqual(raw.headers["x-request-id"], "mine-1")

    def test_grpc_by_reflection(self):
        example = os.path.join(os.path.dirname(__file__), "../../examples/grpc_client.py")
        path = os.path.dirname(os.path.dirname(grpc.__file__))
        done = subprocess.run(["python3", example, "Hi", self.cluster.grpc], capture_output=True, timeout=120,
                              env={**os.environ, "PYTHONPATH": path})
        self.assertIn(b"output tokens", done.stdout, done.stderr.decode())
        self.assertIn(b"d0: ", done.stdout)

    def test_node(self):
        if not (shutil.which("node") and os.path.isdir(os.path.join(NODE_PATH, "openai"))):
            self.skipTest("node and npm are not installed: the JavaScript client is not tried")
        done = subprocess.run(["node", "-e", NODE, f"http://{self.cluster.http}", json.dumps(TOOLS)], capture_output=True,
                              text=True, timeout=120, env={**os.environ, "NODE_PATH": NODE_PATH})
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        self.assertEqual((said["name"], said["code"]), ("get_weather", 404))
        self.check_arguments(said["arguments"])
        self.assertEqual((said["types"][0], said["types"][-1]), ("response.created", "response.incomplete"))


if __name__ == "__main__":
    unittest.main()
