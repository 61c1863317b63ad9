/// What the tests of kernels that learn share: numbers from a fixed sequence, in memory of exactly their size.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition)                                                      \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

static float next(void) {
  static unsigned state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / (float)(1 << 23) - 1;
}

/// Memory of exactly this many numbers, at an address of 4 bytes only.
static float *numbers(size_t count) {
  float *memory = malloc((count > 0 ? count : 1) * sizeof *memory);
  EXPECT(memory != NULL);
  for (size_t i = 0; i < count; i++) memory[i] = next();
  return memory;
}
