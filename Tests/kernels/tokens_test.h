/// What the tests of encoders share. Each file counts its own checks.
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nt_tokens.h"

/// Checks the steps of encoders, and those that find answers in texts. They return how many checks failed.
int check_tokens(void);
int check_answers(void);

static int passed, failed;

#define CHECK(condition, ...)                   \
  do {                                          \
    if (condition) {                            \
      passed++;                                 \
    } else if (++failed <= 20) {                \
      printf("FAILED: " __VA_ARGS__), puts(""); \
    }                                           \
  } while (0)

static uint64_t state = 7;

static uint64_t next_random(void) {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

static float next_float(void) { return (float)(next_random() >> 40) / (float)(1 << 23) - 1.0f; }

static float *random_floats(size_t count, float scale) {
  float *x = malloc((count + 1) * sizeof *x);
  for (size_t i = 0; i < count; i++) x[i] = next_float() * scale;
  return x;
}

static const nt_isa all[] = {NT_ISA_SCALAR, NT_ISA_AVX2, NT_ISA_AVX512VNNI, NT_ISA_AMX, NT_ISA_NEON_I8MM, NT_ISA_NEON};
enum { all_count = sizeof all / sizeof *all };

static bool is_usable(nt_isa isa) {
#if defined(NT_USE_SIMDE)
  if (isa == NT_ISA_AVX512VNNI || isa == NT_ISA_AMX) return true;
#endif
  return nt_isa_supported(isa);
}

typedef struct buffer {
  const void *before;
  size_t bytes;
} buffer;

/// Runs a step on `count` buffers and copies one of them to `to`. Each is
/// followed by bytes that must stay.
static void run(nt_step_function step, const void *parameters, const uint32_t *starts, size_t rows, bool per_row,
                const buffer *buffers, size_t count, size_t output, void *to) {
  size_t offsets[8], bytes = 0;
  for (size_t i = 0; i < count; i++) {
    offsets[i] = bytes;
    bytes += (buffers[i].bytes / NT_ALIGNMENT + 2) * NT_ALIGNMENT;
  }
  uint8_t *arena = aligned_alloc(NT_ALIGNMENT, bytes);
  if (!arena) abort();
  memset(arena, 0xa5, bytes);
  for (size_t i = 0; i < count; i++) {
    if (buffers[i].before) memcpy(arena + offsets[i], buffers[i].before, buffers[i].bytes);
  }
  nt_call call = {.arena = arena,
                  .offsets = offsets,
                  .items = per_row ? rows : starts[rows],
                  .rows = rows,
                  .units = starts[rows],
                  .starts = starts};
  step(parameters, &call);
  bool stayed = true;
  for (size_t i = 0; i < count; i++) {
    size_t end = i + 1 == count ? bytes : offsets[i + 1];
    if (buffers[i].before) stayed = stayed && !memcmp(arena + offsets[i], buffers[i].before, buffers[i].bytes);
    for (size_t at = offsets[i] + buffers[i].bytes; at < end; at++) stayed = stayed && arena[at] == 0xa5;
  }
  CHECK(stayed, "a step changed its input or bytes between buffers");
  memcpy(to, arena + offsets[output], buffers[output].bytes);
  free(arena);
}

static void compare(const char *what, nt_isa isa, const float *found, const double *expected, size_t count,
                    double tolerance) {
  for (size_t i = 0; i < count; i++) {
    double bound = tolerance * fmax(1, fabs(expected[i]));
    CHECK(fabs((double)found[i] - expected[i]) <= bound, "%s on %s, element %zu: expected %.9g, found %.9g", what,
          nt_isa_name(isa), i, expected[i], (double)found[i]);
  }
}
