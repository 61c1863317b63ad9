#include <math.h>
#include <string.h>

#include "nt_boost_internal.h"

// MARK: - rounding

/// 64 bits that look random, for a row and a seed (the finaliser of SplitMix64).
static uint64_t hash(uint64_t seed, uint64_t row) {
  uint64_t x = seed + row * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

void nt_boost_round_task(const void *context, size_t chunk) {
  const nt_boost_round_job *job = context;
  nt_boost_span span = nt_boost_span_of(chunk, job->rows);
  double gradients = job->gradient_unit > 0 ? 1 / job->gradient_unit : 0;
  double hessians = job->hessian_unit > 0 ? 1 / job->hessian_unit : 0;
  double gradient_max = nt_boost_gradient_max(job->row_bits), hessian_max = nt_boost_hessian_max(job->row_bits);
  int row_bits = job->row_bits;
  for (size_t row = span.first; row < span.end; row++) {
    uint64_t random = hash(job->seed, row);
    double g = floor(job->gradients[row] * gradients + (double)(random >> 40) * 0x1p-24);
    double h = floor(job->hessians[row] * hessians + (double)(random & 0xffffff) * 0x1p-24);
    g = g > gradient_max ? gradient_max : g;
    h = h > hessian_max ? hessian_max : h;
    job->words[row] = ((uint64_t)(int64_t)g << (row_bits + 25)) + ((uint64_t)(int64_t)h << row_bits) + 1;
  }
}

size_t nt_boost_sample(size_t rows, double share, uint64_t seed, uint32_t *sample) {
  size_t count = 0;
  for (; share >= 1 && count < rows; count++) sample[count] = (uint32_t)count;
  for (size_t row = count; row < rows; row++) {
    sample[count] = (uint32_t)row;
    count += (double)(hash(seed, row) >> 11) * 0x1p-53 < share;
  }
  return count;
}

size_t nt_boost_bootstrap(size_t rows, size_t draws, uint64_t seed, uint32_t *sample) {
  // Sorted uniform numbers are the places of a walk whose steps are exponential: no counts are kept, and none is
  // sorted.
  double sum = 0, place = 0;
  for (size_t i = 0; i <= draws; i++) sum -= log(((double)(hash(seed, i) >> 11) + 0.5) * 0x1p-53);
  for (size_t i = 0; i < draws; i++) {
    place -= log(((double)(hash(seed, i) >> 11) + 0.5) * 0x1p-53);
    size_t row = (size_t)(place / sum * (double)rows);
    sample[i] = (uint32_t)(row < rows ? row : rows - 1);
  }
  return draws;
}

// MARK: - partition

void nt_boost_partition_task(const void *context, size_t chunk) {
  const nt_boost_partition_job *job = context;
  nt_boost_span span = nt_boost_span_of(chunk, job->row_count);
  uint32_t *left = job->left + span.first, *right = job->right + span.first;
  size_t lefts = 0, rights = 0;
  for (size_t i = span.first; i < span.end; i++) {
    uint32_t row = job->rows[i];
    size_t goes_left = job->goes_left[job->bins[row]];
    left[lefts] = row;
    right[rights] = row;
    lefts += goes_left;
    rights += 1 - goes_left;
  }
  job->left_counts[chunk] = lefts;
}

void nt_boost_gather_task(const void *context, size_t chunk) {
  const nt_boost_partition_job *job = context;
  nt_boost_span span = nt_boost_span_of(chunk, job->row_count);
  size_t chunks = (job->row_count + NT_BOOST_CHUNK_ROWS - 1) / NT_BOOST_CHUNK_ROWS, before = 0, all = 0;
  for (size_t i = 0; i < chunks; i++) {
    before += i < chunk ? job->left_counts[i] : 0;
    all += job->left_counts[i];
  }
  size_t lefts = job->left_counts[chunk], rights = span.end - span.first - lefts;
  memcpy(job->rows + before, job->left + span.first, lefts * sizeof *job->rows);
  memcpy(job->rows + all + span.first - before, job->right + span.first, rights * sizeof *job->rows);
}

// MARK: - leaves

double nt_boost_leaf_value(double gradient, double hessian, double l1, double l2) {
  double taken = fmax(fabs(gradient) - l1, 0);
  double denominator = hessian + l2;
  return denominator > 0 ? -copysign(taken, gradient) / denominator : 0;
}

/// Weight of all residuals below a pivot, and of those equal to it, in an order that puts the former before the latter
/// and both before the rest.
typedef struct parts {
  size_t below, equal;
  double below_weight, equal_weight;
} parts;

static void swap(nt_boost_residual *a, nt_boost_residual *b) {
  nt_boost_residual kept = *a;
  *a = *b;
  *b = kept;
}

static parts divide(nt_boost_residual *residuals, size_t count, float pivot) {
  parts parts = {0, 0, 0, 0};
  for (size_t i = 0, end = count; i < end;) {
    if (residuals[i].value < pivot) {
      parts.below_weight += (double)residuals[i].weight;
      swap(&residuals[parts.below++], &residuals[i++]);
    } else if (residuals[i].value > pivot) {
      swap(&residuals[i], &residuals[--end]);
    } else {
      parts.equal_weight += (double)residuals[i++].weight;
      parts.equal++;
    }
  }
  return parts;
}

static float middle_of_three(float a, float b, float c) {
  float low = a < b ? a : b, high = a < b ? b : a;
  return c < low ? low : c > high ? high : c;
}

float nt_boost_quantile(nt_boost_residual *residuals, size_t count, double share) {
  if (count == 0) return 0;
  double sum = 0, before = 0;
  for (size_t i = 0; i < count; i++) sum += (double)residuals[i].weight;
  double wanted = share * sum;
  size_t first = 0, end = count;
  // All before `first` are smaller than those in the range, and all from `end` on are larger.
  for (;;) {
    nt_boost_residual *range = residuals + first;
    size_t length = end - first;
    float pivot = middle_of_three(range[0].value, range[length / 2].value, range[length - 1].value);
    parts parts = divide(range, length, pivot);
    double below = before + parts.below_weight, to = below + parts.equal_weight;
    if (parts.below > 0 && wanted <= below) {
      if (wanted < below) {
        end = first + parts.below;
        continue;
      }
      // The share ends between the largest of the smaller ones and the pivot.
      float largest = range[0].value;
      for (size_t i = 1; i < parts.below; i++) largest = range[i].value > largest ? range[i].value : largest;
      return largest / 2 + pivot / 2;
    }
    size_t next = first + parts.below + parts.equal;
    if (wanted > to && next < end) {
      before = to;
      first = next;
      continue;
    }
    if (wanted < to || next == count) return pivot;
    float smallest = residuals[next].value;
    for (size_t i = next + 1; i < count; i++) smallest = residuals[i].value < smallest ? residuals[i].value : smallest;
    return pivot / 2 + smallest / 2;
  }
}

/// Best value of a leaf whose loss is one of distances.
static double renewed_value(const nt_boost_leaf_job *job, const nt_boost_leaf *leaf) {
  const nt_boost_rows *rows = job->renewed;
  nt_boost_residual *residuals = job->residuals + leaf->first;
  for (size_t i = 0; i < leaf->count; i++) {
    uint32_t row = job->rows[leaf->first + i];
    float residual = (float)(rows->targets[row] - (double)(rows->scores[row] + rows->bias[0]));
    residuals[i] = (nt_boost_residual){residual, nt_boost_weight(rows, row)};
  }
  return (double)nt_boost_quantile(residuals, leaf->count, job->share);
}

void nt_boost_leaf_task(const void *context, size_t index) {
  const nt_boost_leaf_job *job = context;
  nt_boost_leaf *leaf = &job->leaves[index];
  const uint32_t *rows = job->rows + leaf->first;
  double gradient = 0, hessian = 0, value;
  if (job->renewed) {
    value = renewed_value(job, leaf);
  } else {
    for (size_t i = 0; i < leaf->count; i++) {
      gradient += (double)job->gradients[rows[i]];
      hessian += (double)job->hessians[rows[i]];
    }
    value = nt_boost_leaf_value(gradient, hessian, job->l1, job->l2);
  }
  value = fmin(fmax(value, leaf->value_min), leaf->value_max);
  leaf->value = (float)(value * job->learning_rate);
  if (!job->scores) return;
  for (size_t i = 0; i < leaf->count; i++) job->scores[rows[i]] += leaf->value;
}

void nt_boost_share_task(const void *context, size_t index) {
  const nt_boost_share_job *job = context;
  const nt_boost_leaf *leaf = &job->leaves[index];
  float *shares = job->shares + index * job->classes;
  double sum = 0;
  for (size_t class = 0; class < job->classes; class++) shares[class] = 0;
  for (size_t i = 0; i < leaf->count; i++) {
    uint32_t row = job->rows[leaf->first + i];
    float weight = job->weights ? job->weights[row] : 1;
    shares[(size_t)job->targets[row]] += weight;
    sum += (double)weight;
  }
  for (size_t class = 0; class < job->classes && sum > 0; class++) shares[class] = (float)((double)shares[class] / sum);
}

void nt_boost_walk_task(const void *context, size_t chunk) {
  const nt_boost_walk_job *job = context;
  const nt_boost_table *table = job->table;
  nt_boost_span span = nt_boost_span_of(chunk, table->rows);
  size_t group_bytes = table->rows * table->stride;
  for (size_t row = span.first; row < span.end; row++) {
    int32_t place = job->step_count ? 0 : ~0;
    const uint8_t *bins = table->bins + row * table->stride;
    while (place >= 0) {
      const nt_boost_step *step = &job->steps[place];
      uint8_t bin = bins[step->column / table->lanes * group_bytes + step->column % table->lanes];
      place = step->members[bin >> 6] >> (bin & 63) & 1 ? step->left : step->right;
    }
    job->scores[row] += job->values[~place];
  }
}
