/// Counts heap allocations of the calling thread: tests hold a hot path to none by it, and the server
/// shows what its event loops allocate. Costs one addition to a thread-local counter an allocation.
#pragma once

#include <stdbool.h>
#include <stdint.h>

/// False where malloc cannot be interposed: another libc, or a sanitizer that has its own.
bool nt_allocations_counted(void);
/// Allocations of this thread since it started.
uint64_t nt_allocations_of_thread(void);
/// Allocations of the helpers of the engine's pool, which work on a caller's behalf.
uint64_t nt_allocations_of_pool(void);
