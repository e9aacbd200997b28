/* decimal.h - decimals beside integers, floats and decimals of other scales: which is larger, exactly.
 *
 * A decimal is a whole number of units of 10^-scale; an integer is one of scale 0. 128 bits hold every product of a
 * column's value (64 bits) and 10^18. */
#ifndef COLONNADE_BASE_DECIMAL_H
#define COLONNADE_BASE_DECIMAL_H

#include "base/schema.h"

__extension__ typedef __int128 Wide;

/* Above every value of every column times 10^18 that is asked for, and below -NUMBER_BEYOND none is. */
#define NUMBER_BEYOND ((Wide)1 << 126)

/* Where a number lies among whole units: the largest not above it and the smallest not below it. */
typedef struct Place {
  Wide floor, ceiling;
} Place;

/* Of a double among units of 10^-scale. NaN, which is above every number, and what no column reaches: beyond. */
Place decimal_place_of_double(double value, unsigned scale);
/* Of `value` units of 10^-from among those of 10^-to. */
Place decimal_place(Wide value, unsigned from, unsigned to);
/* The order of `value` units of 10^-scale and a double: negative, 0, positive. */
int decimal_order_beside_double(Wide value, unsigned scale, double x);
/* The nearest double of `unscaled` units. */
double decimal_to_double(int64_t unscaled, unsigned scale);
/* The nearest number of units: of a double, and of units of another scale; halves away from zero. */
Wide decimal_nearest_of_double(double value, unsigned scale);
Wide decimal_nearest(Wide value, unsigned from, unsigned to);
/* Of a value of an integer or decimal type, or of an f64 that was written as a decimal: its units and their scale. */
Wide decimal_of(const Value *value, unsigned *scale);

#endif
