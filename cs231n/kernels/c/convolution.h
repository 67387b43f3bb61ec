/* Convolution without columns, and max pooling, for every type of numbers and set of vector instructions.

   The files of convolution_templates.h are compiled once for each pair of them, see instruction_sets.h. They are written in terms of
   REAL, a type of numbers, and VECTOR, as many of them as one instruction handles.

   Needs GCC or Clang, for their vector types. Arrays are C-contiguous. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef __GNUC__
#error "the direct kernels are written with the vector types of GCC and Clang"
#endif

enum {
    MAX_VECTORS = 3,      /* a tile of a matrix product is at most so many vectors wide, and MAX_ROWS high */
    BAND_BYTES = 1 << 18, /* of an image that is copied at a time: stays in the second-level cache */
    WINOGRAD_BYTES = 1 << 19 /* of transformed patches, likewise */
};

typedef ptrdiff_t Index; /* of an element of an array, or a number of them */

/* Workspace that begins at a line of the cache: vectors as long as a line would else all lie across two. The
   pointer to be freed lies before it. With posix_memalign, on glibc, a pass was seen to take half as much again. */
enum { LINE = 64 };
static void *new_lines(size_t bytes)
{
    char *memory = malloc(bytes + LINE);
    if (!memory) return NULL;
    void **lines = (void **)(memory + LINE - (uintptr_t)memory % LINE);
    lines[-1] = memory;
    return lines;
}
static void discard(void *lines)
{
    if (lines) free(((void **)lines)[-1]);
}
static void *new_zeros(size_t bytes)
{
    void *lines = new_lines(bytes);
    return lines ? memset(lines, 0, bytes) : NULL;
}
/* With zeros behind what will be written. The last vectors reach into them, and their lanes are thrown away; but
   what memory held before might be denormal numbers, which many processors compute a hundred times as slowly. */
static void *new_with_zeros_behind(size_t bytes, size_t behind)
{
    char *lines = new_lines(bytes + behind);
    if (lines) memset(lines + bytes, 0, behind);
    return lines;
}
#define NEW(type, count) new_lines((count) * sizeof(type))
#define ZEROS(type, count) new_zeros((count) * sizeof(type))
#define NEW_AND_ZEROS(type, count, zeros) new_with_zeros_behind((count) * sizeof(type), (zeros) * sizeof(type))

typedef struct {
    Index images, channels, height, width;      /* N, C, H, W of x */
    Index filters, window_height, window_width; /* F, HH, WW of w */
    Index stride, pad, rows, columns;           /* the last are H' and W' of the output */
} Geometry;

/* All return 0 where memory is short, and 1 otherwise. Pointers are to REAL; dx may not be NULL. */
typedef int Forward(const Geometry *, const void *x, const void *w, const void *b, void *out);
typedef int BackwardInput(const Geometry *, const void *dout, const void *w, void *dx);
typedef int BackwardWeights(const Geometry *, const void *dout, const void *x, void *dw, void *db);
typedef int MaxPool(const Geometry *, const void *x, void *out, Index *argmax);

typedef struct {
    Forward *forward;
    BackwardInput *backward_input;
    BackwardWeights *backward_weights;
} Convolution;

static Index smaller(Index a, Index b) { return a < b ? a : b; }
static Index larger(Index a, Index b) { return a > b ? a : b; }
static Index divide_up(Index a, Index b) { return (a + b - 1) / b; }

/* The most rows that fit into `limit` bytes, but at least one; as equal parts of all rows as can be. */
static Index rows_at_a_time(Index rows, Index bytes_per_row, Index limit)
{ return divide_up(rows, divide_up(rows, larger(1, limit / larger(1, bytes_per_row)))); }

#include "direct_layout.h"
#include "winograd_layout.h"

#define VECTOR OF(vector)
#define LANES ((Index)(BYTES / sizeof(REAL)))
#define TEMPLATES "convolution_templates.h"
#include "instruction_sets.h"

/* Direct or Winograd's convolution, for float or double. */
#define PASSES(kind, type, SET) \
    {kind##_forward_##type##_##SET, kind##_backward_input_##type##_##SET, \
        kind##_backward_weights_##type##_##SET}
#define CONVOLUTIONS_OF(SET) \
    {{PASSES(direct, float, SET), PASSES(direct, double, SET)}, \
        {PASSES(winograd, float, SET), PASSES(winograd, double, SET)}}
#define MAX_POOLS_OF(SET) {max_pool_float_##SET, max_pool_double_##SET}
static const Convolution CONVOLUTIONS[][2][2] = FOR_ALL_SETS(CONVOLUTIONS_OF);
static MaxPool *const MAX_POOLS[][2] = FOR_ALL_SETS(MAX_POOLS_OF);
