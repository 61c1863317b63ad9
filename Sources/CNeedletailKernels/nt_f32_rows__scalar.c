#include "nt_internal.h"

NT_DECLARE_KERNELS(scalar)

#define NT_ISA scalar
#define NT_TARGET
#include "nt_f32_rows.h"
