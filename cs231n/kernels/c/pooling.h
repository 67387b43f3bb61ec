/* Max pooling, one vector of windows at a time. In a copy of the plane, as in direct.h, the pixels that one
   tap meets in neighbouring windows lie side by side, whatever the stride. One tap then takes two comparisons
   and two selections. There are no branches, because which pixel is largest is unpredictable. */

/* Integers as wide as REAL. Comparing two vectors gives -1 where the comparison holds and 0 elsewhere. */
typedef INTEGER OF(Integers) __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define INTEGERS OF(Integers)
#define SELECT(which, yes, no) (((which) & (yes)) | (~(which) & (no)))

/* Find the largest pixel of each of `count` windows and its offset from the window's corner. The last vector
   runs past the last window. A NaN counts as larger than every number; of equal pixels the first wins. */
static TARGET void OF(find_largest)(const REAL *planes, const Index *tap, const INTEGER *offset, Index taps,
    Index count, REAL *largest, INTEGER *largest_at)
{
    for (Index k = 0; k < count; k += LANES) {
        VECTOR best = AT(planes + k);
        INTEGERS best_at = {0};
        for (Index t = 1; t < taps; t++) {
            VECTOR pixel = AT(planes + tap[t] + k);
            INTEGERS better = ~(pixel <= best) & (best == best);
            best = (VECTOR)SELECT(better, (INTEGERS)pixel, (INTEGERS)best);
            best_at = SELECT(better, offset[t], best_at);
        }
        AT(largest + k) = best;
        *(INTEGERS *)(largest_at + k) = best_at;
    }
}

/* Write the results of one row of windows. The corner of its first window has index `corner` in the plane. */
static TARGET void OF(write_row)(const REAL *restrict largest, const INTEGER *restrict largest_at,
    Index corner, Index step, Index count, REAL *restrict out, Index *restrict argmax)
{
    for (Index j = 0; j < count; j++) {
        out[j] = largest[j];
        argmax[j] = corner + j * step + largest_at[j];
    }
}

/* Pool images that have one channel each: x (N C, H, W), out and argmax (N C, H', W'). */
static TARGET int OF(max_pool)(const Geometry *g, const void *x, void *out, Index *argmax)
{
    Index taps = g->window_height * g->window_width;
    Index band = input_band(g, 0, sizeof(REAL));
    PaddedCopy copy = padded_input(g, band);
    Index overlap = copy.rows - band; /* rows that a band's copy has beyond those of its outputs */

    /* Windows are counted along the rows of the copy; a few of them, between the rows, are not real */
    Index windows = (band - 1) * copy.columns + g->columns;
    REAL *planes = NEW_AND_ZEROS_BEHIND(REAL, copy_size(&copy), LANES);
    REAL *largest = NEW(REAL, windows + LANES);
    INTEGER *offset = NEW(INTEGER, taps), *largest_at = NEW(INTEGER, windows + LANES);
    Index *tap = NEW(Index, taps);
    int enough = planes && largest && offset && largest_at && tap;
    if (enough) {
        /* Where each tap lies in the copy, and in the plane itself */
        offsets_of_taps(g, &copy, tap);
        for (Index t = 0; t < taps; t++) offset[t] = t / g->window_width * g->width + t % g->window_width;

        REAL *out_row = out;
        for (Index n = 0; n < g->images; n++) {
            const REAL *image = (const REAL *)x + n * g->height * g->width;
            for (Index top = 0; top < g->rows; top += band) {
                Index rows = smaller(band, g->rows - top);
                OF(copy_rows)(image, &copy, top * g->stride_down, rows + overlap, planes);
                OF(find_largest)(
                    planes, tap, offset, taps, (rows - 1) * copy.columns + g->columns, largest, largest_at);
                for (Index i = 0; i < rows; i++) {
                    Index corner = (top + i) * g->stride_down * g->width;
                    OF(write_row)(largest + i * copy.columns, largest_at + i * copy.columns, corner,
                        g->stride_across, g->columns, out_row, argmax);
                    out_row += g->columns;
                    argmax += g->columns;
                }
            }
        }
    }
    FREE_ALL(planes, largest, offset, largest_at, tap);
    return enough;
}
#undef INTEGERS
#undef SELECT
