#include "nt_preprocess.h"

#include "nt_epilogue.h"

/// One pass for an input of type `In` and an output of type `Out`. Scaling computes in the input's type and rounds
/// once, to the output's.
#define NT_PREPROCESS(name, In, Out)                                                                \
  NT_INLINE Out name##_scaled(const nt_preprocess *p, In x, size_t column) {                        \
    if (p->fill) x = x != x ? (In)p->fill[column] : x;                                              \
    if (!p->scale) return (Out)x;                                                                   \
    Out y = (Out)((x - (In)p->offset[column]) * (In)p->scale[column]);                              \
    if (p->clamp) {                                                                                 \
      y = y < 0 ? 0 : y;                                                                            \
      y = y > 1 ? 1 : y;                                                                            \
    }                                                                                               \
    return y;                                                                                       \
  }                                                                                                 \
                                                                                                    \
  NT_INLINE void name(const nt_preprocess *p, const nt_call *call) {                                \
    const In *x = nt_buffer(call, 0);                                                               \
    Out *y = nt_buffer(call, 1);                                                                    \
    for (size_t item = 0; item < call->items; item++, x += p->in_columns) {                         \
      for (size_t run = 0; run < p->run_count; run++) {                                             \
        size_t first = p->runs[run].first, count = p->runs[run].count, width = p->runs[run].width;  \
        if (width == 0) {                                                                           \
          for (size_t c = 0; c < count; c++) y[c] = name##_scaled(p, x[first + c], first + c);      \
          y += count;                                                                               \
        } else {                                                                                    \
          Out code = name##_scaled(p, x[first], first);                                             \
          memset(y, 0, width * sizeof(Out));                                                        \
          /* Widths stay below 2^24, so the comparison is exact; NaN fails it. */                   \
          if (code >= 0 && code < (Out)width && code == (Out)(uint32_t)code) y[(uint32_t)code] = 1; \
          y += width;                                                                               \
        }                                                                                           \
      }                                                                                             \
    }                                                                                               \
  }

NT_PREPROCESS(nt_preprocess_f32, float, float)
NT_PREPROCESS(nt_preprocess_f64_f32, double, float)
NT_PREPROCESS(nt_preprocess_f64, double, double)
NT_STEP(nt_preprocess_f32_step, nt_preprocess_f32)
NT_STEP(nt_preprocess_f64_f32_step, nt_preprocess_f64_f32)
NT_STEP(nt_preprocess_f64_step, nt_preprocess_f64)

/// One row at a time: first the columns that are not 0 with their numbers, then panel by panel their weights.
#define NT_INDICATOR_LAYER(name, scaled, In)                                                          \
  NT_INLINE void name(const nt_indicator_layer *p, const nt_call *call) {                             \
    const nt_preprocess *columns = &p->columns;                                                       \
    const In *x = nt_buffer(call, 0);                                                                 \
    uint32_t *places = nt_buffer(call, 2);                                                            \
    float *numbers = (float *)(places + columns->in_columns);                                         \
    const nt_f32_gemm_args args = {.rows = call->items,                                               \
                                   .columns = p->outputs,                                             \
                                   .depth = p->depth,                                                 \
                                   .out = nt_buffer(call, 1),                                         \
                                   .activation = p->activation};                                      \
    const size_t panels = nt_panel_count(p->outputs), floats = nt_f32_panel_floats(p->depth);         \
    for (size_t item = 0; item < call->items; item++, x += columns->in_columns) {                     \
      size_t count = 0;                                                                               \
      uint32_t place = 0;                                                                             \
      for (size_t run = 0; run < columns->run_count; run++) {                                         \
        const nt_column_run *own = columns->runs + run;                                               \
        for (uint32_t c = own->first; own->width == 0 && c < own->first + own->count; c++, count++) { \
          places[count] = place++;                                                                    \
          numbers[count] = scaled(columns, x[c], c);                                                  \
        }                                                                                             \
        if (own->width == 0) continue;                                                                \
        float code = scaled(columns, x[own->first], own->first);                                      \
        if (code >= 0 && code < (float)own->width && code == (float)(uint32_t)code) {                 \
          places[count] = place + (uint32_t)code;                                                     \
          numbers[count++] = 1;                                                                       \
        }                                                                                             \
        place += own->width;                                                                          \
      }                                                                                               \
      for (size_t panel = 0; panel < panels; panel++) {                                               \
        const float *weights = p->weights + panel * floats;                                           \
        _Alignas(64) float sums[NT_PANEL_COLUMNS] = {0};                                              \
        for (size_t i = 0; i < count; i++) {                                                          \
          const float *w = weights + (size_t)places[i] * NT_PANEL_COLUMNS;                            \
          for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) {                                             \
            sums[c] = __builtin_fmaf(numbers[i], w[c], sums[c]);                                      \
          }                                                                                           \
        }                                                                                             \
        nt_f32_epilogue(&args, sums, weights + (size_t)p->depth * NT_PANEL_COLUMNS, item, 1, panel);  \
      }                                                                                               \
    }                                                                                                 \
  }

NT_INDICATOR_LAYER(nt_indicator_layer_f32, nt_preprocess_f32_scaled, float)
NT_INDICATOR_LAYER(nt_indicator_layer_f64, nt_preprocess_f64_f32_scaled, double)
NT_STEP(nt_indicator_layer_f32_step, nt_indicator_layer_f32)
NT_STEP(nt_indicator_layer_f64_step, nt_indicator_layer_f64)
