// Calls of Linux whose headers Swift's Glibc module does not import, or hides behind _GNU_SOURCE.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Waits while `*word` is `expected`, until a time of CLOCK_MONOTONIC at the latest; UINT64_MAX: without limit.
// Returns on a wake, a signal, a timeout, or at once if the word differs: the caller looks at the word again.
void nt_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_nanoseconds);

// Wakes up to `threads` threads that wait on `word`.
void nt_futex_wake(uint32_t *word, int32_t threads);

// An event descriptor, non-blocking and closed on exec; -1 with errno.
int32_t nt_event_open(void);

// Makes an event readable.
void nt_event_signal(int32_t event);

// Makes an event unreadable again.
void nt_event_clear(int32_t event);

// Names the calling thread; names over 15 bytes are cut.
void nt_thread_set_name(const char *name);

// Binds the calling thread to the `count` processors listed. 0, or an errno.
int32_t nt_thread_set_processors(const uint32_t *processors, size_t count);

// Gives the calling thread the policy SCHED_IDLE: it runs only while no other thread wants the processor. 0, or an
// errno.
int32_t nt_thread_set_idle(void);

// The kernel's number of the calling thread.
int32_t nt_thread_id(void);

// A pointer of the calling thread's own; NULL until it is set.
void *nt_thread_local(void);
void nt_thread_set_local(void *value);

// Nanoseconds of processor time that the calling thread has used.
uint64_t nt_thread_processor_nanoseconds(void);

// Nanoseconds that another thread of this process has used; 0 if there is no such thread.
uint64_t nt_thread_processor_nanoseconds_of(int32_t thread);

// How often the system has taken the processor from the calling thread for another; 0 where it does not say.
uint64_t nt_thread_preemptions(void);

// Bytes that were freed and that the C library keeps in its heaps; SIZE_MAX where it does not say.
size_t nt_heap_free_bytes(void);

// Bounds the number of heaps that threads allocate from.
void nt_heap_set_count(int32_t heaps);

// Gives what the C library keeps back to the system. It holds the lock of one heap after the other.
void nt_heap_trim(void);

// Limits of the process as `ulimit` sets them; UINT64_MAX: none.
uint64_t nt_limit_address_space_bytes(void);
uint64_t nt_limit_stack_bytes(void);
uint64_t nt_limit_descriptors(void);

// Raises the process's limit of descriptors to `wanted`, or as far as it may. The limit that holds then.
uint64_t nt_raise_descriptors(uint64_t wanted);
