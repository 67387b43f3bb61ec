/* The loss of a softmax and its gradient, one row of scores at a time. */

#define INTEGERS OF(integers)
typedef INTEGER INTEGERS __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define SELECT(which, yes, no) ((VECTOR)(((which) & (INTEGERS)(yes)) | (~(which) & (INTEGERS)(no))))

#define IS_FLOAT (sizeof(REAL) == 4)
#define DIGITS (IS_FLOAT ? FLT_MANT_DIG - 1 : DBL_MANT_DIG - 1) /* bits behind the binary point */
#define BIAS (IS_FLOAT ? FLT_MAX_EXP - 1 : DBL_MAX_EXP - 1)     /* of the exponent in these bits */
#define SMALLEST ((REAL)(IS_FLOAT ? FLT_MIN : DBL_MIN))         /* the smallest number that is no denormal */

/* Return e^x for x <= 0, within about one unit in the last place; 0 where it would be less than SMALLEST.

   With n = x / ln 2 rounded, e^x = 2^n e^(x - n ln 2), and the second exponent is at most 0.35 in size: a
   Taylor polynomial is enough. A number that is added to 1.5 * 2^DIGITS is rounded to an integer, which
   stands in the last bits; from there it moves to those of the exponent. ln 2 is the sum of two numbers, the
   first of which has so few digits that its product with n is exact. */
static TARGET inline VECTOR OF(exponential)(VECTOR x)
{
    static const REAL inverse_factorials[] = {1, 1, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720,
        1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600,
        1.0 / 6227020800};
    enum { DEGREE = IS_FLOAT ? 7 : 13 };
    const REAL rounder = IS_FLOAT ? 12582912.0 : 6755399441055744.0;
    const REAL log2_e = 1.44269504088896340736, ln2_high = 0.693145751953125;
    const REAL ln2_low = 1.42860682030941723212e-6;
    const REAL lowest = IS_FLOAT ? -87.33654475 : -708.39641853226408;

    INTEGERS too_low = x < lowest;
    x = SELECT(too_low, (VECTOR){0}, x);
    VECTOR rounded = x * log2_e + rounder, n = rounded - rounder;
    VECTOR rest = x - n * ln2_high - n * ln2_low, sum = (VECTOR){0} + inverse_factorials[DEGREE];
#pragma GCC unroll 16
    for (int k = DEGREE - 1; k >= 0; k--) sum = sum * rest + inverse_factorials[k];
    INTEGERS power = ((INTEGERS)rounded << DIGITS) + ((INTEGER)BIAS << DIGITS);
    return SELECT(too_low, (VECTOR){0}, sum * (VECTOR)power);
}

/* Write e^(x - most) into e and add it to sum, for a block. */
static TARGET inline void OF(exponentials)(const REAL *x, REAL most, REAL *e, VECTOR *sum)
{
#pragma GCC unroll 8
    for (int v = 0; v < PARTS; v++) {
        VECTOR value = OF(exponential)(AT(x + v * LANES) - most);
        AT(e + v * LANES) = value;
        sum[v] += value;
    }
}

/* Return the largest number; if there is a NaN, perhaps NaN. */
static TARGET REAL OF(largest)(const REAL *x, Index count)
{
    REAL most = x[0];
    Index i = 0;
    if (count >= LANES) {
        VECTOR best = AT(x);
        for (i = LANES; i + LANES <= count; i += LANES) {
            VECTOR value = AT(x + i);
            best = SELECT(value > best, value, best);
        }
        for (int lane = 0; lane < LANES; lane++) most = best[lane] > most ? best[lane] : most;
    }
    for (; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* e = e factor, or 0 where that would be less than SMALLEST */
static TARGET void OF(scale_or_clear)(REAL *e, Index count, REAL factor, REAL limit)
{
    for (Index i = 0; i < count; i++) e[i] = (e[i] < limit ? 0 : e[i]) * factor;
}

/* Write the losses of rows of scores, -log p_y, and dx = (p - onehot(y)) / examples.

   Gradients that would be denormal are 0. A network that has learned its minibatch has many of them, all
   products of which take processors a hundred times as long. */
static TARGET void OF(softmax)(Index rows, Index classes, Index examples, const void *x_array, const Index *y,
    double *losses, void *dx_array)
{
    const REAL *x = x_array;
    REAL *dx = dx_array;
    for (Index n = 0; n < rows; n++, x += classes, dx += classes) {
        REAL most = OF(largest)(x, classes), shifted = x[y[n]] - most;
        VECTOR sums[PARTS] = {{0}};
        Index i = 0;
        for (; i + BLOCK <= classes; i += BLOCK) OF(exponentials)(x + i, most, dx + i, sums);
        if (i < classes) {
            REAL last[BLOCK], e[BLOCK];
            for (Index k = 0; k < BLOCK; k++) last[k] = i + k < classes ? x[i + k] : -INFINITY;
            OF(exponentials)(last, most, e, sums);
            memcpy(dx + i, e, (classes - i) * sizeof(REAL));
        }
        double sum = OF(fold)(sums), of_label = (dx[y[n]] / sum - 1) / examples;
        losses[n] = log(sum) - shifted;
        OF(scale_or_clear)(dx, classes, 1 / (sum * examples), SMALLEST * (sum * examples));
        dx[y[n]] = fabs(of_label) < SMALLEST ? 0 : of_label;
    }
}
#undef INTEGERS
#undef SELECT
#undef IS_FLOAT
#undef DIGITS
#undef BIAS
#undef SMALLEST
