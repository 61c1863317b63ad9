// Intrinsics of x86: the compiler's, or with NT_USE_SIMDE those of SIMDe, so that CPUs without AVX-512 test them.
#pragma once

#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif
