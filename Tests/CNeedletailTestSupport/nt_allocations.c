#define _GNU_SOURCE
#include "nt_allocations.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NT_SANITIZED 1
#endif
#endif

#if defined(__GLIBC__) && !defined(NT_SANITIZED)
// The executable's symbols win over libc's, whose own allocator stays reachable by these names.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

// Initial-exec: the general model may itself call malloc.
static __thread uint64_t of_thread __attribute__((tls_model("initial-exec")));
static __thread enum { unknown, pool, other } kind __attribute__((tls_model("initial-exec")));
static uint64_t of_pool;

static void count(void) {
  of_thread++;
  if (kind == unknown) {
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    kind = strcmp(name, "nt-pool") == 0 ? pool : other;
  }
  if (kind == pool) __atomic_fetch_add(&of_pool, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size) {
  count();
  return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
  count();
  return __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size) {
  count();
  return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  count();
  void *block = __libc_memalign(alignment, size);
  if (!block) return ENOMEM;
  *memory = block;
  return 0;
}

bool nt_allocations_counted(void) { return true; }
uint64_t nt_allocations_of_thread(void) { return of_thread; }
uint64_t nt_allocations_of_pool(void) { return __atomic_load_n(&of_pool, __ATOMIC_RELAXED); }
#else
bool nt_allocations_counted(void) { return false; }
uint64_t nt_allocations_of_thread(void) { return 0; }
uint64_t nt_allocations_of_pool(void) { return 0; }
#endif
