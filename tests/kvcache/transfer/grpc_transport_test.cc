#include "kvcache/transfer/grpc_transport.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

#include "proto/kv_transfer.grpc.pb.h"
#include "tests/kvcache/transfer/outcome.h"
#include "tests/kvcache/transfer/transfer_ends.h"

namespace baton::kvcache {
namespace {

using absl::StatusCode;

// A block of one layer is 32 KiB, a hand-over 4 layers of 63 blocks: 8 MB in 8 frames through a
// window of 2 MiB.
constexpr device::KvGeometry kGeometry = {
    .layers = 4, .kv_heads = 4, .head_dim = 64, .block_tokens = 32, .dtype = device::DType::kF16};

class GrpcTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    ends_.emplace(64, 2 << 20, kGeometry);
    service_ = MakeKvTransferService(*ends_->receiver, [this](const grpc::ServerContextBase&) {
      MutexLock lock(mutex_);
      return peer_;
    });
    StartServer();
    transport_ = MakeGrpcTransport(grpc::InsecureChannelCredentials());
    sender_ = KvSender::Create(*transport_, *ends_->source, ends_->layout, {.node_id = "prefill"});
  }
  void TearDown() override {
    sender_.reset();
    transport_.reset();
    StopServer();
  }
  void StartServer() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    // As in server/grpc_server.cc: clients ping every two seconds.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  void StopServer() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  void SetPeer(absl::Status status) {
    MutexLock lock(mutex_);
    peer_ = std::move(status);
  }

  Mutex mutex_;
  absl::Status peer_ ABSL_GUARDED_BY(mutex_);
  std::optional<TransferEnds> ends_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<KvSender> sender_;
};

TEST_F(GrpcTransportTest, AHandOverArrivesByteForByte) {
  for (int round = 0; round < 3; ++round) {
    ends_->sink.AddLease(ends_->ticket.id(), ends_->target_blocks, 5);
    Outcome outcome;
    auto push = sender_->Start(ends_->Target(address_), outcome.Callback());
    ends_->SendAll(*push);
    const absl::Status status = outcome.Wait();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(ends_->TargetEqualsSource());
  }
  EXPECT_EQ(ends_->sink.commits().size(), 3u);
  EXPECT_EQ(ends_->receiver->stats().bytes, 3 * 4 * 63 * (32 << 10));
  EXPECT_EQ(ends_->receiver->stats().frames_refused, 0);
}

TEST_F(GrpcTransportTest, SeveralHandOversAtOnceDoNotMix) {
  constexpr int kHandOvers = 7;
  Outcome outcomes[kHandOvers];
  std::vector<std::shared_ptr<KvPush>> pushes;
  for (int i = 0; i < kHandOvers; ++i) {
    v1::Ticket ticket;
    ticket.set_id(std::string(16, static_cast<char>('a' + i)));
    ticket.set_epoch(1);
    std::vector<int32_t> target(ends_->target_blocks.begin() + i * 9,
                                ends_->target_blocks.begin() + (i + 1) * 9);
    ends_->sink.AddLease(ticket.id(), target, 1);
    KvPushTarget to = ends_->Target(address_);
    to.ticket = ticket;
    pushes.push_back(sender_->Start(to, outcomes[i].Callback()));
  }
  for (int32_t layer = 0; layer < 4; ++layer) {
    for (int i = 0; i < kHandOvers; ++i) {
      pushes[i]->SendBlocks(layer, 0, absl::MakeSpan(ends_->source_blocks).subspan(i * 9, 9));
    }
  }
  for (int i = 0; i < kHandOvers; ++i) pushes[i]->Commit(1, v1::Token());
  for (Outcome& outcome : outcomes) {
    const absl::Status status = outcome.Wait();
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_TRUE(ends_->TargetEqualsSource());
}

TEST_F(GrpcTransportTest, AHandOverEndsAtTheDeadlineOfTheRequestThatItIsFor) {
  KvPushTarget to = ends_->Target(address_);
  to.timeout = absl::Milliseconds(300);
  Outcome outcome;
  auto push = sender_->Start(to, outcome.Callback());
  push->SendBlocks(0, 0, ends_->source_blocks);  // the rest never comes
  EXPECT_EQ(outcome.Wait().code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(ends_->sink.commits().empty());
}

TEST_F(GrpcTransportTest, CancelAtAnyMomentEndsOnceAndLeavesNothingBehind) {
  for (int i = 0; i < 60; ++i) {
    ends_->sink.AddLease(ends_->ticket.id(), ends_->target_blocks, 5);
    Outcome outcome;
    auto push = sender_->Start(ends_->Target(address_), outcome.Callback());
    ends_->SendAll(*push);
    std::this_thread::sleep_for(std::chrono::microseconds(i * 100));
    push->Cancel();
    const absl::Status status = outcome.Wait();
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kCancelled) << status;
    EXPECT_EQ(outcome.reports(), 1);
  }
}

TEST_F(GrpcTransportTest, AServerThatGoesAwayAtAnyMomentEndsTheHandOver) {
  for (int i = 0; i < 12; ++i) {
    ends_->sink.AddLease(ends_->ticket.id(), ends_->target_blocks, 5);
    Outcome outcome;
    auto push = sender_->Start(ends_->Target(address_), outcome.Callback());
    ends_->SendAll(*push);
    std::this_thread::sleep_for(std::chrono::microseconds(i * 300));
    StopServer();
    const absl::Status status = outcome.Wait();
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kUnavailable ||
                status.code() == StatusCode::kCancelled)
        << status;
    EXPECT_EQ(ends_->sink.live_grants(), 0);
    StartServer();
  }
}

TEST_F(GrpcTransportTest, ALeaseThatEndsInTheMiddleEndsTheStreamAsNotFound) {
  Outcome outcome;
  auto push = sender_->Start(ends_->Target(address_), outcome.Callback());
  push->SendBlocks(0, 0, ends_->source_blocks);
  while (ends_->sink.present(ends_->ticket.id()) < 63) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ends_->sink.RemoveLease(ends_->ticket.id());
  push->SendBlocks(1, 0, ends_->source_blocks);
  EXPECT_EQ(outcome.Wait().code(), StatusCode::kNotFound);
}

TEST_F(GrpcTransportTest, NobodyAtTheAddressIsUnavailable) {
  StopServer();
  Outcome outcome;
  sender_->Start(ends_->Target(address_), outcome.Callback());
  EXPECT_EQ(outcome.Wait().code(), StatusCode::kUnavailable);
}

TEST_F(GrpcTransportTest, TheCallersRoleIsCheckedInBothCalls) {
  SetPeer(absl::PermissionDeniedError("role is router, allowed: prefill"));
  Outcome outcome;
  sender_->Start(ends_->Target(address_), outcome.Callback());
  EXPECT_EQ(outcome.Wait().code(), StatusCode::kPermissionDenied);

  SetPeer(absl::OkStatus());
  Outcome paired;
  auto push = sender_->Start(ends_->Target(address_), paired.Callback());
  push->SendBlocks(0, 0, {0});
  while (ends_->sink.present(ends_->ticket.id()) < 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  SetPeer(absl::PermissionDeniedError("role is router, allowed: prefill"));
  Outcome refused;
  auto second = sender_->Start(ends_->Target(address_), refused.Callback());
  second->SendBlocks(0, 0, {0});
  EXPECT_EQ(refused.Wait().code(), StatusCode::kPermissionDenied);
  push->Cancel();
  EXPECT_EQ(paired.Wait().code(), StatusCode::kCancelled);
}

// A client that knows only proto/kv_transfer.proto and docs/kv_format.md.
TEST_F(GrpcTransportTest, AnOrdinaryProtobufClientCanPush) {
  auto stub =
      v1::KvTransfer::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  auto stream = stub->Push(&context);
  for (int32_t layer = 0; layer < 4; ++layer) {
    for (int32_t begin = 0; begin < 63; begin += 21) {
      const IncomingFrame frame = ends_->Frame(layer, begin, 21);
      v1::KvFrame message;
      *message.mutable_manifest() = frame.manifest;
      for (absl::Span<const uint8_t> piece : frame.payload) {
        message.mutable_payload()->append(reinterpret_cast<const char*>(piece.data()),
                                          piece.size());
      }
      ASSERT_TRUE(stream->Write(message));
      v1::KvAck ack;
      ASSERT_TRUE(stream->Read(&ack));
      EXPECT_EQ(ack.credit_bytes(), 21 * (32 << 10));
    }
  }
  v1::KvFrame commit;
  *commit.mutable_commit() = ends_->Commit().commit;
  ASSERT_TRUE(stream->Write(commit));
  v1::KvAck ack;
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_TRUE(ack.committed());
  EXPECT_FALSE(stream->Read(&ack));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(ends_->TargetEqualsSource());
}

TEST_F(GrpcTransportTest, AClientThatStopsBeforeTheCommitIsTold) {
  auto stub =
      v1::KvTransfer::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  auto stream = stub->Push(&context);
  stream->WritesDone();
  v1::KvAck ack;
  EXPECT_FALSE(stream->Read(&ack));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(ends_->sink.commits().empty());
}

TEST_F(GrpcTransportTest, BytesThatAreNoFrameEndTheStreamAsInvalid) {
  auto channel = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  auto call = stub.PrepareCall(&context, "/baton.v1.KvTransfer/Push", &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto wait = [&] { return queue.Next(&tag, &ok); };
  call->StartCall(nullptr);
  wait();
  const grpc::Slice slice("these bytes are no frame");
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) continue;
}

}  // namespace
}  // namespace baton::kvcache
