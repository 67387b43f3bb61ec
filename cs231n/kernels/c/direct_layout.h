/* Where things are in memory. No numbers are touched here. */

/* A padded copy of some rows of an image, as planes: plane [c, a, b] has at its row i and column j the
   pixel of channel c at (first_row + a + step i, first_column + b + step j), or zero beside the image. With
   step 1 that is the padded image. With another, what one tap of a filter meets in neighbouring windows
   lies side by side all the same. */
typedef struct {
    Index channels, height, width; /* of the image */
    Index step, phases_down, phases_across, first_row, first_column;
    Index rows, columns; /* of a plane */
} Copy;

static Index plane_size(const Copy *copy) { return copy->rows * copy->columns; }
static Index copy_size(const Copy *copy)
{ return copy->channels * copy->phases_down * copy->phases_across * plane_size(copy); }

/* What the windows of `band` rows of the output see. */
static Copy copy_of_input(const Geometry *g, Index band)
{
    Index down = smaller(g->stride, g->window_height), across = smaller(g->stride, g->window_width);
    Copy copy = {g->channels, g->height, g->width, g->stride, down, across, -g->pad, -g->pad};
    copy.rows = band + (g->window_height - 1) / g->stride;
    copy.columns = g->columns + (g->window_width - 1) / g->stride;
    return copy;
}

/* Rows of the output at a time, so that what their windows see, and so many more numbers for each output, are
   no more than BAND_BYTES. */
static Index input_band(const Geometry *g, Index more, Index bytes)
{
    Copy row = copy_of_input(g, 1);
    row.rows = 1;
    return rows_at_a_time(g->rows, (copy_size(&row) + g->columns * more) * bytes, BAND_BYTES);
}

/* The offsets of a window's taps (c, p, q) in such a copy, from the window's own place. */
static void place_taps(const Geometry *g, const Copy *copy, Index *taps)
{
    for (Index c = 0; c < g->channels; c++)
        for (Index p = 0; p < g->window_height; p++)
            for (Index q = 0; q < g->window_width; q++) {
                Index plane = (c * copy->phases_down + p % g->stride) * copy->phases_across + q % g->stride;
                *taps++ = plane * plane_size(copy) + p / g->stride * copy->columns + q / g->stride;
            }
}

/* The two factors of a product: offsets in two arrays, see tile.h. */
typedef struct {
    Index a, b;
} Place;

/* Outputs of a convolution that lie in a row at every step-th place: all of them, or one phase of the
   input's gradient. */
typedef struct {
    Index filters, rows, columns;
    Index plane, row, step; /* from one plane, row, column to the next */
} Outputs;

/* With stride s, the input's gradient has s x s phases: pixels (s i + y, s j + x) for one y and x. Each is
   a convolution of dout, with those of the taps that reach such pixels, turned round:

       dx[c, s i + y, s j + x] =
           sum over f, p, q of w[f, c, p, q] dout[f, i + (y + pad - p) / s, j + (x + pad - q) / s]

   for the p and q that make these whole numbers. The copy is of dout. */
static Copy copy_of_upstream(const Geometry *g, Index band)
{
    Index s = g->stride, most = (s - 1 + g->pad) / s; /* the largest of (y + pad - p) / s */
    Copy copy = {g->filters, g->rows, g->columns, 1, 1, 1};
    copy.first_row = g->pad / s - (g->window_height - 1) / s;
    copy.first_column = g->pad / s - (g->window_width - 1) / s;
    copy.rows = band + most - copy.first_row;
    copy.columns = divide_up(g->width, s) + most - copy.first_column;
    return copy;
}

/* The places, in w and in that copy, of the products of phase (y, x); returns how many there are. */
static Index place_phase(const Geometry *g, const Copy *copy, Index y, Index x, Place *places)
{
    Index s = g->stride, count = 0;
    for (Index f = 0; f < g->filters; f++)
        for (Index p = (y + g->pad) % s; p < g->window_height; p += s)
            for (Index q = (x + g->pad) % s; q < g->window_width; q += s, count++) {
                Index row = (y + g->pad - p) / s - copy->first_row,
                      column = (x + g->pad - q) / s - copy->first_column;
                places[count].a = (f * g->channels * g->window_height + p) * g->window_width + q;
                places[count].b = f * plane_size(copy) + row * copy->columns + column;
            }
    return count;
}
