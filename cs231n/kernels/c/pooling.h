/* Max pooling, one vector of windows at a time: the windows in the order of their outputs, whichever row,
   plane or image they are of, so that small planes fill vectors too. One tap of all of them is gathered,
   compared and selected. There are no branches, because which pixel is largest is unpredictable. */

/* Integers as wide as REAL. Comparing two vectors gives -1 where the comparison holds and 0 elsewhere. */
typedef INTEGER OF(Integers) __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define INTEGERS OF(Integers)
#define SELECT(which, yes, no) (((which) & (yes)) | (~(which) & (no)))

/* Find the largest pixel of windows that begin at `corners` and its offset from there. A NaN counts as larger
   than every number; of equal pixels the first wins. */
static TARGET inline void OF(find_largest)(
    const Geometry *g, const REAL *const *corners, REAL *largest, INTEGER *largest_at)
{
    VECTOR best = (VECTOR){0} - (REAL)INFINITY;
    INTEGERS best_at = {0};
    for (Index p = 0; p < g->window_height; p++)
        for (Index q = 0; q < g->window_width; q++) {
            Index offset = p * g->width + q;
            VECTOR pixel = {0};
#pragma GCC unroll 16
            for (Index k = 0; k < LANES; k++) pixel[k] = corners[k][offset];
            INTEGERS better = ~(pixel <= best) & (best == best);
            best = (VECTOR)SELECT(better, (INTEGERS)pixel, (INTEGERS)best);
            best_at = SELECT(better, (INTEGER)offset, best_at);
        }
    AT(largest) = best;
    *(INTEGERS *)largest_at = best_at;
}

/* Pool images that have one channel each: x (N C, H, W), out and argmax (N C, H', W'). */
static TARGET void OF(max_pool)(const Geometry *g, const void *x, void *out_array, Index *argmax)
{
    const REAL *plane = x, *corners[LANES];
    REAL *out = out_array, largest[LANES];
    INTEGER largest_at[LANES];
    Index places[LANES], row = 0, column = 0; /* places of the corners in their planes */
    for (Index rest = g->images * g->rows * g->columns; rest > 0; rest -= LANES) {
        Index count = smaller(rest, LANES);
        for (Index k = 0; k < LANES; k++) {
            if (k >= count) { /* a lane without a window does what the first does */
                corners[k] = corners[0];
                continue;
            }
            places[k] = row * g->stride_down * g->width + column * g->stride_across;
            corners[k] = plane + places[k];
            if (++column < g->columns) continue;
            column = 0;
            if (++row < g->rows) continue;
            row = 0;
            plane += g->height * g->width;
        }
        OF(find_largest)(g, corners, largest, largest_at);
        for (Index k = 0; k < count; k++) {
            *out++ = largest[k];
            *argmax++ = places[k] + largest_at[k];
        }
    }
}
#undef INTEGERS
#undef SELECT
