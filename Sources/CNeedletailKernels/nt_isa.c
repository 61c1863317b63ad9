#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "nt_internal.h"

#if defined(NT_X86)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(NT_ARM64)
#include <sys/auxv.h>
#endif

#if defined(NT_X86)
/// Extended control register 0: which register files the system saves on a context switch.
static uint64_t saved_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

/// Asks the system once whether this process may use the tiles of AMX: without its word they fault. It grants them for
/// all threads, and refuses where a thread's alternate signal stack has no room for 8 KiB of tiles. Since Linux 5.16.
static bool may_use_tiles(void) {
  enum { arch_req_xcomp_perm = 0x1023, xfeature_tile_data = 18 };
  static _Atomic int answer;
  if (answer == 0) answer = syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_tile_data) == 0 ? 1 : -1;
  return answer > 0;
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
  bool tile = d >> 24 & 1, int8 = d >> 25 & 1;
  // 0xe0: mask registers and both halves of ZMM state.
  bool avx512 = avx2 && f && dq && bw && vl && vnni && (saved_state() & 0xe0) == 0xe0;
  if (isa == NT_ISA_AVX512VNNI) return avx512;
  // 0x60000: configuration and data of tiles.
  return avx512 && tile && int8 && (saved_state() & 0x60000) == 0x60000 && may_use_tiles();
}

bool nt_has_bf16_tiles(void) {
#if defined(NT_USE_SIMDE)
  return true;
#else
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1;
#endif
}
#elif defined(NT_ARM64)
static bool arm64_supports(nt_isa isa) {
  const unsigned long hwcap_asimddp = 1ul << 20, hwcap2_i8mm = 1ul << 13;
  bool dotprod = getauxval(AT_HWCAP) & hwcap_asimddp;
  return isa == NT_ISA_NEON ? dotprod : dotprod && getauxval(AT_HWCAP2) & hwcap2_i8mm;
}
#endif

bool nt_isa_supported(nt_isa isa) {
  switch (isa) {
    case NT_ISA_SCALAR:
      return true;
#if defined(NT_X86)
    case NT_ISA_AVX2:
    case NT_ISA_AVX512VNNI:
    case NT_ISA_AMX:
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
  static const nt_isa fastest_first[] = {NT_ISA_AMX, NT_ISA_AVX512VNNI, NT_ISA_AVX2, NT_ISA_NEON_I8MM, NT_ISA_NEON};
  for (size_t i = 0; i < sizeof fastest_first / sizeof *fastest_first; i++) {
    if (nt_isa_supported(fastest_first[i])) return fastest_first[i];
  }
  return NT_ISA_SCALAR;
}

const char *nt_isa_name(nt_isa isa) {
  static const char *const names[] = {"scalar", "avx2", "avx512vnni", "neon", "neon-i8mm", "amx"};
  return (size_t)isa < sizeof names / sizeof *names ? names[isa] : "unknown";
}

bool nt_isa_exists(nt_isa isa) {
#if defined(NT_X86)
  return isa <= NT_ISA_AVX512VNNI || isa == NT_ISA_AMX;
#elif defined(NT_ARM64)
  return isa == NT_ISA_SCALAR || isa == NT_ISA_NEON || isa == NT_ISA_NEON_I8MM;
#else
  return isa == NT_ISA_SCALAR;
#endif
}
