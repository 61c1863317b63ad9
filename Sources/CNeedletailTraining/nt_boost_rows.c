#include <assert.h>
#include <math.h>
#include <string.h>

#include "nt_boost.h"

typedef struct span {
  size_t first, end;
} span;

static span rows_of(size_t chunk, size_t rows) {
  size_t first = chunk * NT_BOOST_CHUNK_ROWS, end = first + NT_BOOST_CHUNK_ROWS;
  return (span){first, end < rows ? end : rows};
}

static float weight_of(const nt_boost_rows *rows, size_t row) {
  return rows->class_weights ? rows->class_weights[(size_t)rows->targets[row]] : 1.0f;
}

// MARK: - losses

static float largest(float a, float b) { return a > b ? a : b; }

/// Largest score of a row, and the sum of e to the power of each less that.
static float softmax_sum(const nt_boost_rows *rows, size_t row, float *top) {
  *top = rows->scores[row] + rows->bias[0];
  for (size_t k = 1; k < rows->outputs; k++) *top = largest(*top, rows->scores[k * rows->rows + row] + rows->bias[k]);
  float sum = 0;
  for (size_t k = 0; k < rows->outputs; k++) sum += expf(rows->scores[k * rows->rows + row] + rows->bias[k] - *top);
  return sum;
}

void nt_boost_loss_task(const void *context, size_t chunk) {
  const nt_boost_loss_job *job = context;
  const nt_boost_rows *rows = &job->rows;
  span span = rows_of(chunk, rows->rows);
  nt_boost_figures sum = {0, 0, 0};
  for (size_t row = span.first; row < span.end; row++) {
    double target = rows->targets[row], weight = weight_of(rows, row), loss, quality;
    double score = (double)(rows->scores[row] + rows->bias[0]);
    switch (rows->loss) {
      case NT_BOOST_SQUARED:
        loss = 0.5 * (score - target) * (score - target);
        quality = 2 * loss;
        break;
      case NT_BOOST_LOGISTIC:
        loss = log1p(exp(-fabs(score))) + (target > 0.5 ? fmax(-score, 0) : fmax(score, 0));
        quality = (score > 0) == (target > 0.5);
        break;
      case NT_BOOST_SOFTMAX: {
        float top, power = softmax_sum(rows, row, &top);
        size_t class = (size_t)target;
        float own = rows->scores[class * rows->rows + row] + rows->bias[class];
        loss = log((double)power) - (double)(own - top);
        quality = own == top;
        break;
      }
    }
    sum.loss += weight * loss;
    sum.quality += quality;
    sum.weight += weight;
  }
  job->figures[chunk] = sum;
}

void nt_boost_gradient_task(const void *context, size_t chunk) {
  const nt_boost_gradient_job *job = context;
  const nt_boost_rows *rows = &job->rows;
  span span = rows_of(chunk, rows->rows);
  float *maxima = job->maxima + chunk * rows->outputs * 2;
  memset(maxima, 0, rows->outputs * 2 * sizeof *maxima);
  float factor = rows->loss == NT_BOOST_SOFTMAX ? (float)rows->outputs / (float)(rows->outputs - 1) : 1;
  for (size_t row = span.first; row < span.end; row++) {
    double target = rows->targets[row];
    float weight = weight_of(rows, row), top = 0, power = 1;
    if (rows->loss == NT_BOOST_SOFTMAX) power = softmax_sum(rows, row, &top);
    for (size_t k = 0; k < rows->outputs; k++) {
      size_t place = k * rows->rows + row;
      float score = rows->scores[place] + rows->bias[k], gradient, hessian;
      switch (rows->loss) {
        case NT_BOOST_SQUARED:
          gradient = (float)((double)score - target);
          hessian = 1;
          break;
        case NT_BOOST_LOGISTIC: {
          float p = 1 / (1 + expf(-score));
          gradient = p - (float)target;
          hessian = p * (1 - p);
          break;
        }
        case NT_BOOST_SOFTMAX: {
          float p = expf(score - top) / power;
          gradient = p - (float)((size_t)target == k);
          hessian = factor * p * (1 - p);
          break;
        }
      }
      gradient *= weight;
      hessian *= weight;
      job->gradients[place] = gradient;
      job->hessians[place] = hessian;
      maxima[2 * k] = largest(maxima[2 * k], fabsf(gradient));
      maxima[2 * k + 1] = largest(maxima[2 * k + 1], hessian);
    }
  }
}

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
  span span = rows_of(chunk, job->rows);
  double gradients = job->gradient_unit > 0 ? 1 / job->gradient_unit : 0;
  double hessians = job->hessian_unit > 0 ? 1 / job->hessian_unit : 0;
  for (size_t row = span.first; row < span.end; row++) {
    uint64_t random = hash(job->seed, row);
    double g = floor(job->gradients[row] * gradients + (double)(random >> 40) * 0x1p-24);
    double h = floor(job->hessians[row] * hessians + (double)(random & 0xffffff) * 0x1p-24);
    g = g > NT_BOOST_GRADIENT_MAX ? NT_BOOST_GRADIENT_MAX : g;
    h = h > NT_BOOST_HESSIAN_MAX ? NT_BOOST_HESSIAN_MAX : h;
    job->words[row] = ((uint64_t)(int64_t)g << 38) + ((uint64_t)(int64_t)h << 13) + 1;
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

// MARK: - partition

void nt_boost_partition_task(const void *context, size_t chunk) {
  const nt_boost_partition_job *job = context;
  span span = rows_of(chunk, job->row_count);
  uint32_t *left = job->left + span.first, *right = job->right + span.first;
  size_t lefts = 0, rights = 0;
  for (size_t i = span.first; i < span.end; i++) {
    uint32_t row = job->rows[i];
    size_t goes_left = job->goes_left[job->bins[row * job->stride]];
    left[lefts] = row;
    right[rights] = row;
    lefts += goes_left;
    rights += 1 - goes_left;
  }
  job->left_counts[chunk] = lefts;
}

void nt_boost_gather_task(const void *context, size_t chunk) {
  const nt_boost_partition_job *job = context;
  span span = rows_of(chunk, job->row_count);
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

void nt_boost_leaf_task(const void *context, size_t index) {
  const nt_boost_leaf_job *job = context;
  nt_boost_leaf *leaf = &job->leaves[index];
  const uint32_t *rows = job->rows + leaf->first;
  double gradient = 0, hessian = 0;
  for (size_t i = 0; i < leaf->count; i++) {
    gradient += (double)job->gradients[rows[i]];
    hessian += (double)job->hessians[rows[i]];
  }
  double value = nt_boost_leaf_value(gradient, hessian, job->l1, job->l2);
  value = fmin(fmax(value, leaf->value_min), leaf->value_max);
  leaf->value = (float)(value * job->learning_rate);
  if (!job->scores) return;
  for (size_t i = 0; i < leaf->count; i++) job->scores[rows[i]] += leaf->value;
}

void nt_boost_walk_task(const void *context, size_t chunk) {
  const nt_boost_walk_job *job = context;
  const nt_boost_table *table = job->table;
  span span = rows_of(chunk, table->rows);
  size_t group_bytes = table->rows * table->stride;
  for (size_t row = span.first; row < span.end; row++) {
    int32_t place = job->step_count ? 0 : ~0;
    const uint8_t *bins = table->bins + row * table->stride;
    while (place >= 0) {
      const nt_boost_step *step = &job->steps[place];
      uint8_t bin = bins[step->feature / table->lanes * group_bytes + step->feature % table->lanes];
      place = step->members[bin >> 6] >> (bin & 63) & 1 ? step->left : step->right;
    }
    job->scores[row] += job->values[~place];
  }
}
