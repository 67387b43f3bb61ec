/* A matrix product in blocks that fit into the caches (Goto and van de Geijn 2008, "Anatomy of
   high-performance matrix multiplication").

   A panel is the columns of b that a tile takes, over a part of the depth. It is copied to where it lies
   without gaps, stays in the first-level cache, and meets every row of a block of a. That is copied too
   unless its rows are contiguous: numbers at a distance of a power of two would drive each other out of the
   cache.

   Whatever the blocks, element (i, j) of c is summed in the order of the depth:
   ((0 + a[i, 0] b[0, j]) + a[i, 1] b[1, j]) + ... So it depends neither on the other elements, nor on where
   the matrices lie. */

/* Copy a matrix (rows, columns): element (i, j) is a[i a_row + j a_column] and goes to b[i b_row + j]. */
static TARGET void OF(copy)(
    const REAL *a, Index rows, Index columns, Index a_row, Index a_column, REAL *b, Index b_row)
{
    enum { SIDE = 8 };
    if (a_column == 1) {
        for (Index i = 0; i < rows; i++, a += a_row, b += b_row) {
            Index j = 0;
            for (; j + LANES <= columns; j += LANES) {
                AT(b + j) = AT(a + j);
                __asm__(""); /* keeps GCC from turning this loop into a call of memmove */
            }
            for (; j < columns; j++) b[j] = a[j];
        }
        return;
    }
    for (Index i = 0; i < rows; i += SIDE) {
        Index j = 0, end = smaller(i + SIDE, rows);
        /* A transpose goes square by square: the numbers of steps are constant, so the loops are unrolled */
        if (a_row == 1 && i + SIDE <= rows)
            for (; j + SIDE <= columns; j += SIDE)
                for (Index k = i; k < i + SIDE; k++)
                    for (Index l = j; l < j + SIDE; l++) b[k * b_row + l] = a[k + l * a_column];
        for (; j < columns; j++)
            for (Index k = i; k < end; k++) b[k * b_row + j] = a[k * a_row + j * a_column];
    }
}

/* Copy rows of a, MAX_ROWS at a time: row r of block n, column k goes to packed[(n depth + k) MAX_ROWS + r].
 */
static TARGET void OF(pack_rows)(
    const REAL *a, Index rows, Index depth, Index a_row, Index a_column, REAL *packed)
{
    enum { COLUMNS = 4 }; /* at a time, which fill a cache line of the copy and reuse those that were read */
    for (Index first = 0; first < depth; first += COLUMNS)
        for (Index r = 0; r < rows; r += MAX_ROWS)
            for (Index k = first; k < smaller(first + COLUMNS, depth); k++) {
                const REAL *from = a + r * a_row + k * a_column;
                REAL *to = packed + r * depth + k * MAX_ROWS;
                /* The size is constant, so no function is called */
                if (a_row == 1 && r + MAX_ROWS <= rows) memcpy(to, from, MAX_ROWS * sizeof(REAL));
                else
                    for (Index l = 0; l < smaller(MAX_ROWS, rows - r); l++) to[l] = from[l * a_row];
            }
}

/* Multiply rows of a by a panel, or add that to c if `start` is NULL. Block n of the rows is at
   a + n a_block. */
static TARGET void OF(multiply_panel)(Index rows, Index vectors, Index depth, const Term *terms,
    const REAL *a, Index a_block, const Index *a_row, const REAL *panel, const REAL *start, REAL *c,
    Index c_row, const Index *vector)
{
    for (Index r = 0; r < rows; r += MAX_ROWS, a += a_block, c += MAX_ROWS * c_row)
        OF(tile)(smaller(MAX_ROWS, rows - r), vectors, depth, terms, a, a_row, panel, vector, start, c, c_row,
            vector);
}

static TARGET int OF(multiply)(const Product *p, const REAL *a, const REAL *b, REAL *c)
{
    static const REAL zeros[MAX_ROWS];
    const Index width = MAX_VECTORS * LANES;
    Index vectors = divide_up(p->columns, LANES), panels = divide_up(vectors, MAX_VECTORS);
    Index most_rows = rows_at_a_time(p->rows, 1, BLOCK_ROWS);
    Index most_depth = smaller(p->depth, PANEL_BYTES / (MAX_VECTORS * BYTES));
    int packs = p->a_column != 1;
    int whole = p->c_column == 1 && p->columns >= LANES; /* c has room for tiles */
    Index c_row = whole ? p->c_row : vectors * LANES;

    REAL *packed = NEW(REAL, packs * (most_rows + MAX_ROWS) * most_depth);
    REAL *panel = NEW_ZEROS(REAL, most_depth * width);
    REAL *block = NEW(REAL, whole ? 0 : most_rows * c_row);
    Term *terms = NEW(Term, most_depth);
    int enough = packed && panel && block && terms;
    if (enough) {
        Index a_row[MAX_ROWS];
        for (Index r = 0; r < MAX_ROWS; r++) a_row[r] = r * (packs ? 1 : p->a_row);
        for (Index k = 0; k < most_depth; k++) terms[k] = (Term){k * (packs ? MAX_ROWS : 1), k * width};

        for (Index i = 0; i < p->rows; i += most_rows) {
            Index rows = smaller(most_rows, p->rows - i);
            REAL *c_rows = whole ? c + i * p->c_row : block;
            for (Index k = 0; k < p->depth; k += most_depth) {
                Index depth = smaller(most_depth, p->depth - k);
                const REAL *a_part = a + i * p->a_row + k * p->a_column;
                if (packs) OF(pack_rows)(a_part, rows, depth, p->a_row, p->a_column, packed);
                for (Index t = 0; t < panels; t++) {
                    /* The last vector ends with the last column, so it may overlap the one before */
                    Index v = vectors * t / panels, count = vectors * (t + 1) / panels - v;
                    Index left = v * LANES, right = smaller(left + count * LANES, p->columns);
                    Index vector[MAX_VECTORS] = {0, LANES, 2 * LANES};
                    vector[count - 1] = larger(0, right - left - LANES);
                    OF(copy)(b + k * p->b_row + left * p->b_column, depth, right - left, p->b_row,
                        p->b_column, panel, width);
                    OF(multiply_panel)(rows, count, depth, terms, packs ? packed : a_part,
                        MAX_ROWS * (packs ? depth : p->a_row), a_row, panel, k ? NULL : zeros, c_rows + left,
                        c_row, vector);
                }
            }
            if (whole) continue;
            if (p->c_column == 1) OF(copy)(block, rows, p->columns, c_row, 1, c + i * p->c_row, p->c_row);
            else OF(copy)(block, p->columns, rows, 1, c_row, c + i * p->c_row, p->c_column);
        }
    }
    FREE_ALL(packed, panel, block, terms);
    return enough;
}

/* About how many cycles a product takes: those of the tiles, and of what has to be transposed. */
static Index OF(cycles)(const Product *p)
{
    Index rows = divide_up(p->rows, MAX_ROWS) * MAX_ROWS, vectors = divide_up(p->columns, LANES);
    Index cycles = rows * vectors * p->depth;
    if (p->b_column != 1) cycles += p->depth * p->columns;
    if (p->c_column != 1) cycles += p->rows * p->columns;
    return cycles;
}

/* c = a b, or c^T = b^T a^T where that is faster: it reads and writes along the rows of the large matrices.
 */
static TARGET int OF(matmul)(const Product *p, const void *a, const void *b, void *c)
{
    Product exchanged = transposed(p);
    if (OF(cycles)(&exchanged) < OF(cycles)(p)) return OF(multiply)(&exchanged, b, a, c);
    return OF(multiply)(p, a, b, c);
}
