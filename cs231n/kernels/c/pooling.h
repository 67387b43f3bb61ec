/* Max pooling, for a vector of windows at a time. The pixels that one tap meets in neighbouring windows lie
   side by side in a copy of the plane, as in direct.h, whatever the stride. A tap is then two comparisons and
   two selections: no branch, as none could be foreseen, with which pixel is the largest left to chance. */

/* Whole numbers, as wide as REAL; a comparison of vectors gives -1 in the lanes where it holds, else 0. */
typedef WHOLE OF(Wholes) __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define WHOLES OF(Wholes)
#define SELECT(which, yes, no) (((which) & (yes)) | (~(which) & (no)))

/* The largest pixel of each of `count` windows, and its offset from the window's corner; the last vector goes
   on beyond them. A NaN counts as larger than all numbers, and of equals the first stays. */
static TARGET void OF(find_largest)(const REAL *planes, const Index *tap, const WHOLE *offset, Index taps,
    Index count, REAL *largest, WHOLE *at)
{
    for (Index k = 0; k < count; k += LANES) {
        VECTOR best = AT(planes + k);
        WHOLES best_at = {0};
        for (Index t = 1; t < taps; t++) {
            VECTOR pixel = AT(planes + tap[t] + k);
            WHOLES better = ~(pixel <= best) & (best == best);
            best = (VECTOR)SELECT(better, (WHOLES)pixel, (WHOLES)best);
            best_at = SELECT(better, offset[t], best_at);
        }
        AT(largest + k) = best;
        *(WHOLES *)(at + k) = best_at;
    }
}

/* What was found for a row of windows, whose first corner is that far into the plane. */
static TARGET void OF(write_row)(const REAL *restrict largest, const WHOLE *restrict at, Index corner,
    Index step, Index count, REAL *restrict out, Index *restrict argmax)
{
    for (Index j = 0; j < count; j++) out[j] = largest[j], argmax[j] = corner + j * step + at[j];
}

/* Every image is a plane of its own. */
static TARGET int OF(max_pool)(const Geometry *g, const void *x, void *out, Index *argmax)
{
    Index taps = g->window_height * g->window_width, band = input_band(g, 0, sizeof(REAL));
    Copy copy = copy_of_input(g, band);
    Index windows = (band - 1) * copy.columns + g->columns; /* with what is between the rows */
    REAL *planes = NEW_AND_ZEROS(REAL, copy_size(&copy), LANES), *largest = NEW(REAL, windows + LANES), *to = out;
    WHOLE *offset = NEW(WHOLE, taps), *at = NEW(WHOLE, windows + LANES);
    Index *tap = NEW(Index, taps);
    int enough = planes && largest && offset && at && tap;
    if (enough) {
        place_taps(g, &copy, tap);
        for (Index t = 0; t < taps; t++)
            offset[t] = t / g->window_width * g->width + t % g->window_width;
        for (Index n = 0; n < g->images; n++)
            for (Index top = 0; top < g->rows; top += band) {
                Index rows = smaller(band, g->rows - top);
                OF(copy)((const REAL *)x + n * g->height * g->width, &copy, top * g->stride,
                    copy.rows - band + rows, planes);
                OF(find_largest)(
                    planes, tap, offset, taps, (rows - 1) * copy.columns + g->columns, largest, at);
                for (Index i = 0; i < rows; i++, to += g->columns, argmax += g->columns)
                    OF(write_row)(largest + i * copy.columns, at + i * copy.columns,
                        (top + i) * g->stride * g->width, g->stride, g->columns, to, argmax);
            }
    }
    discard(planes), discard(largest), discard(offset), discard(at), discard(tap);
    return enough;
}
#undef WHOLES
#undef SELECT
