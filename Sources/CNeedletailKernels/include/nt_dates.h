/// Parts and cycles of moments.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Numbers of `needletail.v1.DatePart`.
typedef enum nt_date_part {
  NT_DATE_ELAPSED = 0,
  NT_DATE_YEAR = 1,
  NT_DATE_MONTH = 2,
  NT_DATE_DAY = 3,
  NT_DATE_WEEKDAY = 4,
  NT_DATE_DAY_OF_YEAR = 5,
  NT_DATE_HOUR = 6,
  NT_DATE_MINUTE = 7,
  NT_DATE_SECOND = 8,
  NT_DATE_YEAR_SIN = 9,
  NT_DATE_YEAR_COS = 10,
  NT_DATE_WEEK_SIN = 11,
  NT_DATE_WEEK_COS = 12,
  NT_DATE_DAY_SIN = 13,
  NT_DATE_DAY_COS = 14,
} nt_date_part;

/// One part of a moment in seconds since 1970-01-01 00:00 UTC; NaN for NaN. Seconds outside the years 1 to 9999 count
/// as the nearest inside. The trainer asks here for the numbers that a server's steps will compute.
double nt_date_part_of(double seconds, nt_date_part part);

/// Buffers: input, output, both fp64. Per input column, `counts[column]` parts of it, or the column itself for 0.
typedef struct nt_dates {
  const uint32_t *counts;
  /// nt_date_part of all columns, one after the other.
  const uint32_t *parts;
  uint32_t in_columns, out_columns;
} nt_dates;

/// No instruction set would make another of it: it branches on calendars.
void nt_dates_step(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
