#include "nt_columns.h"

#include "nt_internal.h"

static uint32_t nt_rotate(uint32_t x, int bits) { return (x << bits) | (x >> (32 - bits)); }

static uint32_t nt_murmur3_mix(uint32_t block) { return nt_rotate(block * 0xcc9e2d51u, 15) * 0x1b873593u; }

uint32_t nt_murmur3(const void *bytes, size_t count) {
  const uint8_t *p = bytes;
  uint32_t hash = 0;
  size_t blocks = count / 4;
  for (size_t i = 0; i < blocks; i++, p += 4) {
    uint32_t block = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    hash = nt_rotate(hash ^ nt_murmur3_mix(block), 13) * 5 + 0xe6546b64u;
  }
  uint32_t tail = 0;
  for (size_t i = count % 4; i-- > 0;) tail = tail << 8 | p[i];
  if (count % 4) hash ^= nt_murmur3_mix(tail);
  hash ^= (uint32_t)count;
  hash = (hash ^ hash >> 16) * 0x85ebca6bu;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
  return hash ^ hash >> 16;
}

uint32_t nt_bucket(uint32_t hash, uint32_t buckets) {
  // The magnitude of −2³¹ is 2³¹, which fits an unsigned number.
  uint32_t magnitude = hash & 0x80000000u ? 0u - hash : hash;
  return magnitude % buckets;
}

uint32_t nt_cross(const double *codes, size_t count, uint32_t buckets) {
  uint8_t bytes[4 * NT_CROSS_MAX];
  for (size_t i = 0; i < count; i++) {
    // NaN fails the comparison.
    bool is_code = codes[i] >= 0 && codes[i] < 2147483648.0;
    uint32_t code = is_code ? (uint32_t)codes[i] : 0xffffffffu;
    for (int byte = 0; byte < 4; byte++) bytes[4 * i + (size_t)byte] = (uint8_t)(code >> (8 * byte));
  }
  return nt_bucket(nt_murmur3(bytes, 4 * count), buckets);
}

#define NT_COLUMN_STEPS(Element, suffix)                                                               \
  void nt_derive_##suffix##_step(const void *parameters, const nt_call *call) {                        \
    const nt_derive *p = parameters;                                                                   \
    const Element *x = nt_buffer(call, 0);                                                             \
    Element *y = nt_buffer(call, 1);                                                                   \
    for (size_t item = 0; item < call->items; item++, x += p->in_columns) {                            \
      memcpy(y, x, p->in_columns * sizeof(Element));                                                   \
      y += p->in_columns;                                                                              \
      const uint32_t *columns = p->columns;                                                            \
      for (size_t i = 0; i < p->count; columns += p->counts[i], i++) {                                 \
        double operands[NT_CROSS_MAX], product = 1;                                                    \
        switch (p->kinds[i]) {                                                                         \
          case NT_DERIVE_MISSING:                                                                      \
            *y++ = x[columns[0]] != x[columns[0]] ? 1 : 0;                                             \
            break;                                                                                     \
          case NT_DERIVE_PRODUCT:                                                                      \
            for (uint32_t k = 0; k < p->counts[i]; k++) product *= (double)x[columns[k]];              \
            *y++ = (Element)product;                                                                   \
            break;                                                                                     \
          default:                                                                                     \
            for (uint32_t k = 0; k < p->counts[i]; k++) operands[k] = (double)x[columns[k]];           \
            *y++ = (Element)nt_cross(operands, p->counts[i], p->buckets[i]);                           \
        }                                                                                              \
      }                                                                                                \
    }                                                                                                  \
  }                                                                                                    \
                                                                                                       \
  void nt_lookup_##suffix##_step(const void *parameters, const nt_call *call) {                        \
    const nt_lookup *p = parameters;                                                                   \
    const Element *x = nt_buffer(call, 0);                                                             \
    Element *y = nt_buffer(call, 1);                                                                   \
    for (size_t item = 0; item < call->items; item++, x += p->in_columns) {                            \
      const float *table = p->values;                                                                  \
      for (size_t column = 0; column < p->in_columns; column++) {                                      \
        size_t width = p->widths[column], entries = p->entries[column];                                \
        Element code = x[column];                                                                      \
        if (width == 0) {                                                                              \
          *y++ = code;                                                                                 \
          continue;                                                                                    \
        }                                                                                              \
        /* Tables stay below 2^24 rows, so the comparison is exact; NaN fails it. */                   \
        bool is_code = code >= 0 && code < (Element)entries;                                           \
        size_t row = is_code && code == (Element)(uint32_t)code ? (uint32_t)code : entries;            \
        for (size_t i = 0; i < width; i++) *y++ = (Element)table[row * width + i];                     \
        table += (entries + 1) * width;                                                                \
      }                                                                                                \
    }                                                                                                  \
  }                                                                                                    \
                                                                                                       \
  void nt_curves_##suffix##_step(const void *parameters, const nt_call *call) {                        \
    const nt_curves *p = parameters;                                                                   \
    const Element *x = nt_buffer(call, 0);                                                             \
    Element *y = nt_buffer(call, 1);                                                                   \
    for (size_t item = 0; item < call->items; item++, x += p->columns, y += p->columns) {              \
      for (size_t column = 0; column < p->columns; column++) {                                         \
        const nt_curve *curve = p->curves + column;                                                    \
        y[column] = curve->kind == NT_CURVE_NONE ? x[column] : (Element)nt_curve_at(curve, x[column]); \
      }                                                                                                \
    }                                                                                                  \
  }

NT_COLUMN_STEPS(float, f32)
NT_COLUMN_STEPS(double, f64)
