/* Direct convolution: a matrix product whose matrix of columns is never written.

   With im2col, out (F, H' W') = w (F, C HH WW) columns (C HH WW, H' W'), and every pixel is written HH WW
   times into the columns. But their element for tap (c, p, q) of window (i, j) is a pixel of the padded
   image, and its place there is an offset of the tap plus an offset of the window: all that a tile asks
   for. So each image is copied once, with its padding, and its products read that copy. */

static TARGET void OF(copy_row)(const REAL *from, Index step, Index count, REAL *to)
{
    Index j = 0;
    if (step == 1 && count >= LANES) {
        for (; j < count - LANES; j += LANES) {
            AT(to + j) = AT(from + j);
            __asm__(""); /* or GCC makes a call of memmove of this loop, whose rows are short */
        }
        AT(to + count - LANES) = AT(from + count - LANES); /* overlaps the one before */
    } else if (step == 1 && count >= LANES / 2) { /* a size that the compiler knows is no call */
        memcpy(to, from, BYTES / 2);
        memcpy(to + count - LANES / 2, from + count - LANES / 2, BYTES / 2);
    } else if (step == 1)
        memcpy(to, from, count * sizeof(REAL));
    else if (step == 2) /* known to the compiler, which makes vectors of it */
        for (; j < count; j++) to[j] = from[2 * j];
    else
        for (; j < count; j++) to[j] = from[j * step];
}

/* See Copy; `skip` rows of the image later, and only so many rows of each plane. */
static TARGET void OF(copy)(const REAL *image, const Copy *copy, Index skip, Index rows, REAL *plane)
{
    Index step = copy->step, columns = copy->columns;
    for (Index c = 0; c < copy->channels; c++, image += copy->height * copy->width)
        for (Index a = 0; a < copy->phases_down; a++)
            for (Index b = 0; b < copy->phases_across; b++, plane += plane_size(copy)) {
                Index y = copy->first_row + skip + a, x = copy->first_column + b;
                /* columns left <= j < right are within the image */
                Index left = smaller(columns, x < 0 ? divide_up(-x, step) : 0);
                Index right = larger(
                    left, smaller(columns, x < copy->width ? divide_up(copy->width - x, step) : 0));
                for (Index i = 0; i < rows; i++, y += step) {
                    REAL *to = plane + i * columns;
                    if (y < 0 || y >= copy->height || left == right) {
                        memset(to, 0, columns * sizeof(REAL));
                        continue;
                    }
                    const REAL *from = image + y * copy->width + x + left * step;
                    if (left > 0) memset(to, 0, left * sizeof(REAL)); /* rows are short: an empty call costs */
                    OF(copy_row)(from, step, right - left, to + left);
                    if (right < columns) memset(to + right, 0, (columns - right) * sizeof(REAL));
                }
            }
}

/* Store a tile's vector, which began at output (i, j); in the copy its lanes go on into the next rows,
   after `pitch`. */
static TARGET void OF(store)(
    const REAL *tile, Index filters, Index i, Index j, Index pitch, REAL *out, const Outputs *o)
{
    for (Index lane = 0; lane < LANES && i < o->rows; lane += pitch - j, j = 0, i++) {
        Index count = smaller(o->columns - j, LANES - lane);
        for (Index f = 0; f < filters; f++)
            for (Index n = 0; n < count; n++)
                out[f * o->plane + i * o->row + (j + n) * o->step] = tile[f * MAX_VECTORS * LANES + lane + n];
    }
}

/* Some rows of outputs. Their vectors begin anew in each row; or they go on through the whole plane, with
   what is between the rows, where that takes fewer of them, as with narrow images. */
static TARGET void OF(convolve)(const REAL *w, const Index *w_row, Index depth, const Place *at,
    const REAL *planes, Index pitch, const REAL *start, REAL *out, const Outputs *o)
{
    static const Index side_by_side[MAX_VECTORS] = {0, LANES, 2 * LANES};
    Index per_row = divide_up(o->columns, LANES),
          vectors = divide_up((o->rows - 1) * pitch + o->columns, LANES);
    int by_row = o->rows * per_row <= vectors;
    if (by_row) vectors = o->rows * per_row;
    Index tiles = divide_up(vectors, MAX_VECTORS), blocks = divide_up(o->filters, MAX_ROWS);
    REAL scratch[MAX_ROWS * MAX_VECTORS * BYTES / sizeof(REAL)];
    for (Index t = 0; t < tiles; t++) {
        Index first = vectors * t / tiles, count = vectors * (t + 1) / tiles - first;
        Index i[MAX_VECTORS], j[MAX_VECTORS], from[MAX_VECTORS], to[MAX_VECTORS];
        int whole = o->step == 1; /* vectors of outputs that lie together */
        for (Index v = 0; v < count; v++) {
            i[v] = by_row ? (first + v) / per_row : (first + v) * LANES / pitch;
            j[v] = by_row ? (first + v) % per_row * LANES : (first + v) * LANES % pitch;
            from[v] = i[v] * pitch + j[v];
            to[v] = i[v] * o->row + j[v];
            whole = whole && j[v] + LANES <= o->columns;
        }
        for (Index n = 0; n < blocks; n++) {
            Index f = o->filters * n / blocks, filters = o->filters * (n + 1) / blocks - f;
            REAL *first_out = out + f * o->plane;
            if (whole) {
                OF(tile)(filters, count, depth, at, w, w_row + f, planes, from, start + f, first_out,
                    o->plane, to);
                continue;
            }
            OF(tile)(filters, count, depth, at, w, w_row + f, planes, from, start + f, scratch,
                MAX_VECTORS * LANES, side_by_side);
            for (Index v = 0; v < count; v++)
                OF(store)(scratch + v * LANES, filters, i[v], j[v], pitch, first_out, o);
        }
    }
}

static TARGET int OF(direct_forward)(
    const Geometry *g, const void *x, const void *w, const void *b, void *out)
{
    Index taps = g->channels * g->window_height * g->window_width, band = input_band(g, 0, sizeof(REAL));
    Copy copy = copy_of_input(g, band);
    REAL *planes = NEW_AND_ZEROS(REAL, copy_size(&copy), MAX_VECTORS * LANES);
    Index *w_row = NEW(Index, g->filters), *tap = NEW(Index, taps);
    Place *at = NEW(Place, taps);
    int enough = planes && w_row && tap && at;
    if (enough) {
        place_taps(g, &copy, tap);
        for (Index k = 0; k < taps; k++) at[k] = (Place){k, tap[k]};
        for (Index f = 0; f < g->filters; f++) w_row[f] = f * taps;
        for (Index n = 0; n < g->images; n++)
            for (Index top = 0; top < g->rows; top += band) {
                Index rows = smaller(band, g->rows - top), plane = g->rows * g->columns;
                Outputs o = {g->filters, rows, g->columns, plane, g->columns, 1};
                OF(copy)((const REAL *)x + n * g->channels * g->height * g->width, &copy, top * g->stride,
                    copy.rows - band + rows, planes);
                OF(convolve)(w, w_row, taps, at, planes, copy.columns, b,
                    (REAL *)out + n * g->filters * plane + top * g->columns, &o);
            }
    }
    discard(planes), discard(w_row), discard(tap), discard(at);
    return enough;
}

static TARGET int OF(direct_backward_input)(const Geometry *g, const void *dout, const void *w, void *dx)
{
    Index s = g->stride, down = smaller(s, g->height), across = smaller(s, g->width),
          rows = divide_up(g->height, s);
    Copy copy = copy_of_upstream(g, 1);
    Index band = rows_at_a_time(rows, g->filters * copy.columns * sizeof(REAL), BAND_BYTES);
    copy.rows += band - 1;
    REAL *planes = NEW_AND_ZEROS(REAL, copy_size(&copy), MAX_VECTORS * LANES), *zeros = ZEROS(REAL, g->channels);
    Index *w_row = NEW(Index, g->channels), *first = NEW(Index, down * across + 1);
    Place *at = NEW(Place, g->filters * g->window_height * g->window_width); /* each tap is in one phase */
    int enough = planes && zeros && w_row && first && at;
    if (enough) {
        for (Index c = 0; c < g->channels; c++) w_row[c] = c * g->window_height * g->window_width;
        first[0] = 0;
        for (Index k = 0; k < down * across; k++)
            first[k + 1] = first[k] + place_phase(g, &copy, k / across, k % across, at + first[k]);
        for (Index n = 0; n < g->images; n++)
            for (Index top = 0; top < rows; top += band) {
                OF(copy)((const REAL *)dout + n * g->filters * g->rows * g->columns, &copy, top, copy.rows,
                    planes);
                for (Index k = 0; k < down * across; k++) {
                    Index y = k / across, z = k % across, plane = g->height * g->width;
                    Outputs o = {g->channels, smaller(band, divide_up(g->height - y, s) - top),
                        divide_up(g->width - z, s), plane, s * g->width, s};
                    REAL *to = (REAL *)dx + n * g->channels * plane + (top * s + y) * g->width + z;
                    if (o.rows > 0)
                        OF(convolve)(w, w_row, first[k + 1] - first[k], at + first[k], planes, copy.columns,
                            zeros, to, &o);
                }
            }
    }
    discard(planes), discard(zeros), discard(w_row), discard(first), discard(at);
    return enough;
}

/* b (columns, rows) is the transpose of a (rows, columns), both of them with such distances from row to
   row. */
static TARGET void OF(transpose)(const REAL *a, Index rows, Index columns, Index a_row, REAL *b, Index b_row)
{
    enum { BLOCK = 16 };
    for (Index i = 0; i < rows; i += BLOCK)
        for (Index j = 0; j < columns; j++)
            if (i + BLOCK <= rows) /* a constant number of steps, which the compiler unrolls */
                for (Index k = 0; k < BLOCK; k++) b[j * b_row + i + k] = a[(i + k) * a_row + j];
            else
                for (Index k = 0; i + k < rows; k++) b[j * b_row + i + k] = a[(i + k) * a_row + j];
}

/* db[f] += the sum of filter f's pixels */
static TARGET void OF(add_sums)(const REAL *dout, Index filters, Index pixels, Index plane, REAL *db)
{
    for (Index f = 0; f < filters; f++, dout += plane) {
        VECTOR sums[4] = {{0}};
        Index j = 0;
        for (; j + 4 * LANES <= pixels; j += 4 * LANES)
            for (int v = 0; v < 4; v++) sums[v] += AT(dout + j + v * LANES);
        for (int lane = 0; lane < LANES; lane++)
            db[f] += (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
        for (; j < pixels; j++) db[f] += dout[j];
    }
}

/* dw^T (taps, F) = columns (taps, pixels) dout^T (pixels, F), over the pixels of all images: the same
   tiles, whose vectors are now filters. Small images are taken several at a time, for products of some
   depth. */
static TARGET int OF(direct_backward_weights)(
    const Geometry *g, const void *dout, const void *x, void *dw, void *db)
{
    const Index depth = 128; /* pixels whose gradients, for one tile, fit into the first-level cache */
    Index taps = g->channels * g->window_height * g->window_width, plane = g->rows * g->columns;
    Index filters = divide_up(g->filters, LANES) * LANES, band = input_band(g, filters, sizeof(REAL));
    Index group = band < g->rows ? 1 : smaller(g->images, larger(1, 2 * depth / plane));
    Index most = group * band * g->columns;
    Copy copy = copy_of_input(g, band);
    REAL *planes = NEW(REAL, group * copy_size(&copy)), *transposed = ZEROS(REAL, most * filters);
    REAL *dw_transposed = ZEROS(REAL, taps * filters);
    Index *tap = NEW(Index, taps);
    Place *at = NEW(Place, most);
    int enough = planes && transposed && dw_transposed && tap && at;
    if (enough) {
        place_taps(g, &copy, tap);
        for (Index k = 0; k < most; k++) {
            Index image = k / (band * g->columns), i = k / g->columns % band, j = k % g->columns;
            at[k] = (Place){image * copy_size(&copy) + i * copy.columns + j, k * filters};
        }
        memset(db, 0, g->filters * sizeof(REAL));
        for (Index n = 0; n < g->images; n += group)
            for (Index top = 0; top < g->rows; top += band) {
                Index rows = smaller(band, g->rows - top), pixels = 0;
                for (Index m = n; m < smaller(n + group, g->images); m++, pixels += rows * g->columns) {
                    const REAL *d = (const REAL *)dout + m * g->filters * plane + top * g->columns;
                    OF(copy)((const REAL *)x + m * g->channels * g->height * g->width, &copy, top * g->stride,
                        copy.rows - band + rows, planes + (m - n) * copy_size(&copy));
                    OF(transpose)(
                        d, g->filters, rows * g->columns, plane, transposed + pixels * filters, filters);
                    OF(add_sums)(d, g->filters, rows * g->columns, plane, db);
                }
                for (Index k = 0; k < pixels; k += depth)
                    OF(product)(taps, filters, smaller(depth, pixels - k), at + k, planes, tap, transposed,
                        1, dw_transposed, filters);
            }
        OF(transpose)(dw_transposed, taps, g->filters, filters, dw, taps);
    }
    discard(planes), discard(transposed), discard(dw_transposed), discard(tap), discard(at);
    return enough;
}
