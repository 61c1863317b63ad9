/// What boosting minimises: losses, their slopes, and how good scores are. Parts of jobs are chunks of rows, or groups
/// of them where these are ranked.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Losses of a score s for a target y.
typedef enum nt_boost_loss {
  /// ½ (s − y)².
  NT_BOOST_SQUARED = 0,
  /// Cross-entropy of classes 0 and 1, s being the log-odds of 1.
  NT_BOOST_LOGISTIC = 1,
  /// Cross-entropy of several classes.
  NT_BOOST_SOFTMAX = 2,
  /// |s − y|.
  NT_BOOST_ABSOLUTE = 3,
  /// ½ (s − y)² up to a distance w, and w |s − y| − ½ w² beyond it.
  NT_BOOST_HUBER = 4,
  /// q (y − s) where y is larger, (1 − q) (s − y) where it is smaller.
  NT_BOOST_QUANTILE = 5,
  /// eˢ − y s: counts whose mean is eˢ.
  NT_BOOST_POISSON = 6,
  /// y e^((1 − p) s) / (p − 1) + e^((2 − p) s) / (2 − p): sums whose mean is eˢ and whose variance is its power p.
  NT_BOOST_TWEEDIE = 7,
  /// 1 − NDCG of the order that scores give to the rows of a group (LambdaMART, Burges 2010).
  NT_BOOST_RANK = 8,
} nt_boost_loss;

/// Scores and targets of some rows. Parts of its jobs are chunks of rows.
typedef struct nt_boost_rows {
  nt_boost_loss loss;
  size_t rows;
  /// Scores a row: classes for softmax, else 1. They stand class by class, `rows` apart.
  size_t outputs;
  const float *scores;
  /// Added to every score: one for each output.
  const float *bias;
  /// Numbers, or indices of classes.
  const double *targets;
  /// Weight of each row; null: 1 for all.
  const float *weights;
  /// Width of Huber's loss, share of the quantile, or power of Tweedie's.
  double parameter;
} nt_boost_rows;

/// Weighted sums over a chunk of rows: the losses; correct classes, or squared errors of the answers; and the weights.
typedef struct nt_boost_figures {
  double loss, quality, weight;
} nt_boost_figures;

typedef struct nt_boost_loss_job {
  nt_boost_rows rows;
  /// One for each chunk.
  nt_boost_figures *figures;
} nt_boost_loss_job;

void nt_boost_loss_task(const void *job, size_t chunk);

typedef struct nt_boost_gradient_job {
  nt_boost_rows rows;
  /// outputs × rows.
  float *gradients, *hessians;
  /// Per chunk and output the largest gradient by magnitude, and the largest hessian.
  float *maxima;
} nt_boost_gradient_job;

void nt_boost_gradient_task(const void *job, size_t chunk);

/// Groups of rows that are ranked among themselves. Parts of its jobs are `per_part` groups each.
typedef struct nt_boost_groups_of_rows {
  size_t count, per_part;
  /// Rows by group, each group's together.
  const uint32_t *rows;
  /// Place of the first row of each group in `rows`, and of the end of the last one.
  const uint32_t *starts;
  /// Places of a ranking that count.
  size_t places;
  /// Room for the order of each group's rows, and for the gains that they have in it.
  uint32_t *order;
  float *gains;
} nt_boost_groups_of_rows;

/// Largest target of a ranking: its gain is 2^y − 1.
#define NT_BOOST_RELEVANCE_MAX 30

typedef struct nt_boost_rank_job {
  nt_boost_rows rows;
  nt_boost_groups_of_rows groups;
  /// As those of nt_boost_gradient_job, written by nt_boost_rank_task.
  float *gradients, *hessians;
  /// For each group, written by nt_boost_ranking_loss_task.
  nt_boost_figures *figures;
} nt_boost_rank_job;

void nt_boost_rank_task(const void *job, size_t part);
void nt_boost_ranking_loss_task(const void *job, size_t part);

/// Writes the maxima of nt_boost_gradient_job from its gradients and hessians. Parts are chunks.
void nt_boost_maxima_task(const void *job, size_t chunk);

#ifdef __cplusplus
}
#endif
