/// The inner loop of reading CSV.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What stopped a scan.
typedef enum nt_csv_stop {
  /// The end of a line, CR or LF, at `length`.
  NT_CSV_LINE = 0,
  /// A quote, a NUL byte or the end of the bytes: the state machine takes over from the record's beginning.
  NT_CSV_OTHER = 1,
  /// The end of `ends`.
  NT_CSV_FULL = 2,
} nt_csv_stop;

typedef struct nt_csv_scan {
  nt_csv_stop stop;
  /// Fields of the record, each with its end in `ends`.
  uint32_t fields;
  /// Bytes of the record without its line end.
  size_t length;
  /// True where some byte is not ASCII.
  bool has_high_bytes;
} nt_csv_scan;

/// Splits one record whose fields have no quotes.
///
/// `ends` gets the end of each field, counted from `bytes`, for at most `ends_max` fields. A byte order mark is no
/// business of it.
nt_csv_scan nt_csv_split(const uint8_t *bytes, size_t count, uint8_t delimiter, uint8_t quote, uint32_t *ends,
                         size_t ends_max);

/// Index of the first of four bytes or of a NUL; `count` if there is none. `has_high_bytes` is set, never cleared, if a
/// byte before it is not ASCII.
size_t nt_csv_find(const uint8_t *bytes, size_t count, uint8_t a, uint8_t b, uint8_t c, uint8_t d,
                   bool *has_high_bytes);

#ifdef __cplusplus
}
#endif
