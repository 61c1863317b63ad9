#pragma once

#include "nt_boost.h"

/// Rows of a chunk.
typedef struct nt_boost_span {
  size_t first, end;
} nt_boost_span;

static inline nt_boost_span nt_boost_span_of(size_t chunk, size_t rows) {
  size_t first = chunk * NT_BOOST_CHUNK_ROWS, end = first + NT_BOOST_CHUNK_ROWS;
  return (nt_boost_span){first, end < rows ? end : rows};
}

static inline float nt_boost_weight(const nt_boost_rows *rows, size_t row) {
  return rows->weights ? rows->weights[row] : 1.0f;
}

/// Finds the best split of a node by one feature. `best` keeps gain 0 where there is none.
void nt_boost_best(const nt_boost_sums *bins, const nt_boost_feature *feature, const nt_boost_node *node,
                   const nt_boost_rules *rules, nt_boost_split *best);
