/* Transposition, and a copy of every second number, 16 bytes at a time. */

typedef REAL OF(row) __attribute__((vector_size(16), aligned(sizeof(REAL)), may_alias));
#define ROW_AT(pointer) (*(OF(row) *)(pointer))
#ifdef __clang__
#define REARRANGE(to, a, b, place) \
    for (int i = 0; i < SIDE; i++) to[i] = (place) < SIDE ? a[(place) % SIDE] : b[(place) % SIDE]
#else
#define REARRANGE(to, a, b, place) \
    INTEGER places __attribute__((vector_size(16))); \
    for (int i = 0; i < SIDE; i++) places[i] = (place); \
    to = __builtin_shuffle(a, b, places)
#endif

/* Return the numbers 0, 2, 4, ... of two rows that follow each other. */
static inline __attribute__((always_inline)) TARGET OF(row) OF(every_second)(OF(row) a, OF(row) b)
{
    enum { SIDE = 16 / sizeof(REAL) };
    OF(row) numbers;
    REARRANGE(numbers, a, b, 2 * i);
    return numbers;
}

/* Return a[first], b[first], a[first + 1], b[first + 1], ..., a row of them. */
static inline __attribute__((always_inline)) TARGET OF(row) OF(mix)(OF(row) a, OF(row) b, int first)
{
    enum { SIDE = 16 / sizeof(REAL) };
    OF(row) numbers;
    REARRANGE(numbers, a, b, i % 2 * SIDE + first + i / 2);
    return numbers;
}

/* b = the transpose of a, both squares whose rows are 16 bytes long. A round mixes each row i with row
   i + SIDE / 2. That moves the number at place i SIDE + j to the place whose binary digits are rotated to the
   left by one. After log2(SIDE) rounds, the digits of i and those of j have changed places. */
static inline __attribute__((always_inline)) TARGET void OF(transpose_square)(
    const REAL *a, Index a_row, REAL *b, Index b_row)
{
    enum { SIDE = 16 / sizeof(REAL), HALF = SIDE / 2 };
    OF(row) rows[SIDE], mixed[SIDE];
    for (int i = 0; i < SIDE; i++) rows[i] = ROW_AT(a + i * a_row);
    for (int round = 1; round < SIDE; round *= 2) {
        for (int i = 0; i < SIDE; i++) mixed[i] = OF(mix)(rows[i / 2], rows[i / 2 + HALF], i % 2 * HALF);
        for (int i = 0; i < SIDE; i++) rows[i] = mixed[i];
    }
    for (int i = 0; i < SIDE; i++) ROW_AT(b + i * b_row) = rows[i];
}

/* b (columns, rows) = the transpose of a (rows, columns). Rows are a_row and b_row apart. */
static TARGET void OF(transpose)(const REAL *a, Index rows, Index columns, Index a_row, REAL *b, Index b_row)
{
    enum { SIDE = 16 / sizeof(REAL) };
    for (Index i = 0; i < rows; i += SIDE) {
        Index j = 0;
        for (; i + SIDE <= rows && j + SIDE <= columns; j += SIDE)
            OF(transpose_square)(a + i * a_row + j, a_row, b + j * b_row + i, b_row);
        for (; j < columns; j++)
            for (Index k = i; k < smaller(i + SIDE, rows); k++) b[j * b_row + k] = a[k * a_row + j];
    }
}
