/* Update rules, for every type of numbers and every set of vector instructions. */

#include <stddef.h>
#include <stdint.h>
#include <tgmath.h> /* sqrt of floats, too */

#define TEMPLATES "adam.h"
#include "instruction_sets.h"

/* Pointers are to REAL. */
typedef void Adam(void *w, const void *dw, void *m, void *v, ptrdiff_t count, double beta1, double beta2,
    double epsilon, double step_size);

#define CODE(SET) {adam_float_##SET, adam_double_##SET}
static Adam *const ADAM[][2] = FOR_ALL_SETS(CODE);
