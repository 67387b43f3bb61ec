/* A tile of a matrix product, c = start + a b, held in registers: this is where the time goes.

   In every step k some vectors of b's row k are loaded and multiplied by one number after the other of a's
   column k; nothing is stored before the last step. `rows` and `vectors` are constants where tile_of is
   inlined, so the compiler unrolls their loops and keeps `sum` in registers: 24 of AVX-512's 32, 12 of
   AVX2's 16. With fewer, each sum would wait for its last addition, which takes four cycles while two can
   begin in each. GCC needs to be told so where loops are not within another one, or `sum` goes through memory
   before the first step and after the last.

   Neither matrix need exist: a[r, k] is at a[a_row[r] + at[k].a], b[k, lane of vector v] at b[at[k].b +
   b_vector[v] + lane]. c[r, lane of vector v] is at c[r c_row + c_vector[v] + lane]; start has a number for
   each row, or is NULL where the product is added to c. */

typedef REAL VECTOR __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#define AT(pointer) (*(VECTOR *)(pointer))

static inline __attribute__((always_inline)) TARGET void OF(tile_of)(int rows, int vectors, Index depth,
    const Place *at, const REAL *a, const Index *a_row, const REAL *b, const Index *b_vector,
    const REAL *start, REAL *c, Index c_row, const Index *c_vector)
{
    VECTOR sum[MAX_ROWS][MAX_VECTORS];
    const REAL *a_of[MAX_ROWS], *b_of[MAX_VECTORS];
    for (int r = 0; r < rows; r++) a_of[r] = a + a_row[r];
    for (int v = 0; v < vectors; v++) b_of[v] = b + b_vector[v];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            if (start) sum[r][v] = (VECTOR){0} + start[r];
            else sum[r][v] = AT(c + r * c_row + c_vector[v]);
    for (const Place *end = at + depth; at < end; at++) {
        VECTOR b_k[MAX_VECTORS];
        for (int v = 0; v < vectors; v++) b_k[v] = AT(b_of[v] + at->b);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++) sum[r][v] += a_of[r][at->a] * b_k[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) AT(c + r * c_row + c_vector[v]) = sum[r][v];
}

#define WITH_ROWS(ROWS)                                                                                      \
    case ROWS:                                                                                               \
        if (vectors == 1) OF(tile_of)(ROWS, 1, depth, at, a, a_row, b, b_vector, start, c, c_row, c_vector); \
        else if (vectors == 2)                                                                               \
            OF(tile_of)(ROWS, 2, depth, at, a, a_row, b, b_vector, start, c, c_row, c_vector);               \
        else OF(tile_of)(ROWS, 3, depth, at, a, a_row, b, b_vector, start, c, c_row, c_vector);              \
        break;

static TARGET void OF(tile)(int rows, int vectors, Index depth, const Place *at, const REAL *a,
    const Index *a_row, const REAL *b, const Index *b_vector, const REAL *start, REAL *c, Index c_row,
    const Index *c_vector)
{
    switch (rows) {
        WITH_ROWS(1)
        WITH_ROWS(2) WITH_ROWS(3) WITH_ROWS(4)
#if MAX_ROWS == 8
            WITH_ROWS(5) WITH_ROWS(6) WITH_ROWS(7) WITH_ROWS(8)
#endif
    }
}
#undef WITH_ROWS

/* A whole product, c = a b or c += a b, whose b and c have ordinary rows, of any length: tile by tile. c has
   room for whole vectors. */
static TARGET void OF(product)(Index rows, Index columns, Index depth, const Place *at, const REAL *a,
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
            OF(tile)(next_r - r, next_v - v, depth, at, a, a_row + r, b + v * LANES, side_by_side,
                add ? NULL : zeros, c + r * c_row + v * LANES, c_row, side_by_side);
        }
    }
}
