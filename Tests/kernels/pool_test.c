// The pool under many callers: every part runs once, nobody waits for another caller, helpers sleep
// when there is nothing to do, a forked child works alone. Built with the thread sanitizer as well.

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nt_pool.h"

#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { has_thread_sanitizer = 1 };
#else
enum { has_thread_sanitizer = 0 };
#endif

#define EXPECT(condition)                                                     \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "pool_test.c:%d: expected %s\n", __LINE__, #condition); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

enum { threads = 4, parts_max = 100, callers = 8, rounds = 2000 };

/// Plain memory: the sanitizer sees whether the end of a job is ordered behind all its parts.
typedef struct job {
  uint32_t runs[parts_max];
  pthread_t by[parts_max];
  unsigned spin;
} job;

static void run_part(const void *context, size_t part) {
  job *job = (struct job *)context;
  for (volatile unsigned i = 0; i < job->spin; i++) continue;
  job->runs[part]++;
  job->by[part] = pthread_self();
}

/// Runs `parts` parts, shared if there are helpers. True if they were shared.
static bool run_once(job *job, size_t wanted, size_t parts) {
  for (size_t i = 0; i < parts; i++) job->runs[i] = 0;
  nt_pool_enter();
  size_t got = nt_pool_acquire(wanted);
  EXPECT(got >= 1 && got <= (wanted > 1 ? wanted : 1) && got <= threads);
  if (got > 1) {
    nt_pool_run(run_part, job, got, parts);
  } else {
    for (size_t i = 0; i < parts; i++) run_part(job, i);
  }
  nt_pool_leave();
  for (size_t i = 0; i < parts; i++) EXPECT(job->runs[i] == 1);
  return got > 1;
}

static void expect_every_part_once(void) {
  static job job;
  for (size_t parts = 1; parts <= parts_max; parts++) {
    for (size_t wanted = 2; wanted <= threads; wanted++) EXPECT(run_once(&job, wanted, parts));
  }
}

static void expect_helpers_help(void) {
  static job job;
  job.spin = 200000;
  for (int attempt = 0; attempt < 50; attempt++) {
    run_once(&job, threads, parts_max);
    for (size_t i = 0; i < parts_max; i++) {
      if (!pthread_equal(job.by[i], pthread_self())) return;
    }
  }
  EXPECT(!"a helper had run a part");
}

static void *call_often(void *shared_jobs) {
  job *job = calloc(1, sizeof *job);
  EXPECT(job != NULL);
  for (unsigned i = 0; i < rounds; i++) {
    job->spin = i % 7 * 50;
    if (run_once(job, 2 + i % 3, 1 + i % parts_max)) atomic_fetch_add((_Atomic uint64_t *)shared_jobs, 1);
  }
  free(job);
  return NULL;
}

static void expect_callers_do_not_meet(void) {
  _Atomic uint64_t shared = 0;
  uint64_t before = nt_pool_jobs();
  pthread_t thread[callers];
  for (int i = 0; i < callers; i++) EXPECT(pthread_create(&thread[i], NULL, call_often, &shared) == 0);
  for (int i = 0; i < callers; i++) pthread_join(thread[i], NULL);
  EXPECT(nt_pool_jobs() - before == shared);
}

static void expect_alone_among_many(void) {
  for (int i = 0; i < threads; i++) nt_pool_enter();
  EXPECT(nt_pool_acquire(threads) == 1);
  for (int i = 0; i < threads - 2; i++) nt_pool_leave();
  EXPECT(nt_pool_acquire(1) == 1);
  size_t got = nt_pool_acquire(threads);
  EXPECT(got == threads - 1);             // two callers: the other keeps its processor
  EXPECT(nt_pool_acquire(threads) == 1);  // taken
  static job job;
  job.spin = 0;
  for (size_t i = 0; i < parts_max; i++) job.runs[i] = 0;
  nt_pool_run(run_part, &job, got, parts_max);
  for (size_t i = 0; i < parts_max; i++) EXPECT(job.runs[i] == 1);
  nt_pool_leave();
  nt_pool_leave();
}

static double processor_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/// Time that helpers spend between two jobs is bounded by the spin limit: after it they sleep.
static void expect_idle_helpers_to_sleep(void) {
  static job job;
  run_once(&job, threads, parts_max);
  usleep(100000);
  double before = processor_seconds();
  sleep(1);
  double used = processor_seconds() - before;
  if (!has_thread_sanitizer) EXPECT(used < 0.005);  // it has a thread of its own
  printf("idle: %.1f ms of processor time in a second\n", 1e3 * used);
}

static void expect_a_child_to_work_alone(void) {
  fflush(NULL);
  pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    static job job;
    for (int i = 0; i < 100; i++) run_once(&job, threads, parts_max);
    _exit(0);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  EXPECT(nt_pool_threads() == 1 && nt_pool_wake_nanoseconds() == 0);
  nt_pool_enter();
  EXPECT(nt_pool_acquire(threads) == 1);
  nt_pool_leave();
  EXPECT(nt_pool_start(threads) == threads);
  EXPECT(nt_pool_start(2) == threads);  // the first call decides
  EXPECT(nt_pool_wake_nanoseconds() > 0 && nt_pool_jobs() == 0);
  expect_every_part_once();
  expect_helpers_help();
  expect_alone_among_many();
  expect_callers_do_not_meet();
  expect_idle_helpers_to_sleep();
  if (!has_thread_sanitizer) expect_a_child_to_work_alone();  // it does not follow a fork of many threads
  printf("pool: %llu shared jobs, every part once\n", (unsigned long long)nt_pool_jobs());
  return 0;
}
