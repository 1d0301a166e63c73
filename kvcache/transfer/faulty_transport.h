// A transport whose frames are damaged, lost, repeated or late on purpose: for tests of a cluster
// that runs.
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// What happens to one frame.
struct FrameFault {
  bool corrupt_payload = false;   // one bit of the payload is flipped (frames with a payload)
  bool corrupt_manifest = false;  // the frame names another layer (a commit: another length)
  bool drop = false;              // does not leave
  bool duplicate = false;         // leaves twice (frames with a payload)
  bool break_stream = false;      // the stream breaks instead
  absl::Duration delay;           // the sender's thread waits before: a slow link for all streams
};

// Asked once for each frame, on the sender's thread; a commit has no payload.
using NextFrameFault = std::function<FrameFault(bool has_payload)>;

// Wraps `inner`, which must outlive it, as it must outlive its streams.
std::unique_ptr<Transport> MakeFaultyTransport(Transport& inner, NextFrameFault next);

}  // namespace baton::kvcache
