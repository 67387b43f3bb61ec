/* What the convolutions and the matrix product share: sizes, workspace, and what a tile needs (tile.h). */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef ptrdiff_t Index; /* an index into an array, an offset or a count */

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
static inline void *new_with_zeros_behind(size_t bytes, size_t behind)
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

enum { MAX_VECTORS = 3 }; /* the largest tile of a matrix product is MAX_VECTORS wide and MAX_ROWS high */

/* One term of a sum of products: the offsets of its two factors, see tile.h. */
typedef struct {
    Index a, b;
} Term;

#define VECTOR OF(vector)
#define LANES ((Index)(BYTES / sizeof(REAL)))
