#include "nt_preprocess.h"

#include "nt_math.h"

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
