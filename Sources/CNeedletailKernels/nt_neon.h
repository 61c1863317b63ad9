// Code that the aarch64 kernels share: instructions beyond the baseline are enabled per function.
#pragma once

#include "nt_internal.h"

#if defined(NT_ARM64)
#include <arm_neon.h>

#define NT_TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define NT_TARGET_I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#endif
