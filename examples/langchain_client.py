#!/usr/bin/env python3
"""A chain with LangChain (pip install langchain-openai): a prompt template, the served model, a plain answer; then the same streamed.
examples/langchain_client.py "Why is the sky blue?" [URL] """

import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from openai import OpenAI

question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000/v1"
model = OpenAI(base_url=url, api_key="none").models.list().data[0].id
prompt = ChatPromptTemplate.from_messages([("system", "Answer in one sentence."), ("user", "{question}")])
chain = prompt | ChatOpenAI(model=model, base_url=url, api_key="none", max_tokens=32) | StrOutputParser()
print(chain.invoke({"question": question}))
for piece in chain.stream({"question": question}):
    print(piece, end="", flush=True)
print()
