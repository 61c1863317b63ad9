#include "nt_kernels.h"
