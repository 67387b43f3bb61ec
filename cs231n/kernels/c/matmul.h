/* The matrix product for float and double and every set of vector instructions.

   A BLAS is made for large matrices, and its threads spin while they wait. The products of a small minibatch
   take less than a millisecond.

   instruction_sets.h compiles the files listed in matmul_templates.h once for each pair of a number type and
   an instruction set. */

#ifndef __GNUC__
#error "the matrix product is written with the vector types of GCC and Clang"
#endif

#include "workspace.h"

/* The rows of a that are multiplied at a time; they stay in the second-level cache. A panel of b, see
   blocked_product.h, stays in the first. */
enum { BLOCK_ROWS = 256, PANEL_BYTES = 3 << 13 };

/* c (rows, columns) = a (rows, depth) b (depth, columns). Element (i, j) of a is a[i a_row + j a_column], and
   likewise of b and c. */
typedef struct {
    Index rows, depth, columns;
    Index a_row, a_column, b_row, b_column, c_row, c_column;
} Product;

/* The same product with its factors exchanged, c^T = b^T a^T */
static Product transposed(const Product *p)
{
    return (Product){.rows = p->columns,
        .depth = p->depth,
        .columns = p->rows,
        .a_row = p->b_column,
        .a_column = p->b_row,
        .b_row = p->a_column,
        .b_column = p->a_row,
        .c_row = p->c_column,
        .c_column = p->c_row};
}

#define TEMPLATES "matmul_templates.h"
#include "instruction_sets.h"

/* Returns 0 if memory is short and 1 otherwise. Pointers are to REAL. */
typedef int Matmul(const Product *, const void *a, const void *b, void *c);

#define MATMULS_OF(SET) {matmul_float_##SET, matmul_double_##SET}
static Matmul *const MATMULS[][2] = FOR_ALL_SETS(MATMULS_OF);
