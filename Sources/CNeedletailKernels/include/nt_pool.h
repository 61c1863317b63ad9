/// The process's one pool of threads, which share the work of a layer that is worth it.
///
/// A caller never waits for another caller's work: it gets helpers only while fewer callers than
/// threads compute and nobody else has them, and runs alone otherwise. What no helper has begun the
/// caller does itself, so a helper that the system keeps waiting holds up one part at most.
///
/// After nt_pool_start nothing allocates or locks. Helpers that find nothing to do look again for
/// 50 µs, then sleep: an idle process uses no CPU. A forked child has no helpers and does all parts
/// itself.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Threads of a pool, its caller among them.
#define NT_POOL_THREADS_MAX 64
/// Parts of one job: they are counted in 16 bits.
#define NT_POOL_PARTS_MAX 65535

/// One part of a job. Parts touch no common memory, or only atomically.
typedef void (*nt_pool_task)(const void *context, size_t part);

/// Starts the helpers, `threads` − 1 of them; the first call decides, for the whole process. Until
/// then, and with `threads` 1, every caller runs alone.
///
/// Returns the threads there are, the caller's among them: fewer than asked for where the system
/// refuses more.
size_t nt_pool_start(size_t threads);
/// Number that nt_pool_start returned; 1 before.
size_t nt_pool_threads(void);
/// Nanoseconds from a job's publication until a helper that slept begins a part of it, as nt_pool_start measured it in
/// some 3 ms; 0 where there are no helpers. It is what a part must take at the least to be worth a thread.
uint64_t nt_pool_wake_nanoseconds(void);
/// Jobs shared so far.
uint64_t nt_pool_jobs(void);

/// Counts the calling thread among those that compute, until nt_pool_leave.
void nt_pool_enter(void);
void nt_pool_leave(void);
/// Between enter and leave: takes the helpers for one job.
///
/// Returns the threads that may share it, at most `wanted`, the caller's among them. 1: run alone.
/// From 2 on, nt_pool_run must follow.
size_t nt_pool_acquire(size_t wanted);
/// Runs parts 0 ..< `parts` on `threads` threads, gives the helpers back and returns when all are done.
/// Each thread begins with its own share, the same in every job of as many parts, so that its cache may
/// still hold what the part reads.
void nt_pool_run(nt_pool_task task, const void *context, size_t threads, size_t parts);

#ifdef __cplusplus
}
#endif
