/* Client of the Needletail inference server: predictions over TCP, TLS or a Unix socket.
 *
 *   needletail_options options = needletail_defaults("127.0.0.1:6470");
 *   needletail_error error;
 *   needletail_client *client = needletail_open(&options, &error);
 *
 *   float row[] = {59, 2, 32.1f, 101, 157, 93.2f, 38, 4, 4.86f, 87};
 *   needletail_tensor features = {.name = "features", .type = NEEDLETAIL_FLOAT32, .rows = 1, .columns = 10, .data =
 * row}; needletail_request request = {.model = "diabetes", .inputs = &features, .input_count = 1}; needletail_answer
 * *answer = needletail_predict(client, &request, &error); if (!answer) fprintf(stderr, "%s\n", error.message); else
 * printf("%g\n", needletail_floats(answer, "prediction", NULL)[0]); needletail_answer_free(answer);
 *   needletail_close(client);
 *
 * Any number of threads may share a client, which has no threads of its own. README.md beside this file says more.
 */
#ifndef NEEDLETAIL_H
#define NEEDLETAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- errors */

/* Status codes of the protocol, with its numbers; proto/README.md says what each asks of a client. */
typedef enum {
  NEEDLETAIL_OK = 0,
  NEEDLETAIL_INVALID_ARGUMENT = 1,
  NEEDLETAIL_NOT_FOUND = 2,
  NEEDLETAIL_UNAUTHENTICATED = 3,
  NEEDLETAIL_PERMISSION_DENIED = 4,
  NEEDLETAIL_DEADLINE_EXCEEDED = 5,
  NEEDLETAIL_OVERLOADED = 6,
  NEEDLETAIL_UNAVAILABLE = 7,
  NEEDLETAIL_INTERNAL = 8,
  NEEDLETAIL_UNIMPLEMENTED = 9,
} needletail_code;

/* Where an error comes from. */
typedef enum {
  NEEDLETAIL_FROM_SERVER = 0,        /* a status that the server sent */
  NEEDLETAIL_FROM_CALLER = 1,        /* refused before anything was sent */
  NEEDLETAIL_CONNECTION_FAILED = 2,  /* no connection could be made (UNAVAILABLE, UNAUTHENTICATED) */
  NEEDLETAIL_CONNECTION_LOST = 3,    /* the connection broke under the call (UNAVAILABLE) */
  NEEDLETAIL_TIME_OVER = 4,          /* no answer in the time given (DEADLINE_EXCEEDED) */
  NEEDLETAIL_PROTOCOL_VIOLATION = 5, /* what came is not the Needletail protocol (INTERNAL) */
} needletail_cause;

typedef struct {
  needletail_code code;
  needletail_cause cause;
  uint32_t retry_after_us; /* when the server wants to be asked again; 0: it does not say */
  char message[512];       /* one sentence for people */
  /* What it is about, for programs: */
  char field[128];        /* a feature, an input tensor or a field of the call, such as "model"; empty: of none */
  bool has_row;           /* whether one row is at fault */
  uint64_t row;           /* its number in the call, from 0 */
  char limit[48];         /* a limit of the server that the request exceeds; empty: none */
  uint64_t limit_maximum; /* its value */
  uint64_t limit_found;   /* what the request has, as far as it was counted */
} needletail_error;

/* "INVALID_ARGUMENT" and so on. */
const char *needletail_code_name(needletail_code code);

/* ---------------------------------------------------------------- client */

#define NEEDLETAIL_NO_DEADLINE UINT64_MAX

typedef struct {
  const char *address;           /* "host:port", "[v6]:port" or "unix:/path" */
  const char *api_key;           /* shown on every connection; NULL: none */
  uint64_t timeout_us;           /* of a call with all its retries, where the call says nothing; default 5 s */
  uint64_t connect_timeout_us;   /* of making one connection; default 1 s */
  unsigned connections_max;      /* default 4 */
  unsigned calls_per_connection; /* calls in flight on one connection before another is made; default 64 */
  uint32_t request_bytes_max;    /* the server's limits.frame_bytes_max; default 16 MiB */
  uint32_t answer_bytes_max;     /* default 64 MiB, the most that a server sends */
  struct {
    unsigned attempts;       /* of one call, the first included; default 4, 1: never retry */
    uint64_t backoff_us;     /* upper end of the first random wait; default 10 ms, doubled each time */
    uint64_t backoff_us_max; /* upper end of any wait; default 1 s */
    double budget_ratio;     /* retries that each call earns; default 0.1 */
    double budget_burst;     /* retries that may be saved up, and that a new client has; default 10 */
    bool lost;               /* also calls whose connection broke after they were sent; default true */
  } retries;
  struct {
    bool enabled;            /* needs NEEDLETAIL_TLS at compile time */
    const char *ca;          /* PEM file of who must have issued the server's certificate; NULL: the system's */
    const char *certificate; /* PEM files of the client's own certificate and key, for mutual TLS; NULL: none */
    const char *key;
    const char *server_name; /* name that the server's certificate must carry; NULL: the host of the address */
  } tls;
} needletail_options;

typedef struct needletail_client needletail_client;

/* Settings with their defaults. A NULL address is 127.0.0.1:6470. */
needletail_options needletail_defaults(const char *address);

/* A client, or NULL and the error. Nothing is connected before the first call. The options are copied. */
needletail_client *needletail_open(const needletail_options *options, needletail_error *error);

/* Closes the connections. No call may be under way, and none may follow. */
void needletail_close(needletail_client *client);

/* ---------------------------------------------------------------- predictions */

/* Element types, with the protocol's numbers. */
typedef enum {
  NEEDLETAIL_FLOAT32 = 1,
  NEEDLETAIL_FLOAT64 = 2,
  NEEDLETAIL_INT8 = 3,
  NEEDLETAIL_INT16 = 4,
  NEEDLETAIL_INT32 = 5,
  NEEDLETAIL_INT64 = 6,
  NEEDLETAIL_UINT8 = 7,
  NEEDLETAIL_BOOL = 8, /* one byte an element, 0 or 1 */
  NEEDLETAIL_STRING = 9,
} needletail_type;

/* One input: all features of all rows as "features", or one column, named after its feature. */
typedef struct {
  const char *name;
  needletail_type type;
  size_t rows;
  size_t columns;             /* of "features"; 0: a column, of shape [rows] */
  const void *data;           /* numbers, row-major; NaN is missing */
  const char *const *strings; /* of NEEDLETAIL_STRING: UTF-8 texts; NULL and "" are missing */
} needletail_tensor;

typedef struct {
  const char *model;
  uint64_t version;  /* 0: by label, or what the rollout serves now */
  const char *label; /* NULL: none */
  const needletail_tensor *inputs;
  size_t input_count;
  const char *const *outputs; /* names of the outputs wanted; none: all of them */
  size_t output_count;
  const char *routing_key; /* requests with the same key see the same version of a split rollout; NULL: none */
  bool bulk;               /* nobody waits for the answer */
  uint64_t timeout_us;     /* 0: the client's; NEEDLETAIL_NO_DEADLINE: none */
  const char *key;         /* names the call for needletail_feedback; NULL: the routing key does */
  const char *traceparent; /* the trace that the call belongs to, as W3C Trace Context writes it; NULL: none */
} needletail_request;

typedef struct needletail_call needletail_call;
typedef struct needletail_answer needletail_answer;

/* Asks and waits. NULL and the error if there is no answer. */
needletail_answer *needletail_predict(needletail_client *client, const needletail_request *request,
                                      needletail_error *error);

/* Asks without waiting: many calls in flight on one connection, whose answers come in any order. What the request
 * points to may be freed at once. NULL and the error only for a request that makes no sense; whatever happens to it
 * on its way, needletail_finish tells. */
needletail_call *needletail_start(needletail_client *client, const needletail_request *request,
                                  needletail_error *error);

/* Waits for the answer of a call, repeating it where that helps, and frees the call. */
needletail_answer *needletail_finish(needletail_call *call, needletail_error *error);

/* Gives a call up and frees it. Its answer is thrown away when it comes. */
void needletail_cancel(needletail_call *call);

/* ---------------------------------------------------------------- answers */

typedef struct {
  const char *name;
  needletail_type type;
  size_t rank;
  const uint64_t *shape;
  size_t count;               /* elements */
  const void *data;           /* numbers, aligned for their type */
  const char *const *strings; /* of NEEDLETAIL_STRING */
} needletail_output;

const char *needletail_answer_model(const needletail_answer *answer);
/* The version that answered; never 0. */
uint64_t needletail_answer_version(const needletail_answer *answer);
size_t needletail_output_count(const needletail_answer *answer);
const needletail_output *needletail_output_at(const needletail_answer *answer, size_t index);

/* The output of this name, or NULL. */
const needletail_output *needletail_output_named(const needletail_answer *answer, const char *name);

/* The elements of the output of this name, or NULL if there is none of this type. `count` may be NULL. A classifier
 * has "probabilities" (floats), "class" (integers) and "label" (texts), a regression has "prediction" (floats). */
const float *needletail_floats(const needletail_answer *answer, const char *output, size_t *count);
const int64_t *needletail_integers(const needletail_answer *answer, const char *output, size_t *count);
const char *const *needletail_texts(const needletail_answer *answer, const char *output, size_t *count);

/* How long the call waited in the server and was computed, and the rows of its batch. */
void needletail_answer_timing(const needletail_answer *answer, uint32_t *queue_us, uint32_t *compute_us,
                              uint32_t *batch_rows);

/* Frees an answer with all that was read from it. NULL is allowed. */
void needletail_answer_free(needletail_answer *answer);

/* ---------------------------------------------------------------- outcomes */

/* What became of one row of an earlier call. */
typedef struct {
  const char *key;   /* as `key`, or `routing_key`, named the call */
  uint64_t row;      /* of the call, from 0 to 2^32 - 1 */
  const char *label; /* the true class; NULL: `value` is the true number */
  double value;      /* of a regression, or the index of a class that has no label */
} needletail_outcome;

/* An outcome that was not joined with a prediction. */
typedef struct {
  size_t index;       /* place among the outcomes, from 0; always one of them */
  const char *result; /* unknown, late, duplicate, contradictory, value, class or row; more may come */
  const char *message;
} needletail_outcome_problem;

/* What came of the outcomes. Each is counted once. */
typedef struct {
  uint64_t joined;
  uint64_t unknown;       /* no prediction of that name is remembered */
  uint64_t late;          /* reported after the window */
  uint64_t duplicate;     /* the same outcome was reported before */
  uint64_t contradictory; /* another outcome was reported before, which stands */
  uint64_t invalid;       /* a class or a row that does not exist, or a value of the wrong kind */
  size_t problem_count;   /* the first ones of each call that were not joined */
  const needletail_outcome_problem *problems;
} needletail_feedback_report;

/* Reports what became of predictions, so that the server can say how good a model is. More than 1,024 outcomes are
 * several calls, one after the other, of timeout_us each; none are no call. What was counted is not counted again, so
 * that all of it may be repeated, also after an error. NEEDLETAIL_UNIMPLEMENTED means that the server remembers nothing
 * of the model. timeout_us as in needletail_request. */
needletail_answer *needletail_feedback(needletail_client *client, const char *model, const needletail_outcome *outcomes,
                                       size_t outcome_count, uint64_t timeout_us, needletail_error *error);

/* The report, which lives until needletail_answer_free; NULL of an answer to another call. */
const needletail_feedback_report *needletail_answer_feedback(const needletail_answer *answer);

/* ---------------------------------------------------------------- other calls
 *
 * Their answers are read as protobuf-c's structs: include "needletail/v1/inference.pb-c.h" to look into them.
 * timeout_us as in needletail_request. */

needletail_answer *needletail_health(needletail_client *client, uint64_t timeout_us, needletail_error *error);
needletail_answer *needletail_metrics(needletail_client *client, uint64_t timeout_us, needletail_error *error);
needletail_answer *needletail_models(needletail_client *client, uint64_t timeout_us, needletail_error *error);
/* Version, features and limits of the server; NEEDLETAIL_UNIMPLEMENTED from one without this call. */
needletail_answer *needletail_server_info(needletail_client *client, uint64_t timeout_us, needletail_error *error);
/* `version` 0 and `label` NULL: what the rollout serves now. */
needletail_answer *needletail_describe(needletail_client *client, const char *model, uint64_t version,
                                       const char *label, uint64_t timeout_us, needletail_error *error);

/* What each of them says; NULL of an answer to another call. */
const struct Needletail__V1__HealthResponse *needletail_answer_health(const needletail_answer *answer);
const char *needletail_answer_metrics(const needletail_answer *answer); /* Prometheus text */
const struct Needletail__V1__ListModelsResponse *needletail_answer_models(const needletail_answer *answer);
const struct Needletail__V1__DescribeModelResponse *needletail_answer_description(const needletail_answer *answer);
const struct Needletail__V1__ServerInfoResponse *needletail_answer_server_info(const needletail_answer *answer);

#ifdef __cplusplus
}
#endif

#endif
