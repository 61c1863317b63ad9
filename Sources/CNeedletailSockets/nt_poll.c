#define _GNU_SOURCE
#include "nt_poll.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

void nt_poll_precise_timers(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }

int nt_poll_open(void) { return epoll_create1(EPOLL_CLOEXEC); }
int nt_poll_open_timer(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); }

int nt_accept(int listening) { return accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

static void inet6_peer(const struct sockaddr_in6 *address, char *peer, char *host) {
  char text[INET6_ADDRSTRLEN] = "";
  // A client of IPv4 on a socket of both.
  if (IN6_IS_ADDR_V4MAPPED(&address->sin6_addr)) {
    inet_ntop(AF_INET, &address->sin6_addr.s6_addr[12], text, sizeof text);
    snprintf(host, NT_PEER_TEXT_BYTES, "%s", text);
    snprintf(peer, NT_PEER_TEXT_BYTES, "%s:%u", text, ntohs(address->sin6_port));
    return;
  }
  inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text);
  snprintf(peer, NT_PEER_TEXT_BYTES, "[%s]:%u", text, ntohs(address->sin6_port));
  struct in6_addr network = address->sin6_addr;
  memset(&network.s6_addr[8], 0, 8);
  inet_ntop(AF_INET6, &network, text, sizeof text);
  snprintf(host, NT_PEER_TEXT_BYTES, "%s/64", text);
}

void nt_peer(int descriptor, char *peer, char *host) {
  peer[0] = host[0] = 0;
  struct sockaddr_storage storage = {0};
  socklen_t length = sizeof storage;
  if (getpeername(descriptor, (struct sockaddr *)&storage, &length) != 0) return;
  if (storage.ss_family == AF_INET) {
    const struct sockaddr_in *address = (const struct sockaddr_in *)&storage;
    inet_ntop(AF_INET, &address->sin_addr, host, NT_PEER_TEXT_BYTES);
    snprintf(peer, NT_PEER_TEXT_BYTES, "%s:%u", host, ntohs(address->sin_port));
  } else if (storage.ss_family == AF_INET6) {
    inet6_peer((const struct sockaddr_in6 *)&storage, peer, host);
  } else if (storage.ss_family == AF_UNIX) {
    struct ucred user;
    length = sizeof user;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &user, &length) != 0) return;
    snprintf(host, NT_PEER_TEXT_BYTES, "uid %u", user.uid);
    snprintf(peer, NT_PEER_TEXT_BYTES, "uid %u, pid %d", user.uid, user.pid);
  }
}

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
