/* Compiles TEMPLATES, a file named by the file that includes this one, for both number types and every set of
   vector instructions.

   The sets are AVX-512 (vectors of 64 bytes), AVX2 (32) and the baseline of the processor's family (16: SSE2,
   NEON). The set is chosen when the program runs, so one compiled module works on every processor and is fast
   on a new one. TEMPLATES sees these macros:

   - REAL, INTEGER: the number type, and an integer type of the same width
   - SET, BYTES: the instruction set, and the bytes of its vectors
   - MAX_ROWS: the rows of the largest tile, see tile.h
   - TARGET: the attribute that lets a function use the instructions */

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define OF(name) JOIN(name, REAL, SET) /* the function or type for this REAL and SET */

#ifdef __x86_64__
#define SET avx512
#define BYTES 64
#define MAX_ROWS 8
#define TARGET __attribute__((target("avx512f")))
#include "for_both_types.h"
#define SET avx2
#define BYTES 32
#define MAX_ROWS 4
#define TARGET __attribute__((target("avx2,fma")))
#include "for_both_types.h"
#endif

#define SET common
#define BYTES 16
#ifdef __aarch64__
#define MAX_ROWS 8
#else
#define MAX_ROWS 4
#endif
#define TARGET
#include "for_both_types.h"

/* FOR_ALL_SETS(ENTRY) is a table of ENTRY(SET), the widest set last. SET_NAMES has their names. count_sets()
   returns how many of them this processor has. */
#ifdef __x86_64__
#define FOR_ALL_SETS(ENTRY) {ENTRY(common), ENTRY(avx2), ENTRY(avx512)}
static const char *const SET_NAMES[] = {"SSE2", "AVX2", "AVX-512"};
static int count_sets(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    return __builtin_cpu_supports("avx512f") ? 3 : 2;
}
#else
#define FOR_ALL_SETS(ENTRY) {ENTRY(common)}
static const char *const SET_NAMES[] = {"16-byte vectors"};
static int count_sets(void) { return 1; }
#endif
