/* Conformance driver of the C client: requests as JSON, one a line; answers one line each. */
#define _GNU_SOURCE /* getline, open_memstream under -std=c11 */

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "needletail.h"
#include "needletail/v1/inference.pb-c.h"

#define NAMES_MAX 256

/* ---------------------------------------------------------------- JSON, as the runner writes it */

typedef enum { NOTHING, TRUTH, NUMBER, TEXT, LIST, OBJECT } kind;

typedef struct value {
  kind kind;
  double number;
  char *text; /* of a number too */
  size_t count;
  char **names;
  struct value *items;
} value;

static void die(const char *what) {
  fprintf(stderr, "driver: %s\n", what);
  exit(2);
}

static void skip(const char **at) {
  while (isspace((unsigned char)**at)) (*at)++;
}

static void put_scalar(char **out, unsigned scalar) {
  if (scalar < 0x80) {
    *(*out)++ = (char)scalar;
  } else if (scalar < 0x800) {
    *(*out)++ = (char)(0xc0 | scalar >> 6);
    *(*out)++ = (char)(0x80 | (scalar & 63));
  } else if (scalar < 0x10000) {
    *(*out)++ = (char)(0xe0 | scalar >> 12);
    *(*out)++ = (char)(0x80 | (scalar >> 6 & 63));
    *(*out)++ = (char)(0x80 | (scalar & 63));
  } else {
    die("expected text of the basic plane in escapes");
  }
}

static char *read_text(const char **at) {
  char *text = malloc(strlen(*at) + 1), *out = text;
  if (!text) die("no memory");
  for ((*at)++; **at != '"'; (*at)++) {
    if (!**at) die("text without an end");
    if (**at != '\\') {
      *out++ = **at;
      continue;
    }
    unsigned scalar;
    switch (*++*at) {
      case 'n':
        *out++ = '\n';
        break;
      case 't':
        *out++ = '\t';
        break;
      case 'r':
        *out++ = '\r';
        break;
      case 'u':
        if (sscanf(*at + 1, "%4x", &scalar) != 1) die("escape");
        put_scalar(&out, scalar);
        *at += 4;
        break;
      default:
        *out++ = **at;
    }
  }
  (*at)++;
  *out = 0;
  return text;
}

static value read_value(const char **at) {
  value found = {0};
  skip(at);
  if (**at == '"') {
    found.kind = TEXT;
    found.text = read_text(at);
  } else if (**at == '{' || **at == '[') {
    char end = **at == '{' ? '}' : ']';
    found.kind = end == '}' ? OBJECT : LIST;
    (*at)++;
    for (skip(at); **at != end; skip(at)) {
      if (**at == ',') (*at)++;
      if ((found.count & (found.count - 1)) == 0) {
        size_t room = found.count ? found.count * 2 : 1;
        found.items = realloc(found.items, room * sizeof *found.items);
        found.names = realloc(found.names, room * sizeof *found.names);
        if (!found.items || !found.names) die("no memory");
      }
      found.names[found.count] = NULL;
      if (end == '}') {
        skip(at);
        found.names[found.count] = read_text(at);
        skip(at);
        (*at)++; /* : */
      }
      found.items[found.count++] = read_value(at);
    }
    (*at)++;
  } else if (strncmp(*at, "true", 4) == 0 || strncmp(*at, "null", 4) == 0) {
    found.kind = **at == 't' ? TRUTH : NOTHING;
    found.number = **at == 't';
    *at += 4;
  } else if (strncmp(*at, "false", 5) == 0) {
    found.kind = TRUTH;
    *at += 5;
  } else {
    char *end;
    found.kind = NUMBER;
    found.number = strtod(*at, &end);
    if (end == *at) die("no JSON");
    found.text = strndup(*at, (size_t)(end - *at));
    *at = end;
  }
  return found;
}

static void free_value(value *of) {
  for (size_t i = 0; i < of->count; i++) {
    free(of->names[i]);
    free_value(&of->items[i]);
  }
  free(of->names);
  free(of->items);
  free(of->text);
}

static const value *field(const value *of, const char *name) {
  for (size_t i = 0; i < of->count; i++)
    if (of->names[i] && strcmp(of->names[i], name) == 0) return &of->items[i];
  return NULL;
}

static const char *text_of(const value *of, const char *name) {
  const value *found = field(of, name);
  return found && found->kind == TEXT ? found->text : NULL;
}

static double number_of(const value *of, const char *name, double otherwise) {
  const value *found = field(of, name);
  return found && (found->kind == NUMBER || found->kind == TRUTH) ? found->number : otherwise;
}

static uint64_t version_of(const value *of) {
  const value *found = field(of, "version");
  return found && found->text ? strtoull(found->text, NULL, 10) : 0;
}

static void print_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\')
      printf("\\%c", *text);
    else if ((unsigned char)*text < 32)
      printf("\\u%04x", (unsigned)*text);
    else
      putchar(*text);
  }
  putchar('"');
}

/* ---------------------------------------------------------------- inputs */

static const char *const types[] = {"",      "FLOAT32", "FLOAT64", "INT8", "INT16",
                                    "INT32", "INT64",   "UINT8",   "BOOL", "STRING"};

static needletail_type type_of(const char *name) {
  for (size_t i = 1; i < sizeof types / sizeof *types; i++)
    if (name && strcmp(types[i], name) == 0) return (needletail_type)i;
  die("type of a tensor");
  return NEEDLETAIL_FLOAT32;
}

static void put_element(void *data, needletail_type type, size_t place, const value *cell) {
  double number = cell->kind == TEXT ? strtod(cell->text, NULL) : cell->kind == NOTHING ? NAN : cell->number;
  switch (type) {
    case NEEDLETAIL_FLOAT32:
      ((float *)data)[place] = (float)number;
      break;
    case NEEDLETAIL_FLOAT64:
      ((double *)data)[place] = number;
      break;
    case NEEDLETAIL_INT8:
      ((int8_t *)data)[place] = (int8_t)number;
      break;
    case NEEDLETAIL_INT16:
      ((int16_t *)data)[place] = (int16_t)number;
      break;
    case NEEDLETAIL_INT32:
      ((int32_t *)data)[place] = (int32_t)number;
      break;
    case NEEDLETAIL_INT64:
      ((int64_t *)data)[place] = strtoll(cell->text, NULL, 10);
      break;
    default:
      ((uint8_t *)data)[place] = (uint8_t)number;
  }
}

static needletail_tensor tensor_of(const value *from) {
  const value *values = field(from, "values"), *shape = field(from, "shape");
  needletail_tensor tensor = {.name = text_of(from, "name"), .type = type_of(text_of(from, "type"))};
  tensor.rows = (size_t)shape->items[0].number;
  tensor.columns = shape->count > 1 ? (size_t)shape->items[1].number : 0;
  void *memory = calloc(values->count + 1, 8);
  if (!memory) die("no memory");
  if (tensor.type == NEEDLETAIL_STRING) {
    tensor.strings = memory;
    for (size_t i = 0; i < values->count; i++) ((const char **)memory)[i] = values->items[i].text;
  } else {
    tensor.data = memory;
    for (size_t i = 0; i < values->count; i++) put_element(memory, tensor.type, i, &values->items[i]);
  }
  return tensor;
}

static uint64_t timeout_of(const value *request) {
  const value *timeout = field(request, "timeout_ms");
  if (!timeout) return 0;
  return timeout->kind == NOTHING ? NEEDLETAIL_NO_DEADLINE : (uint64_t)(timeout->number * 1000);
}

static needletail_call *start(needletail_client *client, const value *from, needletail_error *error) {
  const value *inputs = field(from, "inputs"), *outputs = field(from, "outputs");
  needletail_tensor tensors[64];
  const char *names[64];
  if (inputs->count > 64 || (outputs && outputs->count > 64)) die("too many inputs or outputs");
  for (size_t i = 0; i < inputs->count; i++) tensors[i] = tensor_of(&inputs->items[i]);
  for (size_t i = 0; outputs && i < outputs->count; i++) names[i] = outputs->items[i].text;
  needletail_request request = {.model = text_of(from, "model"),
                                .version = version_of(from),
                                .label = text_of(from, "label"),
                                .inputs = tensors,
                                .input_count = inputs->count,
                                .outputs = names,
                                .output_count = outputs ? outputs->count : 0,
                                .routing_key = text_of(from, "routing_key"),
                                .bulk = number_of(from, "bulk", 0) != 0,
                                .timeout_us = timeout_of(from),
                                .key = text_of(from, "key"),
                                .traceparent = text_of(from, "traceparent")};
  needletail_call *call = needletail_start(client, &request, error);
  for (size_t i = 0; i < inputs->count; i++) {
    free((void *)(uintptr_t)tensors[i].data);
    free((void *)(uintptr_t)tensors[i].strings);
  }
  return call;
}

static needletail_answer *report(needletail_client *client, const value *from, needletail_error *error) {
  const value *told = field(from, "outcomes");
  needletail_outcome *outcomes = calloc(told->count + 1, sizeof *outcomes);
  if (!outcomes) die("no memory");
  for (size_t i = 0; i < told->count; i++)
    outcomes[i] = (needletail_outcome){.key = text_of(&told->items[i], "key"),
                                       .row = (uint64_t)(int64_t)number_of(&told->items[i], "row", 0),
                                       .label = text_of(&told->items[i], "label"),
                                       .value = number_of(&told->items[i], "value", NAN)};
  needletail_answer *answer =
      needletail_feedback(client, text_of(from, "model"), outcomes, told->count, timeout_of(from), error);
  free(outcomes);
  return answer;
}

/* ---------------------------------------------------------------- answers */

static void print_error(const needletail_error *error) {
  static const char *const causes[] = {"status", "caller", "connect", "lost", "time", "protocol"};
  printf("{\"error\":{\"code\":\"%s\",\"cause\":\"%s\",\"retry_after_us\":%u,\"message\":",
         needletail_code_name(error->code), causes[error->cause], error->retry_after_us);
  print_text(error->message);
  printf(",\"field\":");
  print_text(error->field);
  if (error->has_row) printf(",\"row\":%llu", (unsigned long long)error->row);
  if (*error->limit) {
    printf(",\"limit\":{\"maximum\":%llu,\"found\":%llu,\"name\":", (unsigned long long)error->limit_maximum,
           (unsigned long long)error->limit_found);
    print_text(error->limit);
    putchar('}');
  }
  printf("}}\n");
}

static void print_number(double number) {
  if (isnan(number))
    printf("null");
  else
    printf("%.17g", number);
}

static void print_element(const needletail_output *output, size_t place) {
  const void *data = output->data;
  switch (output->type) {
    case NEEDLETAIL_FLOAT32:
      print_number((double)((const float *)data)[place]);
      break;
    case NEEDLETAIL_FLOAT64:
      print_number(((const double *)data)[place]);
      break;
    case NEEDLETAIL_INT8:
      printf("%d", ((const int8_t *)data)[place]);
      break;
    case NEEDLETAIL_INT16:
      printf("%d", ((const int16_t *)data)[place]);
      break;
    case NEEDLETAIL_INT32:
      printf("%d", ((const int32_t *)data)[place]);
      break;
    case NEEDLETAIL_INT64:
      printf("%lld", (long long)((const int64_t *)data)[place]);
      break;
    case NEEDLETAIL_STRING:
      print_text(output->strings[place]);
      break;
    default:
      printf("%u", ((const uint8_t *)data)[place]);
  }
}

static void print_shape(const uint64_t *shape, size_t rank) {
  printf("\"shape\":[");
  for (size_t i = 0; i < rank; i++) printf("%s%llu", i ? "," : "", (unsigned long long)shape[i]);
  putchar(']');
}

static void print_prediction(const needletail_answer *answer) {
  uint32_t queue, compute, rows;
  needletail_answer_timing(answer, &queue, &compute, &rows);
  printf("\"timing\":{\"queue_us\":%u,\"compute_us\":%u,\"batch_rows\":%u},\"model\":", queue, compute, rows);
  print_text(needletail_answer_model(answer));
  printf(",\"version\":%llu,\"outputs\":[", (unsigned long long)needletail_answer_version(answer));
  for (size_t i = 0; i < needletail_output_count(answer); i++) {
    const needletail_output *output = needletail_output_at(answer, i);
    printf("%s{\"name\":", i ? "," : "");
    print_text(output->name);
    printf(",\"type\":\"%s\",", types[output->type]);
    print_shape(output->shape, output->rank);
    printf(",\"values\":[");
    for (size_t j = 0; j < output->count; j++) {
      if (j) putchar(',');
      print_element(output, j);
    }
    printf("]}");
  }
  printf("]");
}

static const char *state_name(Needletail__V1__VersionState state) {
  static const char *const names[] = {"version_state_unspecified",
                                      "incomplete",
                                      "verifying",
                                      "loading",
                                      "checking",
                                      "warming",
                                      "live",
                                      "retiring",
                                      "retired",
                                      "rejected"};
  return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static void print_models(size_t count, Needletail__V1__ModelStatus *const *models) {
  printf("\"models\":[");
  for (size_t i = 0; i < count; i++) {
    printf("%s{\"model\":", i ? "," : "");
    print_text(models[i]->model);
    printf(",\"serving_version\":%llu,\"versions\":[", (unsigned long long)models[i]->serving_version);
    for (size_t j = 0; j < models[i]->n_versions; j++) {
      const Needletail__V1__VersionStatus *version = models[i]->versions[j];
      printf("%s{\"version\":%llu,\"state\":\"%s\",\"reason\":", j ? "," : "", (unsigned long long)version->version,
             state_name(version->state));
      print_text(version->reason);
      putchar('}');
    }
    printf("]}");
  }
  putchar(']');
}

static void print_texts(const char *name, size_t count, char *const *texts) {
  printf("\"%s\":[", name);
  for (size_t i = 0; i < count; i++) {
    if (i) putchar(',');
    print_text(texts[i]);
  }
  putchar(']');
}

static void print_specs(const char *name, size_t count, Needletail__V1__TensorSpec *const *specs) {
  printf(",\"%s\":[", name);
  for (size_t i = 0; i < count; i++) {
    printf("%s{\"name\":", i ? "," : "");
    print_text(specs[i]->name);
    printf(",\"type\":\"%s\",\"optional\":%s,", types[specs[i]->type], specs[i]->optional ? "true" : "false");
    print_shape(specs[i]->shape, specs[i]->n_shape);
    putchar(',');
    print_texts("categories", specs[i]->n_categories, specs[i]->categories);
    putchar('}');
  }
  putchar(']');
}

static void print_server(const Needletail__V1__ServerInfoResponse *info) {
  static const Needletail__V1__ServerLimits none = NEEDLETAIL__V1__SERVER_LIMITS__INIT;
  const Needletail__V1__ServerLimits *limits = info->limits ? info->limits : &none;
  printf("\"name\":");
  print_text(info->name);
  printf(",\"version\":");
  print_text(info->version);
  printf(",\"isa\":");
  print_text(info->isa);
  putchar(',');
  print_texts("features", info->n_features, info->features);
  printf(",\"limits\":{\"rows_max\":%llu,\"request_bytes_max\":%llu,\"text_bytes_max\":%llu,\"idle_ms\":%llu}",
         (unsigned long long)limits->rows_max, (unsigned long long)limits->request_bytes_max,
         (unsigned long long)limits->text_bytes_max, (unsigned long long)limits->idle_ms);
}

static void print_report(const needletail_feedback_report *report) {
  printf("\"joined\":%llu,\"unknown\":%llu,\"late\":%llu,\"duplicate\":%llu,\"contradictory\":%llu,\"invalid\":%llu",
         (unsigned long long)report->joined, (unsigned long long)report->unknown, (unsigned long long)report->late,
         (unsigned long long)report->duplicate, (unsigned long long)report->contradictory,
         (unsigned long long)report->invalid);
  printf(",\"problems\":[");
  for (size_t i = 0; i < report->problem_count; i++) {
    printf("%s{\"index\":%zu,\"result\":", i ? "," : "", report->problems[i].index);
    print_text(report->problems[i].result);
    printf(",\"message\":");
    print_text(report->problems[i].message);
    putchar('}');
  }
  putchar(']');
}

static void print_answer(needletail_answer *answer, const needletail_error *error) {
  if (!answer) {
    print_error(error);
    return;
  }
  printf("{\"ok\":true,");
  const Needletail__V1__HealthResponse *health = needletail_answer_health(answer);
  const Needletail__V1__ListModelsResponse *models = needletail_answer_models(answer);
  const Needletail__V1__DescribeModelResponse *model = needletail_answer_description(answer);
  const Needletail__V1__ServerInfoResponse *info = needletail_answer_server_info(answer);
  if (health) {
    printf("\"live\":%s,\"ready\":%s,", health->live ? "true" : "false", health->ready ? "true" : "false");
    print_models(health->n_models, health->models);
  } else if (models) {
    print_models(models->n_models, models->models);
  } else if (model) {
    printf("\"model\":");
    print_text(model->model);
    printf(",\"version\":%llu,\"state\":\"%s\",\"task\":", (unsigned long long)model->version,
           state_name(model->state));
    print_text(model->task);
    putchar(',');
    print_texts("labels", model->n_labels, model->labels);
    print_specs("inputs", model->n_inputs, model->inputs);
    print_specs("outputs", model->n_outputs, model->outputs);
  } else if (needletail_answer_feedback(answer)) {
    print_report(needletail_answer_feedback(answer));
  } else if (info) {
    print_server(info);
  } else if (needletail_answer_metrics(answer)) {
    printf("\"text\":");
    print_text(needletail_answer_metrics(answer));
  } else {
    print_prediction(answer);
  }
  printf("}\n");
  needletail_answer_free(answer);
}

/* ---------------------------------------------------------------- many threads */

struct storm {
  needletail_client *client;
  unsigned calls, wrong;
  needletail_error error;
};

/* Asks for rows whose answers differ from call to call, so that a swapped answer shows. */
static void *run_storm(void *data) {
  struct storm *storm = data;
  for (unsigned i = 0; i < storm->calls; i++) {
    float row[] = {i % 2 ? 11 : 10, 0, -3, i % 3 ? 101 : 100};
    float expected = 41.375f + (i % 2 ? 1 : 0) + (i % 3 ? 32 : 0);
    needletail_tensor features = {.name = "features", .type = NEEDLETAIL_FLOAT32, .rows = 1, .columns = 4, .data = row};
    needletail_request request = {.model = "grid", .inputs = &features, .input_count = 1};
    needletail_answer *answer = needletail_predict(storm->client, &request, &storm->error);
    const float *prediction = answer ? needletail_floats(answer, "prediction", NULL) : NULL;
    if (!prediction || prediction[0] != expected) storm->wrong++;
    needletail_answer_free(answer);
  }
  return NULL;
}

static void answer_storm(needletail_client *client, const value *request) {
  enum { THREADS_MAX = 16 };
  struct storm storms[THREADS_MAX];
  pthread_t threads[THREADS_MAX];
  unsigned count = (unsigned)number_of(request, "threads", 8), wrong = 0;
  if (count > THREADS_MAX) die("too many threads");
  for (unsigned i = 0; i < count; i++) {
    storms[i] = (struct storm){.client = client, .calls = (unsigned)number_of(request, "calls", 100)};
    if (pthread_create(&threads[i], NULL, run_storm, &storms[i]) != 0) die("no thread");
  }
  for (unsigned i = 0; i < count; i++) {
    pthread_join(threads[i], NULL);
    wrong += storms[i].wrong;
  }
  printf("{\"ok\":true,\"wrong\":%u}\n", wrong);
}

/* ---------------------------------------------------------------- requests */

static struct {
  char name[32];
  needletail_client *client;
  needletail_call *call;
  needletail_error error; /* of a call that could not begin */
} known[NAMES_MAX];

static size_t place_of(const char *name) {
  size_t free_place = NAMES_MAX;
  for (size_t i = NAMES_MAX; i-- > 0;) {
    if (strcmp(known[i].name, name) == 0) return i;
    if (!known[i].name[0]) free_place = i;
  }
  if (free_place == NAMES_MAX) die("too many names");
  snprintf(known[free_place].name, sizeof known[free_place].name, "%s", name);
  return free_place;
}

static needletail_options options_of(const value *from) {
  needletail_options options = needletail_defaults(text_of(from, "address"));
  options.connections_max = 2;
  options.api_key = text_of(from, "api_key");
  options.timeout_us = (uint64_t)(number_of(from, "timeout_ms", 5000) * 1000);
  options.request_bytes_max = (uint32_t)number_of(from, "request_bytes_max", 16 << 20);
  options.answer_bytes_max = (uint32_t)number_of(from, "answer_bytes_max", 64 << 20);
  options.retries.attempts = (unsigned)number_of(from, "attempts", 4);
  options.retries.budget_ratio = number_of(from, "budget_ratio", 0.1);
  options.retries.budget_burst = number_of(from, "budget_burst", 10);
  options.retries.lost = number_of(from, "retry_lost", 1) != 0;
  options.tls.ca = text_of(from, "ca");
  options.tls.enabled = options.tls.ca != NULL;
  options.tls.certificate = text_of(from, "certificate");
  options.tls.key = text_of(from, "key");
  options.tls.server_name = text_of(from, "server_name");
  return options;
}

static void answer(const value *request) {
  const char *what = text_of(request, "do"), *name = text_of(request, "client"), *ticket = text_of(request, "call");
  needletail_error error = {0};
  if (strcmp(what, "lacks") == 0) {
    printf("{\"lacks\":[\"outcomes without a truth\"]}\n");
    return;
  }
  size_t place = place_of(name);
  needletail_client *client = known[place].client;
  uint64_t timeout_us = timeout_of(request);
  if (strcmp(what, "open") == 0) {
    needletail_options options = options_of(request);
    known[place].client = needletail_open(&options, &error);
    if (!known[place].client) print_error(&error);
  } else if (strcmp(what, "close") == 0) {
    needletail_close(client);
    known[place].name[0] = 0;
  } else if (strcmp(what, "start") == 0) {
    size_t at = place_of(ticket);
    known[at].call = start(client, request, &known[at].error);
  } else if (strcmp(what, "cancel") == 0) {
    size_t at = place_of(ticket);
    needletail_cancel(known[at].call);
    known[at].name[0] = 0;
  } else if (strcmp(what, "finish") == 0) {
    size_t at = place_of(ticket);
    error = known[at].error;
    print_answer(known[at].call ? needletail_finish(known[at].call, &error) : NULL, &error);
    known[at].name[0] = 0;
    return;
  } else if (strcmp(what, "predict") == 0) {
    needletail_call *call = start(client, request, &error);
    print_answer(call ? needletail_finish(call, &error) : NULL, &error);
    return;
  } else if (strcmp(what, "feedback") == 0) {
    print_answer(report(client, request, &error), &error);
    return;
  } else if (strcmp(what, "storm") == 0) {
    answer_storm(client, request);
    return;
  } else if (strcmp(what, "health") == 0) {
    print_answer(needletail_health(client, timeout_us, &error), &error);
    return;
  } else if (strcmp(what, "metrics") == 0) {
    print_answer(needletail_metrics(client, timeout_us, &error), &error);
    return;
  } else if (strcmp(what, "models") == 0) {
    print_answer(needletail_models(client, timeout_us, &error), &error);
    return;
  } else if (strcmp(what, "server") == 0) {
    print_answer(needletail_server_info(client, timeout_us, &error), &error);
    return;
  } else if (strcmp(what, "describe") == 0) {
    print_answer(needletail_describe(client, text_of(request, "model"), version_of(request), text_of(request, "label"),
                                     timeout_us, &error),
                 &error);
    return;
  }
  if (error.code == NEEDLETAIL_OK) printf("{\"ok\":true}\n");
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    const char *at = line;
    value request = read_value(&at);
    answer(&request);
    free_value(&request);
    fflush(stdout);
  }
  free(line);
  return 0;
}
