/// Counts the heap allocations of the calling thread: with it tests hold a hot path to none, and the server shows what
/// its event loops allocate. An allocation costs one addition to a thread-local counter more.
#pragma once

#include <stdbool.h>
#include <stdint.h>

/// False under a sanitizer, which has a malloc of its own.
bool nt_allocations_counted(void);
/// Allocations of this thread since it started.
uint64_t nt_allocations_of_thread(void);
/// Allocations of the helpers of the engine's pool, which work on a caller's behalf.
uint64_t nt_allocations_of_pool(void);
