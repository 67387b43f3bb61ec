/* Batch normalization: statistics of each channel over all images and pixels.

   Some channels are handled together, and then the next. What is read for their statistics is still in the
   cache when the result is computed. */

/* With small planes, so many channels that about a page of memory of each image is read. Planes of at most
   SMALL pixels are copied side by side first, so that sums are long. */
enum { OF(most_together) = 8, OF(page) = 1024, OF(small) = 128, OF(side_by_side) = 512 };
#define MOST_TOGETHER OF(most_together)
#define SMALL OF(small)
#define SIDE_BY_SIDE OF(side_by_side)

/* How many channels are handled together with `channel`; without pixels, all */
static Index OF(together)(const Images *s, Index channel)
{
    Index rest = s->last - channel, count = smaller(MOST_TOGETHER, OF(page) / s->pixels);
    return s->pixels == 1 ? rest : smaller(rest, count > 0 ? count : 1);
}

/* Copy a plane of each of `count` channels behind those that were copied before. */
static TARGET void OF(place)(
    const REAL *planes, Index pixels, Index count, Index filled, REAL to[][SIDE_BY_SIDE])
{
    for (Index k = 0; k < count; k++) memcpy(to[k] + filled, planes + k * pixels, pixels * sizeof(REAL));
}

/* The moments of `count` channels with pixels, the first of which begins at x */
static TARGET void OF(channel_moments)(const Images *s, const REAL *x, Index count, Moments *moments)
{
    REAL copies[MOST_TOGETHER][SIDE_BY_SIDE];
    Index pixels = s->pixels, filled = 0;
    for (Index n = 0; n < s->images; n++, x += s->channels * pixels) {
        if (pixels > SMALL) {
            for (Index k = 0; k < count; k++) OF(add_moments)(x + k * pixels, pixels, moments + k);
            continue;
        }
        OF(place)(x, pixels, count, filled, copies);
        filled += pixels;
        if (filled + pixels <= SIDE_BY_SIDE && n + 1 < s->images) continue;
        for (Index k = 0; k < count; k++) OF(add_chunk)(copies[k], filled, moments + k);
        filled = 0;
    }
}

/* Write the sums of the numbers of `count` channels and of their squared distances from the mean. */
static TARGET void OF(channel_sums)(const Images *s, const REAL *x, Index count, double *sum, double *squares)
{
    Index n = 0;
    if (s->pixels == 1) {
        for (; n + ROWS <= s->images; n += ROWS)
            OF(add_rows)(x + n * s->channels, s->channels, count, n, sum, squares);
        for (; n < s->images; n++) OF(add_row)(x + n * s->channels, count, n, sum, squares);
        return;
    }
    Moments moments[MOST_TOGETHER] = {{0}};
    OF(channel_moments)(s, x, count, moments);
    for (Index k = 0; k < count; k++) {
        sum[k] = moments[k].sum;
        squares[k] = moments[k].squares;
    }
}

/* Write out and, unless var is NULL, first mean, var and inv_std; these are given otherwise. `work` holds two
   rows of C zeros. */
static TARGET void OF(batch_forward)(const Images *s, const void *x_array, const void *gamma_array,
    const void *beta_array, double eps, double *work, void *mean_array, void *var_array, void *inv_std_array,
    void *out_array)
{
    const REAL *x = x_array, *gamma = gamma_array, *beta = beta_array;
    REAL *mean = mean_array, *var = var_array, *inv_std = inv_std_array, *out = out_array;
    double *sum = work, *squares = work + s->channels;
    Index total = s->images * s->pixels, count;
    for (Index c = s->first; c < s->last; c += count) {
        count = OF(together)(s, c);
        if (var) {
            OF(channel_sums)(s, x + c * s->pixels, count, sum + c, squares + c);
            for (Index k = c; k < c + count; k++) {
                mean[k] = sum[k] / total;
                var[k] = squares[k] / total + 0 * mean[k]; /* NaN if the mean is infinite */
                inv_std[k] = 1 / sqrt(var[k] + eps);
            }
        }
        for (Index n = 0; n < s->images; n++) {
            Index at = (n * s->channels + c) * s->pixels;
            if (s->pixels == 1)
                OF(scale_row)(x + at, count, mean + c, inv_std + c, gamma + c, beta + c, out + at);
            else
                for (Index k = c; k < c + count; k++, at += s->pixels)
                    OF(scale_plane)(x + at, s->pixels, mean[k], inv_std[k], gamma[k], beta[k], out + at);
        }
    }
}

/* Add the sums of dout and dout x_hat of `count` channels, the first of which begins at dout and x. */
static TARGET void OF(channel_products)(const Images *s, const REAL *dout, const REAL *x, Index count,
    const REAL *mean, const REAL *inv_std, double *sum, double *product)
{
    REAL upstream[MOST_TOGETHER][SIDE_BY_SIDE], copies[MOST_TOGETHER][SIDE_BY_SIDE];
    Index pixels = s->pixels, step = s->channels * pixels, filled = 0, n = 0;
    if (pixels == 1) {
        for (; n + ROWS <= s->images; n += ROWS)
            OF(add_product_rows)(dout + n * step, x + n * step, step, count, mean, inv_std, sum, product);
        for (; n < s->images; n++)
            OF(add_product_row)(dout + n * step, x + n * step, count, mean, inv_std, sum, product);
        return;
    }
    for (; n < s->images; n++, dout += step, x += step) {
        if (pixels > SMALL) {
            for (Index k = 0; k < count; k++)
                OF(add_products)(
                    dout + k * pixels, x + k * pixels, pixels, mean[k], inv_std[k], sum + k, product + k);
            continue;
        }
        OF(place)(dout, pixels, count, filled, upstream);
        OF(place)(x, pixels, count, filled, copies);
        filled += pixels;
        if (filled + pixels <= SIDE_BY_SIDE && n + 1 < s->images) continue;
        for (Index k = 0; k < count; k++)
            OF(add_products)(upstream[k], copies[k], filled, mean[k], inv_std[k], sum + k, product + k);
        filled = 0;
    }
}

/* Write dx, dgamma and dbeta. `work` holds two rows of C zeros. */
static TARGET void OF(batch_backward)(const Images *s, const void *dout_array, const void *x_array,
    const void *mean_array, const void *inv_std_array, const void *gamma_array, double *work, void *dx_array,
    void *dgamma_array, void *dbeta_array)
{
    const REAL *dout = dout_array, *x = x_array, *mean = mean_array, *inv_std = inv_std_array,
               *gamma = gamma_array;
    REAL *dx = dx_array, *dgamma = dgamma_array, *dbeta = dbeta_array;
    double *sum = work, *product = work + s->channels, share = 1.0 / (s->images * s->pixels);
    Index count;
    for (Index c = s->first; c < s->last; c += count) {
        count = OF(together)(s, c);
        OF(channel_products)(
            s, dout + c * s->pixels, x + c * s->pixels, count, mean + c, inv_std + c, sum + c, product + c);
        for (Index k = c; k < c + count; k++) {
            dbeta[k] = sum[k];
            dgamma[k] = product[k];
        }
        for (Index n = 0; n < s->images; n++) {
            Index at = (n * s->channels + c) * s->pixels;
            if (s->pixels == 1)
                OF(row_backward)(dout + at, x + at, count, mean + c, inv_std + c, gamma + c, dgamma + c,
                    dbeta + c, share, dx + at);
            else
                for (Index k = c; k < c + count; k++, at += s->pixels)
                    OF(plane_backward)(dout + at, x + at, s->pixels, mean[k], inv_std[k], gamma[k],
                        gamma[k] * (sum[k] * share), gamma[k] * (product[k] * share), dx + at);
        }
    }
}
#undef ROWS
#undef MOST_TOGETHER
#undef SMALL
#undef SIDE_BY_SIDE
