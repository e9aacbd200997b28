#include "base/decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static Place exactly_at(Wide value) { return (Place){ value, value }; }

Place decimal_place_of_double(double value, unsigned scale) {
  const double limit = 1e20; /* above every integer; and 10^38 is within 127 bits */
  if (value != value || value > limit) return exactly_at(NUMBER_BEYOND);
  if (value < -limit) return exactly_at(-NUMBER_BEYOND);
  int exponent;
  const int digits = 53;
  Wide units =
    (Wide)(int64_t)ldexp(frexp(value, &exponent), digits) * decimal_unit(scale); /* times 2^(exponent - 53) */
  exponent -= digits;
  if (exponent >= 0) return exactly_at(units * ((Wide)1 << exponent));
  const int most = 126; /* bits that there are below the sign */
  if (-exponent > most) return units == 0 ? exactly_at(0) : units < 0 ? (Place){ -1, 0 } : (Place){ 0, 1 };
  Wide part = (Wide)1 << -exponent, whole = units / part, rest = units % part;
  if (rest == 0) return exactly_at(whole);
  return rest < 0 ? (Place){ whole - 1, whole } : (Place){ whole, whole + 1 };
}

Place decimal_place(Wide value, unsigned from, unsigned to) {
  if (from <= to) return exactly_at(value * decimal_unit(to - from));
  Wide unit = decimal_unit(from - to), whole = value / unit, rest = value % unit;
  if (rest == 0) return exactly_at(whole);
  return rest < 0 ? (Place){ whole - 1, whole } : (Place){ whole, whole + 1 };
}

int decimal_order_beside_double(Wide value, unsigned scale, double x) {
  Place p = decimal_place_of_double(x, scale);
  if (p.floor == p.ceiling) return (value > p.floor) - (value < p.floor);
  return value <= p.floor ? -1 : 1;
}

/* Where both are doubles their quotient is the nearest one; else the text is read, which has no point that a locale
 * could change. */
double decimal_to_double(int64_t unscaled, unsigned scale) {
  const int64_t exact = INT64_C(1) << 53;
  if (unscaled <= exact && unscaled >= -exact) return (double)unscaled / (double)decimal_unit(scale);
  char text[48];
  snprintf(text, sizeof text, "%llde-%u", (long long)unscaled, scale);
  return strtod(text, NULL);
}

Wide decimal_nearest_of_double(double value, unsigned scale) {
  Wide halves = decimal_place_of_double(2 * fabs(value), scale).floor, nearest = (halves + 1) / 2;
  return value < 0 ? -nearest : nearest;
}

Wide decimal_nearest(Wide value, unsigned from, unsigned to) {
  if (from <= to) return value * decimal_unit(to - from);
  Wide unit = decimal_unit(from - to), half = value < 0 ? -(unit / 2) : unit / 2;
  return (value + half) / unit;
}

Wide decimal_of(const Value *v, unsigned *scale) {
  if (v->type == TYPE_F64 && v->exactly) {
    *scale = type_scale((ColumnType)v->exactly);
    return v->written.unscaled;
  }
  *scale = type_scale(v->type);
  return v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (Wide)v->u : (Wide)v->i;
}
