// The gRPC twin of the HTTP API.
#include "router/inference_service.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class InferenceServiceTest : public RouterFixture {
 protected:
  void Connect() {
    stub = v1::Inference::NewStub(
        grpc::CreateChannel(router->grpc_address(), grpc::InsecureChannelCredentials()));
  }

  grpc::Status Generate(const v1::GenerateRequest& request) {
    chunks.clear();
    grpc::ClientContext context;
    auto stream = stub->Generate(&context, request);
    v1::GenerateChunk chunk;
    while (stream->Read(&chunk)) chunks.push_back(chunk);
    return stream->Finish();
  }

  std::unique_ptr<v1::Inference::Stub> stub;
  std::vector<v1::GenerateChunk> chunks;
};

TEST_F(InferenceServiceTest, StreamsTokensTextReasonAndUsage) {
  StartCluster("Hey");
  Connect();
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_request_id("mine");
  ASSERT_TRUE(Generate(request).ok());
  ASSERT_EQ(chunks.size(), 4u);
  std::string text;
  for (const auto& chunk : chunks) {
    text += chunk.text();
    EXPECT_EQ(chunk.request_id(), "mine");
    EXPECT_EQ(chunk.tokens_size(), 1);
  }
  EXPECT_EQ(text, "Hey");
  EXPECT_EQ(chunks.back().finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(chunks.back().usage().completion_tokens(), 4);
  EXPECT_FALSE(chunks.front().has_usage());
}

TEST_F(InferenceServiceTest, TheTraceOfTheCallerGoesOnToTheNodes) {
  constexpr char kCaller[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  StartCluster();
  Connect();
  grpc::ClientContext context;
  context.AddMetadata("traceparent", kCaller);
  v1::GenerateRequest request;
  request.set_text("x");
  const auto stream = stub->Generate(&context, request);
  v1::GenerateChunk chunk;
  while (stream->Read(&chunk)) continue;
  ASSERT_TRUE(stream->Finish().ok());
  Ask("/v1/completions", "{\"prompt\":\"x\"}", std::string("traceparent: ") + kCaller + "\r\n");
  for (const fakes::FakeNode* node : {prefill, decode}) {
    const std::vector<std::string> traces = node->traceparents();
    ASSERT_EQ(traces.size(), 2u);
    for (const std::string& trace : traces) {
      EXPECT_EQ(trace.substr(0, 36), std::string(kCaller, 36));
      EXPECT_NE(trace, kCaller) << "the span of the router is the parent";
    }
    EXPECT_NE(traces[0], traces[1]);
  }
}

TEST_F(InferenceServiceTest, APromptIsScoredWithoutAnAnswer) {
  StartCluster("Hey");
  Connect();
  v1::GenerateRequest request;
  request.set_text("ABC");
  request.set_prompt_logprobs(1);
  request.set_max_tokens(0);
  request.set_speculate(false);
  ASSERT_TRUE(Generate(request).ok());
  ASSERT_EQ(chunks.size(), 1u);
  ASSERT_EQ(chunks[0].prompt_tokens_size(), 2);
  EXPECT_EQ(chunks[0].prompt_tokens(1).logprob().logprob(), -2.5f);
  EXPECT_EQ(chunks[0].tokens_size(), 0);
  EXPECT_EQ(chunks[0].usage().completion_tokens(), 0);
  EXPECT_TRUE(prefill->prefill_requests().back().sampling().has_speculate());
  request.clear_prompt_logprobs();
  EXPECT_EQ(Generate(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(InferenceServiceTest, EmbedsTextsAndTokenIds) {
  StartCluster("Hey");
  Connect();
  v1::EmbedRequest request;
  request.add_inputs()->set_text("AB");
  request.add_inputs()->mutable_token_ids()->add_ids(9);
  v1::EmbedReply reply;
  grpc::ClientContext context;
  const grpc::Status status = stub->Embed(&context, request, &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(reply.embeddings_size(), 2);
  EXPECT_THAT(reply.embeddings(0).values(), testing::ElementsAre(1.5f, 3 + 'A', 3 + 'B'));
  EXPECT_THAT(reply.embeddings(1).values(), testing::ElementsAre(1.5f, 9));
  EXPECT_EQ(reply.usage().prompt_tokens(), 3);
  grpc::ClientContext empty;
  EXPECT_EQ(stub->Embed(&empty, v1::EmbedRequest(), &reply).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

// What grpc.health.v1 says of the whole server, as the first field of its answer: 1 SERVING, 2
// NOT_SERVING; 0 where the call failed. The messages are written by hand, as Debian has no code for
// them.
int HealthOf(const std::string& address) {
  grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                    grpc::ByteBuffer(nullptr, 0), &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  grpc::Slice bytes;
  if (!status.ok() || !reply.DumpToSingleSlice(&bytes).ok() || bytes.size() != 2) return 0;
  return bytes.begin()[1];
}

TEST_F(InferenceServiceTest, HealthFollowsTheNodesAndTheDrain) {
  StartRouter();
  EXPECT_EQ(HealthOf(router->grpc_address()), 2);
  prefill = AddPrefill();
  decode = AddDecode();
  EXPECT_TRUE(Eventually([&] { return HealthOf(router->grpc_address()) == 1; }));
  decode->Leave();
  EXPECT_TRUE(Eventually([&] { return HealthOf(router->grpc_address()) == 2; }));
  AddNode({.role = v1::NODE_ROLE_DECODE, .node_id = "d0", .incarnation = 2});
  EXPECT_TRUE(Eventually([&] { return HealthOf(router->grpc_address()) == 1; }));
  router->StartDraining();
  EXPECT_EQ(HealthOf(router->grpc_address()), 2);
}

TEST_F(InferenceServiceTest, ChatsAndSeveralAnswersWorkAsOverHttp) {
  StartCluster("Hey");
  Connect();
  v1::GenerateRequest request;
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hi");
  request.set_n(2);
  request.set_seed(5);
  ASSERT_TRUE(Generate(request).ok());
  EXPECT_EQ(chunks.size(), 8u);
  int usages = 0;
  for (const auto& chunk : chunks) usages += chunk.has_usage();
  EXPECT_EQ(usages, 1);
  EXPECT_TRUE(chunks.back().has_usage());
  EXPECT_EQ(decode->decode_requests()[0].prompt(0), 1);  // <|im_start|>
}

TEST_F(InferenceServiceTest, ErrorsHaveTheirCodesAndNameTheField) {
  StartRouter();
  Connect();
  v1::GenerateRequest request;
  request.set_text("x");
  EXPECT_EQ(Generate(request).error_code(), grpc::StatusCode::UNAVAILABLE);
  request.set_model("other");
  EXPECT_EQ(Generate(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request.clear_model();
  const auto refused = [&](const char* field, auto change) {
    v1::GenerateRequest bad = request;
    change(bad);
    const grpc::Status status = Generate(bad);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field;
    EXPECT_NE(status.error_message().find(field), std::string::npos) << status.error_message();
  };
  refused("temperature", [](auto& bad) { bad.set_temperature(-1); });
  refused("temperature", [](auto& bad) { bad.set_temperature(std::nan("")); });
  refused("top_p", [](auto& bad) { bad.set_top_p(0); });
  refused("top_k", [](auto& bad) { bad.set_top_k(-1); });
  refused("min_p", [](auto& bad) { bad.set_min_p(1); });
  refused("frequency_penalty", [](auto& bad) { bad.set_frequency_penalty(3); });
  refused("presence_penalty", [](auto& bad) { bad.set_presence_penalty(INFINITY); });
  refused("repetition_penalty", [](auto& bad) { bad.set_repetition_penalty(0); });
  refused("max_tokens", [](auto& bad) { bad.set_max_tokens(0); });
  refused("min_tokens", [](auto& bad) { bad.set_min_tokens(-1); });
  refused("n", [](auto& bad) { bad.set_n(9); });
  refused("top_logprobs", [](auto& bad) { bad.set_top_logprobs(21); });
  refused("stop", [](auto& bad) { bad.add_stop(""); });
  refused("stop_token_ids", [](auto& bad) { bad.add_stop_token_ids(-1); });
  refused("logit_bias", [](auto& bad) { (*bad.mutable_logit_bias())[5000] = 1; });
  refused("input", [](auto& bad) { bad.clear_text(); });
  refused("messages", [](auto& bad) { bad.mutable_chat(); });
  AddPrefill();
  AddDecode();
  refused("prompt", [](auto& bad) { bad.mutable_token_ids()->add_ids(-5); });
  refused("prompt", [](auto& bad) { bad.mutable_token_ids(); });
}

TEST_F(InferenceServiceTest, CancellingTheCallFreesBothNodes) {
  StartCluster();
  Connect();
  fakes::NodeScript script;
  script.token_ms = 20;
  decode->SetScript(script);
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_max_tokens(400);
  grpc::ClientContext context;
  auto stream = stub->Generate(&context, request);
  v1::GenerateChunk chunk;
  ASSERT_TRUE(stream->Read(&chunk));
  context.TryCancel();
  while (stream->Read(&chunk)) continue;
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return decode->running() == 0 && router->idle(); }));
}

TEST_F(InferenceServiceTest, TokenizeDetokenizeAndListModels) {
  StartCluster();
  Connect();
  v1::TokenizeRequest text;
  text.set_text("Hi \xC3\xA9");
  v1::TokenizeReply tokens;
  grpc::ClientContext first;
  ASSERT_TRUE(stub->Tokenize(&first, text, &tokens).ok());
  EXPECT_EQ(tokens.context_length(), 512);
  v1::DetokenizeRequest ids;
  *ids.mutable_ids() = tokens.ids();
  v1::DetokenizeReply back;
  grpc::ClientContext second;
  ASSERT_TRUE(stub->Detokenize(&second, ids, &back).ok());
  EXPECT_EQ(back.text(), "Hi \xC3\xA9");
  ids.add_ids(99999);
  grpc::ClientContext third;
  EXPECT_EQ(stub->Detokenize(&third, ids, &back).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::ListModelsReply models;
  grpc::ClientContext fourth;
  ASSERT_TRUE(stub->ListModels(&fourth, v1::ListModelsRequest(), &models).ok());
  EXPECT_EQ(models.models(0).id(), "tiny");
  EXPECT_EQ(models.models(0).vocab_size(), 1024);
}

}  // namespace
}  // namespace baton::router
