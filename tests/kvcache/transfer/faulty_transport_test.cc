#include "kvcache/transfer/faulty_transport.h"

#include <gtest/gtest.h>

#include "kvcache/transfer/memory_transport.h"
#include "tests/kvcache/transfer/outcome.h"
#include "tests/kvcache/transfer/transfer_ends.h"

namespace baton::kvcache {
namespace {

// A hand-over of all blocks through a faulty transport; frame number i meets fault(i).
absl::Status HandOver(TransferEnds& ends, const std::function<FrameFault(int)>& fault) {
  MemoryTransport memory;
  memory.Listen(kAddress, ends.receiver.get());
  int frames = 0;
  const auto faulty = MakeFaultyTransport(memory, [&](bool) { return fault(frames++); });
  const auto sender =
      KvSender::Create(*faulty, *ends.source, ends.layout,
                       {.node_id = "p", .progress_timeout = absl::Milliseconds(200)});
  Outcome outcome;
  const auto push = sender->Start(ends.Target(), outcome.Callback());
  ends.SendAll(*push);
  while (outcome.reports() == 0) {
    if (!memory.Pump()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return outcome.status();
}

TEST(FaultyTransport, WithoutFaultsNothingChanges) {
  TransferEnds ends;
  EXPECT_TRUE(HandOver(ends, [](int) { return FrameFault(); }).ok());
  EXPECT_TRUE(ends.TargetEqualsSource());
}

TEST(FaultyTransport, ADamagedPayloadIsSentAgain) {
  TransferEnds ends;
  const absl::Status status =
      HandOver(ends, [](int frame) { return FrameFault{.corrupt_payload = frame == 1}; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(ends.TargetEqualsSource());
  EXPECT_EQ(ends.receiver->stats().frames_refused, 1);
}

TEST(FaultyTransport, RepeatedFramesDoNoHarm) {
  TransferEnds ends;
  EXPECT_TRUE(HandOver(ends, [](int) { return FrameFault{.duplicate = true}; }).ok());
  EXPECT_TRUE(ends.TargetEqualsSource());
  EXPECT_EQ(ends.receiver->stats().frames, 6);
}

TEST(FaultyTransport, ALostFrameADamagedManifestAndABrokenStreamFailTheHandOver) {
  for (const FrameFault& fault : {FrameFault{.drop = true}, FrameFault{.corrupt_manifest = true},
                                  FrameFault{.break_stream = true}}) {
    TransferEnds ends;
    const absl::Status status =
        HandOver(ends, [&](int frame) { return frame == 1 ? fault : FrameFault(); });
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(ends.sink.commits().empty());
  }
}

}  // namespace
}  // namespace baton::kvcache
