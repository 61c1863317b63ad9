#include "nt_arrange.h"

#include "nt_internal.h"

NT_INLINE void nt_add_f32(const nt_add *p, const nt_call *call) {
  const float *a = nt_buffer(call, 0), *b = nt_buffer(call, 1);
  float *y = nt_buffer(call, 2);
  size_t count = call->items * p->elements;
  for (size_t i = 0; i < count; i++) y[i] = a[i] + b[i];
}

NT_INLINE void nt_add_f64(const nt_add *p, const nt_call *call) {
  const double *a = nt_buffer(call, 0), *b = nt_buffer(call, 1);
  double *y = nt_buffer(call, 2);
  size_t count = call->items * p->elements;
  for (size_t i = 0; i < count; i++) y[i] = a[i] + b[i];
}

NT_STEP(nt_add_f32_step, nt_add_f32)
NT_STEP(nt_add_f64_step, nt_add_f64)

/// Input after input, so that each is read forward once.
void nt_concat_step(const void *parameters, const nt_call *call) {
  const nt_concat *p = parameters;
  uint8_t *out = nt_buffer(call, p->input_count);
  size_t out_bytes = 0, first = 0;
  for (size_t i = 0; i < p->input_count; i++) out_bytes += p->block_bytes[i];
  for (size_t i = 0; i < p->input_count; i++) {
    const uint8_t *from = nt_buffer(call, i);
    size_t bytes = p->block_bytes[i];
    for (size_t block = 0; block < call->items * p->outer; block++) {
      memcpy(out + block * out_bytes + first, from + block * bytes, bytes);
    }
    first += bytes;
  }
}

#define NT_SELECT(name, Element)                                                               \
  void name(const void *parameters, const nt_call *call) {                                     \
    const nt_select *p = parameters;                                                           \
    const Element *x = nt_buffer(call, 0);                                                     \
    Element *y = nt_buffer(call, 1);                                                           \
    size_t blocks = call->items * p->outer;                                                    \
    for (size_t block = 0; block < blocks; block++, x += p->in_columns, y += p->out_columns) { \
      for (size_t c = 0; c < p->out_columns; c++) y[c] = x[p->columns[c]];                     \
    }                                                                                          \
  }

NT_SELECT(nt_select_4_step, uint32_t)
NT_SELECT(nt_select_8_step, uint64_t)
