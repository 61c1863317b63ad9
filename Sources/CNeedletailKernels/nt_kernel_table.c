#include "nt_internal.h"

#if defined(NT_X86)
#include <cpuid.h>
#elif defined(NT_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(NT_ARM64)
#include <sys/sysctl.h>
#endif

/// The kernels that every instruction set compiles for itself; packing is named apart, because several
/// share an order.
#define NT_TABLE(isa)                                                                                                 \
  .name = #isa, .s8_gemm = nt_s8_gemm__##isa, .f32_gemm = nt_f32_gemm__##isa, .quantise = nt_f32_quantise__##isa,     \
  .quantise_known = nt_f32_quantise_known__##isa, .preprocess = nt_f32_preprocess__##isa,                             \
  .bias_activate = nt_f32_bias_activate__##isa, .logistic = nt_f32_logistic__##isa, .softmax = nt_f32_softmax__##isa, \
  .argmax = nt_f32_argmax__##isa

NT_DECLARE_KERNELS(scalar)
const nt_kernel_table nt_kernels__scalar = {NT_TABLE(scalar), .s8_pack = nt_s8_pack__scalar};

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx2)
NT_DECLARE_KERNELS(avx512vnni)
const nt_kernel_table nt_kernels__avx2 = {NT_TABLE(avx2), .s8_pack = nt_s8_pack__scalar};
const nt_kernel_table nt_kernels__avx512vnni = {NT_TABLE(avx512vnni), .s8_pack = nt_s8_pack__avx512vnni};

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

NT_DECLARE_KERNELS(neon_i8mm)

/// NEON is part of the architecture, so the compiler already vectorises the scalar twins of the row
/// operations with it; products and quantisation have kernels of their own.
#define NT_TABLE_NEON                                                                                              \
  .f32_gemm = nt_f32_gemm__neon, .quantise = nt_f32_quantise__neon, .quantise_known = nt_f32_quantise_known__neon, \
  .preprocess = nt_f32_preprocess__scalar, .bias_activate = nt_f32_bias_activate__scalar,                          \
  .logistic = nt_f32_logistic__scalar, .softmax = nt_f32_softmax__scalar, .argmax = nt_f32_argmax__scalar

const nt_kernel_table nt_kernels__neon = {NT_TABLE_NEON, .name = "neon", .s8_gemm = nt_s8_gemm__neon,
                                          .s8_pack = nt_s8_pack__scalar};
const nt_kernel_table nt_kernels__neon_i8mm = {NT_TABLE_NEON, .name = "neon-i8mm", .s8_gemm = nt_s8_gemm__neon_i8mm,
                                               .s8_pack = nt_s8_pack__neon_i8mm};

static bool arm64_supports(nt_isa isa) {
#if defined(__linux__)
  const unsigned long hwcap_asimddp = 1ul << 20, hwcap2_i8mm = 1ul << 13;
  bool dotprod = getauxval(AT_HWCAP) & hwcap_asimddp;
  return isa == NT_ISA_NEON ? dotprod : dotprod && getauxval(AT_HWCAP2) & hwcap2_i8mm;
#else
  if (isa == NT_ISA_NEON) return true;  // every Apple CPU that runs a supported macOS
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, NULL, 0) == 0 && has;
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
    case NT_ISA_NEON_I8MM:
      return arm64_supports(isa);
#endif
    default:
      return false;
  }
}

nt_isa nt_isa_best(void) {
  static const nt_isa fastest_first[] = {NT_ISA_AVX512VNNI, NT_ISA_AVX2, NT_ISA_NEON_I8MM, NT_ISA_NEON};
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
    case NT_ISA_NEON_I8MM:
      return &nt_kernels__neon_i8mm;
#endif
    default:
      return NULL;
  }
}
