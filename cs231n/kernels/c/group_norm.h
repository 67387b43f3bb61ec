/* Group and layer normalization: statistics of each group of channels over the pixels of one image. */

/* out for numbers that share a mean and have a gamma and a beta each */
static TARGET void OF(scale_features)(const REAL *restrict x, Index count, REAL mean, REAL inv_std,
    const REAL *restrict gamma, const REAL *restrict beta, REAL *restrict out)
{
    for (Index j = 0; j < count; j++) out[j] = (x[j] - mean) * inv_std * gamma[j] + beta[j];
}

/* Write out, and mean and inv_std (N, G). */
static TARGET void OF(group_forward)(const Images *s, Index groups, const void *x_array,
    const void *gamma_array, const void *beta_array, double eps, void *mean_array, void *inv_std_array,
    void *out_array)
{
    Index channels = s->channels / groups, count = channels * s->pixels;
    for (Index n = s->first * groups; n < s->last * groups; n++) {
        const REAL *x = (const REAL *)x_array + n * count;
        const REAL *gamma = (const REAL *)gamma_array + n % groups * channels;
        const REAL *beta = (const REAL *)beta_array + n % groups * channels;
        REAL *out = (REAL *)out_array + n * count;
        Moments moments = {0};
        OF(add_moments)(x, count, &moments);
        REAL mean = moments.sum / count, inv_std = 1 / sqrt(moments.squares / count + eps);
        ((REAL *)mean_array)[n] = mean;
        ((REAL *)inv_std_array)[n] = inv_std;
        if (s->pixels == 1) {
            OF(scale_features)(x, count, mean, inv_std, gamma, beta, out);
            continue;
        }
        for (Index c = 0; c < channels; c++) {
            Index at = c * s->pixels;
            OF(scale_plane)(x + at, s->pixels, mean, inv_std, gamma[c], beta[c], out + at);
        }
    }
}

/* Add the sums of gamma dout and gamma dout x_hat of one group that has no pixels. */
static TARGET void OF(add_features)(const REAL *dout, const REAL *x, const REAL *gamma, Index count,
    REAL mean, REAL inv_std, double *sum, double *product)
{
    Index i = 0;
    while (count - i >= BLOCK) {
        Index end = i + smaller(CHUNK, (count - i) / BLOCK * BLOCK);
        VECTOR sums[PARTS] = {{0}}, products[PARTS] = {{0}};
        for (; i < end; i += BLOCK)
#pragma GCC unroll 8
            for (int v = 0; v < PARTS; v++) {
                Index at = i + v * LANES;
                VECTOR upstream = AT(dout + at) * AT(gamma + at);
                sums[v] += upstream;
                products[v] += upstream * ((AT(x + at) - mean) * inv_std);
            }
        *sum += OF(fold)(sums);
        *product += OF(fold)(products);
    }
    for (; i < count; i++) {
        REAL upstream = dout[i] * gamma[i];
        *sum += upstream;
        *product += upstream * ((x[i] - mean) * inv_std);
    }
}

/* dx of a group without pixels; its dout and dout x_hat are added to dbeta and dgamma. */
static TARGET void OF(features_backward)(const REAL *restrict dout, const REAL *restrict x,
    const REAL *restrict gamma, Index count, REAL mean, REAL inv_std, REAL dout_mean, REAL product_mean,
    REAL *restrict dx, double *restrict dgamma, double *restrict dbeta)
{
    for (Index j = 0; j < count; j++) {
        REAL upstream = dout[j], x_hat = (x[j] - mean) * inv_std;
        dx[j] = (upstream * gamma[j] - dout_mean - x_hat * product_mean) * inv_std;
        dbeta[j] += upstream;
        dgamma[j] += upstream * x_hat;
    }
}

/* Write dx; add to dgamma and dbeta. */
static TARGET void OF(group_backward)(const Images *s, Index groups, const void *dout_array,
    const void *x_array, const void *mean_array, const void *inv_std_array, const void *gamma_array,
    void *dx_array, double *dgamma_array, double *dbeta_array)
{
    Index channels = s->channels / groups, count = channels * s->pixels;
    for (Index n = s->first * groups; n < s->last * groups; n++) {
        const REAL *x = (const REAL *)x_array + n * count, *dout = (const REAL *)dout_array + n * count;
        const REAL *gamma = (const REAL *)gamma_array + n % groups * channels;
        double *dgamma = dgamma_array + n % groups * channels, *dbeta = dbeta_array + n % groups * channels;
        REAL *dx = (REAL *)dx_array + n * count;
        REAL mean = ((const REAL *)mean_array)[n], inv_std = ((const REAL *)inv_std_array)[n];
        double sum = 0, product = 0;
        if (s->pixels == 1) {
            OF(add_features)(dout, x, gamma, count, mean, inv_std, &sum, &product);
            OF(features_backward)(
                dout, x, gamma, count, mean, inv_std, sum / count, product / count, dx, dgamma, dbeta);
            continue;
        }
        for (Index c = 0; c < channels; c++) {
            Index at = c * s->pixels;
            double channel_sum = 0, channel_product = 0;
            OF(add_products)(dout + at, x + at, s->pixels, mean, inv_std, &channel_sum, &channel_product);
            dbeta[c] += channel_sum;
            dgamma[c] += channel_product;
            sum += gamma[c] * channel_sum;
            product += gamma[c] * channel_product;
        }
        for (Index c = 0; c < channels; c++) {
            Index at = c * s->pixels;
            OF(plane_backward)(
                dout + at, x + at, s->pixels, mean, inv_std, gamma[c], sum / count, product / count, dx + at);
        }
    }
}
