/* The templates of convolution.h, for one type of numbers and one set of vector instructions. */

#include "tile.h"
#include "direct.h"
#include "pooling.h"
#include "winograd.h"
