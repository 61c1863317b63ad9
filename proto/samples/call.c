/* Asks a Needletail server for one prediction, with protobuf-c.
 *
 *   protoc-c --proto_path=proto --c_out=. needletail/v1/inference.proto
 *   cc -I. -o call proto/samples/call.c needletail/v1/inference.pb-c.c -lprotobuf-c
 *   ./call 127.0.0.1 6470 diabetes 59 2 32.1 101 157 93.2 38 4 4.86 87
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "needletail/v1/inference.pb-c.h"

static void fail(const char *what) {
  fprintf(stderr, "call: %s\n", what);
  exit(1);
}

static int connect_to(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(host, port, &hints, &found) != 0) fail("no such host");
  int server = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
  if (server < 0 || connect(server, found->ai_addr, found->ai_addrlen) != 0) fail("cannot connect");
  freeaddrinfo(found);
  return server;
}

static void write_all(int server, const uint8_t *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    ssize_t part = write(server, bytes + done, count - done);
    if (part <= 0) fail("cannot write");
    done += (size_t)part;
  }
}

static void read_all(int server, uint8_t *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    ssize_t part = read(server, bytes + done, count - done);
    if (part <= 0) fail("the server closed the connection");
    done += (size_t)part;
  }
}

int main(int count, char **words) {
  if (count < 5) fail("expected HOST PORT MODEL NUMBER...");
  uint64_t features = (uint64_t)count - 4, shape[2] = {1, features};
  float row[features];
  for (uint64_t i = 0; i < features; i++) row[i] = strtof(words[4 + i], NULL);

  Needletail__V1__Tensor tensor = NEEDLETAIL__V1__TENSOR__INIT, *inputs[] = {&tensor};
  tensor.name = "features";
  tensor.type = NEEDLETAIL__V1__DATA_TYPE__FLOAT32;
  tensor.n_shape = 2;
  tensor.shape = shape;
  tensor.data = (ProtobufCBinaryData){sizeof row, (uint8_t *)row}; /* on a little-endian machine */
  Needletail__V1__PredictRequest predict = NEEDLETAIL__V1__PREDICT_REQUEST__INIT;
  predict.model = words[3];
  predict.n_inputs = 1;
  predict.inputs = inputs;
  Needletail__V1__Request request = NEEDLETAIL__V1__REQUEST__INIT;
  request.id = 1;
  request.timeout_us = 1000000;
  request.call_case = NEEDLETAIL__V1__REQUEST__CALL_PREDICT;
  request.predict = &predict;

  uint32_t length = (uint32_t)needletail__v1__request__get_packed_size(&request);
  uint8_t *frame = malloc(4 + length);
  if (!frame) fail("no memory");
  memcpy(frame, &(uint32_t){htonl(length)}, 4);
  needletail__v1__request__pack(&request, frame + 4);
  int server = connect_to(words[1], words[2]);
  write_all(server, frame, 4 + length);
  free(frame);

  Needletail__V1__Response *response = NULL;
  do { /* id 0 is a GoAway or a fault of the connection: see proto/README.md */
    if (response) needletail__v1__response__free_unpacked(response, NULL);
    read_all(server, (uint8_t *)&length, 4);
    length = ntohl(length);
    if (length == 0 || length > 64u << 20) fail("this is no Needletail server");
    uint8_t *payload = malloc(length);
    if (!payload) fail("no memory");
    read_all(server, payload, length);
    response = needletail__v1__response__unpack(NULL, length, payload);
    free(payload);
    if (!response) fail("a response that cannot be read");
  } while (response->id != request.id);
  close(server);

  if (response->status && response->status->code != NEEDLETAIL__V1__STATUS_CODE__OK) fail(response->status->message);
  if (response->result_case != NEEDLETAIL__V1__RESPONSE__RESULT_PREDICT) fail("expected a prediction");
  for (size_t i = 0; i < response->predict->n_outputs; i++) {
    Needletail__V1__Tensor *output = response->predict->outputs[i];
    printf("%s", output->name);
    for (size_t j = 0; j < output->n_strings; j++)
      printf(" %.*s", (int)output->strings[j].len, (char *)output->strings[j].data);
    for (size_t j = 0; output->type == NEEDLETAIL__V1__DATA_TYPE__FLOAT32 && j < output->data.len / 4; j++) {
      float value;
      memcpy(&value, output->data.data + 4 * j, 4);
      printf(" %g", value);
    }
    printf("\n");
  }
  needletail__v1__response__free_unpacked(response, NULL);
  return 0;
}
