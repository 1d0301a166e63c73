#include "decode_node/kv_intake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/rng.h"

namespace baton::decode_node {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int32_t kLayers = 2;
constexpr int32_t kBlockTokens = 16;
constexpr absl::Duration kTimeout = absl::Seconds(10);

v1::Ticket TicketOf(char name, uint64_t epoch = 1) {
  v1::Ticket ticket;
  ticket.set_id(std::string(16, name));
  ticket.set_epoch(epoch);
  return ticket;
}

v1::KvManifest Manifest(const v1::Ticket& ticket, int32_t layer, int32_t begin, int32_t count) {
  v1::KvManifest manifest;
  *manifest.mutable_ticket() = ticket;
  manifest.set_layer(layer);
  manifest.set_block_begin(begin);
  manifest.set_block_count(count);
  return manifest;
}

v1::KvCommit CommitOf(const v1::Ticket& ticket, int32_t tokens) {
  v1::KvCommit commit;
  *commit.mutable_ticket() = ticket;
  commit.set_prompt_tokens(tokens);
  commit.mutable_first_token()->set_id(7);
  return commit;
}

class KvIntakeTest : public testing::Test {
 protected:
  // A lease whose end is recorded.
  absl::Status Reserve(const v1::Ticket& ticket, int32_t tokens,
                       std::vector<kvcache::BlockRef> reused = {}) {
    return intake_.Reserve(
        ticket, tokens, std::move(reused),
        {.on_committed =
             [this](std::vector<kvcache::BlockRef> blocks, const v1::Token& t) {
               committed_.push_back(std::move(blocks));
               first_tokens_.push_back(t.id());
             },
         .on_expired = [this](absl::Status status) { expired_.push_back(status); }});
  }
  absl::Status Write(const v1::KvManifest& manifest) {
    auto grant = intake_.BeginWrite(manifest);
    if (!grant.ok()) return grant.status();
    EXPECT_EQ((*grant)->block_ids().size(), static_cast<size_t>(manifest.block_count()));
    intake_.EndWrite(manifest);
    return absl::OkStatus();
  }
  absl::Status WriteAll(const v1::Ticket& ticket, int32_t blocks) {
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      const absl::Status status = Write(Manifest(ticket, layer, 0, blocks));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
  void Pass(absl::Duration time) {
    clock_.Advance(time);
    intake_.Expire();
  }

  ManualClock clock_;
  kvcache::BlockPool pool_{8};
  std::vector<std::vector<kvcache::BlockRef>> committed_;
  std::vector<int32_t> first_tokens_;
  std::vector<absl::Status> expired_;
  KvIntake intake_{pool_, kLayers, kBlockTokens, clock_, kTimeout};
};

TEST_F(KvIntakeTest, AFullHandOverTurnsLeasedBlocksIntoUsedOnes) {
  const v1::Ticket ticket = TicketOf('a');
  ASSERT_TRUE(Reserve(ticket, 33).ok());
  EXPECT_EQ(pool_.stats().leased, 3);
  ASSERT_TRUE(WriteAll(ticket, 3).ok());
  EXPECT_TRUE(committed_.empty());
  ASSERT_TRUE(intake_.Commit(CommitOf(ticket, 33)).ok());
  ASSERT_EQ(committed_.size(), 1u);
  EXPECT_EQ(committed_[0].size(), 3u);
  EXPECT_THAT(first_tokens_, ElementsAre(7));
  EXPECT_EQ(pool_.stats().leased, 0);
  EXPECT_EQ(pool_.stats().used, 3);
  committed_.clear();
  EXPECT_EQ(pool_.stats().free, 8);
  Pass(2 * kTimeout);
  EXPECT_THAT(expired_, IsEmpty());
}

TEST_F(KvIntakeTest, GrantsNameTheLeasesBlocksInOrder) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 64).ok());
  std::vector<int32_t> all, middle;
  {
    const auto grant = intake_.BeginWrite(Manifest(TicketOf('a'), 0, 0, 4)).value();
    all.assign(grant->block_ids().begin(), grant->block_ids().end());
    const auto part = intake_.BeginWrite(Manifest(TicketOf('a'), 1, 1, 2)).value();
    middle.assign(part->block_ids().begin(), part->block_ids().end());
  }
  EXPECT_THAT(middle, ElementsAre(all[1], all[2]));
}

TEST_F(KvIntakeTest, ReusedBlocksAreNeitherReservedNorWritten) {
  std::vector<kvcache::BlockRef> reused;
  const auto cached = pool_.Allocate(2, kvcache::BlockPool::Use::kUsed).value();
  for (const kvcache::BlockRef& block : cached) reused.push_back(block.Share());
  const v1::Ticket ticket = TicketOf('a');
  ASSERT_TRUE(Reserve(ticket, 60, std::move(reused)).ok());
  EXPECT_EQ(pool_.stats().leased, 2);
  EXPECT_EQ(Write(Manifest(ticket, 0, 1, 2)).code(), StatusCode::kInvalidArgument);
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(Write(Manifest(ticket, layer, 2, 2)).ok());
  }
  // Another prefill node takes over: what was written counts no more, what was there does.
  EXPECT_TRUE(Write(Manifest(TicketOf('a', 2), 0, 2, 2)).ok());
  EXPECT_EQ(intake_.Commit(CommitOf(TicketOf('a', 2), 60)).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Write(Manifest(TicketOf('a', 2), 1, 2, 2)).ok());
  ASSERT_TRUE(intake_.Commit(CommitOf(TicketOf('a', 2), 60)).ok());
  ASSERT_EQ(committed_[0].size(), 4u);
  EXPECT_EQ(committed_[0][0].id(), cached[0].id());
  EXPECT_EQ(committed_[0][1].id(), cached[1].id());
  committed_.clear();
  EXPECT_EQ(pool_.stats().used, 2);
}

TEST_F(KvIntakeTest, AnUntouchedLeaseExpiresOnTimeAndOnce) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 40).ok());
  Pass(kTimeout - absl::Milliseconds(1));
  EXPECT_THAT(expired_, IsEmpty());
  Pass(absl::Milliseconds(1));
  ASSERT_EQ(expired_.size(), 1u);
  EXPECT_EQ(expired_[0].code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(expired_[0].message()), HasSubstr("10000 ms"));
  EXPECT_EQ(pool_.stats().free, 8);
  Pass(kTimeout);
  EXPECT_EQ(expired_.size(), 1u);
  EXPECT_EQ(Write(Manifest(TicketOf('a'), 0, 0, 1)).code(), StatusCode::kNotFound);
  EXPECT_EQ(intake_.Commit(CommitOf(TicketOf('a'), 40)).code(), StatusCode::kNotFound);
}

TEST_F(KvIntakeTest, FramesAndRenewalsPostponeTheExpiry) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 40).ok());
  ASSERT_TRUE(Reserve(TicketOf('b'), 16).ok());
  for (int i = 0; i < 5; ++i) {
    Pass(kTimeout * 0.75);
    ASSERT_TRUE(Write(Manifest(TicketOf('a'), 0, 0, 1)).ok());
    const std::string unknown(16, 'z');
    EXPECT_THAT(intake_.Renew({TicketOf('b').id(), unknown}), ElementsAre(unknown));
  }
  EXPECT_THAT(expired_, IsEmpty());
  Pass(kTimeout);
  EXPECT_EQ(expired_.size(), 2u);
  EXPECT_THAT(intake_.Renew({TicketOf('a').id()}), ElementsAre(TicketOf('a').id()));
}

TEST_F(KvIntakeTest, ATicketIsUsedOnce) {
  const v1::Ticket ticket = TicketOf('a');
  ASSERT_TRUE(Reserve(ticket, 10).ok());
  EXPECT_EQ(Reserve(ticket, 10).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(pool_.stats().leased, 1);
  ASSERT_TRUE(WriteAll(ticket, 1).ok());
  ASSERT_TRUE(intake_.Commit(CommitOf(ticket, 10)).ok());
  EXPECT_EQ(Reserve(ticket, 10).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(intake_.Commit(CommitOf(ticket, 10)).code(), StatusCode::kNotFound);
  EXPECT_EQ(WriteAll(ticket, 1).code(), StatusCode::kNotFound);
  EXPECT_EQ(committed_.size(), 1u);
}

TEST_F(KvIntakeTest, ACancelThatOvertakesItsRequestWins) {
  intake_.Release(TicketOf('a').id());
  EXPECT_EQ(Reserve(TicketOf('a'), 10).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(pool_.stats().free, 8);
}

TEST_F(KvIntakeTest, ReleaseEndsALeaseWithoutAnEvent) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 40).ok());
  intake_.Release(TicketOf('a').id());
  EXPECT_EQ(pool_.stats().free, 8);
  Pass(2 * kTimeout);
  EXPECT_THAT(expired_, IsEmpty());
  const absl::Status late = Write(Manifest(TicketOf('a'), 0, 0, 1));
  EXPECT_EQ(late.code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(late.message()), HasSubstr("released"));
}

TEST_F(KvIntakeTest, TheOldestTombstonesAreForgottenFirst) {
  intake_.Release(TicketOf('a').id());
  for (int i = 0; i < 65536; ++i) {
    std::string id(16, '\0');
    std::memcpy(id.data(), &i, sizeof(i));
    intake_.Release(id);
  }
  EXPECT_TRUE(Reserve(TicketOf('a'), 10).ok());
  std::string latest(16, '\0');
  const int last = 65535;
  std::memcpy(latest.data(), &last, sizeof(last));
  v1::Ticket ticket;
  ticket.set_id(latest);
  EXPECT_EQ(Reserve(ticket, 10).code(), StatusCode::kAlreadyExists);
}

TEST_F(KvIntakeTest, BadTicketsAndFullPoolsAreRefusedWithoutATrace) {
  v1::Ticket odd;
  odd.set_id("short");
  EXPECT_EQ(Reserve(odd, 10).code(), StatusCode::kInvalidArgument);
  const absl::Status full = Reserve(TicketOf('a'), 9 * kBlockTokens);
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("need 9 blocks, 8 free of 8"));
  // The router may try the same ticket again.
  EXPECT_TRUE(Reserve(TicketOf('a'), 8 * kBlockTokens).ok());
}

TEST_F(KvIntakeTest, ANewerEpochVoidsWhatTheOlderWrote) {
  ASSERT_TRUE(Reserve(TicketOf('a', 3), 20).ok());
  ASSERT_TRUE(WriteAll(TicketOf('a', 3), 2).ok());
  ASSERT_TRUE(Write(Manifest(TicketOf('a', 4), 0, 0, 2)).ok());
  const absl::Status old = Write(Manifest(TicketOf('a', 3), 1, 0, 2));
  EXPECT_EQ(old.code(), StatusCode::kAborted);
  EXPECT_THAT(std::string(old.message()), HasSubstr("epoch 3 is older than 4"));
  EXPECT_EQ(intake_.Commit(CommitOf(TicketOf('a', 3), 20)).code(), StatusCode::kAborted);
  const absl::Status missing = intake_.Commit(CommitOf(TicketOf('a', 4), 20));
  EXPECT_EQ(missing.code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Write(Manifest(TicketOf('a', 4), 1, 0, 2)).ok());
  EXPECT_TRUE(intake_.Commit(CommitOf(TicketOf('a', 4), 20)).ok());
}

TEST_F(KvIntakeTest, AWriteThatAnEpochOvertookCountsForNothing) {
  ASSERT_TRUE(Reserve(TicketOf('a', 1), 16).ok());
  auto old = intake_.BeginWrite(Manifest(TicketOf('a', 1), 0, 0, 1)).value();
  ASSERT_TRUE(Write(Manifest(TicketOf('a', 2), 1, 0, 1)).ok());
  intake_.EndWrite(Manifest(TicketOf('a', 1), 0, 0, 1));
  old.reset();
  EXPECT_EQ(intake_.Commit(CommitOf(TicketOf('a', 2), 16)).code(), StatusCode::kFailedPrecondition);
}

TEST_F(KvIntakeTest, CommitNamesWhatIsMissingAndTheLeaseGoesOn) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 48).ok());
  ASSERT_TRUE(Write(Manifest(TicketOf('a'), 0, 0, 3)).ok());
  ASSERT_TRUE(Write(Manifest(TicketOf('a'), 1, 1, 1)).ok());
  const absl::Status status = intake_.Commit(CommitOf(TicketOf('a'), 48));
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 of 6 layer pieces missing"));
  EXPECT_TRUE(committed_.empty());
  ASSERT_TRUE(WriteAll(TicketOf('a'), 3).ok());
  EXPECT_TRUE(intake_.Commit(CommitOf(TicketOf('a'), 48)).ok());
}

TEST_F(KvIntakeTest, ACommitOfAnotherLengthIsRefused) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 30).ok());
  ASSERT_TRUE(WriteAll(TicketOf('a'), 2).ok());
  const absl::Status status = intake_.Commit(CommitOf(TicketOf('a'), 31));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("commit of 31 tokens, the lease is for 30"));
}

TEST_F(KvIntakeTest, FramesOutsideTheLeaseAreRefused) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 30).ok());
  for (const v1::KvManifest& bad :
       {Manifest(TicketOf('a'), 2, 0, 1), Manifest(TicketOf('a'), -1, 0, 1),
        Manifest(TicketOf('a'), 0, 0, 3), Manifest(TicketOf('a'), 0, 2, 1),
        Manifest(TicketOf('a'), 0, -1, 2), Manifest(TicketOf('a'), 0, 0, 0),
        Manifest(TicketOf('a'), 0, 1, INT32_MAX)}) {
    EXPECT_EQ(Write(bad).code(), StatusCode::kInvalidArgument) << bad.ShortDebugString();
  }
  const absl::Status unknown = Write(Manifest(TicketOf('b'), 0, 0, 1));
  EXPECT_EQ(unknown.code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("unknown"));
}

TEST_F(KvIntakeTest, BlocksStayOwnedWhileAWriterOutlivesItsLease) {
  ASSERT_TRUE(Reserve(TicketOf('a'), 8 * kBlockTokens).ok());
  auto grant = intake_.BeginWrite(Manifest(TicketOf('a'), 0, 0, 8)).value();
  intake_.Release(TicketOf('a').id());
  EXPECT_EQ(Reserve(TicketOf('b'), 10).code(), StatusCode::kResourceExhausted);
  intake_.EndWrite(Manifest(TicketOf('a'), 0, 0, 8));
  grant.reset();
  EXPECT_EQ(pool_.stats().free, 8);
  ASSERT_TRUE(Reserve(TicketOf('c'), 10).ok());
  grant = intake_.BeginWrite(Manifest(TicketOf('c'), 0, 0, 1)).value();
  Pass(kTimeout);
  EXPECT_EQ(expired_.size(), 1u);
  EXPECT_EQ(pool_.stats().free, 7);
  grant.reset();
  EXPECT_EQ(pool_.stats().free, 8);
}

TEST_F(KvIntakeTest, ACommitWaitsForAnOlderWriterToLetGo) {
  ASSERT_TRUE(Reserve(TicketOf('a', 1), 16).ok());
  auto old = intake_.BeginWrite(Manifest(TicketOf('a', 1), 0, 0, 1)).value();
  ASSERT_TRUE(WriteAll(TicketOf('a', 2), 1).ok());
  std::atomic<bool> done{false};
  std::thread committer([&] {
    EXPECT_TRUE(intake_.Commit(CommitOf(TicketOf('a', 2), 16)).ok());
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(done);
  old.reset();
  committer.join();
  EXPECT_EQ(committed_.size(), 1u);
}

// Whatever comes first, a lease ends in one way and nothing is lost.
TEST_F(KvIntakeTest, CommitReleaseAndExpiryMayRace) {
  for (int round = 0; round < 300; ++round) {
    v1::Ticket ticket;
    std::string id(16, 'r');
    std::memcpy(id.data(), &round, sizeof(round));
    ticket.set_id(id);
    ticket.set_epoch(1);
    std::atomic<int> ends{0};
    ASSERT_TRUE(intake_
                    .Reserve(ticket, 20, {},
                             {.on_committed = [&](std::vector<kvcache::BlockRef>,
                                                  const v1::Token&) { ++ends; },
                              .on_expired = [&](const absl::Status&) { ++ends; }})
                    .ok());
    ASSERT_TRUE(WriteAll(ticket, 2).ok());
    std::thread committer([&] { (void)intake_.Commit(CommitOf(ticket, 20)); });
    std::thread releaser([&] { intake_.Release(id); });
    std::thread writer([&] { (void)Write(Manifest(ticket, 0, 0, 2)); });
    if (round % 2 == 0) clock_.Advance(kTimeout);
    intake_.Expire();
    committer.join();
    releaser.join();
    writer.join();
    EXPECT_LE(ends, 1);
    EXPECT_EQ(pool_.stats().free, 8);
  }
}

}  // namespace
}  // namespace baton::decode_node
