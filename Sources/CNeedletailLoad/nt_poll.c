#define _GNU_SOURCE
#include "nt_poll.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

int nt_poll_open(void) {
  // The default slack of 50 µs would stand in every latency of a slow schedule.
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  return epoll_create1(EPOLL_CLOEXEC);
}

static int control(int poller, int operation, int socket, uint64_t token, bool wants_room) {
  struct epoll_event event = {.events = EPOLLIN | (wants_room ? EPOLLOUT : 0), .data.u64 = token};
  return epoll_ctl(poller, operation, socket, &event);
}

int nt_poll_add(int poller, int socket, uint64_t token, bool wants_room) {
  return control(poller, EPOLL_CTL_ADD, socket, token, wants_room);
}

int nt_poll_modify(int poller, int socket, uint64_t token, bool wants_room) {
  return control(poller, EPOLL_CTL_MOD, socket, token, wants_room);
}

int nt_poll_wait(int poller, nt_poll_event *events, uint64_t nanoseconds) {
  struct epoll_event found[NT_POLL_EVENTS_MAX];
  struct timespec time = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
  int count = epoll_pwait2(poller, found, NT_POLL_EVENTS_MAX, &time, NULL);
  // Linux before 5.11: rather spin through the last millisecond than be late.
  if (count < 0 && errno == ENOSYS) {
    uint64_t milliseconds = nanoseconds / 1000000u;
    count = epoll_wait(poller, found, NT_POLL_EVENTS_MAX, milliseconds > 1000 ? 1000 : (int)milliseconds);
  }
  for (int i = 0; i < count; i++) {
    bool trouble = (found[i].events & (EPOLLERR | EPOLLHUP)) != 0;
    events[i].token = found[i].data.u64;
    events[i].can_read = trouble || (found[i].events & EPOLLIN);
    events[i].can_write = trouble || (found[i].events & EPOLLOUT);
  }
  return count < 0 ? 0 : count;
}
