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

   Channels are summed before A is applied, so each of the 16 elements e of a patch has its own matrix
   product: m[e] (F, patches) = u[e] (F, C) v[e] (C, patches), where u and v are the transformed filters and
   patches.

   The gradient of x is the convolution of dout with the filters rotated by 180 degrees. The gradient of w
   follows from the chain rule: z = A dout A', du[e] = z[e] v[e]', dw = G' du G.

   Each transform multiplies by a matrix from the left, giving h, and then from the right. Element (r, s) of a
   transform is element e = 4 r + s; elements are u_stride, v_stride or m_stride apart. */

/* u (16, F, C) = G w G' for every filter and channel. */
static TARGET void OF(transform_filters)(
    const Geometry *g, const REAL *w, const FilterStrides *strides, REAL *u, Index u_stride)
{
    for (Index f = 0; f < g->filters; f++)
        for (Index c = 0; c < g->channels; c++, u++) {
            const REAL *taps = w + f * strides->filter + c * strides->channel;
            REAL h[4][3];
            /* h = G w */
            for (int q = 0; q < 3; q++) {
                REAL top = taps[q * strides->tap];
                REAL middle = taps[(3 + q) * strides->tap];
                REAL bottom = taps[(6 + q) * strides->tap];
                h[0][q] = top;
                h[1][q] = (top + bottom) / 2 + middle / 2;
                h[2][q] = (top + bottom) / 2 - middle / 2;
                h[3][q] = bottom;
            }
            /* u = h G' */
            for (int r = 0; r < 4; r++) {
                REAL ends = (h[r][0] + h[r][2]) / 2, middle = h[r][1] / 2;
                REAL *u_row = u + 4 * r * u_stride;
                u_row[0] = h[r][0];
                u_row[u_stride] = ends + middle;
                u_row[2 * u_stride] = ends - middle;
                u_row[3 * u_stride] = h[r][2];
            }
        }
}

/* Separate a vector's worth of pairs into even and odd places; compilers turn the loop into shuffles. */
static inline TARGET void OF(split)(const REAL *both, REAL *restrict even, REAL *restrict odd)
{
    for (int lane = 0; lane < LANES; lane++) {
        even[lane] = both[2 * lane];
        odd[lane] = both[2 * lane + 1];
    }
}

/* Interleave two vectors: the reverse of split. */
static inline TARGET void OF(join)(const REAL *even, const REAL *odd, REAL *restrict both)
{
    for (int lane = 0; lane < LANES; lane++) {
        both[2 * lane] = even[lane];
        both[2 * lane + 1] = odd[lane];
    }
}

/* Copy `rows` rows of one channel, from row `first` of the image on, which may lie in the padding. The
   padding around them holds zeros already. */
static TARGET void OF(copy_inside)(
    const Geometry *g, const REAL *channel, Index first, Index rows, Index padded_row, REAL *padded)
{
    Index left = larger(0, g->pad_across), from = larger(0, -g->pad_across);
    Index count = smaller(g->width - from, padded_row - left);
    for (Index i = larger(0, -first); i < smaller(rows, g->height - first); i++) {
        const REAL *pixels = channel + (first + i) * g->width + from;
        OF(copy_row)(pixels, 1, count, padded + i * padded_row + left);
    }
}

/* Move pixel (2 i + a, 2 j + s) of the padded rows to index i columns + j of plane (a, s). So the pixels that
   neighbouring patches have at the same place lie side by side, whatever the width of the image. */
static TARGET void OF(split_into_planes)(
    const REAL *padded, Index rows, Index columns, REAL *planes, Index plane_stride)
{
    for (Index y = 0; y < rows; y++, padded += 2 * columns + 2)
        for (Index j = 0; j < columns; j += LANES)
            for (int s = 0; s < 4; s += 2) {
                Index plane = y % 2 * 4 + s;
                REAL *even = planes + plane * plane_stride + y / 2 * columns + j;
                /* The last vector writes too much, which the next row overwrites */
                OF(split)(padded + 2 * j + s, even, even + plane_stride);
            }
}

/* v = B' d B for `count` patches of one channel; their lanes lie side by side in the planes. */
static TARGET void OF(transform_patches)(
    const REAL *planes, Index plane_stride, Index columns, Index count, REAL *v, Index v_stride)
{
    for (Index k = 0; k < count; k += LANES, v += LANES) {
        VECTOR h[4][4];
        /* h = B' d, where d0, ..., d3 is column s of the patches */
        for (int s = 0; s < 4; s++) {
            const REAL *even = planes + s * plane_stride + k, *odd = even + 4 * plane_stride;
            VECTOR d0 = AT(even), d1 = AT(odd), d2 = AT(even + columns), d3 = AT(odd + columns);
            h[0][s] = d0 - d2;
            h[1][s] = d1 + d2;
            h[2][s] = d2 - d1;
            h[3][s] = d1 - d3;
        }
        /* v = h B */
        REAL *v_row = v;
        for (int r = 0; r < 4; r++, v_row += 4 * v_stride) {
            AT(v_row) = h[r][0] - h[r][2];
            AT(v_row + v_stride) = h[r][1] + h[r][2];
            AT(v_row + 2 * v_stride) = h[r][2] - h[r][1];
            AT(v_row + 3 * v_stride) = h[r][1] - h[r][3];
        }
    }
}

/* v (16, C, patches) of a block, for all channels of x (N, C, H, W). */
static TARGET void OF(transform_block)(const Geometry *g, const PatchLayout *layout, const PatchBlock *block,
    const REAL *x, REAL *padded, REAL *planes, REAL *v)
{
    Index rows = 2 * block->rows + 2, pixels = g->height * g->width;
    memset(padded, 0, rows * layout->padded_row * sizeof(REAL));
    for (Index n = 0; n < block->images; n++)
        for (Index c = 0; c < g->channels; c++) {
            const REAL *channel = x + ((block->image + n) * g->channels + c) * pixels;
            REAL *channel_v = v + c * layout->row + n * block->patches;
            OF(copy_inside)(g, channel, block->top - g->pad_down, rows, layout->padded_row, padded);
            OF(split_into_planes)(padded, rows, layout->columns, planes, layout->plane);
            OF(transform_patches)(
                planes, layout->plane, layout->columns, block->patches, channel_v, layout->v_stride);
        }
}

/* Compute the outputs A' m A + b of a vector of patches. even[r] and odd[r] are row r of the outputs, at even
   and at odd columns. */
static inline TARGET void OF(transform_back)(const REAL *m, Index m_stride, REAL b, VECTOR *even, VECTOR *odd)
{
    VECTOR h[2][4];
    /* h = A' m, where m0, ..., m3 is column s */
    for (int s = 0; s < 4; s++, m += m_stride) {
        VECTOR m1 = AT(m + 4 * m_stride), m2 = AT(m + 8 * m_stride);
        h[0][s] = AT(m) + m1 + m2;
        h[1][s] = m1 - m2 - AT(m + 12 * m_stride);
    }
    /* outputs = h A + b */
    for (int r = 0; r < 2; r++) {
        even[r] = h[r][0] + h[r][1] + h[r][2] + b;
        odd[r] = h[r][1] - h[r][2] - h[r][3] + b;
    }
}

/* Write the outputs of one filter's patches to out (height, width), without what lies beyond its edges. */
static TARGET void OF(outputs_of_patches)(
    const REAL *m, Index m_stride, Index columns, REAL b, REAL *out, Index height, Index width)
{
    for (Index k = 0, i = 0, j = 0; 2 * i < height; k += LANES) {
        VECTOR even[2], odd[2];
        REAL both[2][2 * BYTES / sizeof(REAL)];
        OF(transform_back)(m + k, m_stride, b, even, odd);
        /* Interleave the columns: straight into out if all patches lie in one row of patches, within out */
        int whole = 2 * i + 2 <= height && 2 * (j + LANES) <= width;
        for (int r = 0; r < 2; r++)
            if (whole) OF(join)((REAL *)&even[r], (REAL *)&odd[r], out + (2 * i + r) * width + 2 * j);
            else OF(join)((REAL *)&even[r], (REAL *)&odd[r], both[r]);
        /* Otherwise copy them in parts, one for each row of patches; (i, j) moves to the next vector */
        for (Index lane = 0, count; lane < LANES; lane += count) {
            count = smaller(LANES - lane, columns - j);
            for (int r = 0; !whole && r < 2 && 2 * i + r < height; r++)
                OF(copy_row)(both[r] + 2 * lane, 1, smaller(2 * count, width - 2 * j),
                    out + (2 * i + r) * width + 2 * j);
            j += count;
            if (j == columns) {
                j = 0;
                i++;
            }
        }
    }
}

/* out (N, F, H', W') = A' m A + b for a block and all filters. If b is NULL, no bias is added. */
static TARGET void OF(outputs_of_block)(const Geometry *g, const PatchLayout *layout, const PatchBlock *block,
    const REAL *m, const REAL *b, REAL *out)
{
    for (Index n = 0; n < block->images; n++)
        for (Index f = 0; f < g->filters; f++) {
            const REAL *filter_m = m + f * layout->row + n * block->patches;
            Index plane = (block->image + n) * g->filters + f;
            REAL *block_out = out + (plane * g->rows + block->top) * g->columns;
            OF(outputs_of_patches)(filter_m, layout->m_stride, layout->columns, b ? b[f] : 0, block_out,
                block->height, g->columns);
        }
}

/* Convolve x (N, C, H, W) with filters that lie in w at these strides, plus b (F,) unless that is NULL. */
static TARGET int OF(winograd)(
    const Geometry *g, const REAL *x, const REAL *w, const FilterStrides *strides, const REAL *b, REAL *out)
{
    PatchLayout layout = layout_of_patches(g, sizeof(REAL), LANES);
    layout.u_stride = g->filters * g->channels + LANES;
    layout.v_stride = g->channels * layout.row + LANES;
    layout.m_stride = g->filters * layout.row + LANES;

    REAL *padded = NEW_AND_ZEROS_BEHIND(REAL, layout.padded, 2 * LANES);
    REAL *planes = NEW_ZEROS(REAL, 8 * layout.plane);
    REAL *u = NEW(REAL, 16 * layout.u_stride), *v = NEW_ZEROS(REAL, 16 * layout.v_stride);
    REAL *m = NEW(REAL, 16 * layout.m_stride);
    Index *u_row = NEW(Index, g->filters);
    Term *terms = NEW(Term, g->channels);
    int enough = padded && planes && u && v && m && u_row && terms;
    if (enough) {
        /* Term c multiplies channel c of a filter, in u[e], by channel c of the patches, in v[e] */
        for (Index c = 0; c < g->channels; c++) terms[c] = (Term){c, c * layout.row};
        for (Index f = 0; f < g->filters; f++) u_row[f] = f * g->channels;
        OF(transform_filters)(g, w, strides, u, layout.u_stride);
        /* Zeros behind each filter's products, for the same reason as in new_with_zeros_behind */
        for (int e = 0; e < 16; e++)
            for (Index f = 0; f < g->filters; f++)
                AT(m + e * layout.m_stride + (f + 1) * layout.row - LANES) = (VECTOR){0};

        for (Index k = 0; k < layout.blocks; k++) {
            PatchBlock block = patch_block(g, &layout, k);
            OF(transform_block)(g, &layout, &block, x, padded, planes, v);
            /* m[e] (F, patches) = u[e] (F, C) v[e] (C, patches) */
            for (int e = 0; e < 16; e++)
                OF(product)(g->filters, block.images * block.patches, g->channels, terms,
                    u + e * layout.u_stride, u_row, v + e * layout.v_stride, 0, m + e * layout.m_stride,
                    layout.row);
            OF(outputs_of_block)(g, &layout, &block, m, b, out);
        }
    }
    FREE_ALL(padded, planes, u, v, m, u_row, terms);
    return enough;
}

static TARGET int OF(winograd_forward)(
    const Geometry *g, const void *x, const void *w, const void *b, void *out)
{
    FilterStrides strides = {9 * g->channels, 9, 1};
    return OF(winograd)(g, x, w, &strides, b, out);
}

/* Convolve dout (N, F, H', W') with the rotated filters, whose channels and filters change places: the taps
   are read backwards from the last one. */
static TARGET int OF(winograd_backward_input)(const Geometry *g, const void *dout, const void *w, void *dx)
{
    Geometry rotated = {g->images, g->filters, g->rows, g->columns, g->channels, 3, 3, 1, 1, 2 - g->pad_down,
        2 - g->pad_across, g->height, g->width};
    FilterStrides strides = {9, 9 * g->channels, -1};
    const REAL *last_tap = (const REAL *)w + 8;
    return OF(winograd)(&rotated, dout, last_tap, &strides, NULL, dx);
}

/* z = A d A' for the 2x2 patches d of dout (2 rows, 2 columns, filters); lanes are filters, in both. */
static TARGET void OF(transform_upstream)(
    const REAL *dout, Index filters, Index rows, Index columns, REAL *z, Index m_stride)
{
    for (Index i = 0; i < rows; i++, dout += 2 * columns * filters)
        for (Index j = 0; j < columns; j++, dout += 2 * filters)
            for (Index f = 0; f < filters; f += LANES, z += LANES) {
                VECTOR h[4][2];
                /* h = A d, where d0, d1 is column q of the patch */
                for (int q = 0; q < 2; q++) {
                    VECTOR d0 = AT(dout + q * filters + f), d1 = AT(dout + (2 * columns + q) * filters + f);
                    h[0][q] = d0;
                    h[1][q] = d0 + d1;
                    h[2][q] = d0 - d1;
                    h[3][q] = -d1;
                }
                /* z = h A' */
                REAL *z_row = z;
                for (int r = 0; r < 4; r++, z_row += 4 * m_stride) {
                    AT(z_row) = h[r][0];
                    AT(z_row + m_stride) = h[r][0] + h[r][1];
                    AT(z_row + 2 * m_stride) = h[r][0] - h[r][1];
                    AT(z_row + 3 * m_stride) = -h[r][1];
                }
            }
}

/* dw (C, 9, filters) = G' du G from du (16, C, filters). */
static TARGET void OF(gradient_of_filters)(
    const REAL *du, Index u_stride, Index channels, Index filters, REAL *dw)
{
    for (Index c = 0; c < channels; c++, dw += 8 * filters)
        for (Index f = 0; f < filters; f += LANES, du += LANES, dw += LANES) {
            VECTOR h[3][4];
            /* h = G' du, where u0, ..., u3 is column s */
            for (int s = 0; s < 4; s++) {
                const REAL *column = du + s * u_stride;
                VECTOR u1 = AT(column + 4 * u_stride), u2 = AT(column + 8 * u_stride);
                h[0][s] = AT(column) + (u1 + u2) / 2;
                h[1][s] = (u1 - u2) / 2;
                h[2][s] = (u1 + u2) / 2 + AT(column + 12 * u_stride);
            }
            /* dw = h G */
            for (int p = 0; p < 3; p++) {
                VECTOR sum = (h[p][1] + h[p][2]) / 2, difference = (h[p][1] - h[p][2]) / 2;
                REAL *dw_row = dw + 3 * p * filters;
                AT(dw_row) = h[p][0] + sum;
                AT(dw_row + filters) = difference;
                AT(dw_row + 2 * filters) = sum + h[p][3];
            }
        }
}

/* z (16, patches, filters) of a block of dout (N, F, H', W'); add the sums of its pixels to db (F,). */
static TARGET void OF(transform_block_of_upstream)(const Geometry *g, const PatchLayout *layout,
    const PatchBlock *block, const REAL *dout, Index filters, REAL *transposed, REAL *z, REAL *db)
{
    Index plane = g->rows * g->columns, row = 2 * layout->columns * filters;
    for (Index n = 0; n < block->images; n++, z += block->patches * filters) {
        const REAL *block_dout = dout + (block->image + n) * g->filters * plane + block->top * g->columns;
        /* Transpose each row from (F, W') to (W', F) */
        for (Index y = 0; y < block->height; y++)
            OF(transpose)(
                block_dout + y * g->columns, g->filters, g->columns, plane, transposed + y * row, filters);
        /* With an odd number of rows, the last patches have no second row */
        if (block->height < 2 * block->rows) memset(transposed + block->height * row, 0, row * sizeof(REAL));
        OF(transform_upstream)(transposed, filters, block->rows, layout->columns, z, layout->m_stride);
        OF(add_sums)(block_dout, g->filters, block->height * g->columns, plane, db);
    }
}

/* dw (F, C, 3, 3) = G' du G with du[e] (C, F) = v[e] (C, patches) z[e] (patches, F), and db (F,). */
static TARGET int OF(winograd_backward_weights)(
    const Geometry *g, const void *dout, const void *x, void *dw, void *db)
{
    enum { CHANNELS_AT_A_TIME = 16 }; /* when dw is transposed */
    PatchLayout layout = layout_of_patches(g, sizeof(REAL), LANES);
    Index filters = divide_up(g->filters, LANES) * LANES;     /* whole vectors */
    Index most = layout.group * layout.band * layout.columns; /* patches in a block */
    layout.u_stride = g->channels * filters + LANES;
    layout.v_stride = g->channels * layout.row + LANES;
    layout.m_stride = most * filters + LANES;

    REAL *padded = NEW_AND_ZEROS_BEHIND(REAL, layout.padded, 2 * LANES);
    REAL *planes = NEW_ZEROS(REAL, 8 * layout.plane);
    REAL *transposed = NEW_ZEROS(REAL, 4 * layout.band * layout.columns * filters);
    REAL *du = NEW_ZEROS(REAL, 16 * layout.u_stride), *v = NEW(REAL, 16 * layout.v_stride);
    REAL *z = NEW(REAL, 16 * layout.m_stride);
    REAL *dw_transposed = NEW(REAL, 9 * CHANNELS_AT_A_TIME * filters);
    Index *v_row = NEW(Index, g->channels);
    Term *terms = NEW(Term, most);
    int enough = padded && planes && transposed && du && v && z && dw_transposed && v_row && terms;
    if (enough) {
        /* Term k multiplies patch k of a channel, in v[e], by patch k of dout, in z[e] */
        for (Index k = 0; k < most; k++) terms[k] = (Term){k, k * filters};
        for (Index c = 0; c < g->channels; c++) v_row[c] = c * layout.row;
        memset(db, 0, g->filters * sizeof(REAL));

        for (Index k = 0; k < layout.blocks; k++) {
            PatchBlock block = patch_block(g, &layout, k);
            OF(transform_block)(g, &layout, &block, x, padded, planes, v);
            OF(transform_block_of_upstream)(g, &layout, &block, dout, filters, transposed, z, db);
            /* du[e] (C, F) += v[e] (C, patches) z[e] (patches, F) */
            for (int e = 0; e < 16; e++)
                OF(product)(g->channels, filters, block.images * block.patches, terms,
                    v + e * layout.v_stride, v_row, z + e * layout.m_stride, 1, du + e * layout.u_stride,
                    filters);
        }
        /* Transform du (16, C, F) back to dw^T (C, 9, F) and transpose it, some channels at a time */
        for (Index c = 0; c < g->channels; c += CHANNELS_AT_A_TIME) {
            Index count = smaller(CHANNELS_AT_A_TIME, g->channels - c);
            REAL *dw_of_channels = (REAL *)dw + 9 * c;
            OF(gradient_of_filters)(du + c * filters, layout.u_stride, count, filters, dw_transposed);
            OF(transpose)(dw_transposed, 9 * count, g->filters, filters, dw_of_channels, 9 * g->channels);
        }
    }
    FREE_ALL(padded, planes, transposed, du, v, z, dw_transposed, v_row, terms);
    return enough;
}
#undef AT
