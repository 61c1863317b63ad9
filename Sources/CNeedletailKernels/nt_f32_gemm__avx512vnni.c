#include "nt_f32_tile__avx512.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

/// R rows × P panels of 16 columns: R · P accumulators of 16 floats.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t bytes = nt_f32_panel_floats(args->depth) * sizeof(float);
  const char *w = (const char *)args->weights + panel * bytes;
  const float *a = args->a + row * args->depth;
  __m512 sums[24];
  for (int i = 0; i < R * P; i++) sums[i] = _mm512_setzero_ps();
  for (size_t k = 0; k < args->depth; k++) {
    nt_f32_tile_step(sums, a + k, args->depth, w + k * 64, bytes, R, P, NT_WEIGHTS_F32);
  }
  nt_f32_tile_finish(args, sums, row, panel, w + args->depth * 64, bytes, R, P);
}

NT_F32_GEMM__AVX512(nt_f32_gemm__avx512vnni)
#endif
