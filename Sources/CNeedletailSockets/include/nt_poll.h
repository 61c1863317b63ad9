// epoll and timerfd: the Glibc module of Swift does not import their headers.
#ifndef NT_POLL_H
#define NT_POLL_H

#include <stdbool.h>
#include <stdint.h>

#define NT_POLL_EVENTS_MAX 256

typedef struct {
  uint64_t token;
  bool can_read;
  bool can_write;
  // The connection has failed, or both of its sides have ended. Reported whatever is waited for.
  bool has_failed;
} nt_poll_event;

// Lets the calling thread's timers fire on time; by default they may be 50 µs late.
void nt_poll_precise_timers(void);

// These return a descriptor, or -1 with errno.
int nt_poll_open(void);
int nt_poll_open_timer(void);

// Takes a connection from a listening socket, non-blocking; -1 with errno, EAGAIN if there is none.
int nt_accept(int listening);

// Writes who is at the other end of a socket, with its terminator: `10.0.0.7:41234` or `[::1]:41234`, and for a Unix
// socket `uid 1000, pid 42`. `host` gets what several connections of one peer have in common: the address without its
// port, of IPv6 the network of 64 bits that one customer has, or the user. Empty texts if the socket has no peer any
// more.
#define NT_PEER_TEXT_BYTES 64
void nt_peer(int descriptor, char *peer, char *host);

// Watches `descriptor`. 0, or -1 with errno.
int nt_poll_add(int poller, int descriptor, uint64_t token, bool wants_bytes, bool wants_room);
int nt_poll_modify(int poller, int descriptor, uint64_t token, bool wants_bytes, bool wants_room);
// Watches an event or a timer: each signal is reported once, and the descriptor need not be read.
int nt_poll_add_signal(int poller, int descriptor, uint64_t token);

// Lets a timer fire at a time of CLOCK_MONOTONIC, at once if that has passed.
void nt_poll_fire_at(int timer, uint64_t nanoseconds);

// Waits up to `nanoseconds` and fills `events`, which has room for NT_POLL_EVENTS_MAX. Returns how many
// there are; 0 also where a signal came first.
int nt_poll_wait(int poller, nt_poll_event *events, uint64_t nanoseconds);
// Waits without limit, or not at all.
int nt_poll_wait_forever(int poller, nt_poll_event *events);
int nt_poll_look(int poller, nt_poll_event *events);

#endif
