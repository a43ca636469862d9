/* Vectors of several channels or filters; REAL is float or double. */

#include <string.h>

typedef long long integer;
typedef REAL lanes __attribute__((vector_size(64), aligned(sizeof(REAL))));
typedef __typeof__((lanes){0} > (lanes){0}) mask;

#define LANES ((integer)(64 / sizeof(REAL)))

static inline lanes at(const REAL *numbers) { return *(const lanes *)numbers; }

static inline void put(REAL *numbers, lanes value) { *(lanes *)numbers = value; }

static inline lanes kept(mask where, lanes a) { return (lanes)(where & (mask)a); }

static inline lanes chosen(mask where, lanes a, lanes b) { return (lanes)((where & (mask)a) | (~where & (mask)b)); }

/* The largest of the four numbers of a pooling window, or zero. NaN stays NaN. */
static inline lanes pooled(const lanes y[4])
{
    lanes upper = chosen(y[1] > y[0], y[1], y[0]), lower = chosen(y[3] > y[2], y[3], y[2]);
    lanes most = chosen(lower > upper, lower, upper);
    return kept(~(most <= 0), most);
}

/* The derivative of `pooled`: `g` goes to the largest of the four numbers (the first of equal ones) if that number is
   above zero. */
static inline void pooled_back(const lanes y[4], lanes g, lanes out[4])
{
    mask right1 = y[1] > y[0], right2 = y[3] > y[2];
    lanes upper = chosen(right1, y[1], y[0]), lower = chosen(right2, y[3], y[2]);
    mask below = lower > upper;
    g = kept(~(chosen(below, lower, upper) <= 0), g);
    out[0] = kept(~below & ~right1, g), out[1] = kept(~below & right1, g);
    out[2] = kept(below & ~right2, g), out[3] = kept(below & right2, g);
}
