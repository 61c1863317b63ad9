#pragma once

#include "nt_boost.h"

/// Bins of a feature, those of missing values and of unknown categories among them.
static inline size_t nt_boost_all_bins(const nt_boost_feature *feature) {
  return (size_t)feature->bins + 1 + feature->is_categorical;
}

/// Finds the best split of a node by one feature. `best` keeps gain 0 where there is none.
void nt_boost_best(const nt_boost_sums *bins, const nt_boost_feature *feature, const nt_boost_node *node,
                   const nt_boost_rules *rules, nt_boost_split *best);
