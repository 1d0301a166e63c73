// How calls that carry blocks reach a peer.
#pragma once

#include <grpcpp/support/channel_arguments.h>

#include <chrono>

#include "absl/time/time.h"

namespace baton::kvcache {

grpc::ChannelArguments TransferChannelArguments();

std::chrono::system_clock::time_point DeadlineAfter(absl::Duration timeout);

}  // namespace baton::kvcache
