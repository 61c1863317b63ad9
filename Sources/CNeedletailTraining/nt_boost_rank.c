#include <math.h>

#include "nt_boost_internal.h"

/// Rows of one group: `count` of them, and room for their order and gains.
typedef struct group {
  const uint32_t *rows;
  uint32_t *order;
  float *gains;
  size_t count, places;
} group;

static group group_of(const nt_boost_groups_of_rows *groups, size_t index) {
  size_t first = groups->starts[index], count = groups->starts[index + 1] - first;
  size_t places = groups->places < count ? groups->places : count;
  return (group){groups->rows + first, groups->order + first, groups->gains + first, count, places};
}

static double gain_of(double relevance) { return exp2(relevance) - 1; }
static double discount_of(size_t place) { return 1 / log2((double)place + 2); }

/// Puts places of the group's rows in the order of falling keys, equal ones in that of the rows: a heap, for no key may
/// make it slow.
static void sort(uint32_t *order, size_t count, const float *keys) {
#define IS_BEFORE(a, b) (keys[a] > keys[b] || (keys[a] == keys[b] && (a) < (b)))
  for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
  if (count < 2) return;
  for (size_t begin = count / 2, end = count; end > 1;) {
    uint32_t moved;
    if (begin > 0) {
      moved = order[--begin];
    } else {
      moved = order[--end];
      order[end] = order[0];
    }
    size_t place = begin;
    for (size_t child; (child = 2 * place + 1) < end; place = child) {
      if (child + 1 < end && IS_BEFORE(order[child], order[child + 1])) child++;
      if (!IS_BEFORE(moved, order[child])) break;
      order[place] = order[child];
    }
    order[place] = moved;
  }
#undef IS_BEFORE
}

/// Discounted gain of the group's rows in the order of some keys, which `gains` holds.
static double ranked_gain(const nt_boost_rows *rows, const group *group) {
  double sum = 0;
  sort(group->order, group->count, group->gains);
  for (size_t i = 0; i < group->places; i++) {
    sum += gain_of(rows->targets[group->rows[group->order[i]]]) * discount_of(i);
  }
  return sum;
}

static double best_gain(const nt_boost_rows *rows, const group *group) {
  for (size_t i = 0; i < group->count; i++) group->gains[i] = (float)rows->targets[group->rows[i]];
  return ranked_gain(rows, group);
}

static double scored_gain(const nt_boost_rows *rows, const group *group) {
  for (size_t i = 0; i < group->count; i++) group->gains[i] = rows->scores[group->rows[i]];
  return ranked_gain(rows, group);
}

static void judge(const nt_boost_rank_job *job, size_t index) {
  group group = group_of(&job->groups, index);
  double best = best_gain(&job->rows, &group);
  nt_boost_figures figures = {0, 0, 0};
  // A group without a relevant row says nothing about an order.
  if (best > 0) {
    double share = scored_gain(&job->rows, &group) / best;
    figures = (nt_boost_figures){1 - share, share, 1};
  }
  job->figures[index] = figures;
}

static void rank(const nt_boost_rank_job *job, size_t index) {
  const nt_boost_rows *rows = &job->rows;
  group group = group_of(&job->groups, index);
  for (size_t i = 0; i < group.count; i++) {
    job->gradients[group.rows[i]] = 0;
    job->hessians[group.rows[i]] = 0;
  }
  double best = best_gain(rows, &group), sum = 0;
  if (best <= 0) return;
  scored_gain(rows, &group);
  const uint32_t *order = group.order;
  bool is_scored = group.gains[order[0]] != group.gains[order[group.count - 1]];
  for (size_t i = 0; i < group.count; i++) group.gains[i] = (float)gain_of(rows->targets[group.rows[order[i]]]);
  for (size_t i = 0; i < group.places; i++) {
    double discount = discount_of(i);
    for (size_t j = i + 1; j < group.count; j++) {
      uint32_t a = group.rows[order[i]], b = group.rows[order[j]];
      double gap = (double)group.gains[i] - (double)group.gains[j];
      if (gap == 0) continue;
      // Exchanging the two changes the NDCG by this much.
      double change = fabs(gap) * (discount - discount_of(j)) / best;
      uint32_t high = gap > 0 ? a : b, low = gap > 0 ? b : a;
      double ahead = (double)rows->scores[high] - (double)rows->scores[low];
      // Pairs that are far apart already count less, as in LightGBM.
      if (is_scored) change /= 0.01 + fabs(ahead);
      double doubt = 1 / (1 + exp(ahead));
      float gradient = (float)(change * doubt), hessian = (float)(change * doubt * (1 - doubt));
      job->gradients[high] -= gradient;
      job->gradients[low] += gradient;
      job->hessians[high] += hessian;
      job->hessians[low] += hessian;
      sum += 2 * (double)gradient;
    }
  }
  if (sum <= 0) return;
  // A group counts by the logarithm of its pairs: long ones do not drown short ones.
  float factor = (float)(log2(1 + sum) / sum);
  for (size_t i = 0; i < group.count; i++) {
    float weight = factor * nt_boost_weight(rows, group.rows[i]);
    job->gradients[group.rows[i]] *= weight;
    job->hessians[group.rows[i]] *= weight;
  }
}

static size_t end_of(const nt_boost_groups_of_rows *groups, size_t part) {
  size_t end = (part + 1) * groups->per_part;
  return end < groups->count ? end : groups->count;
}

void nt_boost_ranking_loss_task(const void *context, size_t part) {
  const nt_boost_rank_job *job = context;
  for (size_t i = part * job->groups.per_part; i < end_of(&job->groups, part); i++) judge(job, i);
}

void nt_boost_rank_task(const void *context, size_t part) {
  const nt_boost_rank_job *job = context;
  for (size_t i = part * job->groups.per_part; i < end_of(&job->groups, part); i++) rank(job, i);
}
