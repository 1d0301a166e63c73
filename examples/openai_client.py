#!/usr/bin/env python3
"""One streamed answer with the official client (pip install openai).   examples/openai_client.py "Why is the sky blue?" """

import sys

from openai import OpenAI

question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
client = OpenAI(base_url=sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000/v1", api_key="none")
stream = client.chat.completions.create(
    model=client.models.list().data[0].id,
    messages=[{"role": "user", "content": question}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    if chunk.usage:
        print(f"\n[{chunk.usage.prompt_tokens} prompt tokens, {chunk.usage.completion_tokens} output tokens]")
