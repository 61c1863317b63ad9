/* Predictions inside of the process that asks: one Needletail bundle, its features bound, its plan compiled, its
 * answers the same bits as a server's.
 *
 *   ntl_error error;
 *   ntl_model *model;
 *   ntl_context *context;
 *   ntl_options options = {.trust_file = "trust.yaml"};
 *   if (ntl_open("diabetes/1.ntb", &options, &model, &error)) { puts(error.message); exit(1); }
 *   if (ntl_context_new(model, &context, &error)) { puts(error.message); exit(1); }
 *
 *   float row[10] = {59, 2, 32.1f, 101, 157, 93.2f, 38, 4, 4.86f, 87}, prediction;
 *   ntl_output answer = {.index = 0, .values = &prediction, .capacity = 1};
 *   if (ntl_predict_rows(context, NTL_FLOAT32, row, 1, 10, &answer, 1, &error)) { puts(error.message); exit(1); }
 *
 *   ntl_context_free(context);
 *   ntl_close(model);
 *
 * Any number of threads may share a model; a context is one thread's at a time. The library has no threads of its own
 * unless ntl_options asks for them, and ntl_predict does not allocate. No input ends the process: what is wrong with it
 * is a code and a sentence. The handbook's page "Embedding" says more.
 */
#ifndef LIBNEEDLETAIL_H
#define LIBNEEDLETAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- errors */

/* Reason why a call failed. Those below 100 are status codes of the protocol, with its numbers. */
typedef enum ntl_code {
  NTL_OK = 0,
  NTL_INVALID_ARGUMENT = 1, /* an input or a parameter is wrong and stays wrong */
  NTL_NOT_FOUND = 2,        /* no such output */
  NTL_INTERNAL = 8,         /* a fault of this library */

  /* Reasons why a bundle or a trust file was not opened. */
  NTL_TRUNCATED = 100,       /* the file is shorter than its header says */
  NTL_BAD_MAGIC = 101,       /* the file is no bundle */
  NTL_UNSUPPORTED = 102,     /* the bundle needs a newer library */
  NTL_MALFORMED = 103,       /* bytes that do not follow the format */
  NTL_OVERSIZED = 104,       /* a size or a count is beyond its limit */
  NTL_BAD_LENGTH = 105,      /* the file is longer than its header says */
  NTL_BAD_HASH = 106,        /* a section is not what was hashed */
  NTL_UNSIGNED = 107,        /* there is no signature, and one was asked for */
  NTL_UNTRUSTED = 108,       /* no trusted key has signed it */
  NTL_REVOKED = 109,         /* the key, the digest or the version was withdrawn */
  NTL_BAD_SIGNATURE = 110,   /* the signature does not verify */
  NTL_WRONG_NAME = 111,      /* another model or version than was expected */
  NTL_EXPIRED = 112,         /* the bundle's time is over */
  NTL_BAD_COMPRESSION = 113, /* a section does not decompress */
  NTL_INVALID_GRAPH = 114,   /* the sections do not fit together */
  NTL_BAD_TRUST_FILE = 115,  /* the trust file cannot be read as one */
  NTL_IO = 116,              /* the system refused to read */
  NTL_PLAN = 117,            /* the graph cannot be compiled */
  NTL_GOLDEN = 118,          /* the bundle's own samples are answered differently on this machine */
  NTL_MEMORY = 119,          /* the system has no memory for it */
} ntl_code;

/* Bytes of a message with its end; a longer sentence is cut. */
#define NTL_MESSAGE_BYTES 1024

/* What went wrong. It is written when a call fails, and may be NULL where nobody wants to know. */
typedef struct ntl_error {
  ntl_code code;
  char message[NTL_MESSAGE_BYTES]; /* one sentence for people, UTF-8: the field, what was expected, what was found */
} ntl_error;

/* "INVALID_ARGUMENT" and so on; "UNKNOWN" for what is no code. */
const char *ntl_code_name(ntl_code code);

/* Version of the library, such as "0.1.0". */
const char *ntl_version(void);

/* ---------------------------------------------------------------- models */

/* An opened bundle. */
typedef struct ntl_model ntl_model;

/* How a bundle is opened. Zeros are the defaults of all fields, except that one of the first two must be set. */
typedef struct ntl_options {
  const char *trust_file; /* file with the keys that may sign, as a server's --trust; NULL: none */
  bool allow_unsigned;    /* whether a bundle without a trusted signature is opened too */
  const char *model;      /* name that the bundle must have; NULL: any */
  uint64_t version;       /* version that the bundle must have; 0: any */
  uint32_t threads;       /* threads that may share one large layer, the caller's among them, for the whole process: the
                             first model that asks for more than one decides. 0: the caller's only */
  uint32_t rows_per_run;  /* rows that are computed at once, 1 to 4096; a context grows with them. 0: 256 */
} ntl_options;

/* A text in memory, UTF-8, not ended by a NUL. */
typedef struct ntl_text {
  const char *bytes;
  size_t length;
} ntl_text;

/* Element types of tensors, with the protocol's numbers. */
typedef enum ntl_type {
  NTL_FLOAT32 = 1,
  NTL_FLOAT64 = 2,
  NTL_INT8 = 3,
  NTL_INT16 = 4,
  NTL_INT32 = 5,
  NTL_INT64 = 6,
  NTL_UINT8 = 7,
  NTL_BOOL = 8, /* one byte an element, 0 or 1 */
  NTL_STRING = 9,
} ntl_type;

/* A feature that a model wants. */
typedef struct ntl_feature {
  ntl_text name;
  ntl_type type;              /* NTL_FLOAT32 for numbers, NTL_STRING for categories, dates and free text */
  bool optional;              /* whether it may be missing: NaN, or the empty text */
  bool text;                  /* whether it is free text, which counts as it is */
  const ntl_text *categories; /* the known ones */
  size_t category_count;
  ntl_text description;
} ntl_feature;

/* An output that a model gives: NTL_FLOAT32 with `columns` numbers a row, or one NTL_INT64 (the index of a class) or
 * one NTL_STRING (its label) a row. */
typedef struct ntl_output_info {
  ntl_text name;
  ntl_type type;
  size_t columns;
} ntl_output_info;

/* A figure of a model's training, or a fact about where it comes from. */
typedef struct ntl_metric {
  ntl_text name;
  double value;
} ntl_metric;

typedef struct ntl_fact {
  ntl_text name;
  ntl_text value;
} ntl_fact;

/* What is known of a model. All memory in it is the model's. */
typedef struct ntl_description {
  ntl_text model;
  uint64_t version;
  ntl_text task; /* "classification" or "regression" */
  const ntl_feature *features;
  size_t feature_count;
  const ntl_output_info *outputs;
  size_t output_count;
  const ntl_text *labels; /* of the classes, by index */
  size_t label_count;
  ntl_text digest;     /* SHA-256 of the bundle's directory, in hexadecimal */
  ntl_text signer;     /* name of the trusted key that signed it; empty: none */
  uint64_t created_ms; /* Unix time in milliseconds at which it was written */
  const ntl_metric *metrics;
  size_t metric_count;
  const ntl_fact *lineage;
  size_t lineage_count;
  ntl_text precision;   /* what its layers compute in: "int8", "fp32" or "mixed" */
  ntl_text isa;         /* instruction set that it was compiled for */
  const ntl_text *plan; /* its steps, for people */
  size_t plan_count;
  ntl_text plan_choice;  /* how it came to be computed this way, for people */
  size_t resident_bytes; /* weights and tables, shared by all contexts */
  size_t context_bytes;  /* scratch of one context, beside the room for texts */
  size_t rows_max;       /* rows of one call */
  size_t text_bytes_max; /* bytes of all texts of one call */
  uint32_t threads;      /* threads that may share one large layer, the caller's among them */
} ntl_description;

/* Reads, verifies and compiles a bundle, and answers its golden samples: what a server does before a version goes live.
 * It takes some 20 ms for a small model.
 *
 * On success `*model` is a model for ntl_close; else it is NULL. The options may be gone afterwards. */
ntl_code ntl_open(const char *path, const ntl_options *options, ntl_model **model, ntl_error *error);

/* The description, valid until ntl_close; NULL for NULL. */
const ntl_description *ntl_describe(const ntl_model *model);

/* Index of an output by its name, or NTL_NOT_FOUND with the names that there are. */
ntl_code ntl_find_output(const ntl_model *model, const char *name, size_t name_length, size_t *index, ntl_error *error);

/* Gives the model back; NULL is taken. Contexts that are left stay usable until they are freed, descriptions do not. */
void ntl_close(ntl_model *model);

/* ---------------------------------------------------------------- predictions */

/* Scratch for one call at a time on one model. A thread that finds another in its context is refused. */
typedef struct ntl_context ntl_context;

/* On success `*context` is a context for ntl_context_free; else it is NULL. */
ntl_code ntl_context_new(ntl_model *model, ntl_context **context, ntl_error *error);

/* Frees a context that no call is under way in; NULL is taken. */
void ntl_context_free(ntl_context *context);

/* One input: all features of all rows as "features" of shape [rows, features], or one column, named after its feature,
 * of shape [rows] or [rows, 1]. It borrows the caller's memory for the time of the call. */
typedef struct ntl_tensor {
  const char *name;
  size_t name_length;
  ntl_type type;
  const uint64_t *shape;
  size_t rank;
  const void *data; /* elements of all types but NTL_STRING, row-major; they need no alignment */
  size_t data_bytes;
  const ntl_text *texts; /* elements of NTL_STRING; an empty one is missing */
  size_t text_count;
} ntl_tensor;

/* Memory for one output: rows × columns of float, or rows of int64_t or of ntl_text. Texts that are written there are
 * the model's, valid until ntl_close. */
typedef struct ntl_output {
  size_t index;    /* among the description's outputs */
  void *values;    /* aligned as its elements */
  size_t capacity; /* elements that there is memory for */
} ntl_output;

/* Answers the rows of some tensors.
 *
 * Outputs that are not listed are not copied. After an error the memory of the listed ones may hold anything. It
 * neither allocates nor locks, unless it fails. */
ntl_code ntl_predict(ntl_context *context, const ntl_tensor *inputs, size_t input_count, const ntl_output *outputs,
                     size_t output_count, ntl_error *error);

/* ntl_predict of one tensor "features": `row_count` × `column_count` elements of a type other than NTL_STRING,
 * row-major, in the order of the description's features. */
ntl_code ntl_predict_rows(ntl_context *context, ntl_type type, const void *rows, size_t row_count, size_t column_count,
                          const ntl_output *outputs, size_t output_count, ntl_error *error);

#ifdef __cplusplus
}
#endif

#endif
