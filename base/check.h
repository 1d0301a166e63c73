// Assertions on our own bugs. Never use them on anything that came from a wire, a file or a user: that is a Status.
#pragma once

#include <cstdio>
#include <cstdlib>

// Aborts with `message` (a string literal) when `condition` is false. Always on.
#define BATON_CHECK(condition, message)                                                         \
  do {                                                                                          \
    if (__builtin_expect(!(condition), 0)) {                                                    \
      std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", __FILE__, __LINE__, #condition,     \
                   message);                                                                    \
      std::abort();                                                                             \
    }                                                                                           \
  } while (false)

// The same for hot paths: compiled out when NDEBUG is set.
#ifdef NDEBUG
#define BATON_DCHECK(condition, message) \
  do {                                   \
    (void)sizeof(condition);             \
  } while (false)
#else
#define BATON_DCHECK(condition, message) BATON_CHECK(condition, message)
#endif
