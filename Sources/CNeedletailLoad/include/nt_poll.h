// epoll for `needletail bench`: the Glibc module of Swift does not import <sys/epoll.h>.
#ifndef NT_POLL_H
#define NT_POLL_H

#include <stdbool.h>
#include <stdint.h>

#define NT_POLL_EVENTS_MAX 256

typedef struct {
  uint64_t token;
  bool can_read;
  bool can_write;
} nt_poll_event;

// Opens a poller and lets the calling thread's timers fire on time; -1 if there is no descriptor left.
int nt_poll_open(void);

// Watches `socket`, for reading always and for writing if `wants_room`. 0, or -1 with errno.
int nt_poll_add(int poller, int socket, uint64_t token, bool wants_room);
int nt_poll_modify(int poller, int socket, uint64_t token, bool wants_room);

// Waits up to `nanoseconds` and fills `events`, which has room for NT_POLL_EVENTS_MAX. Returns how many
// there are; 0 also where a signal came first.
int nt_poll_wait(int poller, nt_poll_event *events, uint64_t nanoseconds);

#endif
