// Curves through the numbers of a column, with a logarithm and exponential of their own: the last bits of the C
// library's differ between its releases, and a model answers alike everywhere.
#include "nt_columns.h"
#include "nt_internal.h"

static const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;

/// By the polynomial of fdlibm.
double nt_natural_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  // Exponent of the number brought into √½ … √2.
  int64_t exponent = (int64_t)((bits + 0x00095f6400000000u) >> 52) - 1023;
  bits -= (uint64_t)exponent << 52;
  double m, k = (double)exponent;
  memcpy(&m, &bits, sizeof m);
  double f = m - 1, s = f / (2 + f), z = s * s, w = z * z;
  double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  double odd = z * (6.666666666666735130e-01 +
                    w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  double half = 0.5 * f * f;
  return k * ln2_high - ((half - (s * (half + even + odd) + k * ln2_low)) - f);
}

/// log(1 + x) for x ≥ 0. What rounding 1 + x took away is put back (Kahan).
static double nt_log1p(double x) {
  double sum = 1 + x;
  return sum == 1 ? x : nt_natural_log(sum) + (x - (sum - 1)) / sum;
}

/// exp(x) − 1 for |x| ≤ 700.
static double nt_expm1(double x) {
  if (x > -0.35 && x < 0.35) {
    double sum = 1;
    for (int n = 16; n > 1; n--) sum = 1 + sum * x / n;
    return x * sum;
  }
  double k = (double)(int64_t)(x * 1.44269504088896338700e+00 + (x < 0 ? -0.5 : 0.5));
  double high = x - k * ln2_high, low = k * ln2_low, r = high - low, t = r * r;
  double c =
      r -
      t * (1.66666666666666019037e-01 +
           t * (-2.77777777770155933842e-03 +
                t * (6.61375632143793436117e-05 + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
  double power = 1 - ((low - r * c / (2 - c)) - high);
  uint64_t bits = (uint64_t)((int64_t)k + 1023) << 52;
  double scale;
  memcpy(&scale, &bits, sizeof scale);
  return power * scale - 1;
}

/// ((1 + x)^exponent − 1) / exponent for x ≥ 0, its limit log(1 + x) for an exponent of 0.
static double nt_power(double x, double exponent) {
  double logarithm = nt_log1p(x);
  // Below, the two differ by less than a rounding.
  if (exponent > -1e-17 && exponent < 1e-17) return logarithm;
  double y = exponent * logarithm;
  if (y > 700) y = 700;
  if (y < -700) y = -700;
  return nt_expm1(y) / exponent;
}

static double nt_ratio(const double *numerator, const double *denominator, double x) {
  double a = numerator[7], b = denominator[7];
  for (int i = 6; i >= 0; i--) a = a * x + numerator[i], b = b * x + denominator[i];
  return a / b;
}

double nt_normal_quantile(double p) {
  static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                              1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                              3.3430575583588128105e+4, 2.5090809287301226727e+3};
  static const double b[8] = {1,
                              4.2313330701600911252e+1,
                              6.8718700749205790830e+2,
                              5.3941960214247511077e+3,
                              2.1213794301586595867e+4,
                              3.9307895800092710610e+4,
                              2.8729085735721942674e+4,
                              5.2264952788528545610e+3};
  static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                              3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                              2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static const double d[8] = {1,
                              2.05319162663775882187e0,
                              1.67638483018380384940e0,
                              6.89767334985100004550e-1,
                              1.48103976427480074590e-1,
                              1.51986665636164571966e-2,
                              5.47593808499534494600e-4,
                              1.05075007164441684324e-9};
  static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                              2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                              2.71155556874348757815e-5, 2.01033439929228813265e-7};
  static const double f[8] = {1,
                              5.99832206555887937690e-1,
                              1.36929880922735805310e-1,
                              1.48753612908506148525e-2,
                              7.86869131145613259100e-4,
                              1.84631831751005468180e-5,
                              1.42151175831644588870e-7,
                              2.04426310338993978564e-15};
  double q = p - 0.5;
  if (q >= -0.425 && q <= 0.425) return q * nt_ratio(a, b, 0.180625 - q * q);
  double r = __builtin_sqrt(-nt_natural_log(q < 0 ? p : 1 - p));
  double size = r <= 5 ? nt_ratio(c, d, r - 1.6) : nt_ratio(e, f, r - 5);
  return q < 0 ? -size : size;
}

/// Share of the table below x. Equal knots count half, as the mean of interpolating from both ends.
static double nt_share_below(const double *knots, size_t count, double x) {
  // The first knot that is not below x, and the first above it.
  size_t first = 0, above = count;
  for (size_t low = 0, high = count; low < high;) {
    size_t middle = (low + high) / 2;
    if (knots[middle] < x) {
      low = middle + 1;
    } else {
      high = middle;
    }
    first = low;
  }
  for (size_t low = first, high = count; low <= high;) {
    above = low;
    if (low == high) break;
    size_t middle = (low + high) / 2;
    if (knots[middle] <= x) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  double last = (double)(count - 1);
  if (first < above) return (double)(first + above - 1) / 2 / last;
  if (first == 0) return 0;
  if (first == count) return 1;
  double low = knots[first - 1], high = knots[first];
  return ((double)(first - 1) + (x - low) / (high - low)) / last;
}

double nt_curve_at(const nt_curve *curve, double x) {
  if (x != x) return x;
  const double largest = 3.4e38, tail = 1e-7;
  double y = x, low, high;
  switch (curve->kind) {
    case NT_CURVE_LOG:
      y = x < 0 ? -nt_log1p(-x) : nt_log1p(x);
      break;
    case NT_CURVE_YEO_JOHNSON:
      y = x < 0 ? -nt_power(-x, 2 - curve->lambda) : nt_power(x, curve->lambda);
      break;
    case NT_CURVE_QUANTILE_UNIFORM:
    case NT_CURVE_QUANTILE_NORMAL:
      low = curve->knots[0], high = curve->knots[curve->knot_count - 1];
      y = nt_share_below(curve->knots, curve->knot_count, x);
      if (curve->kind == NT_CURVE_QUANTILE_UNIFORM) {
        // As scikit-learn's QuantileTransformer: the ends are 0 and 1, however many rows are equal to them.
        y = x <= low ? 0 : x >= high ? 1 : y;
      } else {
        y = x - tail < low ? 0 : x + tail > high ? 1 : y;
        y = y < tail ? tail : y > 1 - tail ? 1 - tail : y;
        y = nt_normal_quantile(y);
      }
      break;
    default:
      break;
  }
  return y < -largest ? -largest : y > largest ? largest : y;
}
