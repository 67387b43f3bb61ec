/* Layers that treat every number by itself. Compilers vectorize these loops. */

/* out = max(x, 0); a NaN stays one. */
static TARGET void OF(relu)(Index count, const void *x_array, void *out_array)
{
    const REAL *restrict x = x_array;
    REAL *restrict out = out_array;
    for (Index i = 0; i < count; i++) out[i] = x[i] < 0 ? 0 : x[i];
}

/* dx = dout where out > 0, else 0; as a product, so that a NaN stays one. */
static TARGET void OF(relu_backward)(
    Index count, const void *dout_array, const void *out_array, void *dx_array)
{
    const REAL *restrict dout = dout_array, *restrict out = out_array;
    REAL *restrict dx = dx_array;
    for (Index i = 0; i < count; i++) dx[i] = dout[i] * (out[i] > 0 ? (REAL)1 : 0);
}

/* out = x scale where `kept` is 1, and x 0 where it is 0. */
static TARGET void OF(keep)(
    Index count, const void *x_array, const uint8_t *restrict kept, double scale, void *out_array)
{
    const REAL *restrict x = x_array;
    REAL *restrict out = out_array, factor = scale;
    for (Index i = 0; i < count; i++) out[i] = x[i] * (kept[i] ? factor : 0);
}

/* out = (x - mean) scale + shift, for numbers that share a mean */
static TARGET inline void OF(scale_plane)(
    const REAL *restrict x, Index count, REAL mean, REAL inv_std, REAL gamma, REAL beta, REAL *restrict out)
{
    REAL scale = gamma * inv_std;
    for (Index i = 0; i < count; i++) out[i] = (x[i] - mean) * scale + beta;
}

/* dx = inv_std (gamma dout - dout_mean - x_hat product_mean), for numbers that share a mean */
static TARGET inline void OF(plane_backward)(const REAL *restrict dout, const REAL *restrict x, Index count,
    REAL mean, REAL inv_std, REAL gamma, REAL dout_mean, REAL product_mean, REAL *restrict dx)
{
    for (Index i = 0; i < count; i++) {
        REAL x_hat = (x[i] - mean) * inv_std;
        dx[i] = (dout[i] * gamma - dout_mean - x_hat * product_mean) * inv_std;
    }
}
