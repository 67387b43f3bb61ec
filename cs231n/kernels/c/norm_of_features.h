/* Batch normalization without pixels. The numbers of a feature lie a row apart: a vector holds features, and
   ROWS examples are read at a time. Compilers vectorize these loops. */

#define ROWS 8
#define SUM_OF(a) (((a##0 + a##1) + (a##2 + a##3)) + ((a##4 + a##5) + (a##6 + a##7)))

/* Add the moments of ROWS examples' features to those of `before` examples. */
static TARGET void OF(add_rows)(const REAL *restrict x, Index step, Index count, Index before,
    double *restrict sum, double *restrict squares)
{
    const double share = before ? 1.0 / before : 0, weight = (double)before * ROWS / (before + ROWS);
    for (Index j = 0; j < count; j++) {
        const REAL *at = x + j;
        REAL x0 = at[0], x1 = at[step], x2 = at[2 * step], x3 = at[3 * step];
        REAL x4 = at[4 * step], x5 = at[5 * step], x6 = at[6 * step], x7 = at[7 * step];
        REAL mean = SUM_OF(x) * (REAL)(1.0 / ROWS);
        REAL d0 = x0 - mean, d1 = x1 - mean, d2 = x2 - mean, d3 = x3 - mean;
        REAL d4 = x4 - mean, d5 = x5 - mean, d6 = x6 - mean, d7 = x7 - mean;
        REAL s0 = d0 * d0, s1 = d1 * d1, s2 = d2 * d2, s3 = d3 * d3;
        REAL s4 = d4 * d4, s5 = d5 * d5, s6 = d6 * d6, s7 = d7 * d7;
        REAL remainder = SUM_OF(d); /* see add_chunk */
        double corrected = mean + (double)(remainder == remainder ? remainder : 0) * (1.0 / ROWS);
        double apart = corrected - sum[j] * share;
        squares[j] += SUM_OF(s) + apart * apart * weight;
        sum[j] += corrected * ROWS;
    }
}

/* The same for one example */
static TARGET void OF(add_row)(
    const REAL *restrict x, Index count, Index before, double *restrict sum, double *restrict squares)
{
    const double share = before ? 1.0 / before : 0, weight = (double)before / (before + 1);
    for (Index j = 0; j < count; j++) {
        double apart = x[j] - sum[j] * share;
        squares[j] += apart * apart * weight;
        sum[j] += x[j];
    }
}

/* The features of one example: out = (x - mean) inv_std gamma + beta */
static TARGET void OF(scale_row)(const REAL *restrict x, Index count, const REAL *restrict mean,
    const REAL *restrict inv_std, const REAL *restrict gamma, const REAL *restrict beta, REAL *restrict out)
{
    for (Index j = 0; j < count; j++) out[j] = (x[j] - mean[j]) * (gamma[j] * inv_std[j]) + beta[j];
}

/* Add the sums of dout and dout x_hat of ROWS examples' features. */
static TARGET void OF(add_product_rows)(const REAL *restrict dout, const REAL *restrict x, Index step,
    Index count, const REAL *restrict mean, const REAL *restrict inv_std, double *restrict sum,
    double *restrict product)
{
    for (Index j = 0; j < count; j++) {
        const REAL *up = dout + j, *at = x + j;
        REAL m = mean[j], i = inv_std[j];
        REAL u0 = up[0], u1 = up[step], u2 = up[2 * step], u3 = up[3 * step];
        REAL u4 = up[4 * step], u5 = up[5 * step], u6 = up[6 * step], u7 = up[7 * step];
        REAL p0 = u0 * ((at[0] - m) * i), p1 = u1 * ((at[step] - m) * i);
        REAL p2 = u2 * ((at[2 * step] - m) * i), p3 = u3 * ((at[3 * step] - m) * i);
        REAL p4 = u4 * ((at[4 * step] - m) * i), p5 = u5 * ((at[5 * step] - m) * i);
        REAL p6 = u6 * ((at[6 * step] - m) * i), p7 = u7 * ((at[7 * step] - m) * i);
        sum[j] += SUM_OF(u);
        product[j] += SUM_OF(p);
    }
}

/* The same for one example */
static TARGET void OF(add_product_row)(const REAL *restrict dout, const REAL *restrict x, Index count,
    const REAL *restrict mean, const REAL *restrict inv_std, double *restrict sum, double *restrict product)
{
    for (Index j = 0; j < count; j++) {
        sum[j] += dout[j];
        product[j] += dout[j] * ((x[j] - mean[j]) * inv_std[j]);
    }
}

/* The features of one example: dx = gamma inv_std (dout - dbeta / N - x_hat dgamma / N) */
static TARGET void OF(row_backward)(const REAL *restrict dout, const REAL *restrict x, Index count,
    const REAL *restrict mean, const REAL *restrict inv_std, const REAL *restrict gamma,
    const REAL *restrict dgamma, const REAL *restrict dbeta, REAL share, REAL *restrict dx)
{
    for (Index j = 0; j < count; j++) {
        REAL x_hat = (x[j] - mean[j]) * inv_std[j];
        dx[j] = (dout[j] - dbeta[j] * share - x_hat * (dgamma[j] * share)) * (gamma[j] * inv_std[j]);
    }
}
#undef SUM_OF
