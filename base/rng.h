// Randomness is passed in, never taken.
#pragma once

#include <cstdint>

namespace baton {

// A source of random 64-bit words. Implementations say whether they are thread-safe.
class Rng {
 public:
  virtual ~Rng() = default;
  virtual uint64_t Next() = 0;
};

// getrandom(2): unpredictable, for tickets and ids. Thread-safe.
class SystemRng final : public Rng {
 public:
  uint64_t Next() override;
};

// Counter-based generator: word number `counter` of the stream `key` (SplitMix64 finaliser, Steele et al. 2014, applied
// to key and counter). No hidden state: a continuation needs only the two numbers.
uint64_t CounterRandom(uint64_t key, uint64_t counter);

// A seeded stream of CounterRandom words. For tests and simulation. Not thread-safe.
class SeededRng final : public Rng {
 public:
  explicit SeededRng(uint64_t seed) : seed_(seed) {}
  uint64_t Next() override { return CounterRandom(seed_, counter_++); }

 private:
  uint64_t seed_;
  uint64_t counter_ = 0;
};

}  // namespace baton
