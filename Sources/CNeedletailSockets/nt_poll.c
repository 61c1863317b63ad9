#define _GNU_SOURCE
#include "nt_poll.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

void nt_poll_precise_timers(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }

int nt_poll_open(void) { return epoll_create1(EPOLL_CLOEXEC); }
int nt_poll_open_timer(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); }

int nt_accept(int listening) { return accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

static int control(int poller, int operation, int descriptor, uint64_t token, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u64 = token};
  return epoll_ctl(poller, operation, descriptor, &event);
}

static uint32_t wanted(bool bytes, bool room) { return (bytes ? EPOLLIN : 0) | (room ? EPOLLOUT : 0); }

int nt_poll_add(int poller, int descriptor, uint64_t token, bool wants_bytes, bool wants_room) {
  return control(poller, EPOLL_CTL_ADD, descriptor, token, wanted(wants_bytes, wants_room));
}

int nt_poll_modify(int poller, int descriptor, uint64_t token, bool wants_bytes, bool wants_room) {
  return control(poller, EPOLL_CTL_MOD, descriptor, token, wanted(wants_bytes, wants_room));
}

int nt_poll_add_signal(int poller, int descriptor, uint64_t token) {
  return control(poller, EPOLL_CTL_ADD, descriptor, token, EPOLLIN | EPOLLET);
}

static struct timespec time_of(uint64_t nanoseconds) {
  return (struct timespec){.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
}

void nt_poll_fire_at(int timer, uint64_t nanoseconds) {
  // 0 would disarm it.
  struct itimerspec when = {.it_value = time_of(nanoseconds > 0 ? nanoseconds : 1)};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static int report(nt_poll_event *events, const struct epoll_event *found, int count) {
  for (int i = 0; i < count; i++) {
    bool failed = (found[i].events & (EPOLLERR | EPOLLHUP)) != 0;
    events[i].token = found[i].data.u64;
    events[i].can_read = failed || (found[i].events & EPOLLIN);
    events[i].can_write = failed || (found[i].events & EPOLLOUT);
    events[i].has_failed = failed;
  }
  return count < 0 ? 0 : count;
}

int nt_poll_wait(int poller, nt_poll_event *events, uint64_t nanoseconds) {
  struct epoll_event found[NT_POLL_EVENTS_MAX];
  struct timespec time = time_of(nanoseconds);
  int count = epoll_pwait2(poller, found, NT_POLL_EVENTS_MAX, &time, NULL);
  // Linux before 5.11: spins through the last millisecond, so as not to be late.
  if (count < 0 && errno == ENOSYS) {
    uint64_t milliseconds = nanoseconds / 1000000u;
    count = epoll_wait(poller, found, NT_POLL_EVENTS_MAX, milliseconds > 1000 ? 1000 : (int)milliseconds);
  }
  return report(events, found, count);
}

int nt_poll_wait_forever(int poller, nt_poll_event *events) {
  struct epoll_event found[NT_POLL_EVENTS_MAX];
  return report(events, found, epoll_wait(poller, found, NT_POLL_EVENTS_MAX, -1));
}

int nt_poll_look(int poller, nt_poll_event *events) {
  struct epoll_event found[NT_POLL_EVENTS_MAX];
  return report(events, found, epoll_wait(poller, found, NT_POLL_EVENTS_MAX, 0));
}
