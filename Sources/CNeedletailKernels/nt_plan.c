#include "nt_internal.h"
#include "nt_plan.h"

static void run_dense_f32(const nt_plan *plan, const nt_step *step, const float *in, float *out, size_t rows) {
  if (step->plain_weights && rows >= plan->sgemm_rows_min) {
    plan->sgemm(in, step->plain_weights, out, rows, step->out_columns, step->in_columns);
    plan->kernels->bias_activate(out, step->plain_bias, rows, step->out_columns, step->activation);
    return;
  }
  nt_f32_gemm_args args = {
      .a = in,
      .weights = step->weights,
      .rows = rows,
      .columns = step->out_columns,
      .depth = step->in_columns,
      .panel_end = nt_panel_count(step->out_columns),
      .out = out,
      .activation = step->activation,
  };
  plan->kernels->f32_gemm(&args);
}

void nt_plan_run(const nt_plan *plan, void *arena, size_t rows) {
  const nt_kernel_table *kernels = plan->kernels;
  uint8_t *base = arena;
  for (size_t i = 0; i < plan->step_count; i++) {
    const nt_step *step = &plan->steps[i];
    void *in = base + step->in_offset;
    void *out = base + step->out_offset;
    float *scales = (float *)(base + step->scales_offset);
    switch (step->kind) {
      case NT_STEP_PREPROCESS:
        kernels->preprocess(step->preprocess, in, out, rows);
        break;
      case NT_STEP_QUANTISE:
        kernels->quantise(in, rows, step->in_columns, out, nt_s8_row_stride(step->in_columns), scales);
        break;
      case NT_STEP_DENSE_S8: {
        nt_s8_gemm_args args = {
            .a = in,
            .a_stride = nt_s8_row_stride(step->in_columns),
            .row_scales = scales,
            .weights = step->weights,
            .rows = rows,
            .columns = step->out_columns,
            .depth = step->in_columns,
            .panel_end = nt_panel_count(step->out_columns),
            .out = out,
            .activation = step->activation,
        };
        kernels->s8_gemm(&args);
        break;
      }
      case NT_STEP_DENSE_F32:
        run_dense_f32(plan, step, in, out, rows);
        break;
      case NT_STEP_LOGISTIC:
        kernels->logistic(in, out, rows * step->in_columns);
        break;
      case NT_STEP_SOFTMAX:
        kernels->softmax(in, out, rows, step->in_columns);
        break;
      case NT_STEP_ARGMAX:
        kernels->argmax(in, out, rows, step->in_columns);
        break;
    }
  }
}
