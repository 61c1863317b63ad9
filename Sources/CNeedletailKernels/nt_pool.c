#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "nt_pool.h"

#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/// Longest that a thread looks for work, or for the end of a part, before it sleeps.
enum { spin_nanoseconds = 50000, looks_per_clock_read = 32 };

/// The parts of one thread's share that nobody has begun: next in the upper half, end in the lower.
/// A word of its own, and a cache line: threads meet there only when one has finished its own share.
typedef struct share {
  _Alignas(64) _Atomic uint32_t parts;
} share;

static struct {
  // Written by nt_pool_start.
  _Atomic size_t threads;
  _Atomic uint64_t wake_nanoseconds;
  atomic_bool is_started;

  // Written by callers.
  _Alignas(64) _Atomic uint32_t callers;
  atomic_bool is_taken;

  // One job. Its holder writes task and context before it publishes the shares; whoever has claimed a
  // part may read them, for the job cannot end before that part.
  _Alignas(64) nt_pool_task task;
  const void *context;
  _Atomic uint64_t jobs;
  /// Rises with every job: what helpers watch and sleep on.
  _Alignas(64) _Atomic uint32_t epoch;
  _Atomic uint32_t sleepers;
  /// Word that the holder watches and sleeps on.
  _Alignas(64) _Atomic uint32_t parts_left;
  atomic_bool is_holder_asleep;
  share shares[NT_POOL_THREADS_MAX];
} pool = {.threads = 1};

// MARK: - waiting

static void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static uint64_t now_nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/// Sleeps unless `word` has changed; may return early.
static void sleep_while(_Atomic uint32_t *word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word, size_t count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, (int)count, NULL, NULL, 0);
}

/// Looks at `word` until it differs from `value` or the spin limit is over. True if it differs.
static bool spin_while(_Atomic uint32_t *word, uint32_t value) {
  uint64_t end = 0;
  for (;;) {
    for (int look = 0; look < looks_per_clock_read; look++) {
      if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
      pause_briefly();
    }
    uint64_t now = now_nanoseconds();
    if (end == 0) end = now + spin_nanoseconds;
    if (now >= end) return false;
  }
}

// MARK: - parts

/// Takes the next part of a share. The compare succeeds only on a word of the job that is on, whatever
/// was read before: its parts are this job's parts.
static bool claim(share *share, size_t *part) {
  uint32_t parts = atomic_load_explicit(&share->parts, memory_order_relaxed);
  for (;;) {
    uint32_t next = parts >> 16, end = parts & 0xffff;
    if (next >= end) return false;
    if (atomic_compare_exchange_weak_explicit(&share->parts, &parts, (next + 1) << 16 | end, memory_order_acquire,
                                              memory_order_relaxed)) {
      *part = next;
      return true;
    }
  }
}

/// Does parts as long as there are any, beginning with those of share `first`.
static void work(size_t first) {
  size_t threads = atomic_load_explicit(&pool.threads, memory_order_relaxed), part;
  for (size_t i = 0; i < threads; i++) {
    share *share = &pool.shares[(first + i) % threads];
    while (claim(share, &part)) {
      pool.task(pool.context, part);
      // Sequentially consistent with the holder's store of is_holder_asleep: one of the two sees the other.
      if (atomic_fetch_sub(&pool.parts_left, 1) == 1 && atomic_load(&pool.is_holder_asleep)) wake(&pool.parts_left, 1);
    }
  }
}

static void *help(void *index) {
  uint32_t seen = 0;
  for (;;) {
    if (!spin_while(&pool.epoch, seen)) {
      atomic_fetch_add(&pool.sleepers, 1);
      while (atomic_load(&pool.epoch) == seen) sleep_while(&pool.epoch, seen);
      atomic_fetch_sub(&pool.sleepers, 1);
    }
    seen = atomic_load_explicit(&pool.epoch, memory_order_acquire);
    work((size_t)index);
  }
  return NULL;
}

// MARK: - the time of a wake-up

enum { wake_rounds = 15, wake_wait_nanoseconds_max = 2000000 };

/// What the two parts of one measurement share.
typedef struct wake_up {
  _Atomic uint64_t begun;
} wake_up;

/// Part 1 notes when a helper began it; part 0 waits for that, so that its own thread does not take both.
static void note_wake_up(const void *context, size_t part) {
  wake_up *wake_up_of_round = (wake_up *)(uintptr_t)context;
  uint64_t now = now_nanoseconds();
  if (part == 1) {
    atomic_store(&wake_up_of_round->begun, now);
    return;
  }
  while (atomic_load(&wake_up_of_round->begun) == 0 && now_nanoseconds() - now < wake_wait_nanoseconds_max) {
    pause_briefly();
  }
}

/// Time from a job's publication until a helper that slept begins a part of it; a quarter of the rounds took less.
/// Other work of the machine can only add to it.
static uint64_t measure_wake_up(void) {
  uint64_t found[wake_rounds];
  for (int round = 0; round < wake_rounds; round++) {
    // Thrice the time that a helper looks for work: it sleeps.
    nanosleep(&(struct timespec){.tv_nsec = 3 * spin_nanoseconds}, NULL);
    wake_up wake_up_of_round = {0};
    nt_pool_enter();
    uint64_t start = now_nanoseconds();
    if (nt_pool_acquire(2) == 2) nt_pool_run(note_wake_up, &wake_up_of_round, 2, 2);
    nt_pool_leave();
    uint64_t begun = atomic_load(&wake_up_of_round.begun);
    uint64_t elapsed = begun > start ? begun - start : wake_wait_nanoseconds_max;
    int at = round;
    for (; at > 0 && found[at - 1] > elapsed; at--) found[at] = found[at - 1];
    found[at] = elapsed;
  }
  return found[wake_rounds / 4];
}

// MARK: - the pool

size_t nt_pool_start(size_t threads) {
  if (atomic_exchange(&pool.is_started, true)) return nt_pool_threads();
  if (threads > NT_POOL_THREADS_MAX) threads = NT_POOL_THREADS_MAX;
  // Signals are for the threads of the program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  size_t started = 1;
  for (; started < threads; started++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, help, (void *)started) != 0) break;
    pthread_setname_np(thread, "nt-pool");
    pthread_detach(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  atomic_store(&pool.threads, started);
  if (started > 1) {
    atomic_store(&pool.wake_nanoseconds, measure_wake_up());
    atomic_store(&pool.jobs, 0);
  }
  return started;
}

size_t nt_pool_threads(void) { return atomic_load_explicit(&pool.threads, memory_order_relaxed); }

uint64_t nt_pool_wake_nanoseconds(void) { return atomic_load_explicit(&pool.wake_nanoseconds, memory_order_relaxed); }

uint64_t nt_pool_jobs(void) { return atomic_load_explicit(&pool.jobs, memory_order_relaxed); }

void nt_pool_enter(void) { atomic_fetch_add_explicit(&pool.callers, 1, memory_order_relaxed); }

void nt_pool_leave(void) { atomic_fetch_sub_explicit(&pool.callers, 1, memory_order_relaxed); }

size_t nt_pool_acquire(size_t wanted) {
  size_t threads = nt_pool_threads(), callers = atomic_load_explicit(&pool.callers, memory_order_relaxed);
  assert(callers > 0);
  size_t free_threads = threads > callers ? threads - callers : 0;
  if (wanted > free_threads + 1) wanted = free_threads + 1;
  if (wanted < 2 || atomic_exchange_explicit(&pool.is_taken, true, memory_order_acquire)) return 1;
  return wanted;
}

void nt_pool_run(nt_pool_task task, const void *context, size_t threads, size_t parts) {
  assert(threads >= 2 && threads <= nt_pool_threads() && parts <= NT_POOL_PARTS_MAX);
  pool.task = task;
  pool.context = context;
  atomic_store_explicit(&pool.parts_left, (uint32_t)parts, memory_order_relaxed);
  for (size_t i = 0; i < threads; i++) {
    uint32_t first = (uint32_t)(parts * i / threads), end = (uint32_t)(parts * (i + 1) / threads);
    atomic_store_explicit(&pool.shares[i].parts, first << 16 | end, memory_order_release);
  }
  atomic_fetch_add_explicit(&pool.jobs, 1, memory_order_relaxed);
  atomic_fetch_add(&pool.epoch, 1);
  // Sequentially consistent with a helper's count of itself: either it sees the epoch or we see it.
  if (atomic_load(&pool.sleepers) > 0) wake(&pool.epoch, threads - 1);
  work(0);
  for (uint32_t left; (left = atomic_load_explicit(&pool.parts_left, memory_order_acquire)) != 0;) {
    if (spin_while(&pool.parts_left, left)) continue;
    atomic_store(&pool.is_holder_asleep, true);
    if ((left = atomic_load(&pool.parts_left)) != 0) sleep_while(&pool.parts_left, left);
    atomic_store_explicit(&pool.is_holder_asleep, false, memory_order_relaxed);
  }
  atomic_store_explicit(&pool.is_taken, false, memory_order_release);
}
