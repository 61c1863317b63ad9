#define _GNU_SOURCE
#include "nt_allocations.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NT_SANITIZED 1
#endif
#endif

#if !defined(NT_SANITIZED)
// The executable's symbols win over those of every library. The next ones in line do the work: libc's,
// or those of an allocator that was preloaded, whose free() is the one that will be called.
typedef void *malloc_function(size_t);
typedef void *calloc_function(size_t, size_t);
typedef void *realloc_function(void *, size_t);
typedef void *memalign_function(size_t, size_t);

static malloc_function *_Atomic next_malloc;
static calloc_function *_Atomic next_calloc;
static realloc_function *_Atomic next_realloc;
static memalign_function *_Atomic next_memalign;

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

// Threads that come here together store the same pointers. dlsym() itself allocates only to report an
// error, and there is none: libc has them all.
static void resolve(void) {
  next_calloc = (calloc_function *)dlsym(RTLD_NEXT, "calloc");
  next_realloc = (realloc_function *)dlsym(RTLD_NEXT, "realloc");
  next_memalign = (memalign_function *)dlsym(RTLD_NEXT, "memalign");
  next_malloc = (malloc_function *)dlsym(RTLD_NEXT, "malloc");
}

void *malloc(size_t size) {
  count();
  malloc_function *next = next_malloc;
  if (!next) {
    resolve();
    next = next_malloc;
  }
  return next(size);
}

void *calloc(size_t n, size_t size) {
  count();
  if (!next_malloc) resolve();
  return next_calloc(n, size);
}

void *realloc(void *memory, size_t size) {
  count();
  if (!next_malloc) resolve();
  return next_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  count();
  if (!next_malloc) resolve();
  return next_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
  if (alignment < sizeof(void *) || (alignment & (alignment - 1))) return EINVAL;
  void *block = memalign(alignment, size);
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
