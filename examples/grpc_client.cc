// One streamed chat over gRPC.   grpc_client "Why is the sky blue?" [host:port]
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <iostream>
#include <string>

#include "proto/inference.grpc.pb.h"

int main(int argc, char** argv) {
  const std::string question = argc > 1 ? argv[1] : "Why is the sky blue?";
  const std::string address = argc > 2 ? argv[2] : "127.0.0.1:8001";
  const auto stub = baton::v1::Inference::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));

  baton::v1::GenerateRequest request;
  baton::v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(question);

  grpc::ClientContext context;
  const auto stream = stub->Generate(&context, request);
  baton::v1::GenerateChunk chunk;
  while (stream->Read(&chunk)) {
    std::cout << chunk.reasoning() << chunk.text() << std::flush;
    if (chunk.has_usage()) {
      std::cout << "\n[" << chunk.usage().prompt_tokens() << " prompt tokens, "
                << chunk.usage().completion_tokens() << " output tokens]\n";
    }
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) std::cerr << status.error_message() << "\n";
  return status.ok() ? 0 : 1;
}
