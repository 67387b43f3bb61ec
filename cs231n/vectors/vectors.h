/* Convolution without columns, for every type of numbers and every set of vector instructions.

   The files included below are written in terms of REAL, a type of numbers, and VECTOR, as many of them as one
   instruction handles. They are compiled once for each pair of a type and a set: AVX-512 (64 bytes), AVX2 (32), and
   what every processor of its kind has (16 bytes: SSE2, NEON). Which set is used is decided when the program
   runs: the compiled module works on any processor, and fast on a new one.

   Needs GCC or Clang, for their vector types; the layout of arrays is that of the Python side, C-contiguous. */

#include <stddef.h>
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
#define NEW(type, count) malloc((count) * sizeof(type))
#define ZEROS(type, count) calloc(count, sizeof(type))

typedef struct {
    Index images, channels, height, width;      /* N, C, H, W of x */
    Index filters, window_height, window_width; /* F, HH, WW of w */
    Index stride, pad, rows, columns;           /* the last are H' and W' of the output */
} Geometry;

/* Both return 0 where memory is short, and 1 otherwise. Pointers are to REAL; dx may not be NULL. */
typedef int Forward(const Geometry *, const void *x, const void *w, const void *b, void *out);
typedef int BackwardInput(const Geometry *, const void *dout, const void *w, void *dx);
typedef int BackwardWeights(const Geometry *, const void *dout, const void *x, void *dw, void *db);

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
{ return divide_up(rows, divide_up(rows, larger(1, limit / bytes_per_row))); }

#include "layout.h"

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define OF(name) JOIN(name, REAL, SET) /* the name of a function or type for this pair */
#define VECTOR OF(vector)
#define LANES ((Index)(BYTES / sizeof(REAL)))

#ifdef __x86_64__
#define SET avx512
#define BYTES 64
#define MAX_ROWS 8
#define TARGET __attribute__((target("avx512f")))
#include "both_types.h"
#define SET avx2
#define BYTES 32
#define MAX_ROWS 4
#define TARGET __attribute__((target("avx2,fma")))
#include "both_types.h"
#endif

#define SET common
#define BYTES 16
#ifdef __aarch64__
#define MAX_ROWS 8
#else
#define MAX_ROWS 4
#endif
#define TARGET
#include "both_types.h"

/* The sets, the widest last: their names, their code (direct or Winograd's; float or double), and how many of them
   this processor has. */
#define CODE(SET)                                                                                            \
    {                                                                                                        \
        {{direct_forward_float_##SET, direct_backward_input_float_##SET,                                     \
             direct_backward_weights_float_##SET},                                                           \
            {direct_forward_double_##SET, direct_backward_input_double_##SET,                                \
                direct_backward_weights_double_##SET}},                                                      \
        {                                                                                                    \
            {winograd_forward_float_##SET, winograd_backward_input_float_##SET,                              \
                winograd_backward_weights_float_##SET},                                                      \
            {                                                                                                \
                winograd_forward_double_##SET, winograd_backward_input_double_##SET,                         \
                    winograd_backward_weights_double_##SET                                                   \
            }                                                                                                \
        }                                                                                                    \
    }

#ifdef __x86_64__
static const char *const SET_NAMES[] = {"SSE2", "AVX2", "AVX-512"};
static const Convolution CONVOLUTIONS[][2][2] = {CODE(common), CODE(avx2), CODE(avx512)};
static int count_sets(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    return __builtin_cpu_supports("avx512f") ? 3 : 2;
}
#else
static const char *const SET_NAMES[] = {"16-byte vectors"};
static const Convolution CONVOLUTIONS[][2][2] = {CODE(common)};
static int count_sets(void) { return 1; }
#endif
