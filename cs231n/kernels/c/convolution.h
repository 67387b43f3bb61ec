/* Convolution without columns, and max pooling, for float and double and every set of vector instructions.

   instruction_sets.h compiles the files listed in convolution_templates.h once for each pair of a number type
   and an instruction set. They are written in terms of REAL, the number type, and VECTOR, the numbers that
   one instruction handles.

   Shapes use the letters of cs231n/kernels/numpy_kernels.py: images x (N, C, H, W), filters w (F, C, HH, WW),
   outputs (N, F, H', W'). A tap (c, p, q) is one weight of a filter. A plane is the (H, W) pixels of one
   channel. A band is the rows that are computed at a time, few enough for their data to stay in the cache. A
   group is the images that are computed together, where one image is too small to fill a band.

   Needs GCC or Clang, for their vector types. Arrays are C-contiguous. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef __GNUC__
#error "the direct kernels are written with the vector types of GCC and Clang"
#endif

enum { MAX_VECTORS = 3 }; /* the largest tile of a matrix product is MAX_VECTORS wide and MAX_ROWS high */

/* The part of an image that is copied at a time; it stays in the second-level cache. */
#ifndef BAND_BYTES
#define BAND_BYTES (1 << 18)
#endif

/* The transformed patches that exist at a time; they stay in the second-level cache, too. */
#ifndef WINOGRAD_BYTES
#define WINOGRAD_BYTES (1 << 19)
#endif

/* But at least so many patches, which use a transformed filter while it is in the cache. */
#ifndef LEAST_PATCHES
#define LEAST_PATCHES 48
#endif

typedef ptrdiff_t Index; /* an index into an array, an offset or a count */

/* Allocate workspace that begins at a cache line; otherwise every vector as long as a line would lie across
   two. The pointer that malloc gave is stored just before it. posix_memalign is no substitute: with glibc's,
   one pass took half as long again. */
enum { CACHE_LINE = 64 };
static void *new_workspace(size_t bytes)
{
    char *memory = malloc(bytes + CACHE_LINE);
    if (!memory) return NULL;
    void **workspace = (void **)(memory + CACHE_LINE - (uintptr_t)memory % CACHE_LINE);
    workspace[-1] = memory;
    return workspace;
}

static void *new_zeros(size_t bytes)
{
    void *workspace = new_workspace(bytes);
    return workspace ? memset(workspace, 0, bytes) : NULL;
}

/* Allocate workspace that is followed by zeros. The last vectors read past its end and their extra lanes are
   dropped. Old memory there might hold denormal numbers, which many processors compute a hundred times
   slower. */
static void *new_with_zeros_behind(size_t bytes, size_t behind)
{
    char *workspace = new_workspace(bytes + behind);
    if (workspace) memset(workspace + bytes, 0, behind);
    return workspace;
}

static void free_workspace(void *workspace)
{
    if (workspace) free(((void **)workspace)[-1]);
}

static void free_workspaces(void *const *workspaces, size_t count)
{
    for (size_t i = 0; i < count; i++) free_workspace(workspaces[i]);
}

#define NEW(type, count) new_workspace((count) * sizeof(type))
#define NEW_ZEROS(type, count) new_zeros((count) * sizeof(type))
#define NEW_AND_ZEROS_BEHIND(type, count, behind) \
    new_with_zeros_behind((count) * sizeof(type), (behind) * sizeof(type))
#define FREE_ALL(...) \
    free_workspaces((void *[]){__VA_ARGS__}, sizeof((void *[]){__VA_ARGS__}) / sizeof(void *))

typedef struct {
    Index images, channels, height, width;      /* N, C, H, W of x */
    Index filters, window_height, window_width; /* F, HH, WW of w */
    Index stride_down, stride_across, pad_down, pad_across;
    Index rows, columns; /* H', W' of the output */
} Geometry;

/* All return 0 if memory is short and 1 otherwise. Pointers are to REAL; dx must not be NULL. */
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

/* Split `rows` into equal bands, as far as possible, that each take at most `limit` bytes; return the rows of
   one. A band has at least one row. */
static Index rows_at_a_time(Index rows, Index bytes_per_row, Index limit)
{
    Index most = larger(1, limit / larger(1, bytes_per_row));
    return divide_up(rows, divide_up(rows, most));
}

#include "direct_layout.h"
#include "winograd_layout.h"

#define VECTOR OF(vector)
#define LANES ((Index)(BYTES / sizeof(REAL)))
#define TEMPLATES "convolution_templates.h"
#include "instruction_sets.h"

/* CONVOLUTIONS[instruction set][direct or Winograd][float or double];
   MAX_POOLS[instruction set][float or double] */
#define PASSES(kind, type, SET) \
    {kind##_forward_##type##_##SET, kind##_backward_input_##type##_##SET, \
        kind##_backward_weights_##type##_##SET}
#define DIRECT_OF(SET) {PASSES(direct, float, SET), PASSES(direct, double, SET)}
#define WINOGRAD_OF(SET) {PASSES(winograd, float, SET), PASSES(winograd, double, SET)}
#define CONVOLUTIONS_OF(SET) {DIRECT_OF(SET), WINOGRAD_OF(SET)}
#define MAX_POOLS_OF(SET) {max_pool_float_##SET, max_pool_double_##SET}
static const Convolution CONVOLUTIONS[][2][2] = FOR_ALL_SETS(CONVOLUTIONS_OF);
static MaxPool *const MAX_POOLS[][2] = FOR_ALL_SETS(MAX_POOLS_OF);
