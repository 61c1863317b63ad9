#include <math.h>
#include <string.h>

#include "nt_boost_internal.h"

static float largest(float a, float b) { return a > b ? a : b; }

/// Largest score of a row, and the sum of e to the power of each less that.
static float softmax_sum(const nt_boost_rows *rows, size_t row, float *top) {
  *top = rows->scores[row] + rows->bias[0];
  for (size_t k = 1; k < rows->outputs; k++) *top = largest(*top, rows->scores[k * rows->rows + row] + rows->bias[k]);
  float sum = 0;
  for (size_t k = 0; k < rows->outputs; k++) sum += expf(rows->scores[k * rows->rows + row] + rows->bias[k] - *top);
  return sum;
}

// MARK: - the loss

/// Loss of one row; `quality` is 1 for the right class, or the squared error of the answer.
static double loss_of(const nt_boost_rows *rows, size_t row, double *quality) {
  double target = rows->targets[row], parameter = rows->parameter;
  double score = (double)(rows->scores[row] + rows->bias[0]), distance = score - target;
  *quality = distance * distance;
  switch (rows->loss) {
    case NT_BOOST_SQUARED:
      return 0.5 * (score - target) * (score - target);
    case NT_BOOST_ABSOLUTE:
      return fabs(distance);
    case NT_BOOST_HUBER:
      distance = fabs(distance);
      return distance <= parameter ? 0.5 * distance * distance : parameter * (distance - 0.5 * parameter);
    case NT_BOOST_QUANTILE:
      return distance < 0 ? -parameter * distance : (1 - parameter) * distance;
    case NT_BOOST_POISSON:
      *quality = (exp(score) - target) * (exp(score) - target);
      return exp(score) - target * score;
    case NT_BOOST_TWEEDIE:
      *quality = (exp(score) - target) * (exp(score) - target);
      return target * exp((1 - parameter) * score) / (parameter - 1) + exp((2 - parameter) * score) / (2 - parameter);
    case NT_BOOST_LOGISTIC:
      *quality = (score > 0) == (target > 0.5);
      return log1p(exp(-fabs(score))) + (target > 0.5 ? fmax(-score, 0) : fmax(score, 0));
    case NT_BOOST_SOFTMAX: {
      float top, power = softmax_sum(rows, row, &top);
      size_t class = (size_t)target;
      float own = rows->scores[class * rows->rows + row] + rows->bias[class];
      *quality = own == top;
      return log((double)power) - (double)(own - top);
    }
    case NT_BOOST_RANK:
      break;
  }
  // That of a ranking is one of groups, not of rows.
  return 0;
}

void nt_boost_loss_task(const void *context, size_t chunk) {
  const nt_boost_loss_job *job = context;
  const nt_boost_rows *rows = &job->rows;
  nt_boost_span span = nt_boost_span_of(chunk, rows->rows);
  nt_boost_figures sum = {0, 0, 0};
  for (size_t row = span.first; row < span.end; row++) {
    double weight = (double)nt_boost_weight(rows, row), quality;
    sum.loss += weight * loss_of(rows, row, &quality);
    sum.quality += quality;
    sum.weight += weight;
  }
  job->figures[chunk] = sum;
}

// MARK: - gradients

/// Added to a score for its Poisson hessian, so that steps stay short where counts are rare; LightGBM's default.
#define POISSON_STEP 0.7f

typedef struct slope {
  float gradient, hessian;
} slope;

/// First and second derivative of a loss with one output. Losses of distances have no second one; 1 makes the Newton
/// step the mean of the gradients.
static inline __attribute__((always_inline)) slope slope_of(nt_boost_loss loss, float score, double target,
                                                            float parameter) {
  switch (loss) {
    case NT_BOOST_SQUARED:
      return (slope){(float)((double)score - target), 1};
    case NT_BOOST_ABSOLUTE:
      return (slope){(double)score > target ? 1 : (double)score < target ? -1 : 0, 1};
    case NT_BOOST_HUBER: {
      float distance = (float)((double)score - target);
      return (slope){distance > parameter ? parameter : distance < -parameter ? -parameter : distance, 1};
    }
    case NT_BOOST_QUANTILE:
      return (slope){(double)score >= target ? 1 - parameter : -parameter, 1};
    case NT_BOOST_POISSON:
      return (slope){(float)((double)expf(score) - target), expf(score + POISSON_STEP)};
    case NT_BOOST_TWEEDIE: {
      float own = (float)target * expf((1 - parameter) * score), mean = expf((2 - parameter) * score);
      return (slope){mean - own, (parameter - 1) * own + (2 - parameter) * mean};
    }
    case NT_BOOST_LOGISTIC: {
      float p = 1 / (1 + expf(-score));
      return (slope){p - (float)target, p * (1 - p)};
    }
    default:
      return (slope){0, 0};
  }
}

/// A loop for each loss, in which it is known.
static inline __attribute__((always_inline)) void slopes_of(const nt_boost_gradient_job *job, nt_boost_span span,
                                                            nt_boost_loss loss) {
  const nt_boost_rows *rows = &job->rows;
  float bias = rows->bias[0], parameter = (float)rows->parameter;
  for (size_t row = span.first; row < span.end; row++) {
    slope slope = slope_of(loss, rows->scores[row] + bias, rows->targets[row], parameter);
    float weight = nt_boost_weight(rows, row);
    job->gradients[row] = slope.gradient * weight;
    job->hessians[row] = slope.hessian * weight;
  }
}

static void softmax_slopes(const nt_boost_gradient_job *job, nt_boost_span span) {
  const nt_boost_rows *rows = &job->rows;
  float factor = (float)rows->outputs / (float)(rows->outputs - 1);
  for (size_t row = span.first; row < span.end; row++) {
    float weight = nt_boost_weight(rows, row), top, power = softmax_sum(rows, row, &top);
    size_t class = (size_t)rows->targets[row];
    for (size_t k = 0; k < rows->outputs; k++) {
      size_t place = k * rows->rows + row;
      float p = expf(rows->scores[place] + rows->bias[k] - top) / power;
      job->gradients[place] = weight * (p - (float)(class == k));
      job->hessians[place] = weight * factor * p * (1 - p);
    }
  }
}

void nt_boost_maxima_task(const void *context, size_t chunk) {
  const nt_boost_gradient_job *job = context;
  const nt_boost_rows *rows = &job->rows;
  nt_boost_span span = nt_boost_span_of(chunk, rows->rows);
  float *maxima = job->maxima + chunk * rows->outputs * 2;
  for (size_t k = 0; k < rows->outputs; k++) {
    float gradient = 0, hessian = 0;
    for (size_t row = span.first; row < span.end; row++) {
      gradient = largest(gradient, fabsf(job->gradients[k * rows->rows + row]));
      hessian = largest(hessian, job->hessians[k * rows->rows + row]);
    }
    maxima[2 * k] = gradient;
    maxima[2 * k + 1] = hessian;
  }
}

void nt_boost_gradient_task(const void *context, size_t chunk) {
  const nt_boost_gradient_job *job = context;
  nt_boost_span span = nt_boost_span_of(chunk, job->rows.rows);
#define WITH(loss)              \
  case loss:                    \
    slopes_of(job, span, loss); \
    break
  switch (job->rows.loss) {
    WITH(NT_BOOST_SQUARED);
    WITH(NT_BOOST_ABSOLUTE);
    WITH(NT_BOOST_HUBER);
    WITH(NT_BOOST_QUANTILE);
    WITH(NT_BOOST_POISSON);
    WITH(NT_BOOST_TWEEDIE);
    WITH(NT_BOOST_LOGISTIC);
    WITH(NT_BOOST_RANK);
    case NT_BOOST_SOFTMAX:
      softmax_slopes(job, span);
      break;
  }
#undef WITH
  nt_boost_maxima_task(job, chunk);
}
