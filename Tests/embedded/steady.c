/* steady BUNDLE: opens a bundle with the released library, and counts the threads of the process, and the heap
 * allocations of 2,000 calls of one and of 300 rows, texts among them where the model takes some. */
#include <dirent.h>
#include <libneedletail.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nt_allocations.h"

enum { rows_max = 300, columns_max = 256, outputs_max = 8, calls = 1000 };

static void die(const char *what, const char *message) {
  fprintf(stderr, "steady: %s: %s\n", what, message);
  exit(1);
}

static size_t thread_count(void) {
  size_t count = 0;
  DIR *tasks = opendir("/proc/self/task");
  if (!tasks) die("/proc/self/task", "not there");
  for (struct dirent *entry; (entry = readdir(tasks));) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

int main(int count, char **arguments) {
  ntl_error error;
  ntl_model *model;
  ntl_context *context;
  ntl_options options = {.allow_unsigned = true};
  if (count != 2) die("usage", "steady BUNDLE");
  if (ntl_open(arguments[1], &options, &model, &error)) die(arguments[1], error.message);
  if (ntl_context_new(model, &context, &error)) die("context", error.message);
  const ntl_description *about = ntl_describe(model);
  if (about->feature_count > columns_max || about->output_count > outputs_max) die(arguments[1], "too wide");

  static float numbers[columns_max][rows_max];
  static ntl_text texts[columns_max][rows_max];
  static ntl_tensor columns[columns_max];
  static char values[outputs_max][rows_max * columns_max * 8];
  static ntl_output outputs[outputs_max];
  uint64_t shape[2] = {1, rows_max};
  for (size_t column = 0; column < about->feature_count; column++) {
    const ntl_feature *feature = &about->features[column];
    columns[column] = (ntl_tensor){
        .name = feature->name.bytes, .name_length = feature->name.length, .type = feature->type, .rank = 1};
    for (size_t row = 0; row < rows_max; row++) {
      numbers[column][row] = (float)((row + column) % 5);
      if (feature->category_count) texts[column][row] = feature->categories[row % feature->category_count];
    }
  }
  for (size_t index = 0; index < about->output_count; index++)
    outputs[index] = (ntl_output){.index = index, .values = values[index], .capacity = rows_max * columns_max};

  uint64_t before = 0;
  for (int call = -2; call < 2 * calls; call++) {
    if (call == 0) before = nt_allocations_of_thread();
    size_t rows = call % 2 ? rows_max : 1;
    for (size_t column = 0; column < about->feature_count; column++) {
      columns[column].shape = &shape[rows > 1];
      if (columns[column].type == NTL_STRING) {
        columns[column].texts = texts[column], columns[column].text_count = rows;
      } else {
        columns[column].data = numbers[column], columns[column].data_bytes = rows * sizeof(float);
      }
    }
    if (ntl_predict(context, columns, about->feature_count, outputs, about->output_count, &error))
      die(arguments[1], error.message);
  }
  unsigned long long made = nt_allocations_of_thread() - before;
  size_t threads = thread_count();
  printf("%-14.*s %d calls, %llu allocations, %zu thread\n", (int)about->model.length, about->model.bytes, 2 * calls,
         made, threads);
  ntl_context_free(context);
  ntl_close(model);
  return made == 0 && threads == 1 ? 0 : 1;
}
