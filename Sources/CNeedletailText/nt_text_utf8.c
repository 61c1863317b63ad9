#include <string.h>

#include "nt_text.h"

/// Bytes behind `first` in its character, and the range of the next one; 0xFF for a byte that begins none.
static uint32_t following(uint8_t first, uint8_t *low, uint8_t *high) {
  *low = 0x80, *high = 0xBF;
  if (first < 0xC2) return 0xFF;
  if (first < 0xE0) return 1;
  if (first < 0xF0) {
    if (first == 0xE0) *low = 0xA0;
    if (first == 0xED) *high = 0x9F;
    return 2;
  }
  if (first > 0xF4) return 0xFF;
  if (first == 0xF0) *low = 0x90;
  if (first == 0xF4) *high = 0x8F;
  return 3;
}

size_t nt_text_invalid(const uint8_t *bytes, size_t count) {
  size_t index = 0;
  while (index < count) {
    if (index + 8 <= count) {
      uint64_t eight;
      memcpy(&eight, bytes + index, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        index += 8;
        continue;
      }
    }
    uint8_t first = bytes[index], low, high;
    if (first < 0x80) {
      index++;
      continue;
    }
    uint32_t behind = following(first, &low, &high);
    if (behind == 0xFF || count - index <= behind || bytes[index + 1] < low || bytes[index + 1] > high) return index;
    for (uint32_t next = 2; next <= behind; next++) {
      if ((bytes[index + next] & 0xC0) != 0x80) return index;
    }
    index += behind + 1;
  }
  return count;
}
