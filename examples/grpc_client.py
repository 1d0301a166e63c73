#!/usr/bin/env python3
"""One streamed chat over gRPC, without generated code: the server's reflection says what its messages look like
(pip install grpcio grpcio-reflection).   examples/grpc_client.py "Why is the sky blue?" [host:port] """

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
channel = grpc.insecure_channel(sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:8001")
pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
service = pool.FindServiceByName("baton.v1.Inference")


def call(name, **fields):
    """Calls one method of the service with a request of these fields; a stream gives an iterator."""
    method = service.FindMethodByName(name)
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = make(f"/{service.full_name}/{name}", request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString)
    return stub(GetMessageClass(method.input_type)(**fields))


for load in call("GetLoads").nodes:
    print(f"[{load.node_id}: {load.load.sequences_running} running, {load.load.blocks_free} blocks free]")
model = call("ListModels").models[0]
print(f"[{model.id}, {model.context_length} tokens of context]")
for chunk in call("Generate", chat={"messages": [{"role": "user", "content": question}]}):
    print(chunk.reasoning + chunk.text, end="", flush=True)
    if chunk.HasField("usage"):
        print(f"\n[{chunk.usage.prompt_tokens} prompt tokens, {chunk.usage.completion_tokens} output tokens]")
