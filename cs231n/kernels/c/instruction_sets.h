/* Compiles TEMPLATES, a file that whoever includes this has named, for every type of numbers and every set of
   vector instructions.

   It is written in terms of REAL, a type of numbers, and compiled once for each pair of a type and a set:
   AVX-512 (vectors of 64 bytes), AVX2 (32), and what every processor of its kind has (16: SSE2, NEON). Which
   set is used is decided when the program runs: the compiled module works on any processor, and fast on a new
   one. */

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define OF(name) JOIN(name, REAL, SET) /* the name of a function or type for this pair */

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

/* The sets, the widest last: a table of CODE(SET) for all of them, their names, and how many of them this
   processor has. */
#ifdef __x86_64__
#define FOR_ALL_SETS(CODE) {CODE(common), CODE(avx2), CODE(avx512)}
static const char *const SET_NAMES[] = {"SSE2", "AVX2", "AVX-512"};
static int count_sets(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    return __builtin_cpu_supports("avx512f") ? 3 : 2;
}
#else
#define FOR_ALL_SETS(CODE) {CODE(common)}
static const char *const SET_NAMES[] = {"16-byte vectors"};
static int count_sets(void) { return 1; }
#endif
