// Prompts that are computed on a prefill node and answered by a decode node.
#include <thread>

#include "engine/wire/request_params.h"
#include "tests/decode_node/two_nodes.h"
#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"
#include "tests/kvcache/transfer/outcome.h"

namespace baton::decode_node {
namespace {

using engine::Gate;
using kvcache::Eventually;
using testing::HasSubstr;

// What an engine that does both phases answers.
std::vector<std::vector<int32_t>> Colocated(const std::vector<Prompt>& prompts) {
  engine::Assembly parts = AssembleT0("d_chip", 32, 512, 64);
  const models::ModelConfig& config = parts.model->config();
  fakes::ColocatedPolicy policy(512, config.context_length);
  engine::Engine engine(*parts.model, *parts.store, *parts.pool, policy, SystemClock::Get(),
                        OptionsFor(config));
  engine.Start();
  std::vector<std::vector<int32_t>> answers;
  for (const Prompt& prompt : prompts) {
    auto sequence =
        engine::MakeSequence(prompt.ids, 0, prompt.sampling, prompt.stop, config).value();
    const auto listener = std::make_shared<fakes::RecordingListener>();
    sequence->listener = listener;
    EXPECT_TRUE(engine.Submit(std::move(sequence)).ok());
    EXPECT_TRUE(listener->WaitForEnd().ok());
    answers.push_back(listener->ids());
  }
  return answers;
}

std::vector<Prompt> MixedPrompts(int count) {
  constexpr int32_t kLengths[] = {1, 2, 7, 31, 32, 33, 64, 65, 127, 150, 300, 513};
  constexpr int32_t kOutputs[] = {1, 2, 5, 12, 40};
  std::vector<Prompt> prompts;
  for (int i = 0; i < count; ++i) {
    Prompt prompt = PromptOf(kLengths[i % 12], kOutputs[i % 5], 100 + i);
    v1::SamplingParams& sampling = prompt.sampling;
    switch (i % 6) {
      case 0:
        sampling.set_temperature(0);
        break;
      case 1:
        sampling.set_temperature(0);
        sampling.set_repetition_penalty(1.3);
        break;
      case 2:
        sampling.set_temperature(0.7);
        sampling.set_top_p(0.9);
        break;
      case 3:
        sampling.set_top_k(40);
        prompt.stop.set_ignore_eos(false);
        break;
      case 4:
        sampling.set_temperature(1.3);
        sampling.set_min_p(0.02);
        sampling.set_presence_penalty(0.5);
        sampling.set_frequency_penalty(0.4);
        break;
      default:
        break;
    }
    prompts.push_back(prompt);
  }
  return prompts;
}

class HandoverTest : public testing::Test {
 protected:
  void ExpectAllFree() {
    EXPECT_TRUE(Eventually([this] { return nodes_.AllFree(); }))
        << "prefill: " << nodes_.prefill.parts.pool->stats().available() << " of "
        << nodes_.prefill.parts.pool->stats().total << " free, " << nodes_.prefill.service.active()
        << " calls; decode: " << nodes_.decode.parts.pool->stats().available() << " of "
        << nodes_.decode.parts.pool->stats().total << " free, " << nodes_.decode.service.active()
        << " calls";
  }
  // A later request is answered as ever.
  void ExpectHealthy() {
    ExpectAllFree();
    const Prompt prompt = PromptOf(50, 5, 999);
    EXPECT_EQ(nodes_.Answer(prompt), Colocated({prompt})[0]);
    ExpectAllFree();
  }
  TwoNodes nodes_;
};

TEST_F(HandoverTest, FiftyMixedPromptsEqualColocatedTokenForToken) {
  const std::vector<Prompt> prompts = MixedPrompts(50);
  const std::vector<std::vector<int32_t>> expected = Colocated(prompts);
  std::vector<std::vector<int32_t>> answers(prompts.size());
  std::vector<std::thread> clients;
  for (size_t c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      for (size_t i = c; i < prompts.size(); i += 4) answers[i] = nodes_.Answer(prompts[i]);
    });
  }
  for (std::thread& client : clients) client.join();
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(answers[i], expected[i]) << "prompt " << i;
  ExpectAllFree();
  EXPECT_EQ(nodes_.decode.receiver->stats().frames_refused, 0);
}

TEST_F(HandoverTest, CancelWhileLeasedFreesTheBlocksAndBuriesTheTicket) {
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(PromptOf(100, 9), ticket);
  EXPECT_EQ(nodes_.decode.parts.pool->stats().leased, 4);
  tokens->Cancel();
  EXPECT_EQ(tokens->End().error_code(), grpc::StatusCode::CANCELLED);
  ExpectAllFree();
  EXPECT_EQ(nodes_.Generate(PromptOf(100, 9), ticket)->End().error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(nodes_.Run(PromptOf(100, 9), ticket)->End().error_code(), grpc::StatusCode::NOT_FOUND);
  ExpectHealthy();
}

TEST_F(HandoverTest, CancelWhilePrefillRunsFreesBothSides) {
  Gate gate;
  nodes_.prefill.model.SetHook([&] { (void)gate.Pass(); });
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(PromptOf(500, 9), ticket);
  auto run = nodes_.Run(PromptOf(500, 9), ticket);
  gate.WaitForArrival();
  run->Cancel();
  tokens->Cancel();
  EXPECT_EQ(run->End().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(tokens->End().error_code(), grpc::StatusCode::CANCELLED);
  gate.Open();
  nodes_.prefill.model.SetHook(nullptr);
  ExpectHealthy();
}

TEST_F(HandoverTest, PrefillStopsWhenItsLeaseIsGone) {
  Gate gate;
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(PromptOf(900, 9), ticket);
  nodes_.prefill.model.SetHook([&] { (void)gate.Pass(); });
  auto run = nodes_.Run(PromptOf(900, 9), ticket);
  gate.WaitForArrival();
  tokens->Cancel();
  (void)tokens->End();
  EXPECT_TRUE(Eventually([this] { return nodes_.decode.parts.pool->stats().leased == 0; }));
  gate.Open();
  nodes_.prefill.model.SetHook(nullptr);
  EXPECT_EQ(run->End().error_code(), grpc::StatusCode::NOT_FOUND);
  ExpectHealthy();
}

TEST_F(HandoverTest, CancelBetweenFirstTokenAndCommitFreesBothSides) {
  ASSERT_EQ(nodes_.Answer(PromptOf(5, 2)).size(), 2u);  // the nodes know each other
  Gate gate;
  nodes_.decode.before_transfer = [&] { (void)gate.Pass(); };
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(PromptOf(100, 9), ticket);
  auto run = nodes_.Run(PromptOf(100, 9), ticket);
  EXPECT_GE(TwoNodes::FirstToken(*run), 0);
  gate.WaitForArrival();
  EXPECT_GT(nodes_.prefill.parts.pool->stats().used, 0);
  run->Cancel();
  tokens->Cancel();
  EXPECT_EQ(run->End().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(tokens->End().error_code(), grpc::StatusCode::CANCELLED);
  gate.Open();
  ExpectAllFree();
  nodes_.decode.before_transfer = nullptr;
  ExpectHealthy();
}

TEST_F(HandoverTest, CancelWhileDecodingFreesBothSides) {
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(PromptOf(100, 900), ticket);
  auto run = nodes_.Run(PromptOf(100, 900), ticket);
  EXPECT_TRUE(run->End().ok());
  v1::DecodeEvent event;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(tokens->Read(&event));
  tokens->Cancel();
  (void)tokens->End();
  ExpectHealthy();
}

TEST_F(HandoverTest, AUsedTicketIsRefusedAndAQueuedOneIsNotDisturbed) {
  const Prompt prompt = PromptOf(40, 6);
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(prompt, ticket);
  {
    auto twin = nodes_.Generate(prompt, ticket);
    EXPECT_EQ(twin->End().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  }
  for (int i = 0; i < 50; ++i) {
    auto twin = nodes_.Generate(prompt, ticket);
    twin->Cancel();  // may overtake the refusal
  }
  auto run = nodes_.Run(prompt, ticket);
  const int32_t first = TwoNodes::FirstToken(*run);
  EXPECT_TRUE(run->End().ok());
  std::vector<int32_t> ids = TwoNodes::Rest(*tokens);
  ids.insert(ids.begin(), first);
  EXPECT_EQ(ids, Colocated({prompt})[0]);
  EXPECT_EQ(nodes_.Generate(prompt, ticket)->End().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(nodes_.Run(prompt, ticket)->End().error_code(), grpc::StatusCode::NOT_FOUND);
  ExpectAllFree();
}

TEST_F(HandoverTest, AnotherPrefillTakesOverWithTheNextEpoch) {
  const Prompt prompt = PromptOf(700, 8);
  v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(prompt, ticket);
  std::atomic<int> steps{0};
  Gate gate;
  nodes_.prefill.model.SetHook([&] {
    if (++steps > 2) (void)gate.Pass();
  });
  auto killed = nodes_.Run(prompt, ticket);
  gate.WaitForArrival();  // two of six chunks are under way
  EXPECT_TRUE(Eventually([this] { return nodes_.decode.receiver->stats().frames > 0; }));
  killed->Cancel();
  EXPECT_EQ(killed->End().error_code(), grpc::StatusCode::CANCELLED);
  gate.Open();
  nodes_.prefill.model.SetHook(nullptr);
  ticket.set_epoch(2);
  auto run = nodes_.Run(prompt, ticket);
  std::vector<int32_t> ids = {TwoNodes::FirstToken(*run)};
  EXPECT_TRUE(run->End().ok());
  for (const int32_t id : TwoNodes::Rest(*tokens)) ids.push_back(id);
  EXPECT_EQ(ids, Colocated({prompt})[0]);
  ExpectAllFree();
}

TEST_F(HandoverTest, ALeaseThatNobodyWantsRunsOut) {
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(PromptOf(100, 9), ticket);
  nodes_.decode.clock.Advance(absl::Seconds(9));
  grpc::ClientContext context;
  v1::RenewRequest renew;
  renew.add_ticket_ids(ticket.id());
  renew.add_ticket_ids("unknown");
  v1::RenewReply reply;
  ASSERT_TRUE(nodes_.decode.stub->Renew(&context, renew, &reply).ok());
  ASSERT_EQ(reply.unknown_ids_size(), 1);
  EXPECT_EQ(reply.unknown_ids(0), "unknown");
  nodes_.decode.clock.Advance(absl::Seconds(9));
  nodes_.decode.intake.Expire();
  EXPECT_EQ(nodes_.decode.parts.pool->stats().leased, 4);
  nodes_.decode.clock.Advance(absl::Seconds(1));
  nodes_.decode.intake.Expire();
  EXPECT_EQ(tokens->End().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectHealthy();
}

TEST_F(HandoverTest, AFirstTokenThatEndsTheSequenceCommitsNothing) {
  Prompt prompt = PromptOf(40, 9);
  (*prompt.sampling.mutable_logit_bias())[77] = 100;
  prompt.stop.add_stop_token_ids(77);
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(prompt, ticket);
  auto run = nodes_.Run(prompt, ticket);
  v1::PrefillEvent event;
  ASSERT_TRUE(run->Read(&event));
  EXPECT_EQ(event.first_token().finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_FALSE(run->Read(&event));
  EXPECT_TRUE(run->End().ok());
  EXPECT_EQ(nodes_.decode.parts.pool->stats().leased, 2);
  tokens->Cancel();
  (void)tokens->End();
  ExpectHealthy();
}

TEST_F(HandoverTest, ADifferentLayoutIsRefusedByTheNameOfTheField) {
  nodes_.layout = kvcache::ToProto(nodes_.prefill.parts.layout);
  nodes_.layout->set_kv_heads(3);
  const grpc::Status status = nodes_.Generate(PromptOf(40, 9), NewTicket())->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("kv_heads"));
  ExpectAllFree();
}

TEST_F(HandoverTest, RequestsThatMakeNoSenseAreRefusedByName) {
  v1::PrefillRequest request = nodes_.RunRequest(PromptOf(10, 5), NewTicket());
  request.set_prompt(3, 5000);
  grpc::Status status = nodes_.Run(request)->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("token id 5000"));
  request = nodes_.RunRequest(PromptOf(10, 5), NewTicket());
  request.mutable_hand_over()->mutable_ticket()->set_id("short");
  EXPECT_THAT(nodes_.Run(request)->End().error_message(), HasSubstr("ticket has 5 bytes"));
  request = nodes_.RunRequest(PromptOf(10, 5), NewTicket());
  request.mutable_hand_over()->set_first_missing_block(2);
  EXPECT_THAT(nodes_.Run(request)->End().error_message(), HasSubstr("first_missing_block"));
  v1::Ticket odd;
  odd.set_id("short");
  EXPECT_THAT(nodes_.Generate(PromptOf(10, 5), odd)->End().error_message(),
              HasSubstr("ticket has 5 bytes"));
  ExpectAllFree();
}

TEST_F(HandoverTest, ADecodeNodeThatIsGoneOrWasRestartedIsReported) {
  v1::PrefillRequest request = nodes_.RunRequest(PromptOf(300, 5), NewTicket());
  request.mutable_hand_over()->set_decode_incarnation(1);
  EXPECT_EQ(nodes_.Run(request)->End().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  request = nodes_.RunRequest(PromptOf(300, 5), NewTicket());
  request.mutable_hand_over()->set_decode_address("127.0.0.1:1");
  EXPECT_EQ(nodes_.Run(request)->End().error_code(), grpc::StatusCode::UNAVAILABLE);
  ExpectHealthy();
}

TEST_F(HandoverTest, DrainingRefusesNewCallsAndFinishesOldOnes) {
  const Prompt prompt = PromptOf(100, 30);
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(prompt, ticket);
  nodes_.decode.service.StartDraining();
  auto run = nodes_.Run(prompt, ticket);
  const int32_t first = TwoNodes::FirstToken(*run);
  nodes_.prefill.service.StartDraining();
  EXPECT_EQ(nodes_.Generate(prompt, NewTicket())->End().error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(nodes_.Run(prompt, NewTicket())->End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(run->End().ok());
  std::vector<int32_t> ids = TwoNodes::Rest(*tokens);
  ids.insert(ids.begin(), first);
  EXPECT_EQ(ids, Colocated({prompt})[0]);
  ExpectAllFree();
}

// Clients that leave at any moment strand nothing and change nobody's tokens.
TEST_F(HandoverTest, CancelsAtRandomMomentsStrandNothing) {
  const Prompt steady = PromptOf(60, 40, 5);
  const std::vector<int32_t> expected = Colocated({steady})[0];
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 20; ++i) {
        const auto pause = [&](int salt) {
          const uint64_t us = CounterRandom(c * 1000 + i, salt) % 3000;
          std::this_thread::sleep_for(std::chrono::microseconds(us));
        };
        const Prompt prompt = PromptOf(1 + 23 * i, 100, c * 100 + i);
        const v1::Ticket ticket = NewTicket();
        auto tokens = nodes_.Generate(prompt, ticket);
        pause(1);
        auto run = nodes_.Run(prompt, ticket);
        pause(2);
        if (i % 2 == 0) tokens->Cancel();
        pause(3);
        run->Cancel();
        pause(4);
      }
    });
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(nodes_.Answer(steady), expected);
  for (std::thread& client : clients) client.join();
  ExpectHealthy();
}

TEST(HandoverShutdownTest, NodesThatStopInTheMiddleEndTheirCalls) {
  auto nodes = std::make_unique<TwoNodes>();
  const v1::Ticket ticket = NewTicket();
  auto decoding = nodes->Lease(PromptOf(100, 900), ticket);
  EXPECT_TRUE(nodes->Run(PromptOf(100, 900), ticket)->End().ok());
  auto leased = nodes->Lease(PromptOf(100, 900), NewTicket());
  nodes.reset();
  EXPECT_FALSE(decoding->End().ok());
  EXPECT_FALSE(leased->End().ok());
}

}  // namespace
}  // namespace baton::decode_node
