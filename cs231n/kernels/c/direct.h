/* Direct convolution: a matrix product whose matrix of columns is never written.

   With im2col, out (F, H' W') = w (F, C HH WW) columns (C HH WW, H' W'), and every pixel is written HH WW
   times into the columns. But the element of the columns for tap (c, p, q) and window (i, j) is a pixel of
   the padded image, and its place there is the tap's offset plus the window's offset. A tile needs no more
   than that. So each image is copied once, with its padding, and the product reads the copy. Where windows
   are single pixels, side by side, the image is its own copy. */

/* Copy `count` pixels, each `step` places from the last. Rows are short, so calls of memcpy are avoided. */
static TARGET void OF(copy_row)(const REAL *from, Index step, Index count, REAL *to)
{
    Index j = 0;
    if (step == 1 && count >= LANES) {
        for (; j < count - LANES; j += LANES) {
            AT(to + j) = AT(from + j);
            __asm__(""); /* keeps GCC from turning this loop into a call of memmove */
        }
        AT(to + count - LANES) = AT(from + count - LANES); /* overlaps the vector before */
    } else if (step == 1 && count >= LANES / 2) {
        /* The size is constant, so no function is called */
        memcpy(to, from, BYTES / 2);
        memcpy(to + count - LANES / 2, from + count - LANES / 2, BYTES / 2);
    } else if (step == 1) {
        memcpy(to, from, count * sizeof(REAL));
    } else if (step == 2) {
        enum { SIDE = 16 / sizeof(REAL) };
        for (; j + SIDE < count; j += SIDE) /* not the last, which would read a pixel too many */
            ROW_AT(to + j) = OF(every_second)(ROW_AT(from + 2 * j), ROW_AT(from + 2 * j + SIDE));
        for (; j < count; j++) to[j] = from[2 * j];
    } else {
        for (; j < count; j++) to[j] = from[j * step];
    }
}

/* Write `rows` rows of every plane of a padded copy, beginning `skip` rows of the image further down. */
static TARGET void OF(copy_rows)(
    const REAL *image, const PaddedCopy *copy, Index skip, Index rows, REAL *plane)
{
    Index down = copy->step_down, step = copy->step_across, columns = copy->columns;
    for (Index c = 0; c < copy->channels; c++, image += copy->height * copy->width)
        for (Index a = 0; a < copy->phases_down; a++)
            for (Index b = 0; b < copy->phases_across; b++, plane += plane_size(copy)) {
                /* The plane begins at pixel (y, x), which may lie in the padding. Columns left <= j < right
                   of the plane are within the image */
                Index y = copy->first_row + skip + a, x = copy->first_column + b;
                Index left = smaller(columns, x < 0 ? divide_up(-x, step) : 0);
                Index inside = x < copy->width ? divide_up(copy->width - x, step) : 0;
                Index right = larger(left, smaller(columns, inside));
                for (Index i = 0; i < rows; i++, y += down) {
                    REAL *to = plane + i * columns;
                    if (y < 0 || y >= copy->height || left == right) {
                        memset(to, 0, columns * sizeof(REAL));
                        continue;
                    }
                    const REAL *from = image + y * copy->width + x + left * step;
                    /* Rows are short, and even an empty memset takes time */
                    if (left > 0) memset(to, 0, left * sizeof(REAL));
                    OF(copy_row)(from, step, right - left, to + left);
                    if (right < columns) memset(to + right, 0, (columns - right) * sizeof(REAL));
                }
            }
}

/* The room that the packed rows of a product take. */
static Index OF(packed_size)(Index rows, Index depth) { return divide_up(rows, MAX_ROWS) * MAX_ROWS * depth; }

/* Copy the rows of a product's first matrix in the order in which tiles read them, block by block: factor k
   of row r of a block comes to k MAX_ROWS + r. Without it, the factors of a step may lie far from each other
   and from those of the next, at distances that let them displace each other in the cache. */
static TARGET void OF(pack_rows)(
    const REAL *a, const Index *a_row, Index rows, Index depth, const Term *terms, REAL *packed)
{
    Index blocks = divide_up(rows, MAX_ROWS);
    for (Index n = 0; n < blocks; n++, packed += depth * MAX_ROWS) {
        Index first = rows * n / blocks, count = rows * (n + 1) / blocks - first;
        for (Index r = 0; r < count; r++)
            for (Index k = 0; k < depth; k++) packed[k * MAX_ROWS + r] = a[a_row[first + r] + terms[k].a];
    }
}

/* Store one vector of a product, for each filter, without the lanes that are not outputs. The vector begins
   at output (i, j). Its lanes follow the rows of the copy, which are `pitch` apart. */
static TARGET void OF(store_outputs)(
    const REAL *vector, Index i, Index j, Index pitch, REAL *out, const Outputs *o)
{
    Index lane = 0;
    while (lane < LANES && i < o->rows) {
        Index count = smaller(o->columns - j, LANES - lane);
        for (Index f = 0; f < o->filters; f++)
            for (Index n = 0; n < count; n++)
                out[f * o->plane + i * o->row + (j + n) * o->step] =
                    vector[f * MAX_VECTORS * LANES + lane + n];
        lane += pitch - j; /* the next row of the copy */
        j = 0;
        i++;
    }
}

/* Compute some rows of outputs, o.filters (F) of o.rows x o.columns, from the planes of a padded copy whose
   rows are `pitch` apart. `packed` has the filters' weights, in the order of `terms`, which say where the
   pixels are that they meet. Filter f begins with start[f]. scratch has room for MAX_VECTORS vectors of every
   filter.

   Vectors begin anew in each row, and the last one ends where the row ends: where the row is no whole number
   of vectors, it computes again what the one before it has. Or they run on through the whole plane, including
   what lies between the rows of outputs, if that takes fewer vectors, as it does for narrow images. */
static TARGET void OF(convolve)(const REAL *packed, Index depth, const Term *terms, const REAL *planes,
    Index pitch, const REAL *start, REAL *scratch, REAL *out, Outputs o)
{
    static const Index side_by_side[MAX_VECTORS] = {0, LANES, 2 * LANES};
    static const Index in_block[] = {0, 1, 2, 3, 4, 5, 6, 7};
    if (o.step == 1 && o.columns == pitch && o.columns == o.row) {
        o.columns *= o.rows; /* nothing lies between two rows: they are one */
        o.rows = 1;
    }
    Index per_row = divide_up(o.columns, LANES), vectors = divide_up((o.rows - 1) * pitch + o.columns, LANES);
    int by_row = o.rows * per_row <= vectors;
    if (by_row) vectors = o.rows * per_row;
    Index tiles = divide_up(vectors, MAX_VECTORS), blocks = divide_up(o.filters, MAX_ROWS);
    for (Index t = 0; t < tiles; t++) {
        /* Vector v of the tile begins at output (i[v], j[v]): at planes + from[v] and out + to[v] */
        Index first = vectors * t / tiles, count = vectors * (t + 1) / tiles - first;
        Index i[MAX_VECTORS], j[MAX_VECTORS], from[MAX_VECTORS], to[MAX_VECTORS];
        int whole = o.step == 1; /* every vector of outputs is contiguous */
        for (Index v = 0; v < count; v++) {
            Index n = first + v;
            i[v] = by_row ? n / per_row : n * LANES / pitch;
            j[v] = by_row ? larger(0, smaller(n % per_row * LANES, o.columns - LANES)) : n * LANES % pitch;
            from[v] = i[v] * pitch + j[v];
            to[v] = i[v] * o.row + j[v];
            whole = whole && j[v] + LANES <= o.columns;
        }
        /* Multiply blocks of filters by these vectors: straight into out where they fit into its rows */
        REAL *to_out = whole ? out : scratch;
        Index plane = whole ? o.plane : MAX_VECTORS * LANES;
        for (Index n = 0; n < blocks; n++) {
            Index f = o.filters * n / blocks, filters = o.filters * (n + 1) / blocks - f;
            OF(tile)(filters, count, depth, terms, packed + n * depth * MAX_ROWS, in_block, planes, from,
                start + f, to_out + f * plane, plane, whole ? to : side_by_side);
        }
        for (Index v = 0; v < count && !whole; v++)
            OF(store_outputs)(scratch + v * LANES, i[v], j[v], pitch, out, &o);
    }
}

/* out (N, F, H', W') = b + w (F, taps) columns (taps, H' W') for each image of x (N, C, H, W). */
static TARGET int OF(direct_forward)(
    const Geometry *g, const void *x, const void *w, const void *b, void *out)
{
    Index image_size = g->channels * g->height * g->width, out_plane = g->rows * g->columns;
    Index taps = g->channels * g->window_height * g->window_width;
    Index band = input_band(g, 0, sizeof(REAL));
    PaddedCopy copy = padded_input(g, band);
    Index overlap = copy.rows - band; /* rows that a band's copy has beyond those of its outputs */
    int own_copy = is_own_copy(g, band, LANES);
    if (own_copy) copy.rows = g->height;

    REAL *copied = NEW_AND_ZEROS_BEHIND(REAL, own_copy ? 0 : copy_size(&copy), MAX_VECTORS * LANES);
    REAL *packed = NEW(REAL, OF(packed_size)(g->filters, taps));
    REAL *scratch = NEW(REAL, g->filters * MAX_VECTORS * LANES);
    Index *w_row = NEW(Index, g->filters), *tap = NEW(Index, taps);
    Term *terms = NEW(Term, taps);
    int enough = copied && packed && scratch && w_row && tap && terms;
    if (enough) {
        /* Term k multiplies weight k of a filter by the pixel at tap k */
        offsets_of_taps(g, &copy, tap);
        for (Index k = 0; k < taps; k++) terms[k] = (Term){k, tap[k]};
        for (Index f = 0; f < g->filters; f++) w_row[f] = f * taps;
        OF(pack_rows)(w, w_row, g->filters, taps, terms, packed);
        in_packed_order(terms, taps, MAX_ROWS);

        for (Index n = 0; n < g->images; n++) {
            const REAL *image = (const REAL *)x + n * image_size;
            REAL *image_out = (REAL *)out + n * g->filters * out_plane;
            for (Index top = 0; top < g->rows; top += band) {
                /* Copy the pixels that the windows of this band see, then multiply */
                Index rows = smaller(band, g->rows - top);
                Outputs o = {g->filters, rows, g->columns, out_plane, g->columns, 1};
                const REAL *planes = own_copy ? image + top * g->width : copied;
                if (!own_copy) OF(copy_rows)(image, &copy, top * g->stride_down, rows + overlap, copied);
                OF(convolve)(
                    packed, taps, terms, planes, copy.columns, b, scratch, image_out + top * g->columns, o);
            }
        }
    }
    FREE_ALL(copied, packed, scratch, w_row, tap, terms);
    return enough;
}

/* dx (N, C, H, W), phase by phase, from a padded copy of dout (N, F, H', W'), see padded_upstream. */
static TARGET int OF(direct_backward_input)(const Geometry *g, const void *dout, const void *w, void *dx)
{
    Index s = g->stride_down, t = g->stride_across;
    Index down = smaller(s, g->height), across = smaller(t, g->width), phases = down * across;
    Index plane = g->height * g->width, dout_size = g->filters * g->rows * g->columns;
    Index rows = divide_up(g->height, s); /* of the largest phase */
    PaddedCopy copy = padded_upstream(g, 1);
    Index band = rows_at_a_time(rows, g->filters * copy.columns * sizeof(REAL), BAND_BYTES);
    copy.rows += band - 1;
    int own_copy = is_own_copy(g, band, LANES);
    if (own_copy) copy.rows = g->rows;

    REAL *copied = NEW_AND_ZEROS_BEHIND(REAL, own_copy ? 0 : copy_size(&copy), MAX_VECTORS * LANES);
    REAL *zeros = NEW_ZEROS(REAL, g->channels);
    Index *w_row = NEW(Index, g->channels), *first = NEW(Index, phases + 1);
    /* Each tap belongs to one phase */
    Index taps = g->filters * g->window_height * g->window_width;
    REAL *packed = NEW(REAL, OF(packed_size)(g->channels, taps));
    REAL *scratch = NEW(REAL, g->channels * MAX_VECTORS * LANES);
    Term *terms = NEW(Term, taps);
    int enough = copied && zeros && packed && scratch && w_row && first && terms;
    if (enough) {
        /* The terms of phase k are those from first[k] up to first[k + 1]; channel c is at w + w_row[c] */
        for (Index c = 0; c < g->channels; c++) w_row[c] = c * g->window_height * g->window_width;
        int has_empty = 0; /* a phase that no tap reaches: its gradient is 0 */
        first[0] = 0;
        for (Index k = 0; k < phases; k++) {
            Term *of_phase = terms + first[k];
            Index depth = terms_of_phase(g, &copy, k / across, k % across, of_phase);
            first[k + 1] = first[k] + depth;
            has_empty |= depth == 0;
            OF(pack_rows)(
                w, w_row, g->channels, depth, of_phase, packed + OF(packed_size)(g->channels, first[k]));
            in_packed_order(of_phase, depth, MAX_ROWS);
        }

        for (Index n = 0; n < g->images; n++) {
            const REAL *image_dout = (const REAL *)dout + n * dout_size;
            REAL *image_dx = (REAL *)dx + n * g->channels * plane;
            if (has_empty) memset(image_dx, 0, g->channels * plane * sizeof(REAL));
            for (Index top = 0; top < rows; top += band) {
                /* Copy the rows of dout that this band of every phase needs */
                const REAL *planes = own_copy ? image_dout + top * g->columns : copied;
                if (!own_copy) OF(copy_rows)(image_dout, &copy, top, copy.rows, copied);
                /* Phase (y, x): every t-th pixel of every s-th row of dx */
                for (Index k = 0; k < phases; k++) {
                    Index y = k / across, x = k % across;
                    Index phase_rows = divide_up(g->height - y, s),
                          phase_columns = divide_up(g->width - x, t);
                    Index band_rows = smaller(band, phase_rows - top);
                    Outputs o = {g->channels, band_rows, phase_columns, plane, s * g->width, t};
                    REAL *phase_dx = image_dx + (top * s + y) * g->width + x;
                    if (band_rows > 0 && first[k + 1] > first[k])
                        OF(convolve)(packed + OF(packed_size)(g->channels, first[k]), first[k + 1] - first[k],
                            terms + first[k], planes, copy.columns, zeros, scratch, phase_dx, o);
                }
            }
        }
    }
    FREE_ALL(copied, zeros, packed, scratch, w_row, first, terms);
    return enough;
}

/* Add the sum of filter f's pixels to db[f]; planes of dout are `plane` apart. */
static TARGET void OF(add_sums)(const REAL *dout, Index filters, Index pixels, Index plane, REAL *db)
{
    for (Index f = 0; f < filters; f++, dout += plane) {
        /* Four vectors of sums at a time, so that additions need not wait for each other */
        VECTOR sums[4] = {{0}};
        Index j = 0;
        for (; j + 4 * LANES <= pixels; j += 4 * LANES)
            for (int v = 0; v < 4; v++) sums[v] += AT(dout + j + v * LANES);
        for (int lane = 0; lane < LANES; lane++)
            db[f] += (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
        for (; j < pixels; j++) db[f] += dout[j];
    }
}

/* dw^T (taps, F) = columns (taps, pixels) dout^T (pixels, F), summed over the pixels of all images. The tiles
   are the same, but the lanes of their vectors are filters. Small images are grouped, so that products have
   many terms. */
static TARGET int OF(direct_backward_weights)(
    const Geometry *g, const void *dout, const void *x, void *dw, void *db)
{
    const Index depth = 128; /* pixels whose gradients, for one tile, fit into the first-level cache */
    Index image_size = g->channels * g->height * g->width, out_plane = g->rows * g->columns;
    Index taps = g->channels * g->window_height * g->window_width;
    Index filters = divide_up(g->filters, LANES) * LANES; /* whole vectors */
    Index band = input_band(g, filters, sizeof(REAL));
    Index group = band < g->rows ? 1 : smaller(g->images, larger(1, 2 * depth / out_plane));
    Index most = group * band * g->columns; /* pixels of a band of every image in the group */
    PaddedCopy copy = padded_input(g, band);
    Index overlap = copy.rows - band; /* rows that a band's copy has beyond those of its outputs */
    int own_copy = is_own_copy(g, band, 1);
    if (own_copy) copy.rows = g->height;

    REAL *copied = NEW(REAL, own_copy ? 0 : group * copy_size(&copy));
    REAL *transposed = NEW_ZEROS(REAL, most * filters);
    REAL *dw_transposed = NEW_ZEROS(REAL, taps * filters);
    Index *tap = NEW(Index, taps);
    Term *terms = NEW(Term, most);
    int enough = copied && transposed && dw_transposed && tap && terms;
    if (enough) {
        /* Term k multiplies the window of pixel k, in the copy of its image, by row k of transposed dout */
        offsets_of_taps(g, &copy, tap);
        for (Index k = 0; k < most; k++) {
            Index image = k / (band * g->columns), i = k / g->columns % band, j = k % g->columns;
            terms[k] = (Term){image * copy_size(&copy) + i * copy.columns + j, k * filters};
        }
        memset(db, 0, g->filters * sizeof(REAL));
        for (Index n = 0; n < g->images; n += group)
            for (Index top = 0; top < g->rows; top += band) {
                /* For every image of the group: copy the pixels, transpose dout to (pixels, F), add up db */
                Index rows = smaller(band, g->rows - top), pixels = 0;
                const REAL *images = (const REAL *)x + n * image_size;
                const REAL *planes = own_copy ? images + top * g->width : copied;
                for (Index m = n; m < smaller(n + group, g->images); m++) {
                    const REAL *band_dout =
                        (const REAL *)dout + m * g->filters * out_plane + top * g->columns;
                    if (!own_copy)
                        OF(copy_rows)(images + (m - n) * image_size, &copy, top * g->stride_down,
                            rows + overlap, copied + (m - n) * copy_size(&copy));
                    OF(transpose)(band_dout, g->filters, rows * g->columns, out_plane,
                        transposed + pixels * filters, filters);
                    OF(add_sums)(band_dout, g->filters, rows * g->columns, out_plane, db);
                    pixels += rows * g->columns;
                }
                /* dw^T (taps, F) += columns (taps, depth) transposed (depth, F) */
                for (Index k = 0; k < pixels; k += depth)
                    OF(product)(taps, filters, smaller(depth, pixels - k), terms + k, planes, tap, transposed,
                        1, dw_transposed, filters);
            }
        OF(transpose)(dw_transposed, taps, g->filters, filters, dw, taps);
    }
    FREE_ALL(copied, transposed, dw_transposed, tap, terms);
    return enough;
}
