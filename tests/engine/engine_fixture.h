// An engine over FakeModel with a small pool.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "engine/engine.h"
#include "tests/fakes/fake_model.h"
#include "tests/fakes/memory_device.h"
#include "tests/fakes/recording_listener.h"

namespace baton::engine {

using fakes::RecordingListener;

inline constexpr int32_t kEos = 1;

inline std::vector<int32_t> RandomPrompt(int64_t length, uint64_t seed) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) {
    prompt.push_back(2 + static_cast<int32_t>(CounterRandom(seed, i) % 62));
  }
  return prompt;
}

struct Request {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  StopParams stop;
  bool first_token_only = false;
  std::string cache_salt = {};
  PromptReading reading = {};
};

// Runs `max_tokens` tokens whatever they are.
inline Request RequestOf(int64_t prompt_tokens, int32_t max_tokens, uint64_t seed = 1) {
  Request request{.prompt = RandomPrompt(prompt_tokens, seed), .sampling = {}, .stop = {}};
  request.sampling.seed = seed;
  request.stop.max_tokens = max_tokens;
  request.stop.ignore_eos = true;
  return request;
}

// The token comes with all but certainty at every position.
inline void AlwaysDraw(int32_t token, Request* request) {
  request->sampling.logit_bias = {{token, 100.0f}};
}

class EngineBench {
 public:
  EngineBench(BatchPolicy& policy, int32_t blocks, int32_t queue_max = 256,
              int32_t batch_tokens_max = 64, int64_t context_length = 1024,
              bool prefix_cache = false, int32_t draft_tokens_max = 0)
      : model(batch_tokens_max, context_length),
        store(kvcache::KvStore::Create(device, fakes::FakeModelGeometry(), blocks).value()),
        pool(blocks),
        cache(pool, store->geometry().block_tokens, model.config().fingerprint),
        engine(model, *store, pool, policy, SystemClock::Get(),
               {.queue_max = queue_max,
                .eos_ids = {kEos},
                .context_length = context_length,
                .cache = prefix_cache ? &cache : nullptr,
                .draft_tokens_max = draft_tokens_max}) {}

  absl::StatusOr<std::shared_ptr<RecordingListener>> Submit(const Request& request) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_id++;
    sequence->tokens = request.prompt;
    sequence->prompt_tokens = static_cast<int64_t>(request.prompt.size());
    sequence->sampling = request.sampling;
    sequence->stop = request.stop;
    sequence->first_token_only = request.first_token_only;
    sequence->cache_salt = request.cache_salt;
    sequence->reading = request.reading;
    if (request.reading.embeds()) sequence->first_token_only = true;
    const auto listener = std::make_shared<RecordingListener>();
    sequence->listener = listener;
    const absl::Status status = engine.Submit(std::move(sequence));
    if (!status.ok()) return status;
    return listener;
  }
  std::vector<int32_t> Run(const Request& request, FinishReason reason = FinishReason::kLength) {
    const auto listener = Submit(request);
    EXPECT_TRUE(listener.ok()) << listener.status();
    if (!listener.ok()) return {};
    const absl::Status status = (*listener)->WaitForEnd();
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ((*listener)->reason(), reason);
    return (*listener)->ids();
  }

  bool AllFree() const { return pool.stats().available() == pool.stats().total; }

  fakes::MemoryDevice device;
  fakes::FakeModel model;
  std::unique_ptr<kvcache::KvStore> store;
  kvcache::BlockPool pool;
  kvcache::PrefixCache cache;
  uint64_t next_id = 1;
  Engine engine;
};

// Holds the engine in a step until told to go on.
class Gate {
 public:
  // For FakeModel::before_forward.
  absl::Status Pass() {
    MutexLock lock(mutex_);
    ++arrivals_;
    changed_.notify_all();
    changed_.wait(mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_; });
    return absl::OkStatus();
  }
  void WaitForArrival() {
    MutexLock lock(mutex_);
    changed_.wait(mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return arrivals_ > 0; });
  }
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int arrivals_ ABSL_GUARDED_BY(mutex_) = 0;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace baton::engine
