/* Where the data of a direct convolution lie in memory, see direct.h. */

/* The layout of a padded copy of some rows of an image. Plane (c, a, b) holds, at its row i and column j, the
   pixel of channel c at (first_row + a + step i, first_column + b + step j), or zero outside the image.

   With step 1 this is the padded image. With a larger step, the pixels that one tap meets in neighbouring
   windows still lie side by side. */
typedef struct {
    Index channels, height, width; /* of the image */
    Index step, phases_down, phases_across, first_row, first_column;
    Index rows, columns; /* of a plane */
} PaddedCopy;

static Index plane_size(const PaddedCopy *copy) { return copy->rows * copy->columns; }
static Index copy_size(const PaddedCopy *copy)
{
    return copy->channels * copy->phases_down * copy->phases_across * plane_size(copy);
}

/* Lay out the copy of the pixels that the windows of `band` rows of the output see. */
static PaddedCopy padded_input(const Geometry *g, Index band)
{
    Index down = smaller(g->stride, g->window_height), across = smaller(g->stride, g->window_width);
    PaddedCopy copy = {g->channels, g->height, g->width, g->stride, down, across, -g->pad, -g->pad};
    copy.rows = band + (g->window_height - 1) / g->stride;
    copy.columns = g->columns + (g->window_width - 1) / g->stride;
    return copy;
}

/* Return the rows of output in a band: their copy, and `extra` more numbers for each output, take at most
   BAND_BYTES. */
static Index input_band(const Geometry *g, Index extra, Index bytes)
{
    PaddedCopy row = padded_input(g, 1);
    row.rows = 1;
    return rows_at_a_time(g->rows, (copy_size(&row) + g->columns * extra) * bytes, BAND_BYTES);
}

/* Write the offsets of a window's taps (c, p, q) in the padded input, relative to its first pixel. */
static void offsets_of_taps(const Geometry *g, const PaddedCopy *copy, Index *taps)
{
    for (Index c = 0; c < g->channels; c++)
        for (Index p = 0; p < g->window_height; p++)
            for (Index q = 0; q < g->window_width; q++) {
                Index plane = (c * copy->phases_down + p % g->stride) * copy->phases_across + q % g->stride;
                *taps++ = plane * plane_size(copy) + p / g->stride * copy->columns + q / g->stride;
            }
}

/* One term of a sum of products: the offsets of its two factors, see tile.h. */
typedef struct {
    Index a, b;
} Term;

/* Where the outputs of a convolution lie, if they are every step-th pixel of every step-th row: all pixels,
   or one phase of the input's gradient. */
typedef struct {
    Index filters, rows, columns;
    Index plane, row, step; /* distances from one plane, row and column to the next */
} Outputs;

/* With stride s, the input's gradient has s x s phases. Phase (y, x) is the pixels (s i + y, s j + x). It is
   a convolution of dout with the taps that reach such pixels, rotated by 180 degrees:

       dx[c, s i + y, s j + x] =
           sum over f, p, q of w[f, c, p, q] dout[f, i + (y + pad - p) / s, j + (x + pad - q) / s]

   for the p and q that make both quotients whole. This lays out the padded copy of dout. */
static PaddedCopy padded_upstream(const Geometry *g, Index band)
{
    Index s = g->stride, most = (s - 1 + g->pad) / s; /* the largest (y + pad - p) / s */
    PaddedCopy copy = {g->filters, g->rows, g->columns, 1, 1, 1};
    copy.first_row = g->pad / s - (g->window_height - 1) / s;
    copy.first_column = g->pad / s - (g->window_width - 1) / s;
    copy.rows = band + most - copy.first_row;
    copy.columns = divide_up(g->width, s) + most - copy.first_column;
    return copy;
}

/* Write the terms of phase (y, x), factor a in w and factor b in the padded copy of dout; return how
   many there are. */
static Index terms_of_phase(const Geometry *g, const PaddedCopy *copy, Index y, Index x, Term *terms)
{
    Index s = g->stride, count = 0;
    for (Index f = 0; f < g->filters; f++)
        for (Index p = (y + g->pad) % s; p < g->window_height; p += s)
            for (Index q = (x + g->pad) % s; q < g->window_width; q += s) {
                Index row = (y + g->pad - p) / s - copy->first_row;
                Index column = (x + g->pad - q) / s - copy->first_column;
                terms[count].a = (f * g->channels * g->window_height + p) * g->window_width + q;
                terms[count].b = f * plane_size(copy) + row * copy->columns + column;
                count++;
            }
    return count;
}
