#include "nt_sparse.h"

#include "nt_epilogue.h"

/// Sums of one panel, of which the first `width` columns have weights. A constant width keeps them in registers.
NT_INLINE void panel_sums(const float *weights, size_t stride, size_t width, const uint32_t *columns,
                          const float *numbers, size_t count, float *sums) {
  for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) sums[c] = 0;
  for (size_t i = 0; i < count; i++) {
    const float *w = weights + (size_t)columns[i] * stride;
    for (size_t c = 0; c < width; c++) sums[c] = __builtin_fmaf(numbers[i], w[c], sums[c]);
  }
}

NT_INLINE void sparse_row(const nt_sparse_layer *layer, const uint32_t *columns, const float *numbers, size_t count,
                          float *out) {
  const nt_f32_gemm_args args = {
      .rows = 1, .columns = layer->outputs, .depth = layer->depth, .out = out, .activation = layer->activation};
  size_t stride = layer->stride;
  for (size_t panel = 0; panel < nt_panel_count(layer->outputs); panel++) {
    _Alignas(64) float sums[NT_PANEL_COLUMNS];
    const float *weights = layer->weights + panel * NT_PANEL_COLUMNS;
    switch (stride) {
      case 1:
        panel_sums(weights, 1, 1, columns, numbers, count, sums);
        break;
      case 2:
        panel_sums(weights, 2, 2, columns, numbers, count, sums);
        break;
      case 4:
        panel_sums(weights, 4, 4, columns, numbers, count, sums);
        break;
      case 8:
        panel_sums(weights, 8, 8, columns, numbers, count, sums);
        break;
      default:
        panel_sums(weights, stride, NT_PANEL_COLUMNS, columns, numbers, count, sums);
    }
    nt_f32_epilogue(&args, sums, layer->bias + panel * NT_PANEL_COLUMNS, 0, 1, panel);
  }
}

#define NT_SPARSE_ROW(name, target)                                                                                  \
  target static void name(const nt_sparse_layer *layer, const uint32_t *columns, const float *numbers, size_t count, \
                          float *out) {                                                                              \
    sparse_row(layer, columns, numbers, count, out);                                                                 \
  }

NT_SPARSE_ROW(sparse_row__scalar, )
#if defined(NT_X86)
NT_SPARSE_ROW(sparse_row__avx2, NT_TARGET_AVX2)
NT_SPARSE_ROW(sparse_row__avx512vnni, NT_TARGET_AVX512VNNI)
#endif

nt_sparse_row nt_sparse_row_for(nt_isa isa) {
  if (!nt_isa_exists(isa)) return NULL;
#if defined(NT_X86)
  if (isa == NT_ISA_AVX2) return sparse_row__avx2;
  if (nt_isa_of_vectors(isa) == NT_ISA_AVX512VNNI) return sparse_row__avx512vnni;
#endif
  return sparse_row__scalar;
}
