#ifndef NEEDLETAIL_CHIREDIS_SHIM_H
#define NEEDLETAIL_CHIREDIS_SHIM_H

#include <hiredis/hiredis.h>

#endif
