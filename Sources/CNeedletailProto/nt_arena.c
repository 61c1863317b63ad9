#include "nt_arena.h"

#include <stdlib.h>

struct nt_arena_block {
  nt_arena_block *next;
  size_t capacity;
  // Aligned as malloc aligns the block: the header is 16 bytes.
  unsigned char bytes[];
};

enum {
  // One ordinary request fits.
  NT_ARENA_BLOCK_BYTES_MIN = 4 << 10,
  // Below this nothing is given back.
  NT_ARENA_KEEP_BYTES = 256 << 10,
  NT_ARENA_SMALL_MESSAGES_BEFORE_TRIM = 64,
};

static void free_blocks(nt_arena *arena) {
  nt_arena_block *block = arena->first;
  while (block) {
    nt_arena_block *next = block->next;
    free(block);
    block = next;
  }
  arena->first = NULL;
  arena->current = NULL;
  arena->held = 0;
}

void nt_arena_init(nt_arena *arena) { *arena = (nt_arena){0}; }

void nt_arena_destroy(nt_arena *arena) {
  free_blocks(arena);
  nt_arena_init(arena);
}

void nt_arena_reset(nt_arena *arena, size_t budget) {
  if (arena->held > NT_ARENA_KEEP_BYTES && arena->spent < arena->held / 4) {
    if (++arena->small_messages >= NT_ARENA_SMALL_MESSAGES_BEFORE_TRIM) {
      free_blocks(arena);
      arena->small_messages = 0;
    }
  } else {
    arena->small_messages = 0;
  }
  arena->current = arena->first;
  arena->block_used = 0;
  arena->spent = 0;
  arena->budget = budget;
}

// Makes a block of at least `bytes` free bytes current; what the old one had left is lost.
static int next_block(nt_arena *arena, size_t bytes) {
  size_t tail = arena->current ? arena->current->capacity - arena->block_used : 0;
  size_t left = arena->budget - arena->spent;
  if (tail > left || bytes > left - tail) return 0;
  left -= tail;

  nt_arena_block *next = arena->current ? arena->current->next : NULL;
  if (!next || next->capacity < bytes) {
    // Doubling keeps the number of blocks logarithmic; the budget keeps the last one honest.
    size_t capacity = arena->held > NT_ARENA_BLOCK_BYTES_MIN ? arena->held : NT_ARENA_BLOCK_BYTES_MIN;
    if (capacity > left) capacity = left & ~(size_t)7;
    if (capacity < bytes) capacity = bytes;
    nt_arena_block *block = malloc(sizeof(nt_arena_block) + capacity);
    if (!block) return 0;
    block->capacity = capacity;
    block->next = next;
    if (arena->current) {
      arena->current->next = block;
    } else {
      block->next = arena->first;
      arena->first = block;
    }
    arena->held += capacity;
    arena->block_allocations++;
    next = block;
  }
  arena->current = next;
  arena->block_used = 0;
  arena->spent += tail;
  return 1;
}

void *nt_arena_allocate(nt_arena *arena, size_t bytes) {
  if (bytes > SIZE_MAX - 7) return NULL;
  bytes = (bytes + 7) & ~(size_t)7;
  if (bytes > arena->budget - arena->spent) return NULL;
  if (!arena->current || bytes > arena->current->capacity - arena->block_used) {
    if (!next_block(arena, bytes)) return NULL;
  }
  void *result = arena->current->bytes + arena->block_used;
  arena->block_used += bytes;
  arena->spent += bytes;
  return result;
}

static void *allocate(void *data, size_t bytes) { return nt_arena_allocate(data, bytes); }

static void ignore_free(void *data, void *pointer) {
  (void)data;
  (void)pointer;
}

ProtobufCAllocator nt_arena_allocator(nt_arena *arena) {
  return (ProtobufCAllocator){.alloc = allocate, .free = ignore_free, .allocator_data = arena};
}
