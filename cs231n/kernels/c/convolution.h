/* Convolution without columns, and max pooling, for float and double and every set of vector instructions.

   instruction_sets.h compiles the files listed in convolution_templates.h once for each pair of a number type
   and an instruction set. They are written in terms of REAL, the number type, and VECTOR, the numbers that
   one instruction handles.

   Shapes use the letters of cs231n/kernels/numpy_kernels.py: images x (N, C, H, W), filters w (F, C, HH, WW),
   outputs (N, F, H', W'). A tap (c, p, q) is one weight of a filter. A plane is the (H, W) pixels of one
   channel. A band is the rows that are computed at a time, few enough for their data to stay in the cache. A
   group is the images that are computed together, where one image is too small to fill a band.

   Needs GCC or Clang, for their vector types. Arrays are C-contiguous. */

#ifndef __GNUC__
#error "the direct kernels are written with the vector types of GCC and Clang"
#endif

#include <math.h>

#include "workspace.h"

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

typedef struct {
    Index images, channels, height, width;      /* N, C, H, W of x */
    Index filters, window_height, window_width; /* F, HH, WW of w */
    Index stride_down, stride_across, pad_down, pad_across;
    Index rows, columns; /* H', W' of the output */
} Geometry;

/* Convolutions return 0 if memory is short and 1 otherwise. Pointers are to REAL; dx must not be NULL. */
typedef int Forward(const Geometry *, const void *x, const void *w, const void *b, void *out);
typedef int BackwardInput(const Geometry *, const void *dout, const void *w, void *dx);
typedef int BackwardWeights(const Geometry *, const void *dout, const void *x, void *dw, void *db);
typedef void MaxPool(const Geometry *, const void *x, void *out, Index *argmax);

typedef struct {
    Forward *forward;
    BackwardInput *backward_input;
    BackwardWeights *backward_weights;
} Convolution;

#include "direct_layout.h"
#include "winograd_layout.h"

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
