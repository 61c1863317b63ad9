/* Client of the Needletail inference server: see needletail.h. One file, with libprotobuf-c and, where
 * NEEDLETAIL_TLS is defined, OpenSSL 1.1.1 or newer.
 *
 * The client has no threads. Of the callers that wait on a connection one reads for all of them, outside the lock,
 * and hands this over when its own answer is there. Locks: the client's before a connection's.
 */
#define _GNU_SOURCE /* getaddrinfo, clock_gettime, MSG_NOSIGNAL under -std=c11 */

#include "needletail.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "needletail/v1/inference.pb-c.h"

#ifdef NEEDLETAIL_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "expected a little-endian machine: tensors are sent as they stand in memory"
#endif

#define REQUEST_BYTES_DEFAULT (16u << 20)
#define FRAME_BYTES_CAP (64u << 20)
#define READ_BYTES 65536u
/* Places of the table of calls in flight; a server takes 4,096 from one connection. */
#define BUCKETS 256u
/* Answers of abandoned calls that a connection may owe before it is given up. */
#define ABANDONED_MAX 4096u
/* A connection that was silent for so long under a call that ran out of time is taken for dead. */
#define SILENCE_NS_MAX 1000000000u
/* The next address of a name is tried beside those that have not answered after so long: RFC 8305. */
#define NEXT_ADDRESS_MS 250
#define ADDRESSES_MAX 8
/* Decoding may take so many times the bytes of a frame: a text of one byte takes 3 in a frame and 16 in memory. */
#define DECODE_FACTOR 16u
/* Outcomes that a server takes in one call. */
#define OUTCOMES_MAX 1024u
#define NEVER UINT64_MAX

typedef Needletail__V1__Request Request;
typedef Needletail__V1__Response Response;

struct buffer {
  uint8_t *bytes;
  size_t start, end, room;
};

/* A call that was sent; its caller may have gone. */
struct flight {
  struct flight *next;
  uint64_t id;
  struct needletail_call *call; /* NULL: nobody waits for the answer */
};

struct connection {
  needletail_client *client;
  struct connection *next; /* in the client's pool */
  unsigned references;     /* under the client's lock: the pool's, and one for each call */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int socket;
  bool is_read; /* some caller reads */
  bool is_dead; /* and `error` says why */
  bool drains;  /* no new call: the server stops, or refused a frame */
  needletail_error error;
  uint64_t next_id, silent_since;
  unsigned waiting, abandoned;
  struct flight *flights[BUCKETS];
  struct buffer in, out;
  uint64_t written, queued; /* bytes handed to the kernel, and all that were meant for it */
#ifdef NEEDLETAIL_TLS
  SSL *tls;
#endif
};

struct needletail_client {
  needletail_options options;
  char *host, *port, *path, *api_key;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct connection *pool;
  unsigned connections, connecting;
  double budget;
  uint64_t random;
#ifdef NEEDLETAIL_TLS
  SSL_CTX *tls;
  char *server_name;
#endif
};

struct needletail_call {
  needletail_client *client;
  uint8_t *body; /* a Request without id and timeout */
  size_t body_bytes;
  Needletail__V1__Response__ResultCase result;
  uint64_t deadline;
  unsigned failed; /* attempts */
  /* This attempt. */
  struct connection *connection;
  uint64_t id, sent_end;
  bool is_over, was_sent;
  Response *response;
  needletail_error error;
};

struct needletail_answer {
  Response *response;
  needletail_output *outputs;
  size_t output_count;
  struct report *report; /* NULL: the answer to another call than feedback */
};

/* What several calls of feedback answered, together. */
struct report {
  needletail_feedback_report told;
  needletail_outcome_problem *problems; /* whose texts are each a piece of memory of their own */
};

/* ---------------------------------------------------------------- small things */

const char *needletail_code_name(needletail_code code) {
  static const char *const names[] = {
      "OK",         "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "DEADLINE_EXCEEDED",
      "OVERLOADED", "UNAVAILABLE",      "INTERNAL",  "UNIMPLEMENTED"};
  return (unsigned)code < sizeof names / sizeof *names ? names[code] : "INTERNAL";
}

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t later(uint64_t timeout_us) {
  uint64_t now = now_ns();
  return timeout_us >= (NEVER - now) / 1000u ? NEVER : now + timeout_us * 1000u;
}

static uint64_t sooner(uint64_t first, uint64_t second) { return first < second ? first : second; }

/* Milliseconds until then, as poll wants them; rounded up, so that the time is over afterwards. */
static int poll_ms(uint64_t deadline) {
  if (deadline == NEVER) return -1;
  uint64_t now = now_ns();
  if (deadline <= now) return 0;
  uint64_t ms = (deadline - now + 999999u) / 1000000u;
  return ms > 60000u ? 60000 : (int)ms;
}

__attribute__((format(printf, 4, 5))) static bool fail(needletail_error *error, needletail_code code,
                                                       needletail_cause cause, const char *format, ...) {
  if (!error) return false;
  memset(error, 0, sizeof *error);
  error->code = code;
  error->cause = cause;
  va_list values;
  va_start(values, format);
  vsnprintf(error->message, sizeof error->message, format, values);
  va_end(values);
  return false;
}

static bool fail_for_memory(needletail_error *error) {
  return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_FROM_CALLER, "memory: expected enough for the call, found none");
}

static char *copy_text(const char *text) {
  if (!text) return NULL;
  size_t bytes = strlen(text) + 1;
  char *copy = malloc(bytes);
  if (copy) memcpy(copy, text, bytes);
  return copy;
}

/* Room for `count` more bytes at the end. The buffer grows with what arrives, at most to twice that. */
static bool reserve(struct buffer *buffer, size_t count) {
  if (buffer->room - buffer->end >= count) return true;
  if (buffer->start) {
    memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->end - buffer->start);
    buffer->end -= buffer->start;
    buffer->start = 0;
    if (buffer->room - buffer->end >= count) return true;
  }
  size_t room = buffer->room * 2 > buffer->end + count ? buffer->room * 2 : buffer->end + count;
  uint8_t *bytes = realloc(buffer->bytes, room);
  if (!bytes) return false;
  buffer->bytes = bytes;
  buffer->room = room;
  return true;
}

/* Room of a buffer that is kept while it is empty. */
#define ROOM_KEPT (1u << 20)

/* Begins anew where all was taken, and gives the memory of a large frame back. */
static void clear(struct buffer *buffer) {
  if (buffer->start != buffer->end) return;
  buffer->start = buffer->end = 0;
  if (buffer->room <= ROOM_KEPT) return;
  free(buffer->bytes);
  *buffer = (struct buffer){0};
}

static bool is_utf8(const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count;) {
    uint8_t first = bytes[i++];
    if (first < 0x80) continue;
    unsigned more = first >= 0xc2 && first < 0xe0   ? 1
                    : first >= 0xe0 && first < 0xf0 ? 2
                    : first >= 0xf0 && first < 0xf5 ? 3
                                                    : 0;
    if (!more || count - i < more) return false;
    uint32_t scalar = first & (0x3fu >> more);
    for (unsigned j = 0; j < more; j++, i++) {
      if ((bytes[i] & 0xc0) != 0x80) return false;
      scalar = scalar << 6 | (bytes[i] & 0x3fu);
    }
    if ((more == 2 && (scalar < 0x800 || (scalar >= 0xd800 && scalar < 0xe000))) ||
        (more == 3 && (scalar < 0x10000 || scalar > 0x10ffff)))
      return false;
  }
  return true;
}

/* ---------------------------------------------------------------- decoding within bounds */

struct arena {
  size_t left;
};

static void *arena_alloc(void *data, size_t size) {
  struct arena *arena = data;
  if (size > arena->left) return NULL;
  arena->left -= size;
  return malloc(size ? size : 1);
}

static void arena_free(void *data, void *pointer) {
  (void)data;
  free(pointer);
}

static bool has_utf8(const ProtobufCMessage *message);

static bool is_utf8_field(const ProtobufCFieldDescriptor *field, const void *value) {
  if (!value) return true;
  if (field->type == PROTOBUF_C_TYPE_MESSAGE) return has_utf8(value);
  return is_utf8(value, strlen(value));
}

/* Whether all text of a message is UTF-8, which protobuf-c does not look at. The schema is not recursive. */
static bool has_utf8(const ProtobufCMessage *message) {
  const ProtobufCMessageDescriptor *descriptor = message->descriptor;
  for (unsigned i = 0; i < descriptor->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
    if (field->type != PROTOBUF_C_TYPE_MESSAGE && field->type != PROTOBUF_C_TYPE_STRING) continue;
    const uint8_t *base = (const uint8_t *)message;
    const void *value;
    memcpy(&value, base + field->offset, sizeof value);
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
      size_t count;
      memcpy(&count, base + field->quantifier_offset, sizeof count);
      for (size_t j = 0; j < count; j++)
        if (!is_utf8_field(field, ((const void *const *)value)[j])) return false;
      continue;
    }
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
      uint32_t which;
      memcpy(&which, base + field->quantifier_offset, sizeof which);
      if (which != field->id) continue; /* the place holds another field */
    }
    if (!is_utf8_field(field, value)) return false;
  }
  return true;
}

static void free_response(Response *response) {
  if (response) needletail__v1__response__free_unpacked(response, NULL);
}

static Response *decode(const uint8_t *bytes, size_t count) {
  struct arena arena = {count * DECODE_FACTOR + READ_BYTES};
  ProtobufCAllocator allocator = {arena_alloc, arena_free, &arena};
  Response *response = needletail__v1__response__unpack(&allocator, count, bytes);
  if (!response || has_utf8(&response->base)) return response;
  free_response(response);
  return NULL;
}

/* ---------------------------------------------------------------- calls in flight (under the connection's lock) */

static struct flight **place_of(struct connection *connection, uint64_t id) {
  struct flight **place = &connection->flights[id % BUCKETS];
  while (*place && (*place)->id != id) place = &(*place)->next;
  return place;
}

/* Ends the attempt of a call. Its place in the table stays until its answer comes. */
static void end_call(struct connection *connection, struct flight *flight) {
  flight->call->is_over = true;
  flight->call = NULL;
  connection->waiting--;
  connection->abandoned++;
}

static void fail_call(struct connection *connection, struct flight *flight, const needletail_error *error) {
  flight->call->error = *error;
  flight->call->was_sent = connection->written >= flight->call->sent_end;
  end_call(connection, flight);
}

/* Calls above `last_id` are over. */
static void fail_above(struct connection *connection, uint64_t last_id, const needletail_error *error) {
  for (size_t i = 0; i < BUCKETS; i++)
    for (struct flight *flight = connection->flights[i]; flight; flight = flight->next)
      if (flight->call && flight->id > last_id) fail_call(connection, flight, error);
}

/* The connection is of no use any more: everybody who waits on it hears why. */
static void die(struct connection *connection, const needletail_error *error) {
  if (connection->is_dead) return;
  connection->is_dead = true;
  connection->error = *error;
  fail_above(connection, 0, error);
  shutdown(connection->socket, SHUT_RDWR); /* wakes the caller who reads */
}

static void lose(struct connection *connection, const char *what) {
  needletail_error error;
  fail(&error, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_CONNECTION_LOST, "%s", what);
  die(connection, &error);
}

static void violate(struct connection *connection, const char *expected, uint64_t found) {
  needletail_error error;
  fail(&error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION, "%s, found %llu", expected,
       (unsigned long long)found);
  die(connection, &error);
}

static void status_error(const Needletail__V1__Status *status, needletail_error *error) {
  if ((unsigned)status->code > NEEDLETAIL_UNIMPLEMENTED || status->code == 0) {
    fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_FROM_SERVER, "status code %d is unknown to this client: %s",
         (int)status->code, status->message);
    return;
  }
  fail(error, (needletail_code)status->code, NEEDLETAIL_FROM_SERVER, "%s", status->message);
  error->retry_after_us = status->retry_after_us;
  const Needletail__V1__ErrorDetail *detail = status->detail;
  if (!detail) return;
  snprintf(error->field, sizeof error->field, "%s", detail->field);
  error->has_row = detail->place_case == NEEDLETAIL__V1__ERROR_DETAIL__PLACE_ROW;
  error->row = error->has_row ? detail->row : 0;
  if (!detail->limit) return;
  snprintf(error->limit, sizeof error->limit, "%s", detail->limit->name);
  error->limit_maximum = detail->limit->maximum;
  error->limit_found = detail->limit->found;
}

static bool is_refusal(const Response *response) {
  return response->status && response->status->code != NEEDLETAIL__V1__STATUS_CODE__OK;
}

/* An answer without a call: a GoAway, or a frame that the server could not read. */
static void take_unsolicited(struct connection *connection, const Response *response) {
  needletail_error error;
  connection->drains = true;
  if (is_refusal(response)) {
    status_error(response->status, &error);
    if (connection->waiting == 1) { /* it is about that one */
      fail_above(connection, 0, &error);
    } else {
      char said[sizeof error.message];
      memcpy(said, error.message, sizeof said);
      fail(&error, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_CONNECTION_LOST, "the server refused a frame: %.400s", said);
      die(connection, &error);
    }
  } else if (response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_GO_AWAY) {
    fail(&error, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_FROM_SERVER, "the server is stopping and did not execute the call");
    fail_above(connection, response->go_away->last_id, &error);
  } else {
    violate(connection, "id: expected that of a call beside something other than GoAway", 0);
  }
}

static void take_response(struct connection *connection, Response *response) {
  if (response->id == 0) {
    take_unsolicited(connection, response);
    free_response(response);
    return;
  }
  struct flight **place = place_of(connection, response->id), *flight = *place;
  if (!flight) {
    violate(connection, "id: expected that of a call in flight", response->id);
    free_response(response);
    return;
  }
  if (flight->call) {
    flight->call->response = response;
    end_call(connection, flight);
  } else {
    free_response(response);
  }
  connection->abandoned--;
  *place = flight->next;
  free(flight);
}

/* Cuts what has arrived into frames. */
static void take_frames(struct connection *connection) {
  struct buffer *in = &connection->in;
  while (!connection->is_dead && in->end - in->start >= 4) {
    const uint8_t *head = in->bytes + in->start;
    uint32_t length = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    if (length == 0 || length > connection->client->options.answer_bytes_max) {
      violate(connection, "frame length: expected 1 to answer_bytes_max bytes of a Needletail server", length);
      return;
    }
    if (in->end - in->start - 4 < length) return;
    Response *response = decode(head + 4, length);
    in->start += 4 + (size_t)length;
    if (!response) {
      violate(connection, "response: expected a needletail.v1.Response, bytes", length);
      return;
    }
    take_response(connection, response);
  }
  clear(in);
}

/* ---------------------------------------------------------------- bytes (under the connection's lock) */

#ifdef NEEDLETAIL_TLS
/* What OpenSSL has to say goes to the socket. */
static bool drain_tls(struct connection *connection) {
  BIO *produced = SSL_get_wbio(connection->tls);
  size_t pending = BIO_ctrl_pending(produced);
  if (!pending) return true;
  if (!reserve(&connection->out, pending)) return false;
  int count = BIO_read(produced, connection->out.bytes + connection->out.end, (int)pending);
  if (count > 0) connection->out.end += (size_t)count, connection->queued += (size_t)count;
  return true;
}

static void lose_tls(struct connection *connection, const char *what) {
  char reason[256] = "unknown";
  unsigned long code = ERR_get_error();
  if (code) ERR_error_string_n(code, reason, sizeof reason);
  ERR_clear_error();
  needletail_error error;
  /* With TLS 1.3 a server looks at the client's certificate when the handshake is over for its client. */
  fail(&error, NEEDLETAIL_UNAUTHENTICATED, NEEDLETAIL_CONNECTION_FAILED, "%s: %s", what, reason);
  die(connection, &error);
}

/* Decrypts what came, `count` bytes. */
static void take_encrypted(struct connection *connection, const uint8_t *bytes, size_t count) {
  if (count && BIO_write(SSL_get_rbio(connection->tls), bytes, (int)count) != (int)count) {
    lose(connection, "memory: expected enough for the answer, found none");
    return;
  }
  if (!SSL_is_init_finished(connection->tls)) return; /* the handshake takes them */
  for (;;) {
    if (!reserve(&connection->in, READ_BYTES)) {
      lose(connection, "memory: expected enough for the answer, found none");
      return;
    }
    int read = SSL_read(connection->tls, connection->in.bytes + connection->in.end, (int)READ_BYTES);
    if (read > 0) {
      connection->in.end += (size_t)read;
      continue;
    }
    int why = SSL_get_error(connection->tls, read);
    drain_tls(connection);
    if (why == SSL_ERROR_ZERO_RETURN) lose(connection, "the server closed the connection before the answer");
    if (why == SSL_ERROR_SSL) lose_tls(connection, "the server refused the connection");
    return;
  }
}
#endif

/* Hands to the kernel what it takes at once. */
static void flush(struct connection *connection) {
  struct buffer *out = &connection->out;
  while (!connection->is_dead && out->start < out->end) {
    ssize_t count = send(connection->socket, out->bytes + out->start, out->end - out->start, MSG_NOSIGNAL);
    if (count > 0) {
      out->start += (size_t)count;
      connection->written += (uint64_t)count;
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    } else {
      /* A server that refuses a frame says why before it closes: the reader finds it, or the end. */
      out->start = out->end;
      connection->drains = true;
    }
  }
  clear(out);
}

/* Reads what has arrived, without waiting. */
static void receive(struct connection *connection) {
  while (!connection->is_dead) {
    if (!reserve(&connection->in, READ_BYTES)) {
      lose(connection, "memory: expected enough for the answer, found none");
      return;
    }
    uint8_t *space = connection->in.bytes + connection->in.end;
#ifdef NEEDLETAIL_TLS
    uint8_t encrypted[16384];
    bool is_plain = !connection->tls;
    ssize_t count = is_plain ? recv(connection->socket, space, READ_BYTES, 0)
                             : recv(connection->socket, encrypted, sizeof encrypted, 0);
#else
    bool is_plain = true;
    ssize_t count = recv(connection->socket, space, READ_BYTES, 0);
#endif
    if (count > 0) {
      connection->silent_since = now_ns();
      if (is_plain) connection->in.end += (size_t)count;
#ifdef NEEDLETAIL_TLS
      else
        take_encrypted(connection, encrypted, (size_t)count);
#endif
      take_frames(connection);
      if ((size_t)count < 16384) return;
    } else if (count == 0) {
      lose(connection, "the server closed the connection before the answer");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      char what[160];
      snprintf(what, sizeof what, "the connection broke before the answer: %s", strerror(errno));
      lose(connection, what);
    }
  }
}

/* One wait for the socket by the one caller who reads, and what comes of it. */
static void pump(struct connection *connection, uint64_t deadline) {
  connection->is_read = true;
  flush(connection);
  struct pollfd socket = {connection->socket, POLLIN, 0};
  if (connection->out.start < connection->out.end) socket.events |= POLLOUT;
  int ms = poll_ms(deadline);
  pthread_mutex_unlock(&connection->lock);
  poll(&socket, 1, ms);
  pthread_mutex_lock(&connection->lock);
  flush(connection);
  if (socket.revents & ~POLLOUT) receive(connection);
  connection->is_read = false;
  pthread_cond_broadcast(&connection->changed);
}

/* Waits for something to happen on the connection, and reads if nobody else does. */
static void wait_on(struct connection *connection, uint64_t deadline) {
  if (!connection->is_read) {
    pump(connection, deadline);
  } else if (deadline == NEVER) {
    pthread_cond_wait(&connection->changed, &connection->lock);
  } else {
    struct timespec until = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};
    pthread_cond_timedwait(&connection->changed, &connection->lock, &until);
  }
}

/* ---------------------------------------------------------------- connecting */

static int begin_connecting(int family, const struct sockaddr *address, socklen_t bytes) {
  int found = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (found < 0) return -1;
  if (connect(found, address, bytes) != 0 && errno != EINPROGRESS) {
    int code = errno;
    close(found);
    errno = code;
    return -1;
  }
  return found;
}

/* Of several addresses the first that answers (RFC 8305); -1 and errno, ETIMEDOUT after the deadline. */
static int race(const struct addrinfo *found, uint64_t deadline) {
  struct pollfd racing[ADDRESSES_MAX];
  nfds_t count = 0;
  int code = ENOENT, winner = -1;
  uint64_t next_at = 0;
  for (const struct addrinfo *next = found; winner < 0;) {
    uint64_t now = now_ns();
    if (next && count < ADDRESSES_MAX && (now >= next_at || !count)) {
      int candidate = begin_connecting(next->ai_family, next->ai_addr, next->ai_addrlen);
      if (candidate < 0)
        code = errno;
      else
        racing[count++] = (struct pollfd){candidate, POLLOUT, 0};
      next_at = now + NEXT_ADDRESS_MS * 1000000u;
      next = next->ai_next;
      continue;
    }
    if (!count) break;
    if (now >= deadline) {
      code = ETIMEDOUT;
      break;
    }
    poll(racing, count, poll_ms(next && count < ADDRESSES_MAX ? sooner(deadline, next_at) : deadline));
    for (nfds_t i = 0; i < count && winner < 0; i++) {
      if (!racing[i].revents) continue;
      int outcome = 0;
      socklen_t bytes = sizeof outcome;
      getsockopt(racing[i].fd, SOL_SOCKET, SO_ERROR, &outcome, &bytes);
      if (outcome == 0) {
        winner = racing[i].fd;
      } else {
        code = outcome;
        close(racing[i].fd);
        racing[i--] = racing[--count];
        next_at = 0; /* an address that refuses is not waited for */
      }
    }
  }
  for (nfds_t i = 0; i < count; i++)
    if (racing[i].fd != winner) close(racing[i].fd);
  errno = code;
  return winner;
}

static int dial(const needletail_client *client, uint64_t deadline, needletail_error *error) {
  int connected = -1;
  if (client->path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, client->path, strlen(client->path)); /* its length was checked */
    connected = begin_connecting(AF_UNIX, (struct sockaddr *)&address, sizeof address);
  } else {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int outcome = getaddrinfo(client->host, client->port, &hints, &found);
    if (outcome != 0) {
      fail(error, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_CONNECTION_FAILED, "could not connect to %s:%s: %s", client->host,
           client->port, gai_strerror(outcome));
      return -1;
    }
    connected = race(found, deadline);
    int code = errno;
    freeaddrinfo(found);
    errno = code;
    if (connected >= 0) {
      int on = 1, idle = 10, interval = 3, probes = 2;
      unsigned unacknowledged_ms = 4000; /* less than the default time-out of a call, which may then be repeated */
      setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      setsockopt(connected, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
      setsockopt(connected, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
      setsockopt(connected, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
      setsockopt(connected, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
      setsockopt(connected, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
    }
  }
  if (connected < 0)
    fail(error, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_CONNECTION_FAILED, "could not connect to %s: %s",
         client->path ? client->path : client->host, strerror(errno));
  return connected;
}

static void free_connection(struct connection *connection) {
  if (!connection) return;
#ifdef NEEDLETAIL_TLS
  if (connection->tls) SSL_free(connection->tls);
#endif
  if (connection->socket >= 0) close(connection->socket);
  for (size_t i = 0; i < BUCKETS; i++)
    for (struct flight *flight = connection->flights[i], *next; flight; flight = next)
      next = flight->next, free(flight);
  free(connection->in.bytes);
  free(connection->out.bytes);
  pthread_cond_destroy(&connection->changed);
  pthread_mutex_destroy(&connection->lock);
  free(connection);
}

static void make_condition(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
}

#ifdef NEEDLETAIL_TLS
static bool is_address(const char *host) {
  uint8_t bytes[16];
  return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool shake_hands(struct connection *connection, uint64_t deadline, needletail_error *error) {
  needletail_client *client = connection->client;
  connection->tls = SSL_new(client->tls);
  BIO *incoming = BIO_new(BIO_s_mem()), *outgoing = BIO_new(BIO_s_mem());
  if (!connection->tls || !incoming || !outgoing) {
    BIO_free(incoming);
    BIO_free(outgoing);
    return fail_for_memory(error);
  }
  SSL_set_bio(connection->tls, incoming, outgoing);
  SSL_set_connect_state(connection->tls);
  X509_VERIFY_PARAM *wanted = SSL_get0_param(connection->tls);
  if (is_address(client->server_name)) {
    X509_VERIFY_PARAM_set1_ip_asc(wanted, client->server_name);
  } else {
    SSL_set1_host(connection->tls, client->server_name);
    SSL_set_tlsext_host_name(connection->tls, client->server_name);
  }
  pthread_mutex_lock(&connection->lock);
  for (;;) {
    int outcome = SSL_do_handshake(connection->tls);
    if (!drain_tls(connection)) lose(connection, "memory: expected enough for the handshake, found none");
    flush(connection);
    if (outcome == 1 || connection->is_dead) break;
    if (SSL_get_error(connection->tls, outcome) != SSL_ERROR_WANT_READ) {
      long verdict = SSL_get_verify_result(connection->tls);
      char reason[256] = "the server closed the connection";
      unsigned long code = ERR_get_error();
      if (code) ERR_error_string_n(code, reason, sizeof reason);
      ERR_clear_error();
      needletail_error failure;
      fail(&failure, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_CONNECTION_FAILED, "could not agree on TLS with %s: %s",
           client->host, verdict == X509_V_OK ? reason : X509_verify_cert_error_string(verdict));
      die(connection, &failure);
      break;
    }
    if (now_ns() >= deadline) {
      lose(connection, "no TLS within the time given");
      break;
    }
    pump(connection, deadline);
  }
  bool is_good = !connection->is_dead;
  /* What came behind the server's last word is a call's. */
  if (is_good) take_encrypted(connection, NULL, 0);
  if (!is_good) *error = connection->error, error->cause = NEEDLETAIL_CONNECTION_FAILED;
  pthread_mutex_unlock(&connection->lock);
  return is_good;
}

static SSL_CTX *make_tls(const needletail_options *options, needletail_error *error) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  const char *wrong = NULL;
  if (!context) {
    wrong = "OpenSSL";
  } else {
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (options->tls.ca ? SSL_CTX_load_verify_locations(context, options->tls.ca, NULL) != 1
                        : SSL_CTX_set_default_verify_paths(context) != 1)
      wrong = options->tls.ca ? options->tls.ca : "the system's certificates";
    else if (options->tls.certificate && SSL_CTX_use_certificate_chain_file(context, options->tls.certificate) != 1)
      wrong = options->tls.certificate;
    else if (options->tls.key && SSL_CTX_use_PrivateKey_file(context, options->tls.key, SSL_FILETYPE_PEM) != 1)
      wrong = options->tls.key;
    else if (options->tls.key && SSL_CTX_check_private_key(context) != 1)
      wrong = options->tls.key;
  }
  if (!wrong) return context;
  char reason[256] = "not usable";
  unsigned long code = ERR_get_error();
  if (code) ERR_error_string_n(code, reason, sizeof reason);
  ERR_clear_error();
  fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "tls: expected a readable PEM file, found %s: %s",
       wrong, reason);
  SSL_CTX_free(context);
  return NULL;
}
#endif

static needletail_answer *authenticate(struct connection *connection, uint64_t deadline, needletail_error *error);

static struct connection *make_connection(needletail_client *client, uint64_t call_deadline, needletail_error *error) {
  uint64_t deadline = sooner(call_deadline, later(client->options.connect_timeout_us));
  int connected = dial(client, deadline, error);
  struct connection *connection = connected < 0 ? NULL : calloc(1, sizeof *connection);
  if (connection) {
    connection->client = client;
    connection->socket = connected;
    connection->next_id = 1;
    connection->references = 1;
    connection->silent_since = now_ns();
    pthread_mutex_init(&connection->lock, NULL);
    make_condition(&connection->changed);
    bool is_good = true;
#ifdef NEEDLETAIL_TLS
    if (client->tls) is_good = shake_hands(connection, deadline, error);
#endif
    if (is_good && client->api_key) {
      needletail_answer *answer = authenticate(connection, deadline, error);
      is_good = answer != NULL;
      needletail_answer_free(answer);
    }
    if (is_good) return connection;
    free_connection(connection);
  } else if (connected >= 0) {
    close(connected);
    fail_for_memory(error);
  }
  if (call_deadline <= now_ns())
    fail(error, NEEDLETAIL_DEADLINE_EXCEEDED, NEEDLETAIL_TIME_OVER, "the time was over while connecting");
  return NULL;
}

/* ---------------------------------------------------------------- pool */

static void release_locked(struct connection *connection) {
  if (--connection->references == 0) free_connection(connection);
}

/* Gives a connection back after a call. One that no call may use any more leaves the pool at once, and is closed when
 * the last of its calls has ended. */
static void release(needletail_client *client, struct connection *connection) {
  pthread_mutex_lock(&client->lock);
  pthread_mutex_lock(&connection->lock);
  bool is_done = connection->is_dead || connection->drains;
  pthread_mutex_unlock(&connection->lock);
  for (struct connection **place = &client->pool; is_done && *place; place = &(*place)->next) {
    if (*place != connection) continue;
    *place = connection->next;
    client->connections--;
    release_locked(connection);
    break;
  }
  release_locked(connection);
  pthread_mutex_unlock(&client->lock);
}

/* Whether a further call may go over the connection. Looks, without waiting, for what came in the meantime. */
static bool is_usable(struct connection *connection, unsigned *load) {
  pthread_mutex_lock(&connection->lock);
  if (!connection->is_read && !connection->is_dead && !connection->drains) receive(connection);
  bool is_good = !connection->is_dead && !connection->drains;
  *load = connection->waiting;
  pthread_cond_broadcast(&connection->changed);
  pthread_mutex_unlock(&connection->lock);
  return is_good;
}

/* A connection for one more call, with a reference to it; NULL and the error if there is none. */
static struct connection *take_connection(needletail_client *client, uint64_t deadline, needletail_error *error) {
  struct connection *best;
  pthread_mutex_lock(&client->lock);
  for (;;) {
    unsigned least = UINT32_MAX, load;
    best = NULL;
    for (struct connection **place = &client->pool, *connection; (connection = *place);) {
      if (!is_usable(connection, &load)) {
        *place = connection->next;
        client->connections--;
        release_locked(connection);
        continue;
      }
      if (load < least) least = load, best = connection;
      place = &connection->next;
    }
    bool has_room = client->connections + client->connecting < client->options.connections_max;
    if (best && (least < client->options.calls_per_connection || !has_room)) break;
    if (has_room) {
      client->connecting++;
      pthread_mutex_unlock(&client->lock);
      struct connection *made = make_connection(client, deadline, error);
      pthread_mutex_lock(&client->lock);
      client->connecting--;
      pthread_cond_broadcast(&client->changed);
      best = made;
      if (made) {
        made->next = client->pool;
        client->pool = made;
        client->connections++;
      }
      break;
    }
    /* Others are connecting. */
    if (deadline <= now_ns()) {
      fail(error, NEEDLETAIL_DEADLINE_EXCEEDED, NEEDLETAIL_TIME_OVER, "the time was over while connecting");
      break;
    }
    if (deadline == NEVER) {
      pthread_cond_wait(&client->changed, &client->lock);
    } else {
      struct timespec until = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};
      pthread_cond_timedwait(&client->changed, &client->lock, &until);
    }
  }
  if (best) best->references++;
  pthread_mutex_unlock(&client->lock);
  return best;
}

/* ---------------------------------------------------------------- one attempt of a call */

/* Writes the frame of a call; false and call->error if the connection did not take it. */
static bool send_over(needletail_call *call, struct connection *connection) {
  uint8_t head[4 + 32];
  pthread_mutex_lock(&connection->lock);
  struct flight *flight = malloc(sizeof *flight);
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  request.id = call->id = connection->next_id;
  uint64_t now = now_ns();
  /* Less than a microsecond is sent as one, for 0 would be no deadline. */
  if (call->deadline != NEVER) {
    uint64_t left = call->deadline > now ? (call->deadline - now) / 1000u : 0;
    request.timeout_us = left > UINT32_MAX ? UINT32_MAX : left == 0 ? 1 : (uint32_t)left;
  }
  /* Joined protobuf messages are one merged message: only these few bytes differ between attempts. */
  size_t head_bytes = needletail__v1__request__pack(&request, head + 4);
  size_t length = head_bytes + call->body_bytes;
  for (int i = 0; i < 4; i++) head[i] = (uint8_t)(length >> (24 - 8 * i));
  bool is_sent = false;
  if (connection->is_dead || connection->drains) {
    if (connection->is_dead)
      call->error = connection->error;
    else
      fail(&call->error, NEEDLETAIL_UNAVAILABLE, NEEDLETAIL_FROM_SERVER, "the server is stopping");
  } else if (!flight) {
    fail_for_memory(&call->error);
  } else {
#ifdef NEEDLETAIL_TLS
    if (connection->tls) {
      is_sent = SSL_write(connection->tls, head, (int)(4 + head_bytes)) > 0 &&
                SSL_write(connection->tls, call->body, (int)call->body_bytes) > 0 && drain_tls(connection);
      if (!is_sent) lose_tls(connection, "could not encrypt"), call->error = connection->error;
    } else
#endif
        if (reserve(&connection->out, 4 + length)) {
      memcpy(connection->out.bytes + connection->out.end, head, 4 + head_bytes);
      memcpy(connection->out.bytes + connection->out.end + 4 + head_bytes, call->body, call->body_bytes);
      connection->out.end += 4 + length;
      connection->queued += 4 + length;
      is_sent = true;
    } else {
      fail_for_memory(&call->error);
    }
  }
  if (is_sent) {
    connection->next_id++;
    call->connection = connection;
    call->is_over = false;
    call->sent_end = connection->queued;
    *flight = (struct flight){NULL, call->id, call};
    struct flight **place = place_of(connection, call->id);
    *place = flight;
    if (connection->waiting++ == 0) connection->silent_since = now;
    flush(connection);
    /* A server may take nothing more until its answers are read, so that this reads while it writes. */
    while (!call->is_over && connection->written < call->sent_end && !connection->drains && now_ns() < call->deadline) {
      if (!connection->is_read) {
        pump(connection, call->deadline);
      } else {
        struct pollfd socket = {connection->socket, POLLOUT, 0};
        int ms = poll_ms(call->deadline);
        pthread_mutex_unlock(&connection->lock);
        poll(&socket, 1, ms);
        pthread_mutex_lock(&connection->lock);
        flush(connection);
      }
    }
  } else {
    free(flight);
  }
  pthread_mutex_unlock(&connection->lock);
  return is_sent;
}

/* Begins an attempt. What goes wrong is the call's error, and the attempt over. */
static void begin_attempt(needletail_call *call) {
  call->connection = NULL;
  call->is_over = true;
  call->was_sent = false;
  if (call->deadline <= now_ns()) {
    fail(&call->error, NEEDLETAIL_DEADLINE_EXCEEDED, NEEDLETAIL_TIME_OVER,
         "the time was over before the request was sent");
    return;
  }
  struct connection *connection = take_connection(call->client, call->deadline, &call->error);
  if (connection && !send_over(call, connection)) release(call->client, connection);
}

/* The attempt's answer is not waited for any more. */
static void abandon(needletail_call *call) {
  struct connection *connection = call->connection;
  struct flight *flight = *place_of(connection, call->id);
  if (!call->is_over && flight && flight->call == call) end_call(connection, flight);
  /* A half-written frame must be finished by somebody: the next caller who reads does. */
  if (connection->abandoned > ABANDONED_MAX) lose(connection, "too many calls were given up on this connection");
}

/* Waits for the end of the attempt, and gives its connection back. */
static void end_attempt(needletail_call *call) {
  struct connection *connection = call->connection;
  if (!connection) return;
  pthread_mutex_lock(&connection->lock);
  while (!call->is_over) {
    if (call->deadline <= now_ns()) {
      fail(&call->error, NEEDLETAIL_DEADLINE_EXCEEDED, NEEDLETAIL_TIME_OVER, "no answer within the time given");
      abandon(call);
      if (now_ns() - connection->silent_since >= SILENCE_NS_MAX)
        lose(connection, "the server was silent for a second or more");
      break;
    }
    wait_on(connection, call->deadline);
  }
  pthread_cond_broadcast(&connection->changed); /* somebody else reads now */
  pthread_mutex_unlock(&connection->lock);
  call->connection = NULL;
  release(call->client, connection);
}

/* ---------------------------------------------------------------- retries */

static void earn_retries(needletail_client *client) {
  pthread_mutex_lock(&client->lock);
  client->budget = fmin(client->options.retries.budget_burst, client->budget + client->options.retries.budget_ratio);
  pthread_mutex_unlock(&client->lock);
}

/* Takes a retry from the budget, and a number from 0 to 1 for its pause. */
static bool draw_retry(needletail_client *client, double *random) {
  pthread_mutex_lock(&client->lock);
  bool is_there = client->budget >= 1;
  if (is_there) client->budget -= 1;
  client->random = client->random * 6364136223846793005u + 1442695040888963407u;
  *random = (double)(client->random >> 11) / 9007199254740992.0;
  pthread_mutex_unlock(&client->lock);
  return is_there;
}

/* Waits for the next attempt of a call that failed; false: there is none. */
static bool pause_for_retry(needletail_call *call) {
  const needletail_error *error = &call->error;
  const needletail_client *client = call->client;
  if (++call->failed >= client->options.retries.attempts) return false;
  if (error->code != NEEDLETAIL_OVERLOADED && error->code != NEEDLETAIL_UNAVAILABLE) return false;
  if (error->cause == NEEDLETAIL_CONNECTION_LOST && !client->options.retries.lost && call->was_sent) return false;
  double ceiling = ldexp((double)client->options.retries.backoff_us, (int)(call->failed < 64 ? call->failed : 64) - 1);
  ceiling = fmin(ceiling, (double)client->options.retries.backoff_us_max);
  uint64_t wait_max = (uint64_t)error->retry_after_us + (uint64_t)ceiling;
  /* The deadline first: a retry that cannot happen must not cost the budget. */
  double random;
  if (call->deadline != NEVER && later(wait_max) >= call->deadline && later(error->retry_after_us) >= call->deadline)
    return false;
  if (!draw_retry(call->client, &random)) return false;
  uint64_t wait_us = error->retry_after_us + (uint64_t)(random * ceiling);
  if (later(wait_us) >= call->deadline) return false;
  struct timespec pause = {(time_t)(wait_us / 1000000u), (long)(wait_us % 1000000u) * 1000};
  while (nanosleep(&pause, &pause) != 0 && errno == EINTR) continue;
  return true;
}

/* ---------------------------------------------------------------- calls */

static void free_call(needletail_call *call) {
  if (!call) return;
  free_response(call->response);
  free(call->body);
  free(call);
}

static needletail_call *make_call(needletail_client *client, const Request *request, uint64_t timeout_us,
                                  Needletail__V1__Response__ResultCase result, needletail_error *error) {
  size_t bytes = needletail__v1__request__get_packed_size(request);
  if (bytes > client->options.request_bytes_max - 32u) {
    fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
         "request: expected at most %u bytes (request_bytes_max), found %zu; send fewer rows at once",
         client->options.request_bytes_max - 32u, bytes);
    return NULL;
  }
  needletail_call *call = calloc(1, sizeof *call);
  if (call) call->body = malloc(bytes ? bytes : 1);
  if (!call || !call->body) {
    free(call);
    fail_for_memory(error);
    return NULL;
  }
  call->client = client;
  call->body_bytes = needletail__v1__request__pack(request, call->body);
  call->result = result;
  call->deadline =
      timeout_us == NEEDLETAIL_NO_DEADLINE ? NEVER : later(timeout_us ? timeout_us : client->options.timeout_us);
  return call;
}

static bool read_outputs(needletail_answer *answer, needletail_error *error);

/* The answer in a call's response, of which it takes over the memory. */
static needletail_answer *make_answer(needletail_call *call, needletail_error *error) {
  Response *response = call->response;
  if (is_refusal(response)) {
    status_error(response->status, error);
    return NULL;
  }
  if (response->result_case != call->result) {
    fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION, "result: expected field %d, found field %d",
         (int)call->result, (int)response->result_case);
    return NULL;
  }
  needletail_answer *answer = calloc(1, sizeof *answer);
  if (!answer) {
    fail_for_memory(error);
    return NULL;
  }
  answer->response = response;
  call->response = NULL;
  if (response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_PREDICT && !read_outputs(answer, error)) {
    needletail_answer_free(answer);
    return NULL;
  }
  return answer;
}

needletail_answer *needletail_finish(needletail_call *call, needletail_error *error) {
  needletail_answer *answer = NULL;
  needletail_error ignored;
  if (!error) error = &ignored;
  for (;;) {
    end_attempt(call);
    if (call->response) {
      answer = make_answer(call, &call->error);
      if (answer) break;
      free_response(call->response);
      call->response = NULL;
    }
    if (!pause_for_retry(call)) break;
    begin_attempt(call);
  }
  if (answer)
    memset(error, 0, sizeof *error);
  else
    *error = call->error;
  free_call(call);
  return answer;
}

void needletail_cancel(needletail_call *call) {
  if (!call) return;
  struct connection *connection = call->connection;
  if (connection) {
    pthread_mutex_lock(&connection->lock);
    abandon(call);
    pthread_mutex_unlock(&connection->lock);
    release(call->client, connection);
  }
  free_call(call);
}

static needletail_answer *run(needletail_client *client, const Request *request, uint64_t timeout_us,
                              Needletail__V1__Response__ResultCase result, needletail_error *error) {
  needletail_call *call = make_call(client, request, timeout_us, result, error);
  if (!call) return NULL;
  earn_retries(client);
  begin_attempt(call);
  return needletail_finish(call, error);
}

static needletail_answer *authenticate(struct connection *connection, uint64_t deadline, needletail_error *error) {
  Needletail__V1__AuthenticateRequest key = NEEDLETAIL__V1__AUTHENTICATE_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  key.api_key = connection->client->api_key;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_AUTHENTICATE;
  request.authenticate = &key;
  needletail_call *call = make_call(connection->client, &request, NEEDLETAIL_NO_DEADLINE,
                                    NEEDLETAIL__V1__RESPONSE__RESULT_AUTHENTICATE, error);
  if (!call) return NULL;
  call->deadline = deadline;
  needletail_answer *answer = NULL;
  call->is_over = true;
  if (send_over(call, connection)) {
    pthread_mutex_lock(&connection->lock);
    while (!call->is_over && now_ns() < deadline) wait_on(connection, deadline);
    if (!call->is_over) {
      lose(connection, "the server did not look at the key within the time given");
    }
    pthread_mutex_unlock(&connection->lock);
  }
  if (call->response)
    answer = make_answer(call, error);
  else
    *error = call->error;
  free_call(call);
  return answer;
}

/* ---------------------------------------------------------------- predictions */

static const uint8_t element_bytes[] = {0, 4, 8, 1, 2, 4, 8, 1, 1, 0};

static void free_tensors(Needletail__V1__Tensor *tensors, size_t count) {
  for (size_t i = 0; tensors && i < count; i++) {
    free(tensors[i].shape);
    free(tensors[i].strings);
  }
  free(tensors);
}

static bool make_tensor(const needletail_tensor *input, Needletail__V1__Tensor *tensor, needletail_error *error) {
  const char *name = input->name ? input->name : "";
  needletail__v1__tensor__init(tensor);
  if (!is_utf8((const uint8_t *)name, strlen(name)) || !*name)
    return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                "name of an input: expected UTF-8, found none");
  if (input->type < NEEDLETAIL_FLOAT32 || input->type > NEEDLETAIL_STRING)
    return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                "input \"%s\": expected an element type from 1 to 9, found %d", name, (int)input->type);
  size_t columns = input->columns ? input->columns : 1;
  if (input->rows == 0 || input->rows > SIZE_MAX / 16 / columns)
    return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                "input \"%s\": expected at least one row and fewer than memory holds, found %zu × %zu", name,
                input->rows, columns);
  size_t count = input->rows * columns;
  tensor->name = (char *)(uintptr_t)name;
  tensor->type = (Needletail__V1__DataType)input->type;
  tensor->shape = malloc(2 * sizeof *tensor->shape);
  if (!tensor->shape) return fail_for_memory(error);
  tensor->shape[0] = input->rows;
  tensor->shape[1] = input->columns;
  tensor->n_shape = input->columns ? 2 : 1;
  if (input->type != NEEDLETAIL_STRING) {
    if (!input->data)
      return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "input \"%s\": expected data, found NULL",
                  name);
    tensor->data = (ProtobufCBinaryData){count * element_bytes[input->type], (uint8_t *)(uintptr_t)input->data};
    return true;
  }
  if (!input->strings)
    return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                "input \"%s\": expected strings, found NULL", name);
  tensor->strings = malloc(count * sizeof *tensor->strings);
  if (!tensor->strings) return fail_for_memory(error);
  tensor->n_strings = count;
  for (size_t i = 0; i < count; i++) {
    const char *text = input->strings[i] ? input->strings[i] : "";
    tensor->strings[i] = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
  }
  return true;
}

needletail_call *needletail_start(needletail_client *client, const needletail_request *request,
                                  needletail_error *error) {
  needletail_error ignored;
  if (!error) error = &ignored;
  if (!request->model || (request->version && request->label)) {
    fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "%s",
         request->model ? "selector: expected a version or a label, found both" : "model: expected a name, found NULL");
    return NULL;
  }
  size_t count = request->input_count;
  Needletail__V1__Tensor *tensors = calloc(count + 1, sizeof *tensors);
  Needletail__V1__Tensor **inputs = calloc(count + 1, sizeof *inputs);
  bool is_good = (tensors && inputs) || fail_for_memory(error);
  for (size_t i = 0; is_good && i < count; i++) {
    inputs[i] = &tensors[i];
    is_good = make_tensor(&request->inputs[i], &tensors[i], error);
  }
  needletail_call *call = NULL;
  if (is_good) {
    Needletail__V1__PredictRequest predict = NEEDLETAIL__V1__PREDICT_REQUEST__INIT;
    Request whole = NEEDLETAIL__V1__REQUEST__INIT;
    predict.model = (char *)(uintptr_t)request->model;
    if (request->version) {
      predict.selector_case = NEEDLETAIL__V1__PREDICT_REQUEST__SELECTOR_VERSION;
      predict.version = request->version;
    } else if (request->label) {
      predict.selector_case = NEEDLETAIL__V1__PREDICT_REQUEST__SELECTOR_LABEL;
      predict.label = (char *)(uintptr_t)request->label;
    }
    predict.n_inputs = count;
    predict.inputs = inputs;
    predict.n_outputs = request->output_count;
    predict.outputs = (char **)(uintptr_t)request->outputs;
    if (request->routing_key) predict.routing_key = (char *)(uintptr_t)request->routing_key;
    if (request->bulk) predict.priority = NEEDLETAIL__V1__PRIORITY__BULK;
    if (request->key) predict.key = (char *)(uintptr_t)request->key;
    if (request->traceparent) whole.traceparent = (char *)(uintptr_t)request->traceparent;
    whole.call_case = NEEDLETAIL__V1__REQUEST__CALL_PREDICT;
    whole.predict = &predict;
    call = make_call(client, &whole, request->timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_PREDICT, error);
  }
  free_tensors(tensors, count);
  free(inputs);
  if (call) {
    earn_retries(client);
    begin_attempt(call);
  }
  return call;
}

needletail_answer *needletail_predict(needletail_client *client, const needletail_request *request,
                                      needletail_error *error) {
  needletail_call *call = needletail_start(client, request, error);
  return call ? needletail_finish(call, error) : NULL;
}

/* ---------------------------------------------------------------- answers */

static bool read_output(const Needletail__V1__Tensor *tensor, needletail_output *output, needletail_error *error) {
  size_t count = 1;
  output->name = tensor->name;
  output->type = (needletail_type)tensor->type;
  output->rank = tensor->n_shape;
  output->shape = tensor->shape;
  if (output->type < NEEDLETAIL_FLOAT32 || output->type > NEEDLETAIL_STRING)
    return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION,
                "output \"%s\": expected a known element type, found %d", tensor->name, (int)tensor->type);
  for (size_t i = 0; i < tensor->n_shape; i++) {
    if (tensor->shape[i] > FRAME_BYTES_CAP || (count *= (size_t)tensor->shape[i]) > FRAME_BYTES_CAP)
      return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION,
                  "output \"%s\": expected a shape that a frame can hold, found more", tensor->name);
  }
  output->count = count;
  bool is_text = output->type == NEEDLETAIL_STRING;
  size_t expected = is_text ? count : count * element_bytes[output->type];
  size_t found = is_text ? tensor->n_strings : tensor->data.len;
  if (found != expected)
    return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION,
                "output \"%s\": expected %zu %s for its shape, found %zu", tensor->name, expected,
                is_text ? "strings" : "bytes", found);
  if (!is_text) {
    output->data = tensor->data.data; /* malloc's, hence aligned */
    return true;
  }
  size_t bytes = count * sizeof(char *);
  for (size_t i = 0; i < count; i++) bytes += tensor->strings[i].len + 1;
  char **strings = malloc(bytes ? bytes : 1);
  if (!strings) return fail_for_memory(error);
  output->strings = (const char *const *)strings;
  char *end = (char *)(strings + count);
  for (size_t i = 0; i < count; i++) {
    const ProtobufCBinaryData *text = &tensor->strings[i];
    if (!is_utf8(text->data, text->len) || (text->len && memchr(text->data, 0, text->len)))
      return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION,
                  "output \"%s\": expected UTF-8 in element %zu, found other bytes", tensor->name, i);
    strings[i] = end;
    if (text->len) memcpy(end, text->data, text->len);
    end[text->len] = 0;
    end += text->len + 1;
  }
  return true;
}

static bool read_outputs(needletail_answer *answer, needletail_error *error) {
  const Needletail__V1__PredictResponse *predict = answer->response->predict;
  if (predict->version == 0)
    return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION,
                "version: expected the version that answered, found 0");
  answer->outputs = calloc(predict->n_outputs + 1, sizeof *answer->outputs);
  if (!answer->outputs) return fail_for_memory(error);
  answer->output_count = predict->n_outputs;
  for (size_t i = 0; i < predict->n_outputs; i++)
    if (!read_output(predict->outputs[i], &answer->outputs[i], error)) return false;
  return true;
}

static void free_report(struct report *report) {
  if (!report) return;
  for (size_t i = 0; i < report->told.problem_count; i++) {
    free((void *)(uintptr_t)report->problems[i].result);
    free((void *)(uintptr_t)report->problems[i].message);
  }
  free(report->problems);
  free(report);
}

void needletail_answer_free(needletail_answer *answer) {
  if (!answer) return;
  for (size_t i = 0; i < answer->output_count; i++) free((void *)(uintptr_t)answer->outputs[i].strings);
  free(answer->outputs);
  free_report(answer->report);
  free_response(answer->response);
  free(answer);
}

const char *needletail_answer_model(const needletail_answer *answer) {
  if (answer->response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_DESCRIBE_MODEL)
    return answer->response->describe_model->model;
  return answer->response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_PREDICT ? answer->response->predict->model
                                                                                   : "";
}

uint64_t needletail_answer_version(const needletail_answer *answer) {
  if (answer->response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_DESCRIBE_MODEL)
    return answer->response->describe_model->version;
  return answer->response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_PREDICT ? answer->response->predict->version
                                                                                   : 0;
}

size_t needletail_output_count(const needletail_answer *answer) { return answer->output_count; }

const needletail_output *needletail_output_at(const needletail_answer *answer, size_t index) {
  return index < answer->output_count ? &answer->outputs[index] : NULL;
}

const needletail_output *needletail_output_named(const needletail_answer *answer, const char *name) {
  for (size_t i = 0; i < answer->output_count; i++)
    if (strcmp(answer->outputs[i].name, name) == 0) return &answer->outputs[i];
  return NULL;
}

static const needletail_output *typed(const needletail_answer *answer, const char *name, needletail_type type,
                                      size_t *count) {
  const needletail_output *output = needletail_output_named(answer, name);
  if (output && output->type != type) output = NULL;
  if (count) *count = output ? output->count : 0;
  return output;
}

const float *needletail_floats(const needletail_answer *answer, const char *name, size_t *count) {
  const needletail_output *output = typed(answer, name, NEEDLETAIL_FLOAT32, count);
  return output ? output->data : NULL;
}

const int64_t *needletail_integers(const needletail_answer *answer, const char *name, size_t *count) {
  const needletail_output *output = typed(answer, name, NEEDLETAIL_INT64, count);
  return output ? output->data : NULL;
}

const char *const *needletail_texts(const needletail_answer *answer, const char *name, size_t *count) {
  const needletail_output *output = typed(answer, name, NEEDLETAIL_STRING, count);
  return output ? output->strings : NULL;
}

void needletail_answer_timing(const needletail_answer *answer, uint32_t *queue_us, uint32_t *compute_us,
                              uint32_t *batch_rows) {
  const Needletail__V1__Timing *timing = answer->response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_PREDICT
                                             ? answer->response->predict->timing
                                             : NULL;
  if (queue_us) *queue_us = timing ? timing->queue_us : 0;
  if (compute_us) *compute_us = timing ? timing->compute_us : 0;
  if (batch_rows) *batch_rows = timing ? timing->batch_rows : 0;
}

/* ---------------------------------------------------------------- outcomes */

static bool check_outcome(const needletail_outcome *outcome, size_t index, needletail_error *error) {
  const char *wrong = NULL;
  if (!outcome->key)
    wrong = "key: expected a name, found NULL";
  else if (!is_utf8((const uint8_t *)outcome->key, strlen(outcome->key)))
    wrong = "key: expected UTF-8, found other bytes";
  else if (outcome->label && !is_utf8((const uint8_t *)outcome->label, strlen(outcome->label)))
    wrong = "label: expected UTF-8, found other bytes";
  if (wrong) return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "outcomes[%zu]: %s", index, wrong);
  return outcome->row <= UINT32_MAX || fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                                            "outcomes[%zu]: row: expected a number from 0 to 2^32 - 1, found %llu",
                                            index, (unsigned long long)outcome->row);
}

/* A message about an outcome of one call, as one about an outcome of all: with another number in its brackets. */
static char *renumbered(const char *message, size_t index, size_t first) {
  char told[48], meant[48];
  snprintf(told, sizeof told, "outcomes[%zu]", index);
  snprintf(meant, sizeof meant, "outcomes[%zu]", first + index);
  const char *place = strstr(message, told);
  if (!place) return copy_text(message);
  size_t before = (size_t)(place - message), room = strlen(message) - strlen(told) + strlen(meant) + 1;
  char *text = malloc(room);
  if (text) snprintf(text, room, "%.*s%s%s", (int)before, message, meant, place + strlen(told));
  return text;
}

/* Adds what a call about `count` outcomes from `first` on has answered. */
static bool add_report(struct report *report, const Needletail__V1__FeedbackResponse *answer, size_t first,
                       size_t count, needletail_error *error) {
  needletail_feedback_report *told = &report->told;
  told->joined += answer->joined;
  told->unknown += answer->unknown;
  told->late += answer->late;
  told->duplicate += answer->duplicate;
  told->contradictory += answer->contradictory;
  told->invalid += answer->invalid;
  if (answer->n_problems == 0) return true;
  size_t room = told->problem_count + answer->n_problems;
  needletail_outcome_problem *problems = realloc(report->problems, room * sizeof *problems);
  if (!problems) return fail_for_memory(error);
  told->problems = report->problems = problems;
  for (size_t i = 0; i < answer->n_problems; i++) {
    const Needletail__V1__OutcomeProblem *from = answer->problems[i];
    if (from->index >= count)
      return fail(error, NEEDLETAIL_INTERNAL, NEEDLETAIL_PROTOCOL_VIOLATION,
                  "problems: expected one of %zu outcomes, found number %u", count, (unsigned)from->index);
    char *result = copy_text(from->result), *message = renumbered(from->message, from->index, first);
    if (!result || !message) {
      free(result);
      free(message);
      return fail_for_memory(error);
    }
    problems[told->problem_count++] =
        (needletail_outcome_problem){.index = first + from->index, .result = result, .message = message};
  }
  return true;
}

/* Reports outcomes in one call; `messages` and `places` have room for them. */
static needletail_answer *report_part(needletail_client *client, const char *model, const needletail_outcome *outcomes,
                                      size_t count, Needletail__V1__Outcome *messages, Needletail__V1__Outcome **places,
                                      uint64_t timeout_us, needletail_error *error) {
  Needletail__V1__FeedbackRequest feedback = NEEDLETAIL__V1__FEEDBACK_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  for (size_t i = 0; i < count; i++) {
    needletail__v1__outcome__init(&messages[i]);
    messages[i].key = (char *)(uintptr_t)outcomes[i].key;
    messages[i].row = (uint32_t)outcomes[i].row;
    if (outcomes[i].label) {
      messages[i].truth_case = NEEDLETAIL__V1__OUTCOME__TRUTH_LABEL;
      messages[i].label = (char *)(uintptr_t)outcomes[i].label;
    } else {
      messages[i].truth_case = NEEDLETAIL__V1__OUTCOME__TRUTH_VALUE;
      messages[i].value = outcomes[i].value;
    }
    places[i] = &messages[i];
  }
  feedback.model = (char *)(uintptr_t)model;
  feedback.n_outcomes = count;
  feedback.outcomes = places;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_FEEDBACK;
  request.feedback = &feedback;
  return run(client, &request, timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_FEEDBACK, error);
}

/* An answer to no call, with an empty report. */
static needletail_answer *empty_answer(void) {
  needletail_answer *answer = calloc(1, sizeof *answer);
  if (!answer) return NULL;
  answer->response = malloc(sizeof *answer->response);
  answer->report = calloc(1, sizeof *answer->report);
  if (answer->response) needletail__v1__response__init(answer->response);
  if (answer->response && answer->report) return answer;
  needletail_answer_free(answer);
  return NULL;
}

needletail_answer *needletail_feedback(needletail_client *client, const char *model, const needletail_outcome *outcomes,
                                       size_t outcome_count, uint64_t timeout_us, needletail_error *error) {
  needletail_error ignored;
  if (!error) error = &ignored;
  if (!model) {
    fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "model: expected a name, found NULL");
    return NULL;
  }
  for (size_t i = 0; i < outcome_count; i++)
    if (!check_outcome(&outcomes[i], i, error)) return NULL;
  size_t room = outcome_count < OUTCOMES_MAX ? outcome_count : OUTCOMES_MAX;
  Needletail__V1__Outcome *messages = malloc((room + 1) * sizeof *messages);
  Needletail__V1__Outcome **places = malloc((room + 1) * sizeof *places);
  needletail_answer *whole = empty_answer();
  bool is_good = (messages && places && whole) || fail_for_memory(error);
  for (size_t first = 0; is_good && first < outcome_count; first += room) {
    size_t count = outcome_count - first < room ? outcome_count - first : room;
    needletail_answer *part = report_part(client, model, &outcomes[first], count, messages, places, timeout_us, error);
    is_good = part && add_report(whole->report, part->response->feedback, first, count, error);
    needletail_answer_free(part);
  }
  free(messages);
  free(places);
  if (is_good) {
    memset(error, 0, sizeof *error);
    return whole;
  }
  needletail_answer_free(whole);
  return NULL;
}

const needletail_feedback_report *needletail_answer_feedback(const needletail_answer *answer) {
  return answer->report ? &answer->report->told : NULL;
}

/* ---------------------------------------------------------------- other calls */

needletail_answer *needletail_health(needletail_client *client, uint64_t timeout_us, needletail_error *error) {
  Needletail__V1__HealthRequest health = NEEDLETAIL__V1__HEALTH_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_HEALTH;
  request.health = &health;
  return run(client, &request, timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_HEALTH, error);
}

needletail_answer *needletail_metrics(needletail_client *client, uint64_t timeout_us, needletail_error *error) {
  Needletail__V1__MetricsRequest metrics = NEEDLETAIL__V1__METRICS_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_METRICS;
  request.metrics = &metrics;
  return run(client, &request, timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_METRICS, error);
}

needletail_answer *needletail_models(needletail_client *client, uint64_t timeout_us, needletail_error *error) {
  Needletail__V1__ListModelsRequest models = NEEDLETAIL__V1__LIST_MODELS_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_LIST_MODELS;
  request.list_models = &models;
  return run(client, &request, timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_LIST_MODELS, error);
}

needletail_answer *needletail_server_info(needletail_client *client, uint64_t timeout_us, needletail_error *error) {
  Needletail__V1__ServerInfoRequest info = NEEDLETAIL__V1__SERVER_INFO_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_SERVER_INFO;
  request.server_info = &info;
  return run(client, &request, timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_SERVER_INFO, error);
}

needletail_answer *needletail_describe(needletail_client *client, const char *model, uint64_t version,
                                       const char *label, uint64_t timeout_us, needletail_error *error) {
  Needletail__V1__DescribeModelRequest describe = NEEDLETAIL__V1__DESCRIBE_MODEL_REQUEST__INIT;
  Request request = NEEDLETAIL__V1__REQUEST__INIT;
  if (!model || (version && label)) {
    fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "%s",
         model ? "selector: expected a version or a label, found both" : "model: expected a name, found NULL");
    return NULL;
  }
  describe.model = (char *)(uintptr_t)model;
  if (version) {
    describe.selector_case = NEEDLETAIL__V1__DESCRIBE_MODEL_REQUEST__SELECTOR_VERSION;
    describe.version = version;
  } else if (label) {
    describe.selector_case = NEEDLETAIL__V1__DESCRIBE_MODEL_REQUEST__SELECTOR_LABEL;
    describe.label = (char *)(uintptr_t)label;
  }
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_DESCRIBE_MODEL;
  request.describe_model = &describe;
  return run(client, &request, timeout_us, NEEDLETAIL__V1__RESPONSE__RESULT_DESCRIBE_MODEL, error);
}

const Needletail__V1__HealthResponse *needletail_answer_health(const needletail_answer *answer) {
  const Response *response = answer->response;
  return response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_HEALTH ? response->health : NULL;
}

const char *needletail_answer_metrics(const needletail_answer *answer) {
  const Response *response = answer->response;
  return response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_METRICS ? response->metrics->text : NULL;
}

const Needletail__V1__ListModelsResponse *needletail_answer_models(const needletail_answer *answer) {
  const Response *response = answer->response;
  return response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_LIST_MODELS ? response->list_models : NULL;
}

const Needletail__V1__DescribeModelResponse *needletail_answer_description(const needletail_answer *answer) {
  const Response *response = answer->response;
  return response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_DESCRIBE_MODEL ? response->describe_model : NULL;
}

const Needletail__V1__ServerInfoResponse *needletail_answer_server_info(const needletail_answer *answer) {
  const Response *response = answer->response;
  return response->result_case == NEEDLETAIL__V1__RESPONSE__RESULT_SERVER_INFO ? response->server_info : NULL;
}

/* ---------------------------------------------------------------- client */

needletail_options needletail_defaults(const char *address) {
  needletail_options options = {0};
  options.address = address;
  options.timeout_us = 5000000;
  options.connect_timeout_us = 1000000;
  options.connections_max = 4;
  options.calls_per_connection = 64;
  options.request_bytes_max = REQUEST_BYTES_DEFAULT;
  options.answer_bytes_max = FRAME_BYTES_CAP;
  options.retries.attempts = 4;
  options.retries.backoff_us = 10000;
  options.retries.backoff_us_max = 1000000;
  options.retries.budget_ratio = 0.1;
  options.retries.budget_burst = 10;
  options.retries.lost = true;
  return options;
}

/* Takes an address apart into host and port, or a path. */
static bool parse_address(needletail_client *client, const char *address, needletail_error *error) {
  if (strncmp(address, "unix:", 5) == 0) {
    size_t bytes = strlen(address + 5);
    if (bytes == 0 || bytes >= sizeof((struct sockaddr_un *)0)->sun_path)
      return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                  "address: expected a path of 1 to 107 bytes after 'unix:', found %zu", bytes);
    client->path = copy_text(address + 5);
    return client->path || fail_for_memory(error);
  }
  const char *colon = strrchr(address, ':');
  char *rest = NULL;
  unsigned long port = colon ? strtoul(colon + 1, &rest, 10) : 0;
  bool is_bracketed = colon && colon - address > 2 && *address == '[' && colon[-1] == ']';
  if (!colon || colon == address || colon[1] < '0' || colon[1] > '9' || *rest || port == 0 || port > 65535 ||
      (!is_bracketed && memchr(address, ':', (size_t)(colon - address))))
    return fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER,
                "address: expected 'host:port', '[v6]:port' or 'unix:/path', found '%.200s'", address);
  client->host = copy_text(is_bracketed ? address + 1 : address);
  client->port = copy_text(colon + 1);
  if (!client->host || !client->port) return fail_for_memory(error);
  client->host[colon - address - (is_bracketed ? 2 : 0)] = 0;
  return true;
}

static bool check_options(const needletail_options *options, needletail_error *error) {
  const char *wrong = NULL;
  if (options->connections_max < 1 || options->calls_per_connection < 1)
    wrong = "connections: expected at least 1, found 0";
  else if (options->timeout_us == 0 || options->connect_timeout_us == 0)
    wrong = "timeout: expected microseconds above 0, found 0";
  else if (options->request_bytes_max < 1024 || options->request_bytes_max > FRAME_BYTES_CAP ||
           options->answer_bytes_max < 1 || options->answer_bytes_max > FRAME_BYTES_CAP)
    wrong = "request_bytes_max, answer_bytes_max: expected 1024 and 1 to 67108864, found another number";
  else if (options->retries.attempts < 1 || options->retries.backoff_us > options->retries.backoff_us_max ||
           !(options->retries.budget_ratio >= 0) || !(options->retries.budget_burst >= 0))
    wrong = "retries: expected at least 1 attempt, backoff_us up to backoff_us_max, and no negative budget";
  else if (options->api_key && !*options->api_key)
    wrong = "api_key: expected a key, found an empty text";
  else if (options->tls.enabled && options->address && strncmp(options->address, "unix:", 5) == 0)
    wrong = "tls: expected a TCP address, found a Unix socket, over which calls are not encrypted";
  else if (!options->tls.certificate != !options->tls.key)
    wrong = "tls: expected a certificate and its key, found one of them";
#ifndef NEEDLETAIL_TLS
  else if (options->tls.enabled)
    wrong = "tls: expected a build with NEEDLETAIL_TLS defined, found one without";
#endif
  return !wrong || fail(error, NEEDLETAIL_INVALID_ARGUMENT, NEEDLETAIL_FROM_CALLER, "%s", wrong);
}

needletail_client *needletail_open(const needletail_options *options, needletail_error *error) {
  needletail_error ignored;
  if (!error) error = &ignored;
  if (!check_options(options, error)) return NULL;
  needletail_client *client = calloc(1, sizeof *client);
  if (!client) {
    fail_for_memory(error);
    return NULL;
  }
  client->options = *options;
  client->budget = options->retries.budget_burst;
  client->random = now_ns() ^ (uint64_t)(uintptr_t)client;
  pthread_mutex_init(&client->lock, NULL);
  make_condition(&client->changed);
  bool is_good = parse_address(client, options->address ? options->address : "127.0.0.1:6470", error);
  if (is_good && options->api_key) is_good = (client->api_key = copy_text(options->api_key)) || fail_for_memory(error);
#ifdef NEEDLETAIL_TLS
  if (is_good && options->tls.enabled) {
    client->server_name = copy_text(options->tls.server_name ? options->tls.server_name : client->host);
    is_good = client->server_name || fail_for_memory(error);
    if (is_good) is_good = (client->tls = make_tls(options, error)) != NULL;
  }
#endif
  if (is_good) return client;
  needletail_close(client);
  return NULL;
}

void needletail_close(needletail_client *client) {
  if (!client) return;
  for (struct connection *connection = client->pool, *next; connection; connection = next) {
    next = connection->next;
    free_connection(connection);
  }
#ifdef NEEDLETAIL_TLS
  if (client->tls) SSL_CTX_free(client->tls);
  free(client->server_name);
#endif
  pthread_cond_destroy(&client->changed);
  pthread_mutex_destroy(&client->lock);
  free(client->host);
  free(client->port);
  free(client->path);
  free(client->api_key);
  free(client);
}
