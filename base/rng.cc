#include "base/rng.h"

#include <sys/random.h>

#include "base/check.h"

namespace baton {

uint64_t SystemRng::Next() {
  uint64_t word = 0;
  const ssize_t got = getrandom(&word, sizeof(word), 0);
  BATON_CHECK(got == sizeof(word), "getrandom gives up to 256 bytes without interruption");
  return word;
}

namespace {
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
}  // namespace

uint64_t CounterRandom(uint64_t key, uint64_t counter) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  return Mix(Mix(key + kGolden) + (counter + 1) * kGolden);
}

}  // namespace baton
