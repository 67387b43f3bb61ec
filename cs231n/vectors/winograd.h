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

/* The patches at hand, and how far apart their transforms are: a little more than they take, since
   distances of a power of two would put all 16 into the same places of the cache. */
typedef struct {
    Index group, band, columns; /* images, rows of patches of each, patches in a row */
    Index row, u_next, v_next, m_next;
    Copy copy; /* of one channel */
} OF(Patches);

/* Patches for an output of `rows` x `columns`. */
static OF(Patches) OF(patches_of)(const Geometry *g)
{
    OF(Patches) t = {.columns = divide_up(g->columns, 2)};
    Index rows = divide_up(g->rows, 2), bytes = 16 * (g->channels + g->filters) * sizeof(REAL);
    Index most = larger(MAX_VECTORS * LANES, WINOGRAD_BYTES / bytes);
    t.band = rows_at_a_time(rows, t.columns, most);
    t.group = t.band < rows ? 1 : smaller(g->images, larger(1, most / (rows * t.columns)));
    t.row = divide_up(t.group * t.band * t.columns, LANES) * LANES + LANES;
    t.copy = (Copy){1, g->height, g->width, 2, 2, 2, -g->pad, -g->pad, t.band + 1, t.columns + 1};
    return t;
}

/* u = G w G' for `count` filters of one channel, one after the other. */
static TARGET void OF(transform_filters)(const REAL *w, Index count, REAL *u, Index next)
{
    for (Index n = 0; n < count; n++, w += 9, u++) {
        REAL h[4][3];
        for (int q = 0; q < 3; q++) {
            REAL ends = (w[q] + w[6 + q]) / 2, middle = w[3 + q] / 2;
            h[0][q] = w[q], h[1][q] = ends + middle, h[2][q] = ends - middle, h[3][q] = w[6 + q];
        }
        for (int r = 0; r < 4; r++) {
            REAL ends = (h[r][0] + h[r][2]) / 2, middle = h[r][1] / 2, *to = u + 4 * r * next;
            to[0] = h[r][0], to[next] = ends + middle, to[2 * next] = ends - middle, to[3 * next] = h[r][2];
        }
    }
}

/* v = B' d B for the patches of one channel. Pixel (r, s) of patch (i, j) is at (i + r / 2, j + s / 2) of
   plane (r % 2, s % 2). */
static TARGET void OF(transform_patches)(
    const REAL *planes, const Copy *copy, Index rows, Index columns, REAL *v, Index next)
{
    for (Index i = 0; i < rows; i++)
        for (Index j = 0; j < columns; j += LANES) {
            VECTOR h[4][4];
            for (int s = 0; s < 4; s++) {
                const REAL *even = planes + s % 2 * plane_size(copy) + i * copy->columns + j + s / 2,
                           *odd = even + 2 * plane_size(copy);
                VECTOR d0 = AT(even), d1 = AT(odd), d2 = AT(even + copy->columns),
                       d3 = AT(odd + copy->columns);
                h[0][s] = d0 - d2, h[1][s] = d1 + d2, h[2][s] = d2 - d1, h[3][s] = d1 - d3;
            }
            REAL *to = v + i * columns +
                       j; /* beyond the row's end are lanes that the next row, or nobody, overwrites */
            for (int r = 0; r < 4; r++, to += 4 * next) {
                AT(to) = h[r][0] - h[r][2], AT(to + next) = h[r][1] + h[r][2];
                AT(to + 2 * next) = h[r][2] - h[r][1], AT(to + 3 * next) = h[r][1] - h[r][3];
            }
        }
}

/* v of all channels, for `group` images from x on and `rows` rows of patches, from row `top` of the output
   on. */
static TARGET void OF(transform_images)(const Geometry *g, const OF(Patches) * t, const REAL *x, Index group,
    Index top, Index rows, REAL *planes, REAL *v)
{
    for (Index n = 0; n < group; n++)
        for (Index c = 0; c < g->channels; c++, x += g->height * g->width) {
            OF(copy)(x, &t->copy, top, rows + 1, planes);
            OF(transform_patches)(
                planes, &t->copy, rows, t->columns, v + c * t->row + n * rows * t->columns, t->v_next);
        }
}

/* Outputs A' m A + b of the patches of one filter; of the last ones only what is within height and width. */
static TARGET void OF(outputs_of_patches)(
    const REAL *m, Index next, Index columns, REAL b, REAL *out, Index height, Index width)
{
    for (Index i = 0; 2 * i < height; i++)
        for (Index j = 0; j < columns; j += LANES) {
            VECTOR h[2][4];
            for (int s = 0; s < 4; s++) {
                const REAL *at = m + i * columns + j + s * next;
                VECTOR m1 = AT(at + 4 * next), m2 = AT(at + 8 * next);
                h[0][s] = AT(at) + m1 + m2, h[1][s] = m1 - m2 - AT(at + 12 * next);
            }
            Index count = smaller(2 * LANES, width - 2 * j);
            for (int r = 0; r < 2 && 2 * i + r < height; r++) {
                REAL even[BYTES / sizeof(REAL)], odd[BYTES / sizeof(REAL)], both[2 * BYTES / sizeof(REAL)];
                AT(even) = h[r][0] + h[r][1] + h[r][2] + b;
                AT(odd) = h[r][1] - h[r][2] - h[r][3] + b;
                for (int lane = 0; lane < LANES; lane++)
                    both[2 * lane] = even[lane], both[2 * lane + 1] = odd[lane];
                REAL *to = out + (2 * i + r) * width + 2 * j;
                if (count == 2 * LANES) AT(to) = AT(both), AT(to + LANES) = AT(both + LANES);
                else memcpy(to, both, count * sizeof(REAL));
            }
        }
}

static TARGET int OF(winograd_forward)(
    const Geometry *g, const void *x, const void *w, const void *b, void *out)
{
    OF(Patches) t = OF(patches_of)(g);
    t.u_next = g->filters * g->channels + LANES, t.v_next = g->channels * t.row + LANES,
    t.m_next = g->filters * t.row + LANES;
    REAL *planes = NEW(REAL, copy_size(&t.copy) + LANES), *zeros = ZEROS(REAL, g->filters);
    REAL *u = NEW(REAL, 16 * t.u_next), *v = ZEROS(REAL, 16 * t.v_next), *m = NEW(REAL, 16 * t.m_next);
    Index *u_row = NEW(Index, g->filters);
    Place *at = NEW(Place, g->channels);
    int enough = planes && zeros && u && v && m && u_row && at;
    if (enough) {
        for (Index c = 0; c < g->channels; c++) at[c] = (Place){c, c * t.row};
        for (Index f = 0; f < g->filters; f++) u_row[f] = f * g->channels;
        OF(transform_filters)(w, g->filters * g->channels, u, t.u_next);
        for (Index n = 0; n < g->images; n += t.group)
            for (Index top = 0; top < g->rows; top += 2 * t.band) {
                Index group = smaller(t.group, g->images - n),
                      rows = smaller(t.band, divide_up(g->rows - top, 2));
                Index patches = rows * t.columns;
                OF(transform_images)(g, &t, (const REAL *)x + n * g->channels * g->height * g->width, group,
                    top, rows, planes, v);
                for (int k = 0; k < 16; k++)
                    OF(product)(g->filters, group * patches, g->channels, at, u + k * t.u_next, u_row,
                        v + k * t.v_next, zeros, m + k * t.m_next, t.row);
                for (Index k = 0; k < group * g->filters; k++) {
                    Index image = k / g->filters, f = k % g->filters;
                    REAL *to = (REAL *)out + (((n + image) * g->filters + f) * g->rows + top) * g->columns;
                    OF(outputs_of_patches)(m + f * t.row + image * patches, t.m_next, t.columns,
                        ((const REAL *)b)[f], to, smaller(2 * rows, g->rows - top), g->columns);
                }
            }
    }
    free(planes), free(zeros), free(u), free(v), free(m), free(u_row), free(at);
    return enough;
}

/* The convolution of dout with the filters turned round, their channels and filters exchanged. */
static TARGET int OF(winograd_backward_input)(const Geometry *g, const void *dout, const void *w, void *dx)
{
    Geometry turned = {
        g->images, g->filters, g->rows, g->columns, g->channels, 3, 3, 1, 2 - g->pad, g->height, g->width};
    REAL *w_turned = NEW(REAL, 9 * g->channels * g->filters), *zeros = ZEROS(REAL, g->channels);
    int enough = w_turned && zeros;
    if (enough) {
        for (Index c = 0, k = 0; c < g->channels; c++)
            for (Index f = 0; f < g->filters; f++)
                for (Index tap = 8; tap >= 0; tap--)
                    w_turned[k++] = ((const REAL *)w)[(f * g->channels + c) * 9 + tap];
        enough = OF(winograd_forward)(&turned, dout, w_turned, zeros, dx);
    }
    free(w_turned), free(zeros);
    return enough;
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

static TARGET int OF(winograd_backward_weights)(
    const Geometry *g, const void *dout, const void *x, void *dw, void *db)
{
    OF(Patches) t = OF(patches_of)(g);
    Index filters = divide_up(g->filters, LANES) * LANES, most = t.group * t.band * t.columns,
          plane = g->rows * g->columns;
    t.u_next = g->channels * filters + LANES, t.v_next = g->channels * t.row + LANES,
    t.m_next = most * filters + LANES;
    REAL *planes = NEW(REAL, copy_size(&t.copy) + LANES),
         *transposed = ZEROS(REAL, 4 * t.band * t.columns * filters);
    REAL *du = ZEROS(REAL, 16 * t.u_next), *v = NEW(REAL, 16 * t.v_next), *z = NEW(REAL, 16 * t.m_next);
    REAL *dw_transposed = NEW(REAL, 9 * g->channels * filters);
    Index *v_row = NEW(Index, g->channels);
    Place *at = NEW(Place, most);
    int enough = planes && transposed && du && v && z && dw_transposed && v_row && at;
    if (enough) {
        for (Index k = 0; k < most; k++) at[k] = (Place){k, k * filters};
        for (Index c = 0; c < g->channels; c++) v_row[c] = c * t.row;
        memset(db, 0, g->filters * sizeof(REAL));
        for (Index n = 0; n < g->images; n += t.group)
            for (Index top = 0; top < g->rows; top += 2 * t.band) {
                Index group = smaller(t.group, g->images - n),
                      rows = smaller(t.band, divide_up(g->rows - top, 2));
                Index patches = rows * t.columns, height = smaller(2 * rows, g->rows - top);
                OF(transform_images)(g, &t, (const REAL *)x + n * g->channels * g->height * g->width, group,
                    top, rows, planes, v);
                for (Index image = 0; image < group; image++) {
                    const REAL *d = (const REAL *)dout + (n + image) * g->filters * plane + top * g->columns;
                    for (Index y = 0; y < height; y++)
                        OF(transpose)(d + y * g->columns, g->filters, g->columns, plane,
                            transposed + y * 2 * t.columns * filters, filters);
                    if (height < 2 * rows) /* no output in the second row of the last patches */
                        memset(transposed + height * 2 * t.columns * filters, 0,
                            2 * t.columns * filters * sizeof(REAL));
                    OF(add_sums)(d, g->filters, height * g->columns, plane, db);
                    OF(transform_upstream)(
                        transposed, filters, rows, t.columns, z + image * patches * filters, t.m_next);
                }
                for (int k = 0; k < 16; k++)
                    OF(product)(g->channels, filters, group * patches, at, v + k * t.v_next, v_row,
                        z + k * t.m_next, NULL, du + k * t.u_next, filters);
            }
        OF(gradient_of_filters)(du, t.u_next, g->channels, filters, dw_transposed);
        OF(transpose)(dw_transposed, 9 * g->channels, g->filters, filters, dw, 9 * g->channels);
    }
    free(planes), free(transposed), free(du), free(v), free(z), free(dw_transposed), free(v_row), free(at);
    return enough;
}
#undef AT
