/* The files that convolution.h compiles for each number type and instruction set. */

#include "tile.h"
#include "transpose.h"
#include "direct.h"
#include "pooling.h"
#include "winograd.h"
