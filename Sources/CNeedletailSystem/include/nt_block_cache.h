// An allocator for a library that asks for the same few sizes again and again: OpenSSL takes seven blocks for every
// call over TLS and gives them back at once. Each thread keeps what it frees, up to a bound, and hands it out again
// without the C library's heaps. With the address or thread sanitizer nothing is kept, so that they see every use of
// what was freed.
//
// The functions have the types that CRYPTO_set_mem_functions wants; file and line are not used. A block may be freed
// by another thread than the one that asked for it.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Bytes that one thread keeps at most: the record buffers of some connections that are busy at a time.
#define NT_BLOCK_CACHE_BYTES_MAX ((size_t)512 << 10)

// NULL for 0 bytes, as OpenSSL's own; aligned to 16.
void *nt_block_cache_malloc(size_t bytes, const char *file, int line);
void *nt_block_cache_realloc(void *block, size_t bytes, const char *file, int line);
void nt_block_cache_free(void *block, const char *file, int line);

// Bytes that the calling thread keeps.
size_t nt_block_cache_kept_bytes(void);

#ifdef __cplusplus
}
#endif
