#define _GNU_SOURCE
#include "nt_system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <malloc.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

int32_t nt_thread_set_idle(void) {
  struct sched_param none = {0};
  // 0 is the calling thread.
  return sched_setscheduler(0, SCHED_IDLE, &none) == 0 ? 0 : errno;
}

int32_t nt_thread_id(void) { return (int32_t)syscall(SYS_gettid); }

static _Thread_local void *thread_local_value;

void *nt_thread_local(void) { return thread_local_value; }

void nt_thread_set_local(void *value) { thread_local_value = value; }

static uint64_t nanoseconds_of(clockid_t clock) {
  struct timespec time = {0};
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t nt_thread_processor_nanoseconds(void) { return nanoseconds_of(CLOCK_THREAD_CPUTIME_ID); }

uint64_t nt_thread_processor_nanoseconds_of(int32_t thread) {
  // The kernel's number of that thread's clock; pthread_getcpuclockid(3) makes the same from a pthread_t.
  return nanoseconds_of((clockid_t)(~(uint32_t)thread << 3 | 6u));
}

uint64_t nt_thread_preemptions(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

size_t nt_heap_free_bytes(void) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  return mallinfo2().fordblks;
#else
  return SIZE_MAX;
#endif
}

void nt_heap_set_count(int32_t heaps) {
#if defined(__GLIBC__)
  mallopt(M_ARENA_MAX, heaps);
#else
  (void)heaps;
#endif
}

void nt_heap_trim(void) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

// Opens /dev/null as standard input, output and error where the program was started with one of them closed. Otherwise
// the first files and sockets that the program opens get these numbers, and every log line goes into an epoll, an event
// or a peer's connection. A constructor runs before any other code of the program can open a descriptor.
__attribute__((constructor)) static void nt_open_standard_descriptors(void) {
  for (int descriptor = 0; descriptor <= 2; descriptor++) {
    if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is taken, and all below are open by now.
    if (open("/dev/null", descriptor == 0 ? O_RDONLY : O_WRONLY) != descriptor) return;
  }
}

static uint64_t limit_of(__rlimit_resource_t resource) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

uint64_t nt_limit_address_space_bytes(void) { return limit_of(RLIMIT_AS); }

uint64_t nt_limit_stack_bytes(void) { return limit_of(RLIMIT_STACK); }

uint64_t nt_limit_descriptors(void) { return limit_of(RLIMIT_NOFILE); }

uint64_t nt_raise_descriptors(uint64_t wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return UINT64_MAX;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted) return limit.rlim_cur;
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= wanted ? (rlim_t)wanted : limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}
