/// Texts in the scratch of a plan.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What is true of a text: a bit each.
enum {
  /// No text was given. It reads as the empty one.
  NT_TEXT_ITEM_MISSING = 1,
};

/// One text of a bound row: UTF-8, checked, and not changed before the run is over. `bytes` is not NULL, also where
/// `length` is 0. An item of the value of texts has one of these for each text feature, in their order.
typedef struct nt_text_item {
  const uint8_t *bytes;
  uint32_t length;
  uint32_t flags;
} nt_text_item;

#ifdef __cplusplus
}
#endif
