#include <assert.h>
#include <math.h>
#include <string.h>

#include "nt_boost_internal.h"

/// Compiled for three generations of processors, of which the loader picks one. The file is compiled without fused
/// multiply-adds, so that all give the same bits. The loader picks before the thread sanitizer is there.
#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__x86_64__) && !__has_feature(thread_sanitizer)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/// Keeps denominators above 0 where hessians and l2 are 0.
#define LEAST_WEIGHT 1e-15

/// Sums of one side of a split, or of a node.
typedef struct side {
  double gradient, hessian, rows;
} side;

static side side_of(nt_boost_sums sums, const nt_boost_rules *rules) {
  return (side){(double)sums.gradient * rules->gradient_unit, (double)(sums.weight >> 26) * rules->hessian_unit,
                (double)(sums.weight & NT_BOOST_ROWS_MAX)};
}

/// Sums of all bins up to each.
typedef struct prefixes {
  double gradient[NT_BOOST_BINS_MAX], hessian[NT_BOOST_BINS_MAX], rows[NT_BOOST_BINS_MAX];
} prefixes;

/// How gains of the splits of a node are computed.
typedef struct question {
  side total, missing;
  double l1, l2, rows_min, weight_min;
  double value_min, value_max;
  int direction;
} question;

static double reduced(double gradient, double l1) {
  double size = fabs(gradient) - l1;
  return size > 0 ? size : 0;
}

/// Twice the reduction of the loss by a leaf with the best value.
static double leaf_gain(side side, double l1, double l2) {
  double size = reduced(side.gradient, l1);
  return size * size / (side.hessian + l2 + LEAST_WEIGHT);
}

/// Sums of the first bins, up to each of them.
CLONES void nt_boost_prefixes(const nt_boost_sums *bins, size_t count, const nt_boost_rules *rules, prefixes *left) {
  int64_t gradients[NT_BOOST_BINS_MAX];
  uint64_t weights[NT_BOOST_BINS_MAX];
  nt_boost_sums sum = {0, 0};
  for (size_t bin = 0; bin < count; bin++) {
    gradients[bin] = sum.gradient += bins[bin].gradient;
    weights[bin] = sum.weight += bins[bin].weight;
  }
  double gradient_unit = rules->gradient_unit, hessian_unit = rules->hessian_unit;
  for (size_t bin = 0; bin < count; bin++) {
    left->gradient[bin] = (double)gradients[bin] * gradient_unit;
    left->hessian[bin] = (double)(weights[bin] >> 26) * hessian_unit;
    left->rows[bin] = (double)(weights[bin] & NT_BOOST_ROWS_MAX);
  }
}

/// Gains of the splits after each of the first `count` bins, with `moved` added to the left side; −1 where a side is
/// too small. Returns the largest.
CLONES double nt_boost_gains(const prefixes *left, size_t count, const question *question, side moved, double *gains) {
  side total = question->total;
  double l1 = question->l1, l2 = question->l2 + LEAST_WEIGHT;
  double rows_min = question->rows_min, weight_min = question->weight_min;
  double best = -1;
  for (size_t bin = 0; bin < count; bin++) {
    double g = left->gradient[bin] + moved.gradient, h = left->hessian[bin] + moved.hessian;
    double n = left->rows[bin] + moved.rows;
    double other_g = total.gradient - g, other_h = total.hessian - h, other_n = total.rows - n;
    double a = reduced(g, l1), b = reduced(other_g, l1);
    bool holds = (n >= rows_min) & (other_n >= rows_min) & (h >= weight_min) & (other_h >= weight_min);
    // Both quotients by one division, which takes longer than all the rest.
    h += l2;
    other_h += l2;
    double gain = (a * a * other_h + b * b * h) / (h * other_h);
    gains[bin] = holds ? gain : -1;
  }
  for (size_t bin = 0; bin < count; bin++) best = gains[bin] > best ? gains[bin] : best;
  return best;
}

/// Twice the reduction of the loss by a leaf with a given value.
static double gain_of_value(side side, double value, double l1, double l2) {
  return -(2 * side.gradient * value + (side.hessian + l2) * value * value + 2 * l1 * fabs(value));
}

static double bounded_value(side side, const question *question) {
  double value = nt_boost_leaf_value(side.gradient, side.hessian + LEAST_WEIGHT, question->l1, question->l2);
  return fmin(fmax(value, question->value_min), question->value_max);
}

/// The same as nt_boost_gains for values that are bounded or must not fall, or rise, from left to right.
static double bounded_gains(const prefixes *left, size_t count, const question *question, side moved, double *gains) {
  double best = -1;
  for (size_t bin = 0; bin < count; bin++) {
    side l = {left->gradient[bin] + moved.gradient, left->hessian[bin] + moved.hessian, left->rows[bin] + moved.rows};
    side r = {question->total.gradient - l.gradient, question->total.hessian - l.hessian,
              question->total.rows - l.rows};
    gains[bin] = -1;
    if (l.rows < question->rows_min || r.rows < question->rows_min) continue;
    if (l.hessian < question->weight_min || r.hessian < question->weight_min) continue;
    double a = bounded_value(l, question), b = bounded_value(r, question);
    if ((question->direction > 0 && a > b) || (question->direction < 0 && a < b)) continue;
    gains[bin] = gain_of_value(l, a, question->l1, question->l2) + gain_of_value(r, b, question->l1, question->l2);
    best = gains[bin] > best ? gains[bin] : best;
  }
  return best;
}

/// Whether values need bounds: where this feature, or one above it, has a direction.
static bool is_bounded(const question *question) {
  return question->direction != 0 || isfinite(question->value_min) || isfinite(question->value_max);
}

static double gains_of(const prefixes *left, size_t count, const question *question, side moved, double *gains) {
  return is_bounded(question) ? bounded_gains(left, count, question, moved, gains)
                              : nt_boost_gains(left, count, question, moved, gains);
}

static double gain_of_node(const question *question) {
  if (!is_bounded(question)) return leaf_gain(question->total, question->l1, question->l2);
  double value = bounded_value(question->total, question);
  return gain_of_value(question->total, value, question->l1, question->l2);
}

/// Smallest gain that counts. Rounding moves the sum of n gradients by about ½ √n units, and the largest gain that
/// comes of that alone, among thousands of splits, is below 8 units² a row and hessian.
static double least_gain(const question *question, const nt_boost_rules *rules) {
  double noise = 8 * rules->gradient_unit * rules->gradient_unit * question->total.rows /
                 (question->total.hessian + question->l2 + LEAST_WEIGHT);
  return fmax(rules->gain_min, noise);
}

// MARK: - numbers

/// Takes the split after the bin with the best gain. Bins behind it without rows give the same split; the one in the
/// middle leaves as much room on either side.
static void take(const prefixes *left, size_t count, const double *gains, double gain, double gain_of_parent,
                 bool missing_goes_left, nt_boost_split *best) {
  size_t bin = 0;
  while (gains[bin] != gain) bin++;
  size_t end = bin;
  while (end + 1 < count && left->rows[end + 1] == left->rows[bin]) end++;
  best->gain = gain - gain_of_parent;
  best->bin = (uint16_t)((bin + end) / 2);
  best->missing_goes_left = missing_goes_left;
}

static void best_of_numbers(const nt_boost_sums *bins, const nt_boost_feature *feature, const nt_boost_rules *rules,
                            question *question, nt_boost_split *best) {
  prefixes left;
  double gains[NT_BOOST_BINS_MAX];
  nt_boost_prefixes(bins, feature->bins, rules, &left);
  side none = {0, 0, 0};
  bool has_missing = question->missing.rows > 0;
  double parent = gain_of_node(question), least = parent + least_gain(question, rules);
  // With missing values on the right, all others may go left.
  size_t count = has_missing ? feature->bins : feature->bins - 1u;
  double gain = gains_of(&left, count, question, none, gains);
  if (gain > least) {
    take(&left, count, gains, gain, parent, false, best);
    least = gain;
  }
  if (has_missing) {
    gain = gains_of(&left, feature->bins - 1u, question, question->missing, gains);
    if (gain > least) take(&left, feature->bins - 1u, gains, gain, parent, true, best);
  }
  if (best->gain <= 0) return;
  best->left = (nt_boost_sums){0, 0};
  for (size_t bin = 0; bin <= best->bin; bin++) {
    best->left.gradient += bins[bin].gradient;
    best->left.weight += bins[bin].weight;
    best->members[bin >> 6] |= 1ull << (bin & 63);
  }
  // Where a node has no missing values, a later one goes with the greater part.
  if (!has_missing) best->missing_goes_left = 2 * (best->left.weight & NT_BOOST_ROWS_MAX) >= question->total.rows;
}

// MARK: - categories

typedef struct category {
  double order;
  uint16_t bin;
} category;

/// Ascending by order, equal ones by bin: the same everywhere.
static void sort(category *categories, size_t count) {
  for (size_t i = 1; i < count; i++) {
    category moved = categories[i];
    size_t place = i;
    for (; place > 0 && categories[place - 1].order > moved.order; place--) categories[place] = categories[place - 1];
    categories[place] = moved;
  }
}

/// Splits between the first and the last categories in the order of their mean gradient (Fisher, 1958), from both ends.
static void best_of_categories(const nt_boost_sums *bins, const nt_boost_feature *feature, const nt_boost_rules *rules,
                               question *question, nt_boost_split *best) {
  category categories[NT_BOOST_BINS_MAX];
  size_t count = 0;
  for (size_t bin = 0; bin < feature->bins; bin++) {
    side side = side_of(bins[bin], rules);
    if (side.rows < rules->category_smoothing || side.rows == 0) continue;
    double order = side.gradient / (side.hessian + rules->category_smoothing + LEAST_WEIGHT);
    categories[count++] = (category){order, (uint16_t)bin};
  }
  sort(categories, count);
  double parent = gain_of_node(question);
  double least = parent + least_gain(question, rules);
  question->l2 += rules->category_l2;
  bool has_missing = question->missing.rows > 0;
  size_t members_max = count < rules->categories_max ? count : rules->categories_max, members = 0;
  bool is_from_end = false;
  prefixes left;
  double gains[NT_BOOST_BINS_MAX];
  for (int from_end = 0; from_end < 2; from_end++) {
    nt_boost_sums sum = {0, 0};
    for (size_t i = 0; i < members_max; i++) {
      const nt_boost_sums *own = &bins[categories[from_end ? count - 1 - i : i].bin];
      sum.gradient += own->gradient;
      sum.weight += own->weight;
      side side = side_of(sum, rules);
      left.gradient[i] = side.gradient;
      left.hessian[i] = side.hessian;
      left.rows[i] = side.rows;
    }
    for (int missing_left = 0; missing_left <= has_missing; missing_left++) {
      side moved = missing_left ? question->missing : (side){0, 0, 0};
      double gain = gains_of(&left, members_max, question, moved, gains);
      if (gain <= least) continue;
      least = gain;
      take(&left, members_max, gains, gain, parent, missing_left, best);
      members = best->bin + 1u;
      is_from_end = from_end;
    }
  }
  if (best->gain <= 0) return;
  best->left = (nt_boost_sums){0, 0};
  for (size_t i = 0; i < members; i++) {
    size_t bin = categories[is_from_end ? count - 1 - i : i].bin;
    best->left.gradient += bins[bin].gradient;
    best->left.weight += bins[bin].weight;
    best->members[bin >> 6] |= 1ull << (bin & 63);
  }
  // Missing values that the node does not know go where unknown categories go.
  if (!has_missing) best->missing_goes_left = false;
}

void nt_boost_best(const nt_boost_sums *bins, const nt_boost_feature *feature, const nt_boost_node *node,
                   const nt_boost_rules *rules, nt_boost_split *best) {
  question question = {
      .total = side_of(node->totals, rules),
      .l1 = rules->l1,
      .l2 = rules->l2,
      .rows_min = rules->rows_min > 1 ? rules->rows_min : 1,
      .weight_min = rules->weight_min,
      .value_min = node->value_min,
      .value_max = node->value_max,
      .direction = feature->direction,
  };
  question.missing = side_of(bins[feature->bins], rules);
  *best = (nt_boost_split){0};
  if (feature->is_categorical) {
    best_of_categories(bins, feature, rules, &question, best);
  } else {
    best_of_numbers(bins, feature, rules, &question, best);
  }
  if (best->gain > 0 && best->missing_goes_left) {
    size_t bin = feature->bins;
    best->left.gradient += bins[bin].gradient;
    best->left.weight += bins[bin].weight;
    best->members[bin >> 6] |= 1ull << (bin & 63);
  }
}
