/* Winograd's convolution (Lavin and Gray 2015, https://arxiv.org/abs/1509.09308), which needs 36
   multiplications where a filter of k x k taps needs k^2 for each of (7 - k)^2 outputs: a quarter with 3x3
   taps.

   In one dimension, m = 7 - k outputs y of a filter w see six pixels d:

       y = A' ((G w) * (B' d))        with * element by element.

   It rests on the product of two polynomials, which can be had from their values at six points. The points
   are 0, a, -a, b, -b and infinity, where the value is the highest coefficient. With p[i] for a point,

       A (6, m)    has the values of a polynomial with m coefficients: row i is 1, p[i], p[i]^2, ...
       G (6, k)    is the same for k coefficients, and row i is divided by N[i], the product of p[i] - p[j]
                   over all other finite points j
       B' (6, 6)   holds in row i the coefficients of the product of x - p[j] over all other finite points j.

   a = 5/8 and b = 3/2 keep rounding errors small (with 3x3 taps they are twice those of a direct sum; with
   the more usual 1 and 2, four times; compare Barabasz et al. 2020, https://arxiv.org/abs/1803.10986).

   In two dimensions the transforms are applied to the columns of a patch d of 6x6 pixels, then to its rows:

       y = A' ((G w G') * (B' d B)) A.

   Channels are summed before A is applied, so each of the 36 elements e of a patch has its own matrix
   product: m[e] (patches, F) = v[e] (patches, C) u[e] (C, F), where u and v are the transformed filters and
   patches.

   The gradient of x is the convolution of dout with the filters rotated by 180 degrees. The gradient of w
   follows from the chain rule: z = A dout A', du[e] = v[e]' z[e], dw = G' du G.

   An infinity or NaN would spoil its whole patch. Where there is one, the direct convolution does the work.

   The lanes of vectors are channels or filters, so all data in between have these last. Element (r, s) of a
   transform is element e = 6 r + s; elements are u_stride, v_stride or m_stride apart. */

#define POINT_A ((REAL)0.625)
#define POINT_B ((REAL)1.5)
#define SQUARE_A (POINT_A * POINT_A)
#define SQUARE_B (POINT_B * POINT_B)

/* B' d for six pixels. */
static inline __attribute__((always_inline)) TARGET void OF(interpolate)(const VECTOR *d, VECTOR *v)
{
    VECTOR even = d[4] - SQUARE_B * d[2], odd = POINT_A * (d[3] - SQUARE_B * d[1]);
    v[0] = d[4] - (SQUARE_A + SQUARE_B) * d[2] + SQUARE_A * SQUARE_B * d[0];
    v[1] = even + odd;
    v[2] = even - odd;
    even = d[4] - SQUARE_A * d[2], odd = POINT_B * (d[3] - SQUARE_A * d[1]);
    v[3] = even + odd;
    v[4] = even - odd;
    v[5] = d[5] - (SQUARE_A + SQUARE_B) * d[3] + SQUARE_A * SQUARE_B * d[1];
}

/* The values at the six points of a polynomial with `count` coefficients, at least two: A c. */
static inline __attribute__((always_inline)) TARGET void OF(evaluate)(
    int count, const VECTOR *c, VECTOR *values)
{
    VECTOR even_a = c[0], even_b = c[0], odd_a = POINT_A * c[1], odd_b = POINT_B * c[1];
    REAL power_a = SQUARE_A, power_b = SQUARE_B;
    for (int j = 2; j < count; j++, power_a *= POINT_A, power_b *= POINT_B)
        if (j % 2 == 0) {
            even_a += power_a * c[j];
            even_b += power_b * c[j];
        } else {
            odd_a += power_a * c[j];
            odd_b += power_b * c[j];
        }
    values[0] = c[0];
    values[1] = even_a + odd_a;
    values[2] = even_a - odd_a;
    values[3] = even_b + odd_b;
    values[4] = even_b - odd_b;
    values[5] = c[count - 1];
}

/* The reverse: A' values, `count` numbers. */
static inline __attribute__((always_inline)) TARGET void OF(collect)(
    int count, const VECTOR *values, VECTOR *y)
{
    VECTOR even_a = values[1] + values[2], odd_a = values[1] - values[2];
    VECTOR even_b = values[3] + values[4], odd_b = values[3] - values[4];
    REAL power_a = 1, power_b = 1;
    for (int j = 0; j < count; j++, power_a *= POINT_A, power_b *= POINT_B)
        y[j] = j % 2 == 0 ? power_a * even_a + power_b * even_b : power_a * odd_a + power_b * odd_b;
    y[0] += values[0];
    y[count - 1] += values[5];
}

/* 1 / (N[r] N[s]), by which element (r, s) of G w G' differs from A w A'. */
static TARGET void OF(scales)(REAL *scale)
{
    REAL at_a = 1 / (2 * SQUARE_A * (SQUARE_A - SQUARE_B)), at_b = 1 / (2 * SQUARE_B * (SQUARE_B - SQUARE_A));
    REAL each[PATCH] = {1 / (SQUARE_A * SQUARE_B), at_a, at_a, at_b, at_b, 1};
    for (int e = 0; e < ELEMENTS; e++) scale[e] = each[e / PATCH] * each[e % PATCH];
}

/* The 36 elements of A c A' for c (rows, columns), whose numbers are `row` and `column` apart. */
static inline __attribute__((always_inline)) TARGET void OF(evaluate_patch)(
    int rows, int columns, const REAL *c, Index row, Index column, VECTOR *elements)
{
    VECTOR h[PATCH][PATCH];
    for (int q = 0; q < columns; q++) {
        VECTOR coefficients[PATCH] = {{0}}, values[PATCH];
        for (int p = 0; p < rows; p++) coefficients[p] = AT(c + p * row + q * column);
        OF(evaluate)(rows, coefficients, values);
        for (int r = 0; r < PATCH; r++) h[r][q] = values[r];
    }
    for (int r = 0; r < PATCH; r++) OF(evaluate)(columns, h[r], elements + PATCH * r);
}

/* A' m A, (rows, columns), for elements that are `stride` apart. */
static inline __attribute__((always_inline)) TARGET void OF(collect_patch)(
    int rows, int columns, const REAL *m, Index stride, VECTOR y[PATCH][PATCH])
{
    VECTOR h[PATCH][PATCH];
    for (int s = 0; s < PATCH; s++) {
        VECTOR values[PATCH], sums[PATCH] = {{0}};
        for (int r = 0; r < PATCH; r++) values[r] = AT(m + (PATCH * r + s) * stride);
        OF(collect)(rows, values, sums);
        for (int i = 0; i < rows; i++) h[i][s] = sums[i];
    }
    for (int i = 0; i < rows; i++) OF(collect)(columns, h[i], y[i]);
}

/* Return whether all numbers are finite: 0 times an infinity or NaN is NaN. */
static TARGET int OF(are_finite)(const REAL *numbers, Index count)
{
    VECTOR zeros = {0};
    REAL zero = 0;
    Index i = 0;
    for (; i + LANES <= count; i += LANES) zeros += 0 * AT(numbers + i);
    for (; i < count; i++) zero += 0 * numbers[i];
    for (int lane = 0; lane < LANES; lane++) zero += zeros[lane];
    return zero == 0;
}

/* Copy rows of an image (C, H, W) to pixels (rows, columns, channels), with zeros outside the image. Each
   channel's rows are read in one go. */
static TARGET void OF(gather)(const REAL *image, const Planes *planes, Index skip, Index rows, Index columns,
    Index channels, REAL *pixels)
{
    Index plane = planes->height * planes->width, left, right;
    columns_inside(planes, columns, &left, &right);
    memset(pixels, 0, rows * columns * channels * sizeof(REAL));
    for (Index c = 0; c < planes->channels; c += LANES)
        for (Index i = 0; i < rows; i++) {
            Index y = planes->first_row + skip + i;
            if (y < 0 || y >= planes->height) continue;
            OF(transpose)(image + c * plane + y * planes->width + planes->first_column + left,
                smaller(LANES, planes->channels - c), right - left, plane,
                pixels + (i * columns + left) * channels + c, channels);
        }
}

/* Copy outputs (rows, columns, filters) to an image (F, H', W'), without those outside. */
static TARGET void OF(scatter)(const REAL *outputs, const Planes *planes, Index skip, Index rows,
    Index columns, Index filters, REAL *image)
{
    Index plane = planes->height * planes->width;
    for (Index f = 0; f < planes->channels; f += LANES)
        for (Index i = 0; i < rows; i++)
            OF(transpose)(outputs + i * columns * filters + f, planes->width,
                smaller(LANES, planes->channels - f), filters, image + f * plane + (skip + i) * planes->width,
                plane);
}

/* u (36, channels, filters) = G w G' for some filters of w (F, C, taps), from the `first` on. `rotated` reads
   the taps backwards and turns filters into channels. */
static TARGET void OF(transform_filters)(
    const Geometry *g, const Pass *pass, const REAL *w, int rotated, Index first, REAL *taps, REAL *u)
{
    Index count = pass->taps_down * pass->taps_across, filter = g->channels * count;
    Index row = pass->filters_at_a_time, filters = smaller(row, pass->to.channels - first);
    Index next = rotated ? -row : row; /* from one tap to the next */
    REAL scale[ELEMENTS];
    OF(scales)(scale);
    w += first * (rotated ? count : filter);
    for (Index c = 0; c < pass->from.channels; c++, u += row) {
        /* Let the filters come last, for some channels at a time: taps (channels, count, filters) */
        if (rotated) OF(transpose)(w + c * filter, filters, count, count, taps, row);
        else if (c % CHANNELS_AT_A_TIME == 0)
            OF(transpose)(w + c * count, filters, smaller(CHANNELS_AT_A_TIME, g->channels - c) * count,
                filter, taps, row);
        const REAL *tap = taps + (rotated ? count - 1 : c % CHANNELS_AT_A_TIME * count) * row;
        for (Index f = 0; f < filters; f += LANES) {
            VECTOR elements[ELEMENTS];
            OF(evaluate_patch)(
                pass->taps_down, pass->taps_across, tap + f, pass->taps_across * next, next, elements);
            for (int e = 0; e < ELEMENTS; e++) AT(u + e * pass->u_stride + f) = scale[e] * elements[e];
        }
    }
}

/* v (36, patches, channels) = B' d B for the patches of an image's pixels (rows, columns, channels). */
static TARGET void OF(transform_patches)(const Pass *pass, Index rows, const REAL *pixels, REAL *v)
{
    Index channels = pass->channels, row = pixels_across(pass) * channels;
    for (Index i = 0; i < rows; i++)
        for (Index j = 0; j < pass->columns; j++)
            for (Index c = 0; c < channels; c += LANES, v += LANES) {
                const REAL *corner = pixels + i * pass->down * row + j * pass->across * channels + c;
                VECTOR h[PATCH][PATCH];
                for (int q = 0; q < PATCH; q++) {
                    VECTOR d[PATCH], values[PATCH];
                    for (int p = 0; p < PATCH; p++) d[p] = AT(corner + p * row + q * channels);
                    OF(interpolate)(d, values);
                    for (int r = 0; r < PATCH; r++) h[r][q] = values[r];
                }
                for (int r = 0; r < PATCH; r++) {
                    VECTOR values[PATCH];
                    OF(interpolate)(h[r], values);
                    for (int s = 0; s < PATCH; s++) AT(v + (PATCH * r + s) * pass->v_stride) = values[s];
                }
            }
}

/* v of a block; return whether its pixels are finite. */
static TARGET int OF(transform_block)(
    const Pass *pass, const PatchBlock *block, const REAL *images, REAL *pixels, REAL *v)
{
    Index rows = block->rows * pass->down + pass->taps_down - 1;
    Index count = rows * pixels_across(pass) * pass->channels;
    int finite = 1;
    for (Index n = 0; n < block->images; n++) {
        const REAL *image = images + (block->image + n) * size_of_image(&pass->from);
        OF(gather)(image, &pass->from, block->top, rows, pixels_across(pass), pass->channels, pixels);
        finite = finite && OF(are_finite)(pixels, count);
        OF(transform_patches)(pass, block->rows, pixels, v + n * block->patches * pass->channels);
    }
    return finite;
}

/* Outputs (rows, columns, filters) = A' m A + b of an image's patches. */
static inline __attribute__((always_inline)) TARGET void OF(outputs_of_size)(
    int down, int across, const Pass *pass, Index rows, const REAL *m, const REAL *b, REAL *outputs)
{
    Index filters = pass->filters, row = outputs_across(pass) * filters;
    for (Index i = 0; i < rows; i++)
        for (Index j = 0; j < pass->columns; j++)
            for (Index f = 0; f < filters; f += LANES, m += LANES) {
                REAL *corner = outputs + i * down * row + j * across * filters + f;
                VECTOR y[PATCH][PATCH];
                OF(collect_patch)(down, across, m, pass->m_stride, y);
                for (int p = 0; p < down; p++)
                    for (int q = 0; q < across; q++) AT(corner + p * row + q * filters) = y[p][q] + AT(b + f);
            }
}

static TARGET void OF(outputs_of_patches)(
    const Pass *pass, Index rows, const REAL *m, const REAL *b, REAL *outputs)
{
    if (pass->down == 4 && pass->across == 4) OF(outputs_of_size)(4, 4, pass, rows, m, b, outputs);
    else OF(outputs_of_size)(pass->down, pass->across, pass, rows, m, b, outputs);
}

/* Outputs of a block, in their images. */
static TARGET void OF(outputs_of_block)(
    const Pass *pass, const PatchBlock *block, const REAL *m, const REAL *b, REAL *outputs, REAL *images)
{
    for (Index n = 0; n < block->images; n++) {
        OF(outputs_of_patches)(pass, block->rows, m + n * block->patches * pass->filters, b, outputs);
        OF(scatter)(outputs, &pass->to, block->top, block->height, outputs_across(pass), pass->filters,
            images + (block->image + n) * size_of_image(&pass->to));
    }
}

/* Convolve images (N, C, H, W) with filters, or rotated ones, and add b (F,) unless that is NULL. */
static TARGET int OF(winograd)(const Geometry *g, const Pass *pass, const REAL *images, const REAL *w,
    int rotated, const REAL *b, REAL *out)
{
    Index channels = pass->from.channels, most = most_patches(pass);
    REAL *pixels = NEW(REAL, pixels_of_band(pass)), *outputs = NEW(REAL, outputs_of_band(pass));
    REAL *taps =
        NEW_ZEROS(REAL, CHANNELS_AT_A_TIME * pass->taps_down * pass->taps_across * pass->filters_at_a_time);
    REAL *bias = NEW_ZEROS(REAL, pass->filters);
    REAL *u = NEW(REAL, ELEMENTS * pass->u_stride), *v = NEW(REAL, ELEMENTS * pass->v_stride);
    REAL *m = NEW(REAL, ELEMENTS * pass->m_stride);
    Index *v_row = NEW(Index, most);
    Term *terms = NEW(Term, channels);
    int enough = pixels && outputs && taps && bias && u && v && m && v_row && terms;
    int finite = OF(are_finite)(w, g->filters * g->channels * g->window_height * g->window_width);
    if (enough) {
        /* Term c multiplies channel c of a patch, in v[e], by channel c of all filters, in u[e] */
        Index row = pass->filters_at_a_time;
        for (Index c = 0; c < channels; c++) terms[c] = (Term){c, c * row};
        for (Index k = 0; k < most; k++) v_row[k] = k * pass->channels;
        if (b) memcpy(bias, b, pass->to.channels * sizeof(REAL));
        for (Index f = 0; finite && f < pass->filters; f += row) {
            Index filters = smaller(row, pass->filters - f);
            OF(transform_filters)(g, pass, w, rotated, f, taps, u);
            for (Index k = 0; finite && k < pass->blocks; k++) {
                PatchBlock block = patch_block(pass, k);
                if (f == 0) finite = OF(transform_block)(pass, &block, images, pixels, v);
                /* m[e] (patches, F) = v[e] (patches, C) u[e] (C, F) */
                for (int e = 0; e < ELEMENTS; e++)
                    OF(product)(block.images * block.patches, filters, channels, terms,
                        v + e * pass->v_stride, v_row, u + e * pass->u_stride, 0, m + e * pass->m_stride + f,
                        pass->filters);
                if (f + row >= pass->filters) OF(outputs_of_block)(pass, &block, m, bias, outputs, out);
            }
        }
    }
    FREE_ALL(pixels, outputs, taps, bias, u, v, m, v_row, terms);
    return enough && !finite ? NOT_FINITE : enough;
}

static TARGET int OF(winograd_forward)(
    const Geometry *g, const void *x, const void *w, const void *b, void *out)
{
    Pass pass = pass_forward(g, sizeof(REAL), LANES);
    int done = OF(winograd)(g, &pass, x, w, 0, b, out);
    return done == NOT_FINITE ? OF(direct_forward)(g, x, w, b, out) : done;
}

static TARGET int OF(winograd_backward_input)(const Geometry *g, const void *dout, const void *w, void *dx)
{
    Pass pass = pass_backward(g, sizeof(REAL), LANES);
    int done = OF(winograd)(g, &pass, dout, w, 1, NULL, dx);
    return done == NOT_FINITE ? OF(direct_backward_input)(g, dout, w, dx) : done;
}

/* z (36, patches, filters) = A d A' for the patches d of upstream gradients (rows, columns, filters). */
static TARGET void OF(transform_upstream)(const Pass *pass, Index rows, const REAL *dout, REAL *z)
{
    Index filters = pass->filters, row = outputs_across(pass) * filters;
    for (Index i = 0; i < rows; i++)
        for (Index j = 0; j < pass->columns; j++)
            for (Index f = 0; f < filters; f += LANES, z += LANES) {
                const REAL *corner = dout + i * pass->down * row + j * pass->across * filters + f;
                VECTOR elements[ELEMENTS];
                OF(evaluate_patch)(pass->down, pass->across, corner, row, filters, elements);
                for (int e = 0; e < ELEMENTS; e++) AT(z + e * pass->m_stride) = elements[e];
            }
}

/* z of a block of dout (N, F, H', W'); add the sums of its pixels to db (F,); return whether they are finite.
 */
static TARGET int OF(transform_block_of_upstream)(
    const Pass *pass, const PatchBlock *block, const REAL *dout, REAL *outputs, REAL *z, REAL *db)
{
    Index plane = pass->to.height * pass->to.width, rows = block->rows * pass->down;
    Index count = rows * outputs_across(pass) * pass->filters;
    int finite = 1;
    for (Index n = 0; n < block->images; n++) {
        const REAL *image = dout + (block->image + n) * size_of_image(&pass->to);
        OF(gather)(image, &pass->to, block->top, rows, outputs_across(pass), pass->filters, outputs);
        finite = finite && OF(are_finite)(outputs, count);
        OF(transform_upstream)(pass, block->rows, outputs, z + n * block->patches * pass->filters);
        OF(add_sums)(image + block->top * pass->to.width, pass->to.channels, block->height * pass->to.width,
            plane, db);
    }
    return finite;
}

/* dw (F, C, taps) = G' du G, for some filters from the `first` on, from du (36, channels, filters), which
   this scales. */
static TARGET void OF(gradient_of_filters)(
    const Geometry *g, const Pass *pass, Index first, REAL *du, REAL *taps, REAL *dw)
{
    Index count = pass->taps_down * pass->taps_across, filter = g->channels * count;
    Index row = pass->filters_at_a_time, filters = smaller(row, g->filters - first);
    REAL scale[ELEMENTS];
    OF(scales)(scale);
    for (Index c = 0; c < g->channels; c += CHANNELS_AT_A_TIME) {
        /* taps (channels, count, filters), then transposed */
        Index channels = smaller(CHANNELS_AT_A_TIME, g->channels - c);
        for (Index n = 0; n < channels; n++, du += row)
            for (Index f = 0; f < filters; f += LANES) {
                VECTOR y[PATCH][PATCH];
                for (int e = 0; e < ELEMENTS; e++) AT(du + e * pass->u_stride + f) *= scale[e];
                OF(collect_patch)(pass->taps_down, pass->taps_across, du + f, pass->u_stride, y);
                for (Index k = 0; k < count; k++)
                    AT(taps + (n * count + k) * row + f) = y[k / pass->taps_across][k % pass->taps_across];
            }
        OF(transpose)(taps, channels * count, filters, row, dw + first * filter + c * count, filter);
    }
}

/* dw (F, C, HH, WW) = G' du G with du[e] (C, F) = v[e]' (C, patches) z[e] (patches, F), and db (F,). */
static TARGET int OF(winograd_backward_weights)(
    const Geometry *g, const void *dout, const void *x, void *dw, void *db)
{
    Pass pass = pass_forward(g, sizeof(REAL), LANES);
    Index most = most_patches(&pass);
    REAL *pixels = NEW(REAL, pixels_of_band(&pass)), *outputs = NEW(REAL, outputs_of_band(&pass));
    REAL *taps = NEW(REAL, CHANNELS_AT_A_TIME * pass.taps_down * pass.taps_across * pass.filters_at_a_time);
    REAL *du = NEW(REAL, ELEMENTS * pass.u_stride), *v = NEW(REAL, ELEMENTS * pass.v_stride);
    REAL *z = NEW(REAL, ELEMENTS * pass.m_stride);
    Index *v_row = NEW(Index, g->channels);
    Term *terms = NEW(Term, most);
    int enough = pixels && outputs && taps && du && v && z && v_row && terms, finite = 1;
    if (enough) {
        /* Term k multiplies patch k of a channel, in v[e], by patch k of all filters, in z[e] */
        for (Index k = 0; k < most; k++) terms[k] = (Term){k * pass.channels, k * pass.filters};
        for (Index c = 0; c < g->channels; c++) v_row[c] = c;
        memset(db, 0, g->filters * sizeof(REAL));
        Index row = pass.filters_at_a_time;
        for (Index f = 0; finite && f < pass.filters; f += row) {
            Index filters = smaller(row, pass.filters - f);
            for (Index k = 0; finite && k < pass.blocks; k++) {
                PatchBlock block = patch_block(&pass, k);
                if (f == 0)
                    finite = OF(transform_block)(&pass, &block, x, pixels, v) &&
                        OF(transform_block_of_upstream)(&pass, &block, dout, outputs, z, db);
                /* du[e] (C, F) += v[e]' (C, patches) z[e] (patches, F) */
                for (int e = 0; finite && e < ELEMENTS; e++)
                    OF(product)(g->channels, filters, block.images * block.patches, terms,
                        v + e * pass.v_stride, v_row, z + e * pass.m_stride + f, k > 0,
                        du + e * pass.u_stride, row);
            }
            if (finite) OF(gradient_of_filters)(g, &pass, f, du, taps, dw);
        }
    }
    FREE_ALL(pixels, outputs, taps, du, v, z, v_row, terms);
    return enough && !finite ? OF(direct_backward_weights)(g, dout, x, dw, db) : enough;
}
#undef POINT_A
#undef POINT_B
#undef SQUARE_A
#undef SQUARE_B
#undef AT
