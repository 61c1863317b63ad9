#include "nt_f32_tile__avx512.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

// Weights of bf16 are half the bytes, which is what a product of few rows and large weights waits for, and activations
// stay fp32. VDPBF16PS, which would round them too, is no gain here: it does 32 multiply-adds every two cycles on
// Sapphire Rapids, half of what fused multiply-adds do (44.7 to 89.3 G/s, measured).

/// R rows × P panels of 16 columns: R · P accumulators of 16 floats, by two steps of depth at a time.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t bytes = nt_bf16_panel_bytes(args->depth);
  const char *w = (const char *)args->weights + panel * bytes;
  const float *a = args->a + row * args->depth;
  __m512 sums[24];
  for (int i = 0; i < R * P; i++) sums[i] = _mm512_setzero_ps();
  for (size_t k = 0; k + 2 <= args->depth; k += 2) {
    nt_f32_tile_step(sums, a + k, args->depth, w + k * 32, bytes, R, P, NT_WEIGHTS_BF16_LOWER);
    nt_f32_tile_step(sums, a + k + 1, args->depth, w + k * 32, bytes, R, P, NT_WEIGHTS_BF16_UPPER);
  }
  if (args->depth % 2) {
    size_t k = args->depth - 1;
    nt_f32_tile_step(sums, a + k, args->depth, w + k * 32, bytes, R, P, NT_WEIGHTS_BF16_LOWER);
  }
  nt_f32_tile_finish(args, sums, row, panel, w + bytes - sizeof(float[NT_PANEL_COLUMNS]), bytes, R, P);
}

NT_F32_GEMM__AVX512(nt_bf16_gemm__avx512vnni)
#endif
