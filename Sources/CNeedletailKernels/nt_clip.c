#include "nt_clip.h"

#include "nt_internal.h"

/// Comparisons with NaN are false, so it passes both. The flags are constants of each call, so that every combination
/// has a loop without branches.
NT_INLINE void nt_clip_items(const nt_clip *p, const nt_call *call, bool has_one_low, bool has_one_high) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  const float first_low = p->low[0], first_high = p->high[0];
  for (size_t item = 0; item < call->items; item++, x += p->columns, y += p->columns) {
    for (size_t c = 0; c < p->columns; c++) {
      float low = has_one_low ? first_low : p->low[c], high = has_one_high ? first_high : p->high[c];
      float above = x[c] < low ? low : x[c];
      y[c] = above > high ? high : above;
    }
  }
}

NT_INLINE void nt_clip_f32(const nt_clip *p, const nt_call *call) {
  if (p->has_one_low && p->has_one_high) {
    nt_clip_items(p, call, true, true);
  } else if (p->has_one_low) {
    nt_clip_items(p, call, true, false);
  } else if (p->has_one_high) {
    nt_clip_items(p, call, false, true);
  } else {
    nt_clip_items(p, call, false, false);
  }
}

NT_STEP(nt_clip_step, nt_clip_f32)
