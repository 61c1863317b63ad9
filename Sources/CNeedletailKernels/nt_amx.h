// Tiles of AMX: eight registers of up to 16 rows × 64 bytes. With NT_USE_SIMDE they are memory and plain loops, so that
// the logic of a kernel is tested bit for bit on machines without AMX.
//
// Semantics: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "TDPBSUD", "TDPBF16PS",
// "TILELOADD".
#pragma once

#include "nt_epilogue__avx512.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define NT_TARGET_AMX
#define NT_TARGET_AMX_BF16
#else
#define NT_TARGET_AMX \
  __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")))
#define NT_TARGET_AMX_BF16 \
  __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-bf16")))
#endif

/// Operand of LDTILECFG.
typedef struct __attribute__((packed)) nt_tile_config {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} nt_tile_config;

#if defined(NT_USE_SIMDE)
static struct {
  nt_tile_config config;
  uint8_t tiles[8][16][64];
} nt_amx;

NT_INLINE void nt_tile_configure(const nt_tile_config *config) {
  nt_amx.config = *config;
  memset(nt_amx.tiles, 0, sizeof nt_amx.tiles);
}
NT_INLINE void nt_tile_release(void) { memset(&nt_amx, 0, sizeof nt_amx); }
NT_INLINE void nt_tile_zero(int tile) { memset(nt_amx.tiles[tile], 0, sizeof nt_amx.tiles[tile]); }
NT_INLINE void nt_tile_load(int tile, const void *from, size_t stride) {
  memset(nt_amx.tiles[tile], 0, sizeof nt_amx.tiles[tile]);
  for (size_t r = 0; r < nt_amx.config.rows[tile]; r++) {
    memcpy(nt_amx.tiles[tile][r], (const uint8_t *)from + r * stride, nt_amx.config.row_bytes[tile]);
  }
}
NT_INLINE void nt_tile_store(int tile, void *to, size_t stride) {
  for (size_t r = 0; r < nt_amx.config.rows[tile]; r++) {
    memcpy((uint8_t *)to + r * stride, nt_amx.tiles[tile][r], nt_amx.config.row_bytes[tile]);
  }
}
/// TDPBSUD: sums[m][n] += Σ signed a[m][4k + i] · unsigned b[k][4n + i], modulo 2³².
NT_INLINE void nt_tile_multiply(int sums, int a, int b) {
  for (size_t m = 0; m < nt_amx.config.rows[sums]; m++) {
    for (size_t n = 0; n < 16; n++) {
      uint32_t sum;
      memcpy(&sum, &nt_amx.tiles[sums][m][4 * n], sizeof sum);
      for (size_t k = 0; k < nt_amx.config.rows[b]; k++) {
        for (size_t i = 0; i < 4; i++) {
          int product = (int8_t)nt_amx.tiles[a][m][4 * k + i] * (int)nt_amx.tiles[b][k][4 * n + i];
          sum += (uint32_t)product;
        }
      }
      memcpy(&nt_amx.tiles[sums][m][4 * n], &sum, sizeof sum);
    }
  }
}
/// TDPBF16PS: sums[m][n] += Σ a[m][2k] · b[k][2n] + Σ a[m][2k + 1] · b[k][2n + 1], each of the two by fused
/// multiply-adds from 0. The instruction takes subnormals for 0, the emulation does not.
NT_INLINE void nt_tile_multiply_bf16(int sums, int a, int b) {
  for (size_t m = 0; m < nt_amx.config.rows[sums]; m++) {
    for (size_t n = 0; n < 16; n++) {
      float products[2] = {0, 0}, sum;
      for (size_t k = 0; k < nt_amx.config.rows[b]; k++) {
        uint16_t left[2], right[2];
        memcpy(left, &nt_amx.tiles[a][m][4 * k], sizeof left);
        memcpy(right, &nt_amx.tiles[b][k][4 * n], sizeof right);
        for (size_t i = 0; i < 2; i++) {
          products[i] = __builtin_fmaf(nt_bf16_widened(left[i]), nt_bf16_widened(right[i]), products[i]);
        }
      }
      memcpy(&sum, &nt_amx.tiles[sums][m][4 * n], sizeof sum);
      sum += products[0] + products[1];
      memcpy(&nt_amx.tiles[sums][m][4 * n], &sum, sizeof sum);
    }
  }
}
#else
// Macros: a tile is part of its instruction, so that its number must be a constant.
#define nt_tile_configure(config) _tile_loadconfig(config)
#define nt_tile_release() _tile_release()
#define nt_tile_zero(tile) _tile_zero(tile)
#define nt_tile_load(tile, from, stride) _tile_loadd(tile, from, stride)
#define nt_tile_store(tile, to, stride) _tile_stored(tile, to, stride)
#define nt_tile_multiply(sums, a, b) _tile_dpbsud(sums, a, b)
#define nt_tile_multiply_bf16(sums, a, b) _tile_dpbf16ps(sums, a, b)
#endif
#endif
