#include "nt_clip.h"

#include "nt_internal.h"

/// Comparisons with NaN are false, so it passes both.
NT_INLINE void nt_clip_f32(const nt_clip *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  for (size_t item = 0; item < call->items; item++, x += p->columns, y += p->columns) {
    for (size_t c = 0; c < p->columns; c++) {
      float above = x[c] < p->low[c] ? p->low[c] : x[c];
      y[c] = above > p->high[c] ? p->high[c] : above;
    }
  }
}

NT_STEP(nt_clip_step, nt_clip_f32)
