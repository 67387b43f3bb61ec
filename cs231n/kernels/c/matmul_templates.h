/* The files that matmul.h compiles for each number type and instruction set. */

#include "tile.h"
#include "blocked_product.h"
