#include "nt_internal.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

#define NT_ISA avx512vnni
#define NT_WEIGHT_OFFSET NT_S8_OFFSET__AVX512VNNI
#define NT_TARGET NT_TARGET_AVX512VNNI
#include "nt_f32_rows.h"
#endif
