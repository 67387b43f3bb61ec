/* Where the data of a direct convolution lie in memory, see direct.h. */

/* The layout of a padded copy of some rows of an image. Plane (c, a, b) holds, at its row i and column j, the
   pixel of channel c at (first_row + a + step_down i, first_column + b + step_across j), or zero outside the
   image.

   With steps of 1 this is the padded image. With larger steps, the pixels that one tap meets in neighbouring
   windows still lie side by side. */
typedef struct {
    Index channels, height, width; /* of the image */
    Index step_down, step_across, phases_down, phases_across, first_row, first_column;
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
    PaddedCopy copy = {.channels = g->channels,
        .height = g->height,
        .width = g->width,
        .step_down = g->stride_down,
        .step_across = g->stride_across,
        .phases_down = smaller(g->stride_down, g->window_height),
        .phases_across = smaller(g->stride_across, g->window_width),
        .first_row = -g->pad_down,
        .first_column = -g->pad_across,
        .rows = band + (g->window_height - 1) / g->stride_down,
        .columns = g->columns + (g->window_width - 1) / g->stride_across};
    return copy;
}

/* Return whether no copy is needed: windows of one pixel that meet every pixel, in the order of memory. A
   band must have enough outputs for a vector; a shorter one would read beyond the image. */
static int is_own_copy(const Geometry *g, Index band, Index lanes)
{
    Index outputs = band < g->rows ? g->columns : g->rows * g->columns; /* at least, in a band */
    return g->window_height == 1 && g->window_width == 1 && g->stride_down == 1 && g->stride_across == 1 &&
        g->pad_down == 0 && g->pad_across == 0 && outputs >= lanes;
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
                Index phase = c * copy->phases_down + p % g->stride_down;
                Index plane = phase * copy->phases_across + q % g->stride_across;
                Index row = p / g->stride_down, column = q / g->stride_across;
                *taps++ = plane * plane_size(copy) + row * copy->columns + column;
            }
}

/* Let the terms' first factors be those of rows that were packed in their order, see pack_rows. */
static void in_packed_order(Term *terms, Index depth, Index rows_of_block)
{
    for (Index k = 0; k < depth; k++) terms[k].a = k * rows_of_block;
}

/* Where the outputs of a convolution lie, if they are some columns of some rows, at equal distances: all
   pixels, or one phase of the input's gradient. */
typedef struct {
    Index filters, rows, columns;
    Index plane, row, step; /* distances from one plane, row and column to the next */
} Outputs;

/* With strides s down and t across, the input's gradient has s x t phases. Phase (y, x) is the pixels
   (s i + y, t j + x). It is a convolution of dout with the taps that reach such pixels, rotated by 180
   degrees:

       dx[c, s i + y, t j + x] = sum over f, p, q of
           w[f, c, p, q] dout[f, i + (y + pad_down - p) / s, j + (x + pad_across - q) / t]

   for the p and q that make both quotients whole. Where the strides do not divide, the last pixels are in no
   window: they meet only zeros beyond dout. This lays out the padded copy of dout. */
static PaddedCopy padded_upstream(const Geometry *g, Index band)
{
    Index s = g->stride_down, t = g->stride_across;
    PaddedCopy copy = {.channels = g->filters,
        .height = g->rows,
        .width = g->columns,
        .step_down = 1,
        .step_across = 1,
        .phases_down = 1,
        .phases_across = 1,
        .first_row = g->pad_down / s - (g->window_height - 1) / s,
        .first_column = g->pad_across / t - (g->window_width - 1) / t};
    /* Up to the largest (y + pad_down - p) / s, and likewise across */
    copy.rows = band + (s - 1 + g->pad_down) / s - copy.first_row;
    copy.columns = divide_up(g->width, t) + (t - 1 + g->pad_across) / t - copy.first_column;
    return copy;
}

/* Write the terms of phase (y, x), factor a in w and factor b in the padded copy of dout; return how
   many there are. */
static Index terms_of_phase(const Geometry *g, const PaddedCopy *copy, Index y, Index x, Term *terms)
{
    Index s = g->stride_down, t = g->stride_across, count = 0;
    for (Index f = 0; f < g->filters; f++)
        for (Index p = (y + g->pad_down) % s; p < g->window_height; p += s)
            for (Index q = (x + g->pad_across) % t; q < g->window_width; q += t) {
                Index row = (y + g->pad_down - p) / s - copy->first_row;
                Index column = (x + g->pad_across - q) / t - copy->first_column;
                terms[count].a = (f * g->channels * g->window_height + p) * g->window_width + q;
                terms[count].b = f * plane_size(copy) + row * copy->columns + column;
                count++;
            }
    return count;
}
