#include "nt_lanes.h"
#include "nt_tokens.h"

// MARK: - the best span of a text

/// Logits of up to sixteen tokens, one of two each; minus infinity for what cannot be part of an answer.
NT_INLINE void nt_answer_lanes(const nt_answer_span *p, const float *logits, const nt_token_span *spans, size_t first,
                               size_t count, size_t which, nt_lanes *to) {
  float lanes[nt_lane_count];
  NT_EACH_ROW
  for (size_t i = 0; i < nt_lane_count; i++) {
    size_t token = first + i;
    bool counts =
        token < count && (token == 0 || (spans[token].word >= 0 && spans[token].sequence == (int32_t)p->sequence));
    lanes[i] = counts ? logits[2 * token + which] : -__builtin_inff();
  }
  *to = nt_load(lanes);
}

/// The largest of the first or second logits, and the sum of the exponentials of what they are below it.
NT_INLINE float nt_answer_sum(const nt_answer_span *p, const float *logits, const nt_token_span *spans, size_t count,
                              size_t which, float *largest) {
  nt_lanes most = nt_all(-__builtin_inff()), sum = nt_all(0), x;
  for (size_t first = 0; first < count; first += nt_lane_count) {
    nt_answer_lanes(p, logits, spans, first, count, which, &x);
    most = nt_larger(x, most);
  }
  float lanes[nt_lane_count];
  nt_store(lanes, most);
  *largest = nt_row_largest(lanes, nt_lane_count);
  for (size_t first = 0; first < count; first += nt_lane_count) {
    nt_answer_lanes(p, logits, spans, first, count, which, &x);
    x -= *largest;
    nt_exp_below(&x);
    sum += x;
  }
  return nt_lane_sum(&sum);
}

NT_INLINE void nt_answer_span_rows(const nt_answer_span *p, const nt_call *call) {
  const float *all_logits = nt_buffer(call, 0);
  const nt_token_span *all_spans = nt_buffer(call, 1);
  float *y = nt_buffer(call, 2);
  for (size_t row = 0; row < call->items; row++, y += 3) {
    const size_t first = call->starts[row], count = call->starts[row + 1] - first;
    const float *logits = all_logits + 2 * first;
    const nt_token_span *spans = all_spans + first;
    size_t best_start = count, best_end = count;
    float best = -__builtin_inff();
    for (size_t s = 0; s < count; s++) {
      if (spans[s].word < 0 || spans[s].sequence != (int32_t)p->sequence) continue;
      for (size_t e = s; e < count && e - s < p->tokens_max; e++) {
        // Tokens of a text stand together.
        if (spans[e].word < 0 || spans[e].sequence != (int32_t)p->sequence) break;
        float sum = logits[2 * s] + logits[2 * e + 1];
        if (sum > best) best = sum, best_start = s, best_end = e;
      }
    }
    y[0] = y[1] = y[2] = 0;
    if (best_start == count) continue;
    float most[2], sums[2];
    for (size_t which = 0; which < 2; which++) {
      sums[which] = nt_answer_sum(p, logits, spans, count, which, &most[which]);
    }
    nt_lanes shares = {logits[2 * best_start] - most[0], logits[2 * best_end + 1] - most[1]};
    nt_exp_below(&shares);
    y[0] = (float)spans[best_start].start;
    y[1] = (float)spans[best_end].end;
    y[2] = (shares[0] / sums[0]) * (shares[1] / sums[1]);
  }
}

// MARK: - entities

/// Entity under construction; of no kind: none is.
typedef struct nt_entity {
  int32_t kind, start, end;
  float sum;
  uint32_t words;
} nt_entity;

NT_INLINE size_t nt_entity_write(const nt_entity *entity, float *y, size_t count, size_t count_max) {
  if (entity->kind < 0 || count == count_max) return count;
  float *to = y + 4 * count;
  to[0] = (float)entity->kind;
  to[1] = (float)entity->start;
  to[2] = (float)entity->end;
  to[3] = entity->sum / (float)entity->words;
  return count + 1;
}

NT_INLINE void nt_entities_rows(const nt_entities *p, const nt_call *call) {
  const float *all = nt_buffer(call, 0);
  const nt_token_span *spans = nt_buffer(call, 1);
  float *y = nt_buffer(call, 2);
  for (size_t row = 0; row < call->items; row++, y += 4 * p->entities_max) {
    nt_entity entity = {.kind = -1};
    size_t count = 0;
    for (size_t i = call->starts[row]; i < call->starts[row + 1];) {
      const nt_token_span *span = &spans[i];
      const float *x = all + i * p->classes;
      int32_t end = span->end;
      size_t next = i + 1;
      for (; next < call->starts[row + 1] && spans[next].word == span->word && span->word >= 0 &&
             spans[next].sequence == span->sequence;
           next++) {
        end = spans[next].end;
      }
      size_t class = 0;
      NT_EACH_ROW
      for (size_t c = 1; c < p->classes; c++) class = x[c] > x[class] ? c : class;
      int32_t kind = span->word < 0 ? -1 : p->kinds[class];
      if (kind != entity.kind || p->begins[class]) {
        count = nt_entity_write(&entity, y, count, p->entities_max);
        entity = (nt_entity){.kind = kind, .start = span->start};
      }
      entity.end = end;
      entity.sum += x[class];
      entity.words++;
      i = next;
    }
    count = nt_entity_write(&entity, y, count, p->entities_max);
    NT_EACH_ROW
    for (; count < p->entities_max; count++) {
      float *to = y + 4 * count;
      to[0] = -1;
      to[1] = to[2] = to[3] = 0;
    }
  }
}

NT_STEP(nt_answer_span_step, nt_answer_span_rows)
NT_STEP(nt_entities_step, nt_entities_rows)
