/* A tile of a matrix product, c = start + a b, held in registers. Nearly all the time is spent here.

   Step k loads some vectors of b's row k and multiplies them by the numbers of a's column k, one after the
   other; nothing is stored before the last step. `rows` and `vectors` are constants where tile_of is inlined,
   so the compiler unrolls their loops and keeps `sum` in registers: 24 of AVX-512's 32, 12 of AVX2's 16. With
   fewer sums, each would wait for its last addition, which takes four cycles while two additions can start in
   every cycle. GCC needs the pragma for the loops that are not nested in another loop; without it, `sum` goes
   through memory before the first step and after the last.

   Neither matrix needs to exist as such. The factors of term k are a[a_row[r] + terms[k].a] for row r, and
   b[b_vector[v] + terms[k].b + lane] for lane `lane` of vector v. The result is c[r c_row + c_vector[v] +
   lane]. `start` has one number for each row; if it is NULL, the product is added to c. */

typedef REAL VECTOR __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define AT(pointer) (*(VECTOR *)(pointer)) /* the vector that begins there */

static inline __attribute__((always_inline)) TARGET void OF(tile_of)(int rows, int vectors, Index depth,
    const Term *terms, const REAL *a, const Index *a_row, const REAL *b, const Index *b_vector,
    const REAL *start, REAL *c, Index c_row, const Index *c_vector)
{
    VECTOR sum[MAX_ROWS][MAX_VECTORS];
    const REAL *a_of[MAX_ROWS], *b_of[MAX_VECTORS];
    for (int r = 0; r < rows; r++) a_of[r] = a + a_row[r];
    for (int v = 0; v < vectors; v++) b_of[v] = b + b_vector[v];

    /* Begin with `start`, or with what c holds */
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            if (start) sum[r][v] = (VECTOR){0} + start[r];
            else sum[r][v] = AT(c + r * c_row + c_vector[v]);

    /* Add a's column k (rows) times b's row k (vectors) */
    for (const Term *end = terms + depth; terms < end; terms++) {
        VECTOR b_k[MAX_VECTORS];
        for (int v = 0; v < vectors; v++) b_k[v] = AT(b_of[v] + terms->b);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++) sum[r][v] += a_of[r][terms->a] * b_k[v];
    }

    /* Store the tile */
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) AT(c + r * c_row + c_vector[v]) = sum[r][v];
}

/* Compute a tile of any size: turn `rows` and `vectors` into constants. */
#define WITH_SIZE(ROWS, VECTORS) \
    OF(tile_of)(ROWS, VECTORS, depth, terms, a, a_row, b, b_vector, start, c, c_row, c_vector)
#define WITH_ROWS(ROWS) \
    case ROWS: \
        if (vectors == 1) WITH_SIZE(ROWS, 1); \
        else if (vectors == 2) WITH_SIZE(ROWS, 2); \
        else WITH_SIZE(ROWS, 3); \
        break

static TARGET void OF(tile)(int rows, int vectors, Index depth, const Term *terms, const REAL *a,
    const Index *a_row, const REAL *b, const Index *b_vector, const REAL *start, REAL *c, Index c_row,
    const Index *c_vector)
{
    switch (rows) {
        WITH_ROWS(1);
        WITH_ROWS(2);
        WITH_ROWS(3);
        WITH_ROWS(4);
#if MAX_ROWS == 8
        WITH_ROWS(5);
        WITH_ROWS(6);
        WITH_ROWS(7);
        WITH_ROWS(8);
#endif
    }
}
#undef WITH_ROWS
#undef WITH_SIZE

/* Compute a whole product tile by tile: c (rows, columns) = a b, or += if `add`. The rows of b and c are
   contiguous. c has room for whole vectors. */
static TARGET void OF(product)(Index rows, Index columns, Index depth, const Term *terms, const REAL *a,
    const Index *a_row, const REAL *b, int add, REAL *c, Index c_row)
{
    static const REAL zeros[MAX_ROWS];
    static const Index side_by_side[MAX_VECTORS] = {0, LANES, 2 * LANES};
    Index vectors = divide_up(columns, LANES), tiles = divide_up(vectors, MAX_VECTORS);
    Index blocks = divide_up(rows, MAX_ROWS);
    for (Index t = 0; t < tiles; t++) {
        Index v = vectors * t / tiles, next_v = vectors * (t + 1) / tiles;
        for (Index n = 0; n < blocks; n++) {
            Index r = rows * n / blocks, next_r = rows * (n + 1) / blocks;
            const REAL *b_tile = b + v * LANES;
            REAL *c_tile = c + r * c_row + v * LANES;
            OF(tile)(next_r - r, next_v - v, depth, terms, a, a_row + r, b_tile, side_by_side,
                add ? NULL : zeros, c_tile, c_row, side_by_side);
        }
    }
}
