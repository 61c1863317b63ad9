#include "nt_internal.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx2)

#define NT_ISA avx2
#define NT_TARGET NT_TARGET_AVX2
#define NT_OWN_QUANTISE_KNOWN
#include "nt_f32_rows.h"
#endif
