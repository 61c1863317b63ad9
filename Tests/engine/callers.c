// Cost of calling a plan, gain of one caller by the pool, and loss of many callers to one another.
// Times are medians of interleaved rounds.

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nt_internal.h"
#include "nt_dense.h"
#include "nt_pool.h"

enum { layers_max = 8, rows_max = 32, callers_max = 64, rounds = 7 };

static double now_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *aligned_bytes(size_t bytes) {
  size_t size = (bytes + 2 * NT_ALIGNMENT - 1) / NT_ALIGNMENT * NT_ALIGNMENT;
  void *memory = aligned_alloc(NT_ALIGNMENT, size);
  if (!memory) abort();
  memset(memory, 0, size);
  return memory;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare);
  return values[count / 2];
}

// MARK: - a perceptron as the plan compiler lowers it

typedef struct layer {
  nt_quantise quantise;
  nt_dense_s8 dense;
  size_t quantise_offsets[4], dense_offsets[4];
} layer;

typedef struct model {
  nt_step steps[2 * layers_max];
  layer layers[layers_max];
  nt_plan plan;
  size_t arena_bytes;
} model;

static model *make(const uint32_t *widths, size_t layers) {
  model *m = aligned_bytes(sizeof *m);
  const nt_s8_kernels *kernels = nt_s8_kernels_for(nt_isa_best());
  size_t widest = 0;
  for (size_t i = 0; i <= layers; i++) widest = widths[i] > widest ? widths[i] : widest;
  // Two values in turns, the quantised rows, their scales, their magnitudes.
  size_t value = nt_s8_row_stride(rows_max * widest * 4), rows = rows_max * nt_s8_row_stride(widest);
  size_t scales = 2 * value + rows, magnitudes = scales + nt_s8_row_stride(4 * rows_max);
  m->arena_bytes = magnitudes + nt_s8_row_stride(4 * rows_max);
  m->plan =
      (nt_plan){.steps = m->steps, .step_count = 2 * layers, .share_rows_min = SIZE_MAX, .share_units_min = SIZE_MAX};
  for (size_t i = 0; i < layers; i++) {
    uint32_t depth = widths[i], columns = widths[i + 1];
    int8_t *w = aligned_bytes((size_t)columns * depth);
    float *factors = aligned_bytes((size_t)columns * 4);
    for (size_t j = 0; j < (size_t)columns * depth; j++) w[j] = (int8_t)((int)(j * 2654435761u % 255) - 127);
    for (size_t j = 0; j < columns; j++) factors[j] = 0.01f;
    void *packed = aligned_bytes(nt_s8_packed_bytes(columns, depth));
    kernels->pack(w, factors, NULL, columns, depth, packed);
    free(w), free(factors);
    m->layers[i] = (layer){.quantise = {.kernels = kernels, .columns = depth, .has_magnitudes = i > 0},
                           .dense = {.kernels = kernels,
                                     .weights = packed,
                                     .columns = columns,
                                     .depth = depth,
                                     .activation = i + 1 < layers ? NT_ACTIVATION_RELU : NT_ACTIVATION_IDENTITY,
                                     .input_is_nonnegative = i > 0,
                                     .gathers_magnitudes = i + 1 < layers},
                           .quantise_offsets = {i % 2 * value, 2 * value, scales, magnitudes},
                           .dense_offsets = {2 * value, scales, (i + 1) % 2 * value, magnitudes}};
    m->steps[2 * i] = (nt_step){
        .run = nt_quantise_step, .parameters = &m->layers[i].quantise, .offsets = m->layers[i].quantise_offsets};
    m->steps[2 * i + 1] =
        (nt_step){.run = nt_dense_s8_step, .parameters = &m->layers[i].dense, .offsets = m->layers[i].dense_offsets};
  }
  return m;
}

static uint8_t *make_arena(const model *m) {
  uint8_t *arena = aligned_bytes(m->arena_bytes);
  for (size_t i = 0; i < rows_max * m->layers[0].quantise.columns; i++) ((float *)arena)[i] = (float)(i % 13) - 6;
  return arena;
}

static double seconds_of_run(const model *m, uint8_t *arena, size_t rows, double seconds) {
  size_t runs = 0;
  double start = now_seconds(), end = start + seconds, now;
  do {
    nt_plan_run(&m->plan, arena, rows, rows);
    runs++;
  } while ((now = now_seconds()) < end);
  return (now - start) / (double)runs;
}

/// Lets the pool share the layers, by the time that a run of `rows_max` rows took on one thread: each layer's part of
/// it is its part of the multiply-adds.
static void share_layers(model *m, double seconds) {
  size_t layers = m->plan.step_count / 2, all = 0;
  for (size_t i = 0; i < layers; i++) all += (size_t)m->layers[i].dense.columns * m->layers[i].dense.depth;
  for (size_t i = 0; i < layers; i++) {
    nt_dense_s8 *dense = &m->layers[i].dense;
    float each = (float)(1e9 * seconds * dense->columns * dense->depth / ((double)all * rows_max));
    dense->time = (nt_dense_time){.first = each, .next = each, .part_min = (float)nt_pool_wake_nanoseconds()};
  }
  m->plan.share_rows_min = 1;
}

// MARK: - what a call costs

/// The kernels of the plan, called one after the other as somebody would who knew all sizes.
static void run_by_hand(const model *m, uint8_t *arena, size_t rows) {
  for (size_t i = 0; i < m->plan.step_count / 2; i++) {
    const layer *layer = &m->layers[i];
    const nt_s8_kernels *kernels = layer->dense.kernels;
    const size_t *at = layer->quantise_offsets;
    const float *x = (const float *)(arena + at[0]);
    int8_t *q = (int8_t *)(arena + at[1]);
    float *scales = (float *)(arena + at[2]);
    uint32_t *magnitudes = (uint32_t *)(arena + at[3]);
    size_t depth = layer->dense.depth, columns = layer->dense.columns, stride = nt_s8_row_stride(depth);
    if (layer->quantise.has_magnitudes) {
      kernels->quantise_known(x, magnitudes, rows, depth, q, stride, scales);
    } else {
      kernels->quantise(x, rows, depth, q, stride, scales);
    }
    nt_s8_gemm_args args = {.a = q,
                            .a_stride = stride,
                            .row_scales = scales,
                            .weights = layer->dense.weights,
                            .rows = rows,
                            .columns = columns,
                            .depth = depth,
                            .panel_end = nt_panel_count(columns),
                            .out = (float *)(arena + layer->dense_offsets[2]),
                            .activation = layer->dense.activation,
                            .row_magnitudes = layer->dense.gathers_magnitudes ? magnitudes : NULL,
                            .a_is_nonnegative = layer->dense.input_is_nonnegative};
    if (args.row_magnitudes) memset(magnitudes, 0, rows * sizeof *magnitudes);
    kernels->gemm(&args);
  }
}

static void measure_call(bool json) {
  const uint32_t widths[] = {64, 256, 128, 10};
  model *m = make(widths, 3);
  uint8_t *arena = make_arena(m);
  nt_plan empty = {.share_rows_min = SIZE_MAX, .share_units_min = SIZE_MAX};
  nt_plan *hidden = &empty;
  enum { batch = 2000, turns = 41 };
  double planned[turns], by_hand[turns], bare[turns];
  for (int turn = 0; turn < turns; turn++) {
    double start = now_seconds();
    for (int i = 0; i < batch; i++) nt_plan_run(&m->plan, arena, 1, 1);
    double middle = now_seconds();
    for (int i = 0; i < batch; i++) run_by_hand(m, arena, 1);
    double end = now_seconds();
    for (int i = 0; i < batch; i++) {
      __asm__ volatile("" : "+r"(hidden)::"memory");
      nt_plan_run(hidden, arena, 1, 1);
    }
    planned[turn] = (middle - start) / batch;
    by_hand[turn] = (end - middle) / batch;
    bare[turn] = (now_seconds() - end) / batch;
  }
  double run = median(planned, turns), kernels = median(by_hand, turns), call = median(bare, turns);
  if (json) {
    printf("{\"empty_plan_ns\": %.1f, \"run_ns\": %.1f, \"kernels_ns\": %.1f, ", 1e9 * call, 1e9 * run, 1e9 * kernels);
  } else {
    printf(
        "one call             plan without steps %.1f ns; 64-256-128-10, 1 row: %.0f ns, its kernels by hand %.0f ns\n",
        1e9 * call, 1e9 * run, 1e9 * kernels);
  }
}

// MARK: - callers

typedef struct caller {
  const model *model;
  uint8_t *arena;
  _Atomic bool *go, *stop;
  uint64_t runs;
} caller;

static void *call_until_stopped(void *context) {
  caller *c = context;
  while (!atomic_load(c->go)) continue;
  while (!atomic_load_explicit(c->stop, memory_order_relaxed)) {
    nt_plan_run(&c->model->plan, c->arena, rows_max, rows_max);
    c->runs++;
  }
  return NULL;
}

/// Runs a second of so many threads.
static double throughput(const model *m, size_t count, double seconds) {
  static caller callers[callers_max];
  pthread_t threads[callers_max];
  _Atomic bool go = false, stop = false;
  for (size_t i = 0; i < count; i++) {
    callers[i] = (caller){.model = m, .arena = make_arena(m), .go = &go, .stop = &stop};
    if (pthread_create(&threads[i], NULL, call_until_stopped, &callers[i]) != 0) abort();
  }
  double start = now_seconds();
  atomic_store(&go, true);
  struct timespec pause = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};
  nanosleep(&pause, NULL);
  atomic_store(&stop, true);
  uint64_t runs = 0;
  for (size_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
  double taken = now_seconds() - start;
  for (size_t i = 0; i < count; i++) {
    runs += callers[i].runs;
    free(callers[i].arena);
  }
  return (double)runs / taken;
}

int main(int count, char **arguments) {
  bool json = count > 1 && strcmp(arguments[1], "--json") == 0;
  size_t processors = count > (json ? 2 : 1) ? (size_t)atoi(arguments[count - 1]) : 2;
  measure_call(json);
  const uint32_t widths[] = {512, 1024, 1024, 512, 10};
  model *m = make(widths, 4);
  uint8_t *arena = make_arena(m);
  double alone[rounds], shared[rounds], few[rounds], many[rounds];
  for (int round = 0; round < rounds; round++) alone[round] = seconds_of_run(m, arena, rows_max, 0.3);
  size_t threads = nt_pool_start(processors);
  share_layers(m, median(alone, rounds));
  for (int round = 0; round < rounds; round++) {
    shared[round] = seconds_of_run(m, arena, rows_max, 0.3);
    few[round] = throughput(m, processors, 0.5);
    many[round] = throughput(m, 8 * processors, 0.5);
  }
  double one = median(alone, rounds), pooled = median(shared, rounds);
  double few_rate = median(few, rounds), many_rate = median(many, rounds);
  if (json) {
    printf(
        "\"threads\": %zu, \"alone_us\": %.1f, \"shared_us\": %.1f, \"callers\": %zu, \"runs_per_second\": %.0f, "
        "\"callers_many\": %zu, \"runs_per_second_many\": %.0f}\n",
        threads, 1e6 * one, 1e6 * pooled, processors, few_rate, 8 * processors, many_rate);
  } else {
    printf(
        "one caller           512-1024-1024-512-10, 32 rows: %.0f µs on one thread, %.0f µs with a pool of %zu: %.2f "
        "times as fast\n",
        1e6 * one, 1e6 * pooled, threads, one / pooled);
    printf("many callers         %zu: %.0f runs/s, %zu: %.0f runs/s, %.2f times as many\n", processors, few_rate,
           8 * processors, many_rate, many_rate / few_rate);
  }
  // Noise aside, callers must not slow one another down.
  if (many_rate < 0.85 * few_rate) {
    fprintf(stderr, "callers: expected %zu callers to lose no throughput against %zu, found %.2f of it\n",
            8 * processors, processors, many_rate / few_rate);
    return 1;
  }
  return 0;
}
