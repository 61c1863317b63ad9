// A bump allocator with a budget, for what one message decodes into.
//
// protobuf-c spends up to 60 bytes of memory on a byte of hostile input (unknown fields, empty
// sub-messages). Here every byte handed out, and every tail of a block left unused, counts against
// the budget of the message; beyond it an allocation gives NULL, which protobuf-c 1.4 and our own
// decoder turn into a clean failure. Blocks are kept between messages, so a steady stream of
// messages calls malloc never. Not thread-safe: one arena belongs to one loop or one caller.
#ifndef NT_ARENA_H
#define NT_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nt_arena_block nt_arena_block;

typedef struct nt_arena {
  nt_arena_block *first;
  nt_arena_block *current;
  // Of the current block.
  size_t block_used;
  // Bytes handed out since the reset, unused tails included; never above `budget`.
  size_t spent;
  size_t budget;
  // Bytes of all blocks, in use or kept.
  size_t held;
  // Calls of malloc since the arena began.
  uint64_t block_allocations;
  // Messages in a row that needed less than a quarter of `held`.
  uint32_t small_messages;
} nt_arena;

void nt_arena_init(nt_arena *arena);
void nt_arena_destroy(nt_arena *arena);

// Ends the life of everything handed out and sets the budget of the next message. Gives memory back
// to the system when the arena grew large and messages have been small for a while.
void nt_arena_reset(nt_arena *arena, size_t budget);

// `bytes` bytes, aligned to 8, uninitialised; NULL when the budget or the system's memory is spent.
void *nt_arena_allocate(nt_arena *arena, size_t bytes);

// The arena as protobuf-c wants it. Freeing does nothing: the next reset does. The value must not
// outlive the arena.
ProtobufCAllocator nt_arena_allocator(nt_arena *arena);

#ifdef __cplusplus
}
#endif

#endif
