/* Update rules, for float and double and every set of vector instructions. */

#include <stddef.h>
#include <stdint.h>
#include <tgmath.h> /* sqrt for float as well as double */

#define TEMPLATES "adam.h"
#include "instruction_sets.h"

/* Pointers are to REAL. */
typedef void Adam(void *w, const void *dw, void *m, void *v, ptrdiff_t count, double beta1, double beta2,
    double epsilon, double step_size);

#define ADAM_OF(SET) {adam_float_##SET, adam_double_##SET}
static Adam *const ADAM[][2] = FOR_ALL_SETS(ADAM_OF);
