/* Layers that memory limits, for float and double and every set of vector instructions: normalization, ReLU,
   dropout and softmax. Each reads and writes its arrays as few times as it can.

   instruction_sets.h compiles the files listed in norms_templates.h once for each pair of a number type REAL
   and an instruction set.

   Results do not depend on the instruction set, nor on where the arrays lie. Every operation rounds
   separately (setup.py forbids fused multiply-adds), and sums have the same order everywhere: see sums.h.

   Images x are (N, C, P): N images, C channels, P pixels. A plane is the P pixels of one channel. Without
   pixels, P = 1, an image is a row of C features. Arrays are C-contiguous; pointers to void are to REAL. */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef __GNUC__
#error "these kernels are written with the vector types of GCC and Clang"
#endif

typedef ptrdiff_t Index; /* an index into an array, an offset or a count */

static Index smaller(Index a, Index b) { return a < b ? a : b; }

/* How many numbers, their sum, and the sum of the squares of their distances from their mean */
typedef struct {
    Index count;
    double sum, squares;
} Moments;

/* Add the moments of other numbers (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample
   variance"). Unlike the mean square minus the squared mean, this loses nothing where the mean is large. */
static void add_moments(Moments *to, Index count, double sum, double squares)
{
    if (to->count) {
        double distance = sum / count - to->sum / to->count;
        squares += distance * distance * ((double)to->count * count / (to->count + count));
    }
    to->count += count;
    to->sum += sum;
    to->squares += squares;
}

/* Images (N, C, P), of which channels or images first <= i < last are to be computed */
typedef struct {
    Index images, channels, pixels, first, last;
} Images;

#define TEMPLATES "norms_templates.h"
#include "instruction_sets.h"

typedef struct {
    void (*relu)(Index count, const void *x, void *out);
    void (*relu_backward)(Index count, const void *dout, const void *out, void *dx);
    void (*keep)(Index count, const void *x, const uint8_t *kept, double scale, void *out);
    void (*batch_forward)(const Images *, const void *x, const void *gamma, const void *beta, double eps,
        double *work, void *mean, void *var, void *inv_std, void *out);
    void (*batch_backward)(const Images *, const void *dout, const void *x, const void *mean,
        const void *inv_std, const void *gamma, double *work, void *dx, void *dgamma, void *dbeta);
    void (*group_forward)(const Images *, Index groups, const void *x, const void *gamma, const void *beta,
        double eps, void *mean, void *inv_std, void *out);
    void (*group_backward)(const Images *, Index groups, const void *dout, const void *x, const void *mean,
        const void *inv_std, const void *gamma, void *dx, double *dgamma, double *dbeta);
    void (*softmax)(
        Index rows, Index classes, Index examples, const void *x, const Index *y, double *losses, void *dx);
} Norms;

#define NORMS(TYPE, SET) \
    {relu_##TYPE##_##SET, relu_backward_##TYPE##_##SET, keep_##TYPE##_##SET, batch_forward_##TYPE##_##SET, \
        batch_backward_##TYPE##_##SET, group_forward_##TYPE##_##SET, group_backward_##TYPE##_##SET, \
        softmax_##TYPE##_##SET}
#define NORMS_OF(SET) {NORMS(float, SET), NORMS(double, SET)}
static const Norms NORMS_FOR[][2] = FOR_ALL_SETS(NORMS_OF);
