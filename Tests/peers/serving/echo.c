// A bare echo over epoll, and a client that times it: what the kernel alone costs for the bytes of a call.
//
//   echo serve REQUEST-BYTES RESPONSE-BYTES          prints its port, answers until killed
//   echo time FILE CALLS TURNS PORT...               sends the call in FILE over one connection to each port, one
//                                                    at a time; an answer is as long as its first four bytes
//                                                    say. The ports take turns of so many calls, so that what
//                                                    else the machine does troubles all alike. Prints a line a
//                                                    turn: each port's p50 of a round trip in microseconds.
//                                                    PORT=FILE sends another call to that port
//
//   echo load PORT FILE CONNECTIONS SECONDS          sends the call in FILE, of HTTP or a frame, over and over,
//                                                    the next one when an answer is whole; prints answers a
//                                                    second, p50 and p99 in microseconds
//
// The server reads until a whole message is there and answers it in one write, as a server of frames must;
// it never looks at the bytes.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BYTES_MAX = 1 << 20, CONNECTIONS_MAX = 1024 };

static _Noreturn void fail(const char *what) {
  perror(what);
  exit(1);
}

static void no_delay(int connection) {
  int one = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void write_all(int connection, const char *bytes, size_t count) {
  while (count) {
    ssize_t written = write(connection, bytes, count);
    if (written < 0) fail("write");
    bytes += written;
    count -= (size_t)written;
  }
}

static void serve(size_t request_bytes, size_t response_bytes) {
  static char buffer[BYTES_MAX], answer[BYTES_MAX];
  static size_t waiting[CONNECTIONS_MAX];
  uint32_t word = htonl((uint32_t)response_bytes - 4);
  memcpy(answer, &word, sizeof word);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 64)) fail("listen");
  getsockname(listener, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    struct epoll_event events[64];
    int count = epoll_wait(poller, events, 64, -1);
    for (int i = 0; i < count; i++) {
      int connection = events[i].data.fd;
      if (connection == listener) {
        connection = accept(listener, NULL, NULL);
        if (connection < 0 || connection >= CONNECTIONS_MAX) fail("accept");
        no_delay(connection);
        waiting[connection] = 0;
        struct epoll_event added = {.events = EPOLLIN, .data.fd = connection};
        epoll_ctl(poller, EPOLL_CTL_ADD, connection, &added);
        continue;
      }
      ssize_t found = read(connection, buffer, sizeof buffer);
      if (found <= 0) {
        close(connection);
        continue;
      }
      waiting[connection] += (size_t)found;
      for (; waiting[connection] >= request_bytes; waiting[connection] -= request_bytes)
        write_all(connection, answer, response_bytes);
    }
  }
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

// The content of a small file.
static size_t contents(const char *path, char *bytes) {
  FILE *file = fopen(path, "rb");
  size_t count = file ? fread(bytes, 1, BYTES_MAX, file) : 0;
  if (!count) fail(path);
  fclose(file);
  return count;
}

static int connected(int port) {
  int connection = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
  if (connect(connection, (struct sockaddr *)&address, sizeof address)) fail("connect");
  no_delay(connection);
  return connection;
}

// One call on the only connection of `poller`, and its answer.
static void call(int poller, int connection, const char *request, size_t request_bytes) {
  static char answer[BYTES_MAX];
  struct epoll_event event;
  write_all(connection, request, request_bytes);
  for (size_t found = 0, whole = 4; found < whole;) {
    epoll_wait(poller, &event, 1, -1);
    ssize_t count = read(connection, answer + found, sizeof answer - found);
    if (count <= 0) fail("read");
    found += (size_t)count;
    uint32_t word;
    memcpy(&word, answer, sizeof word);
    if (found >= 4) whole = 4 + (size_t)ntohl(word);
    if (whole > sizeof answer) fail("an answer longer than the buffer");
  }
}

static void measure(const char *path, size_t calls, size_t turns, int ports_count, char **ports) {
  enum { PORTS_MAX = 8 };
  static char requests[PORTS_MAX][BYTES_MAX];
  size_t request_bytes[PORTS_MAX];
  double *times = malloc(calls * sizeof *times);
  int connections[PORTS_MAX], pollers[PORTS_MAX];
  if (!times || !calls || ports_count > PORTS_MAX) fail("calls or ports");
  for (int i = 0; i < ports_count; i++) {
    const char *own = strchr(ports[i], '=');
    request_bytes[i] = contents(own ? own + 1 : path, requests[i]);
    connections[i] = connected(atoi(ports[i]));
    pollers[i] = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(pollers[i], EPOLL_CTL_ADD, connections[i], &event);
  }
  for (size_t turn = 0; turn < turns; turn++) {
    for (int i = 0; i < ports_count; i++) {
      // A tenth more calls warm the caches that the last turn has used.
      for (size_t j = 0; j < calls / 10; j++) call(pollers[i], connections[i], requests[i], request_bytes[i]);
      for (size_t j = 0; j < calls; j++) {
        double start = microseconds();
        call(pollers[i], connections[i], requests[i], request_bytes[i]);
        times[j] = microseconds() - start;
      }
      qsort(times, calls, sizeof *times, compare);
      printf("%.3f%s", times[calls / 2], i + 1 < ports_count ? " " : "\n");
    }
  }
}

struct caller {
  int connection;
  size_t found;
  double start;
  char answer[16 << 10];
};

// Whether an answer is whole. An HTTP answer is expected to have status 200 and a known length.
static int is_whole(struct caller *caller, int is_http) {
  if (!is_http) {
    uint32_t word;
    memcpy(&word, caller->answer, sizeof word);
    return caller->found >= 4 && caller->found >= 4 + (size_t)ntohl(word);
  }
  caller->answer[caller->found] = 0;
  const char *end = strstr(caller->answer, "\r\n\r\n"), *length = strcasestr(caller->answer, "content-length:");
  if (!end) return 0;
  if (strncmp(caller->answer, "HTTP/1.1 200", 12) || !length || length > end) {
    fprintf(stderr, "not an answer: %.200s\n", caller->answer);
    exit(1);
  }
  return caller->found >= (size_t)(end + 4 - caller->answer) + strtoul(length + 15, NULL, 10);
}

static void load(int port, const char *path, size_t callers_count, double seconds) {
  enum { TIMES_MAX = 4 << 20 };
  static char request[BYTES_MAX];
  size_t request_bytes = contents(path, request), answers = 0;
  int is_http = request_bytes >= 5 && !memcmp(request, "POST ", 5);
  struct caller *callers = calloc(callers_count, sizeof *callers);
  double *times = malloc(TIMES_MAX * sizeof *times);
  if (!callers || !times) fail("memory");
  int poller = epoll_create1(0);
  for (size_t i = 0; i < callers_count; i++) {
    callers[i].connection = connected(port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &callers[i]};
    epoll_ctl(poller, EPOLL_CTL_ADD, callers[i].connection, &event);
    callers[i].start = microseconds();
    write_all(callers[i].connection, request, request_bytes);
  }
  // The first tenth warms up.
  double began = microseconds() + seconds * 1e5, end = began + seconds * 1e6, now = began;
  while (now < end && answers < TIMES_MAX) {
    struct epoll_event events[64];
    int count = epoll_wait(poller, events, 64, 1000);
    for (int i = 0; i < count; i++) {
      struct caller *caller = events[i].data.ptr;
      ssize_t found =
          read(caller->connection, caller->answer + caller->found, sizeof caller->answer - 1 - caller->found);
      if (found <= 0) fail("read");
      caller->found += (size_t)found;
      if (!is_whole(caller, is_http)) continue;
      now = microseconds();
      if (now >= began && answers < TIMES_MAX) times[answers++] = now - caller->start;
      caller->found = 0;
      caller->start = now;
      write_all(caller->connection, request, request_bytes);
    }
    now = microseconds();
  }
  if (!answers) fail("no answers");
  qsort(times, answers, sizeof *times, compare);
  printf("%.1f %.3f %.3f\n", (double)answers / ((now - began) * 1e-6), times[answers / 2], times[answers * 99 / 100]);
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "serve")) {
    serve((size_t)atoi(arguments[2]), (size_t)atoi(arguments[3]));
  } else if (count >= 6 && !strcmp(arguments[1], "time")) {
    measure(arguments[2], (size_t)atoi(arguments[3]), (size_t)atoi(arguments[4]), count - 5, arguments + 5);
    return 0;
  } else if (count == 6 && !strcmp(arguments[1], "load")) {
    load(atoi(arguments[2]), arguments[3], (size_t)atoi(arguments[4]), atof(arguments[5]));
    return 0;
  }
  fprintf(stderr, "usage: echo serve|time|load …, as the head of echo.c tells\n");
  return 2;
}
