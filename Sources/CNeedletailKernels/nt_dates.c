#include "nt_dates.h"

#include "nt_internal.h"

enum { seconds_a_day = 86400, seconds_a_week = 7 * seconds_a_day };

/// The years 1 to 9999.
static const double first_second = -62135596800.0, end_second = 253402300800.0;

typedef struct nt_date {
  int64_t year, month, day, day_of_year, days_in_year;
} nt_date;

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", 2013).
static nt_date nt_date_of(int64_t number) {
  int64_t shifted = number + 719468;
  int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  int64_t day_of_era = shifted - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month = (5 * from_march + 2) / 153;
  nt_date date = {.day = from_march - (153 * month + 2) / 5 + 1, .month = month < 10 ? month + 3 : month - 9};
  date.year = year_of_era + era * 400 + (date.month <= 2);
  int leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;
  // The year of the algorithm begins in March: January and February are its days 306 to 364 or 365.
  date.day_of_year = date.month <= 2 ? from_march - 305 : from_march + 60 + leap;
  date.days_in_year = 365 + leap;
  return date;
}

/// sin and cos of a fraction of a circle, by the polynomials of fdlibm on an eighth of it. The C library's own would
/// do, were its last bits the same everywhere.
static void nt_circle(double turns, double *sine, double *cosine) {
  static const double s[] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03,  -1.98412698298579493134e-04,
                             2.75573137070700676789e-06,  -2.50507602534068634195e-08, 1.58969099521155010221e-10};
  static const double c[] = {4.16666666666666019037e-02,  -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                             -2.75573143513906633035e-07, 2.08757232129817482790e-09,  -1.13596475577881948265e-11};
  int64_t quarter = (int64_t)(turns * 4 + 0.5);
  double x = (turns * 4 - (double)quarter) * 1.57079632679489661923;
  double z = x * x;
  double even = 1 - 0.5 * z + z * z * (c[0] + z * (c[1] + z * (c[2] + z * (c[3] + z * (c[4] + z * c[5])))));
  double odd = x + x * z * (s[0] + z * (s[1] + z * (s[2] + z * (s[3] + z * (s[4] + z * s[5])))));
  switch (quarter & 3) {
    case 0:
      *sine = odd, *cosine = even;
      return;
    case 1:
      *sine = even, *cosine = -odd;
      return;
    case 2:
      *sine = -odd, *cosine = -even;
      return;
    default:
      *sine = -even, *cosine = odd;
      return;
  }
}

double nt_date_part_of(double seconds, nt_date_part part) {
  if (seconds != seconds) return seconds;
  if (seconds < first_second) seconds = first_second;
  if (seconds >= end_second) seconds = end_second - 1;
  if (part == NT_DATE_ELAPSED) return seconds;
  int64_t whole = (int64_t)seconds;
  if ((double)whole > seconds) whole--;
  int64_t day = (whole >= 0 ? whole : whole - (seconds_a_day - 1)) / seconds_a_day;
  // Exact: both are below 2³⁸, and what is left has the last digit of the larger.
  double time = seconds - (double)(day * seconds_a_day);
  int64_t of_day = whole - day * seconds_a_day;
  // 1970-01-01 was a Thursday.
  int64_t weekday = ((day + 3) % 7 + 7) % 7;
  double sine, cosine;
  switch (part) {
    case NT_DATE_WEEKDAY:
      return (double)weekday;
    case NT_DATE_HOUR:
      return (double)(of_day / 3600);
    case NT_DATE_MINUTE:
      return (double)(of_day / 60 % 60);
    case NT_DATE_SECOND:
      return time - (double)(of_day / 60 * 60);
    case NT_DATE_WEEK_SIN:
    case NT_DATE_WEEK_COS:
      nt_circle(((double)(weekday * seconds_a_day) + time) / seconds_a_week, &sine, &cosine);
      return part == NT_DATE_WEEK_SIN ? sine : cosine;
    case NT_DATE_DAY_SIN:
    case NT_DATE_DAY_COS:
      nt_circle(time / seconds_a_day, &sine, &cosine);
      return part == NT_DATE_DAY_SIN ? sine : cosine;
    default:
      break;
  }
  nt_date date = nt_date_of(day);
  switch (part) {
    case NT_DATE_YEAR:
      return (double)date.year;
    case NT_DATE_MONTH:
      return (double)date.month;
    case NT_DATE_DAY:
      return (double)date.day;
    case NT_DATE_DAY_OF_YEAR:
      return (double)date.day_of_year;
    default:
      break;
  }
  double passed =
      ((double)((date.day_of_year - 1) * seconds_a_day) + time) / (double)(date.days_in_year * seconds_a_day);
  nt_circle(passed, &sine, &cosine);
  return part == NT_DATE_YEAR_SIN ? sine : cosine;
}

void nt_dates_step(const void *parameters, const nt_call *call) {
  const nt_dates *p = parameters;
  const double *x = nt_buffer(call, 0);
  double *y = nt_buffer(call, 1);
  for (size_t item = 0; item < call->items; item++, x += p->in_columns, y += p->out_columns) {
    size_t written = 0, part = 0;
    for (size_t column = 0; column < p->in_columns; column++) {
      uint32_t count = p->counts[column];
      if (count == 0) y[written++] = x[column];
      for (uint32_t i = 0; i < count; i++) y[written++] = nt_date_part_of(x[column], (nt_date_part)p->parts[part++]);
    }
  }
}
