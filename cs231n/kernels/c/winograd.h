/* Winograd's convolution with 3x3 filters at stride 1: 16 multiplications for four outputs instead of 36
   (Lavin and Gray 2015, https://arxiv.org/abs/1509.09308, F(2x2, 3x3)).

   The four outputs at rows 2 i, 2 i + 1 and columns 2 j, 2 j + 1 see a 4x4 patch d of the padded image.
   They are

       A' ((G w G') * (B' d B)) A        with * element by element,

       B' = (1  0 -1  0)    G = ( 1    0    0 )    A' = (1  1  1  0)
            (0  1  1  0)        (1/2  1/2  1/2)         (0  1 -1 -1)
            (0 -1  1  0)        (1/2 -1/2  1/2)
            (0  1  0 -1)        ( 0    0    1 )

   as one dimension shows, where the first of two outputs is

       (d0 - d2) w0 + (d1 + d2)(w0 + w1 + w2)/2 + (d2 - d1)(w0 - w1 + w2)/2 = d0 w0 + d1 w1 + d2 w2.

   Channels are summed before A, so that each of the 16 places x of a patch has a matrix product of its own:
   m[x] (F, patches) = u[x] (F, C) v[x] (C, patches), u and v being the transformed filters and patches.

   The gradient of x is the convolution of dout with the filters turned round, and that of w follows by the
   chain rule: z = A dout A', du[x] = z[x] v[x]', dw = G' du G. */

/* u = G w G' for every filter and channel. */
static TARGET void OF(transform_filters)(
    const Geometry *g, const REAL *w, const Filters *of, REAL *u, Index next)
{
    for (Index f = 0; f < g->filters; f++)
        for (Index c = 0; c < g->channels; c++, u++) {
            const REAL *tap = w + f * of->filter + c * of->channel;
            REAL h[4][3];
            for (int q = 0; q < 3; q++) {
                REAL top = tap[q * of->tap], middle = tap[(3 + q) * of->tap], bottom = tap[(6 + q) * of->tap];
                h[0][q] = top, h[3][q] = bottom;
                h[1][q] = (top + bottom) / 2 + middle / 2, h[2][q] = (top + bottom) / 2 - middle / 2;
            }
            for (int r = 0; r < 4; r++) {
                REAL ends = (h[r][0] + h[r][2]) / 2, middle = h[r][1] / 2, *to = u + 4 * r * next;
                to[0] = h[r][0], to[next] = ends + middle;
                to[2 * next] = ends - middle, to[3 * next] = h[r][2];
            }
        }
}

/* What is at even and at odd places; and the reverse. Compilers know these loops and make shuffles of them. */
static inline TARGET void OF(split)(const REAL *both, REAL *restrict even, REAL *restrict odd)
{
    for (int lane = 0; lane < LANES; lane++) even[lane] = both[2 * lane], odd[lane] = both[2 * lane + 1];
}

static inline TARGET void OF(join)(const REAL *even, const REAL *odd, REAL *restrict both)
{
    for (int lane = 0; lane < LANES; lane++) both[2 * lane] = even[lane], both[2 * lane + 1] = odd[lane];
}

/* So many rows of one channel, from `first` on, to between zeros that are there already. */
static TARGET void OF(copy_inside)(
    const Geometry *g, const REAL *channel, Index first, Index rows, Index padded_row, REAL *padded)
{
    Index left = larger(0, g->pad), from = larger(0, -g->pad);
    Index count = smaller(g->width - from, padded_row - left);
    for (Index i = larger(0, -first); i < smaller(rows, g->height - first); i++)
        OF(copy_row)(channel + (first + i) * g->width + from, 1, count, padded + i * padded_row + left);
}

/* Pixel (2 i + a, 2 j + s) of the padded rows to place i columns + j of plane (a, s): what neighbouring
   patches have at one of their places lies side by side, whatever the width of the image. */
static TARGET void OF(spread)(const REAL *padded, Index rows, Index columns, REAL *planes, Index next)
{
    for (Index y = 0; y < rows; y++, padded += 2 * columns + 2)
        for (Index j = 0; j < columns; j += LANES)
            for (int s = 0; s < 4; s += 2) {
                REAL *to = planes + (y % 2 * 4 + s) * next + y / 2 * columns + j;
                OF(split)(padded + 2 * j + s, to, to + next); /* the next row overwrites what is too much */
            }
}

/* v = B' d B for `count` patches of one channel. */
static TARGET void OF(transform_patches)(
    const REAL *planes, Index plane, Index columns, Index count, REAL *v, Index next)
{
    for (Index k = 0; k < count; k += LANES, v += LANES) {
        VECTOR h[4][4];
        for (int s = 0; s < 4; s++) {
            const REAL *even = planes + s * plane + k, *odd = even + 4 * plane;
            VECTOR d0 = AT(even), d1 = AT(odd), d2 = AT(even + columns), d3 = AT(odd + columns);
            h[0][s] = d0 - d2, h[1][s] = d1 + d2, h[2][s] = d2 - d1, h[3][s] = d1 - d3;
        }
        REAL *to = v;
        for (int r = 0; r < 4; r++, to += 4 * next) {
            AT(to) = h[r][0] - h[r][2], AT(to + next) = h[r][1] + h[r][2];
            AT(to + 2 * next) = h[r][2] - h[r][1], AT(to + 3 * next) = h[r][1] - h[r][3];
        }
    }
}

/* v of a part, for all channels. */
static TARGET void OF(transform_part)(
    const Geometry *g, const Patches *t, const Part *part, const REAL *x, REAL *padded, REAL *planes, REAL *v)
{
    Index rows = 2 * part->rows + 2, pixels = g->height * g->width;
    memset(padded, 0, rows * t->padded_row * sizeof(REAL));
    for (Index n = 0; n < part->images; n++)
        for (Index c = 0; c < g->channels; c++) {
            OF(copy_inside)(g, x + ((part->image + n) * g->channels + c) * pixels, part->top - g->pad, rows,
                t->padded_row, padded);
            OF(spread)(padded, rows, t->columns, planes, t->plane);
            OF(transform_patches)(planes, t->plane, t->columns, part->patches,
                v + c * t->row + n * part->patches, t->v_next);
        }
}

/* Outputs A' m A + b of a vector of patches: at even and at odd columns, of both rows. */
static inline TARGET void OF(transform_back)(const REAL *m, Index next, REAL b, VECTOR *even, VECTOR *odd)
{
    VECTOR h[2][4];
    for (int s = 0; s < 4; s++, m += next) {
        VECTOR m1 = AT(m + 4 * next), m2 = AT(m + 8 * next);
        h[0][s] = AT(m) + m1 + m2, h[1][s] = m1 - m2 - AT(m + 12 * next);
    }
    for (int r = 0; r < 2; r++)
        even[r] = h[r][0] + h[r][1] + h[r][2] + b, odd[r] = h[r][1] - h[r][2] - h[r][3] + b;
}

/* Outputs of the patches of one filter; of the last ones only what is within height and width. */
static TARGET void OF(outputs_of_patches)(
    const REAL *m, Index next, Index columns, REAL b, REAL *out, Index height, Index width)
{
    for (Index k = 0, i = 0, j = 0; 2 * i < height; k += LANES) {
        VECTOR even[2], odd[2];
        REAL both[2][2 * BYTES / sizeof(REAL)];
        OF(transform_back)(m + k, next, b, even, odd);
        int whole = 2 * i + 2 <= height && 2 * (j + LANES) <= width; /* all of them lie in two rows */
        for (int r = 0; r < 2; r++)
            if (whole) OF(join)((REAL *)&even[r], (REAL *)&odd[r], out + (2 * i + r) * width + 2 * j);
            else OF(join)((REAL *)&even[r], (REAL *)&odd[r], both[r]);
        for (Index lane = 0, count; lane < LANES; lane += count) {
            count = smaller(LANES - lane, columns - j);
            for (int r = 0; !whole && r < 2 && 2 * i + r < height; r++)
                OF(copy_row)(both[r] + 2 * lane, 1, smaller(2 * count, width - 2 * j),
                    out + (2 * i + r) * width + 2 * j);
            j += count;
            if (j == columns) j = 0, i++;
        }
    }
}

static TARGET void OF(outputs_of_part)(
    const Geometry *g, const Patches *t, const Part *part, const REAL *m, const REAL *b, REAL *out)
{
    for (Index n = 0; n < part->images; n++)
        for (Index f = 0; f < g->filters; f++)
            OF(outputs_of_patches)(m + f * t->row + n * part->patches, t->m_next, t->columns, b ? b[f] : 0,
                out + (((part->image + n) * g->filters + f) * g->rows + part->top) * g->columns, part->height,
                g->columns);
}

/* A convolution with filters that lie in w as `of` says; without a bias where b is NULL. */
static TARGET int OF(winograd)(
    const Geometry *g, const REAL *x, const REAL *w, const Filters *of, const REAL *b, REAL *out)
{
    Patches t = patches_of(g, sizeof(REAL), LANES);
    t.u_next = g->filters * g->channels + LANES, t.v_next = g->channels * t.row + LANES,
    t.m_next = g->filters * t.row + LANES;
    REAL *padded = NEW_AND_ZEROS(REAL, t.padded, 2 * LANES), *planes = ZEROS(REAL, 8 * t.plane);
    REAL *u = NEW(REAL, 16 * t.u_next), *v = ZEROS(REAL, 16 * t.v_next), *m = NEW(REAL, 16 * t.m_next);
    Index *u_row = NEW(Index, g->filters);
    Place *at = NEW(Place, g->channels);
    int enough = padded && planes && u && v && m && u_row && at;
    if (enough) {
        for (Index c = 0; c < g->channels; c++) at[c] = (Place){c, c * t.row};
        for (Index f = 0; f < g->filters; f++) u_row[f] = f * g->channels;
        OF(transform_filters)(g, w, of, u, t.u_next);
        for (int place = 0; place < 16; place++) /* behind each filter's products, see NEW_AND_ZEROS */
            for (Index f = 0; f < g->filters; f++)
                AT(m + place * t.m_next + (f + 1) * t.row - LANES) = (VECTOR){0};
        for (Index k = 0; k < t.parts; k++) {
            Part part = part_of(g, &t, k);
            OF(transform_part)(g, &t, &part, x, padded, planes, v);
            for (int place = 0; place < 16; place++)
                OF(product)(g->filters, part.images * part.patches, g->channels, at, u + place * t.u_next,
                    u_row, v + place * t.v_next, 0, m + place * t.m_next, t.row);
            OF(outputs_of_part)(g, &t, &part, m, b, out);
        }
    }
    discard(padded), discard(planes), discard(u), discard(v), discard(m), discard(u_row), discard(at);
    return enough;
}

static TARGET int OF(winograd_forward)(
    const Geometry *g, const void *x, const void *w, const void *b, void *out)
{
    Filters of = {9 * g->channels, 9, 1};
    return OF(winograd)(g, x, w, &of, b, out);
}

/* The convolution of dout with the filters turned round, their channels and filters exchanged. */
static TARGET int OF(winograd_backward_input)(const Geometry *g, const void *dout, const void *w, void *dx)
{
    Geometry turned = {
        g->images, g->filters, g->rows, g->columns, g->channels, 3, 3, 1, 2 - g->pad, g->height, g->width};
    Filters of = {9, 9 * g->channels, -1};
    return OF(winograd)(&turned, dout, (const REAL *)w + 8, &of, NULL, dx);
}

/* z = A d A' for the 2x2 patches d of the upstream gradient; lanes are filters. Both have the filters of a
   pixel side by side. */
static TARGET void OF(transform_upstream)(
    const REAL *dout, Index filters, Index rows, Index columns, REAL *z, Index next)
{
    for (Index i = 0; i < rows; i++, dout += 2 * columns * filters)
        for (Index j = 0; j < columns; j++, dout += 2 * filters)
            for (Index f = 0; f < filters; f += LANES, z += LANES) {
                VECTOR h[4][2];
                for (int q = 0; q < 2; q++) {
                    VECTOR d0 = AT(dout + q * filters + f), d1 = AT(dout + (2 * columns + q) * filters + f);
                    h[0][q] = d0, h[1][q] = d0 + d1, h[2][q] = d0 - d1, h[3][q] = -d1;
                }
                REAL *to = z;
                for (int r = 0; r < 4; r++, to += 4 * next) {
                    AT(to) = h[r][0], AT(to + next) = h[r][0] + h[r][1];
                    AT(to + 2 * next) = h[r][0] - h[r][1], AT(to + 3 * next) = -h[r][1];
                }
            }
}

/* dw = G' du G, laid out (C, 9, filters). */
static TARGET void OF(gradient_of_filters)(
    const REAL *du, Index next, Index channels, Index filters, REAL *dw)
{
    for (Index c = 0; c < channels; c++, dw += 8 * filters)
        for (Index f = 0; f < filters; f += LANES, du += LANES, dw += LANES) {
            VECTOR h[3][4];
            for (int s = 0; s < 4; s++) {
                const REAL *at = du + s * next;
                VECTOR u1 = AT(at + 4 * next), u2 = AT(at + 8 * next);
                h[0][s] = AT(at) + (u1 + u2) / 2, h[1][s] = (u1 - u2) / 2,
                h[2][s] = (u1 + u2) / 2 + AT(at + 12 * next);
            }
            for (int p = 0; p < 3; p++) {
                VECTOR sum = (h[p][1] + h[p][2]) / 2, difference = (h[p][1] - h[p][2]) / 2;
                REAL *to = dw + 3 * p * filters;
                AT(to) = h[p][0] + sum, AT(to + filters) = difference, AT(to + 2 * filters) = sum + h[p][3];
            }
        }
}

/* z of a part; sums of its pixels are added to db. */
static TARGET void OF(transform_part_of_upstream)(const Geometry *g, const Patches *t, const Part *part,
    const REAL *dout, Index filters, REAL *transposed, REAL *z, REAL *db)
{
    Index plane = g->rows * g->columns, row = 2 * t->columns * filters;
    for (Index n = 0; n < part->images; n++, z += part->patches * filters) {
        const REAL *d = dout + (part->image + n) * g->filters * plane + part->top * g->columns;
        for (Index y = 0; y < part->height; y++)
            OF(transpose)(d + y * g->columns, g->filters, g->columns, plane, transposed + y * row, filters);
        if (part->height < 2 * part->rows) /* no output in the second row of the last patches */
            memset(transposed + part->height * row, 0, row * sizeof(REAL));
        OF(transform_upstream)(transposed, filters, part->rows, t->columns, z, t->m_next);
        OF(add_sums)(d, g->filters, part->height * g->columns, plane, db);
    }
}

static TARGET int OF(winograd_backward_weights)(
    const Geometry *g, const void *dout, const void *x, void *dw, void *db)
{
    enum { SOME = 16 }; /* channels, whose gradients are transposed together */
    Patches t = patches_of(g, sizeof(REAL), LANES);
    Index filters = divide_up(g->filters, LANES) * LANES, most = t.group * t.band * t.columns;
    t.u_next = g->channels * filters + LANES, t.v_next = g->channels * t.row + LANES,
    t.m_next = most * filters + LANES;
    REAL *padded = NEW_AND_ZEROS(REAL, t.padded, 2 * LANES), *planes = ZEROS(REAL, 8 * t.plane),
         *transposed = ZEROS(REAL, 4 * t.band * t.columns * filters);
    REAL *du = ZEROS(REAL, 16 * t.u_next), *v = NEW(REAL, 16 * t.v_next), *z = NEW(REAL, 16 * t.m_next);
    REAL *dw_transposed = NEW(REAL, 9 * SOME * filters);
    Index *v_row = NEW(Index, g->channels);
    Place *at = NEW(Place, most);
    int enough = padded && planes && transposed && du && v && z && dw_transposed && v_row && at;
    if (enough) {
        for (Index k = 0; k < most; k++) at[k] = (Place){k, k * filters};
        for (Index c = 0; c < g->channels; c++) v_row[c] = c * t.row;
        memset(db, 0, g->filters * sizeof(REAL));
        for (Index k = 0; k < t.parts; k++) {
            Part part = part_of(g, &t, k);
            OF(transform_part)(g, &t, &part, x, padded, planes, v);
            OF(transform_part_of_upstream)(g, &t, &part, dout, filters, transposed, z, db);
            for (int place = 0; place < 16; place++)
                OF(product)(g->channels, filters, part.images * part.patches, at, v + place * t.v_next,
                    v_row, z + place * t.m_next, 1, du + place * t.u_next, filters);
        }
        for (Index c = 0; c < g->channels; c += SOME) {
            Index count = smaller(SOME, g->channels - c);
            OF(gradient_of_filters)(du + c * filters, t.u_next, count, filters, dw_transposed);
            OF(transpose)(dw_transposed, 9 * count, g->filters, filters, (REAL *)dw + 9 * c, 9 * g->channels);
        }
    }
    discard(padded), discard(planes), discard(transposed), discard(du), discard(v), discard(z);
    discard(dw_transposed), discard(v_row), discard(at);
    return enough;
}
#undef AT
