#include "nt_text_tokenize.h"

#include <string.h>

#include "nt_text_item.h"

static nt_text text_of(const nt_text_item *item) { return (nt_text){.bytes = item->bytes, .count = item->length}; }

void nt_tokenize_step(const void *parameters, const nt_call *call) {
  const nt_tokenize *p = parameters;
  const nt_text_item *items = nt_buffer(call, 0);
  uint32_t *starts = nt_buffer(call, 1), *statuses = nt_buffer(call, 2);
  nt_text_scratch *scratch = nt_buffer(call, 3);
  int32_t *ids = nt_buffer(call, 4), *types = p->has_types ? nt_buffer(call, 5) : NULL;
  nt_token_span *spans = p->has_spans ? nt_buffer(call, p->has_types ? 6 : 5) : NULL;
  uint32_t units = 0;
  for (size_t row = 0; row < call->rows; row++, items += p->texts_per_row) {
    starts[row] = units;
    nt_text second = {0};
    if (p->second != NT_TEXT_NONE) second = text_of(&items[p->second]);
    nt_text_tokens tokens = {0};
    nt_text_status status = nt_text_encode(p->vocabulary, scratch, text_of(&items[p->first]),
                                           p->second == NT_TEXT_NONE ? NULL : &second, true, &tokens, NULL);
    // The bound of tokens by which rows are put together holds for every text
    // but those that a map makes longer than text grows anywhere.
    if (status == NT_TEXT_OK && tokens.count > p->units_max - units) status = NT_TEXT_TOO_MANY_TOKENS;
    statuses[row] = status;
    if (status != NT_TEXT_OK) continue;
    memcpy(ids + units, tokens.ids, tokens.count * sizeof *ids);
    for (size_t i = 0; types && i < tokens.count; i++) types[units + i] = tokens.types[i];
    for (size_t i = 0; spans && i < tokens.count; i++) {
      spans[units + i] = (nt_token_span){.start = (int32_t)tokens.starts[i],
                                         .end = (int32_t)tokens.ends[i],
                                         .word = (int32_t)tokens.words[i],
                                         .sequence = tokens.sequences[i]};
    }
    units += (uint32_t)tokens.count;
  }
  starts[call->rows] = units;
}
