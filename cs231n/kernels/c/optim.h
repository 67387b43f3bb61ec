/* Update rules, for float and double and every set of vector instructions. */

#include <stddef.h>
#include <stdint.h>
#include <tgmath.h> /* sqrt for float as well as double */

#define TEMPLATES "update_rules.h"
#include "instruction_sets.h"

/* Pointers to w, dw and the rule's state are to REAL; a rule with less state leaves the last ones alone. */
typedef void UpdateRule(
    void *w, const void *dw, void *state, void *more_state, ptrdiff_t count, const double *settings);

/* In the order of RULES in optim_cython.pyx */
#define BOTH(RULE, SET) {RULE##_float_##SET, RULE##_double_##SET}
#define RULES_OF(SET) \
    {BOTH(sgd, SET), BOTH(sgd_momentum, SET), BOTH(nesterov, SET), BOTH(rmsprop, SET), BOTH(adam, SET)}
static UpdateRule *const UPDATE_RULES[][5][2] = FOR_ALL_SETS(RULES_OF);
