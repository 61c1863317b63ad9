#define _GNU_SOURCE
#include "nt_system.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void nt_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_nanoseconds) {
  struct timespec time = {.tv_sec = (time_t)(deadline_nanoseconds / 1000000000u),
                          .tv_nsec = (long)(deadline_nanoseconds % 1000000000u)};
  // FUTEX_WAIT_BITSET takes an absolute time, FUTEX_WAIT does not.
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline_nanoseconds == UINT64_MAX ? NULL : &time, NULL,
          FUTEX_BITSET_MATCH_ANY);
}

void nt_futex_wake(uint32_t *word, int32_t threads) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

int32_t nt_event_open(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void nt_event_signal(int32_t event) {
  uint64_t one = 1;
  // The counter is full after 2^64 - 2 signals; nothing else can fail.
  ssize_t written = write(event, &one, sizeof one);
  (void)written;
}

void nt_event_clear(int32_t event) {
  uint64_t count;
  // Fails if there was no signal, which is the state asked for.
  ssize_t found = read(event, &count, sizeof count);
  (void)found;
}

void nt_thread_set_name(const char *name) { prctl(PR_SET_NAME, name); }

int32_t nt_thread_set_processors(const uint32_t *processors, size_t count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t i = 0; i < count; i++) {
    if (processors[i] >= CPU_SETSIZE) return EINVAL;
    CPU_SET(processors[i], &set);
  }
  // 0 is the calling thread.
  return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : errno;
}

uint64_t nt_thread_processor_nanoseconds(void) {
  struct timespec time = {0};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
