// Times the encoding of texts that lie one after another.
#define _POSIX_C_SOURCE 199309L
#include <time.h>

#include "nt_text.h"

/// Nanoseconds of the best of `rounds` rounds over all texts, and the tokens of one round.
uint64_t nt_time_encode(const nt_text_vocabulary *vocabulary, nt_text_scratch *scratch, const uint8_t *bytes,
                        const uint64_t *ends, size_t count, size_t rounds, size_t *tokens);

uint64_t nt_time_encode(const nt_text_vocabulary *vocabulary, nt_text_scratch *scratch, const uint8_t *bytes,
                        const uint64_t *ends, size_t count, size_t rounds, size_t *tokens) {
  uint64_t best = UINT64_MAX;
  for (size_t round = 0; round < rounds; round++) {
    struct timespec began, ended;
    *tokens = 0;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (size_t index = 0; index < count; index++) {
      uint64_t start = index == 0 ? 0 : ends[index - 1];
      nt_text_tokens found;
      if (nt_text_encode(vocabulary, scratch, (nt_text){bytes + start, ends[index] - start}, NULL, true, &found,
                         NULL)) {
        return 0;
      }
      *tokens += found.count;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    int64_t nanoseconds = (ended.tv_sec - began.tv_sec) * 1000000000 + ended.tv_nsec - began.tv_nsec;
    if ((uint64_t)nanoseconds < best) best = (uint64_t)nanoseconds;
  }
  return best;
}
