/* The files that norms.h compiles for each number type and instruction set. */

#include "sums.h"
#include "elementwise.h"
#include "norm_of_features.h"
#include "batch_norm.h"
#include "group_norm.h"
#include "softmax.h"

#undef VECTOR
#undef AT
#undef LANES
#undef BLOCK
#undef PARTS
