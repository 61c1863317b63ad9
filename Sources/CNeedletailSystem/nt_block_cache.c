#include "nt_block_cache.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NT_KEEPS_NOTHING 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NT_KEEPS_NOTHING 1
#endif

// Sizes of blocks without their headers. The one of 17 KiB is for a record of TLS with its framing.
static const uint32_t class_bytes[] = {32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 17408, 32768};

enum { class_count = sizeof class_bytes / sizeof *class_bytes };

// Stands in front of every block.
typedef struct header {
  // Bytes that the block has room for; more than the largest class: a block of the C library alone.
  _Alignas(16) size_t bytes;
} header;

typedef struct free_block {
  struct free_block *next;
} free_block;

typedef struct cache {
  free_block *blocks[class_count];
  size_t kept_bytes;
  // Whether the thread is known to the key, and whether it is ending.
  bool is_known, is_closed;
} cache;

static __thread cache own;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static header *header_of(void *block) { return (header *)block - 1; }

// Number of the smallest class with room; class_count: there is none.
static size_t class_of(size_t bytes) {
  size_t class = 0;
  while (class < class_count && class_bytes[class] < bytes) class++;
  return class;
}

// What a thread kept goes back when it ends.
static void give_back(void *context) {
  cache *ending = context;
  ending->is_closed = true;
  for (size_t class = 0; class < class_count; class++) {
    for (free_block *block = ending->blocks[class]; block;) {
      free_block *next = block->next;
      free(header_of(block));
      block = next;
    }
    ending->blocks[class] = NULL;
  }
  ending->kept_bytes = 0;
}

static void make_key(void) { pthread_key_create(&key, give_back); }

// Whether the calling thread may keep something: it will give it back.
static bool may_keep(size_t bytes) {
#if defined(NT_KEEPS_NOTHING)
  (void)bytes;
  (void)make_key;
  return false;
#else
  if (own.is_closed || own.kept_bytes + bytes > NT_BLOCK_CACHE_BYTES_MAX) return false;
  if (!own.is_known) {
    pthread_once(&key_once, make_key);
    own.is_known = pthread_setspecific(key, &own) == 0;
  }
  return own.is_known;
#endif
}

void *nt_block_cache_malloc(size_t bytes, const char *file, int line) {
  (void)file, (void)line;
  if (bytes == 0 || bytes > SIZE_MAX - sizeof(header)) return NULL;
  size_t class = class_of(bytes);
  if (class < class_count) {
    free_block *kept = own.blocks[class];
    if (kept) {
      own.blocks[class] = kept->next;
      own.kept_bytes -= class_bytes[class];
      return kept;
    }
    bytes = class_bytes[class];
  }
  header *made = malloc(sizeof(header) + bytes);
  if (!made) return NULL;
  made->bytes = bytes;
  return made + 1;
}

void nt_block_cache_free(void *block, const char *file, int line) {
  (void)file, (void)line;
  if (!block) return;
  size_t bytes = header_of(block)->bytes, class = class_of(bytes);
  if (class == class_count || !may_keep(bytes)) {
    free(header_of(block));
    return;
  }
  free_block *kept = block;
  kept->next = own.blocks[class];
  own.blocks[class] = kept;
  own.kept_bytes += bytes;
}

void *nt_block_cache_realloc(void *block, size_t bytes, const char *file, int line) {
  if (!block) return nt_block_cache_malloc(bytes, file, line);
  if (bytes == 0) {
    nt_block_cache_free(block, file, line);
    return NULL;
  }
  size_t held = header_of(block)->bytes;
  if (bytes <= held) return block;
  void *larger = nt_block_cache_malloc(bytes, file, line);
  if (!larger) return NULL;
  memcpy(larger, block, held);
  nt_block_cache_free(block, file, line);
  return larger;
}

size_t nt_block_cache_kept_bytes(void) { return own.kept_bytes; }
