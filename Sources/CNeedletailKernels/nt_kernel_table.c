#include "nt_internal.h"

#if defined(NT_X86)
#include <cpuid.h>
#elif defined(NT_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#endif

/// The kernels that every instruction set compiles for itself; packing is named apart, because several
/// share an order.
#define NT_TABLE(isa)                                                                                             \
  .name = #isa, .s8_gemm = nt_s8_gemm__##isa, .f32_gemm = nt_f32_gemm__##isa, .quantise = nt_f32_quantise__##isa, \
  .quantise_known = nt_f32_quantise_known__##isa, .preprocess = nt_f32_preprocess__##isa,                         \
  .bias_activate = nt_f32_bias_activate__##isa, .logistic = nt_f32_logistic__##isa,                               \
  .softmax = nt_f32_softmax__##isa, .argmax = nt_f32_argmax__##isa

NT_DECLARE_KERNELS(scalar)
const nt_kernel_table nt_kernels__scalar = {NT_TABLE(scalar), .s8_pack = nt_s8_pack__scalar};

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx2)
NT_DECLARE_KERNELS(avx512vnni)
const nt_kernel_table nt_kernels__avx2 = {NT_TABLE(avx2), .s8_pack = nt_s8_pack__scalar};
const nt_kernel_table nt_kernels__avx512vnni = {NT_TABLE(avx512vnni), .s8_pack = nt_s8_pack__scalar};

/// Extended control register 0: which register files the system saves on a context switch.
static uint64_t saved_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static bool x86_supports(nt_isa isa) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
  bool osxsave = c >> 27 & 1, fma = c >> 12 & 1;
  // XMM and YMM state; without it the CPU may know AVX and still fault.
  if (!osxsave || !fma || (saved_state() & 0x6) != 0x6) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  bool avx2 = b >> 5 & 1;
  if (isa == NT_ISA_AVX2) return avx2;
  bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1, vnni = c >> 11 & 1;
  // 0xe0: mask registers and both halves of ZMM state.
  return avx2 && f && dq && bw && vl && vnni && (saved_state() & 0xe0) == 0xe0;
}
#elif defined(NT_ARM64)
NT_DECLARE_KERNELS(neon)

/// NEON is part of the architecture, so the compiler already vectorises the scalar twins with it;
/// only the int8 product needs instructions beyond the baseline.
const nt_kernel_table nt_kernels__neon = {
    .name = "neon",
    .s8_pack = nt_s8_pack__scalar,
    .s8_gemm = nt_s8_gemm__neon,
    .f32_gemm = nt_f32_gemm__scalar,
    .quantise = nt_f32_quantise__scalar,
    .quantise_known = nt_f32_quantise_known__scalar,
    .preprocess = nt_f32_preprocess__scalar,
    .bias_activate = nt_f32_bias_activate__scalar,
    .logistic = nt_f32_logistic__scalar,
    .softmax = nt_f32_softmax__scalar,
    .argmax = nt_f32_argmax__scalar,
};

static bool supports_dotprod(void) {
#if defined(__linux__)
  const unsigned long hwcap_asimddp = 1ul << 20;
  return getauxval(AT_HWCAP) & hwcap_asimddp;
#else
  return true;  // every Apple CPU that runs a supported macOS
#endif
}
#endif

bool nt_isa_supported(nt_isa isa) {
  switch (isa) {
    case NT_ISA_SCALAR:
      return true;
#if defined(NT_X86)
    case NT_ISA_AVX2:
    case NT_ISA_AVX512VNNI:
      return x86_supports(isa);
#elif defined(NT_ARM64)
    case NT_ISA_NEON:
      return supports_dotprod();
#endif
    default:
      return false;
  }
}

nt_isa nt_isa_best(void) {
  static const nt_isa fastest_first[] = {NT_ISA_AVX512VNNI, NT_ISA_AVX2, NT_ISA_NEON};
  for (size_t i = 0; i < sizeof fastest_first / sizeof *fastest_first; i++) {
    if (nt_isa_supported(fastest_first[i])) return fastest_first[i];
  }
  return NT_ISA_SCALAR;
}

const nt_kernel_table *nt_kernel_table_for(nt_isa isa) {
  switch (isa) {
    case NT_ISA_SCALAR:
      return &nt_kernels__scalar;
#if defined(NT_X86)
    case NT_ISA_AVX2:
      return &nt_kernels__avx2;
    case NT_ISA_AVX512VNNI:
      return &nt_kernels__avx512vnni;
#elif defined(NT_ARM64)
    case NT_ISA_NEON:
      return &nt_kernels__neon;
#endif
    default:
      return NULL;
  }
}
