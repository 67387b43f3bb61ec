/* Sums over contiguous numbers.

   A block is 128 bytes of numbers. Each place of a block has a sum of its own, so there are several vectors
   to add to, and neither the sums nor their order depend on how many numbers a vector holds. What remains
   behind the last whole block is added one by one, in double precision, and so are the sums of CHUNK numbers:
   no sum of floats has more than CHUNK / 32 terms. */

#define VECTOR OF(vector)
#define LANES ((Index)(BYTES / sizeof(REAL)))
#define BLOCK ((Index)(128 / sizeof(REAL)))
#define PARTS (128 / BYTES) /* vectors of a block */
typedef REAL VECTOR __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define AT(pointer) (*(VECTOR *)(pointer)) /* the vector that begins there */

#ifndef CHUNK
#define CHUNK ((Index)2048) /* numbers that stay in the first-level cache, read more than once */
#endif

/* Return the sum of the numbers of a block. */
static TARGET inline double OF(fold)(const VECTOR *block)
{
    REAL sum[BLOCK];
    memcpy(sum, block, sizeof sum);
#pragma GCC unroll 8
    for (int half = BLOCK / 2; half; half /= 2)
        for (int i = 0; i < half; i++) sum[i] += sum[i + half];
    return sum[0];
}

/* Add the moments of at most CHUNK numbers. The mean is corrected by the mean distance from it, which is not
   zero because of rounding. With infinities, it is no number and the mean stays. */
static TARGET void OF(add_chunk)(const REAL *x, Index count, Moments *moments)
{
    Index whole = count / BLOCK * BLOCK;
    VECTOR sum[PARTS] = {{0}}, rest[PARTS] = {{0}}, square[PARTS] = {{0}};
    for (Index i = 0; i < whole; i += BLOCK)
#pragma GCC unroll 8
        for (int v = 0; v < PARTS; v++) sum[v] += AT(x + i + v * LANES);
    double total = OF(fold)(sum);
    for (Index i = whole; i < count; i++) total += x[i];

    REAL mean = total / count;
    for (Index i = 0; i < whole; i += BLOCK)
#pragma GCC unroll 8
        for (int v = 0; v < PARTS; v++) {
            VECTOR distance = AT(x + i + v * LANES) - mean;
            rest[v] += distance;
            square[v] += distance * distance;
        }
    double remainder = OF(fold)(rest), squares = OF(fold)(square);
    for (Index i = whole; i < count; i++) {
        REAL distance = x[i] - mean;
        remainder += distance;
        squares += distance * distance;
    }
    if (isfinite(remainder)) {
        total = (double)mean * count + remainder;
        squares -= remainder * remainder / count;
    }
    add_moments(moments, count, total, squares);
}

static TARGET void OF(add_moments)(const REAL *x, Index count, Moments *moments)
{
    for (Index i = 0; i < count; i += CHUNK) OF(add_chunk)(x + i, smaller(CHUNK, count - i), moments);
}

/* Add the sum of dout and that of dout x_hat, where x_hat = (x - mean) inv_std. */
static TARGET void OF(add_products)(
    const REAL *dout, const REAL *x, Index count, REAL mean, REAL inv_std, double *sum, double *product)
{
    Index i = 0;
    while (count - i >= BLOCK) {
        Index end = i + smaller(CHUNK, (count - i) / BLOCK * BLOCK);
        VECTOR sums[PARTS] = {{0}}, products[PARTS] = {{0}};
        for (; i < end; i += BLOCK)
#pragma GCC unroll 8
            for (int v = 0; v < PARTS; v++) {
                VECTOR upstream = AT(dout + i + v * LANES);
                sums[v] += upstream;
                products[v] += upstream * ((AT(x + i + v * LANES) - mean) * inv_std);
            }
        *sum += OF(fold)(sums);
        *product += OF(fold)(products);
    }
    for (; i < count; i++) {
        *sum += dout[i];
        *product += dout[i] * ((x[i] - mean) * inv_std);
    }
}
