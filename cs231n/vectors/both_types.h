/* Compiles everything for both types of numbers and the present SET, then forgets the SET. */

#define REAL float
#include "tile.h"
#include "direct.h"
#include "winograd.h"
#undef REAL

#define REAL double
#include "tile.h"
#include "direct.h"
#include "winograd.h"
#undef REAL

#undef SET
#undef BYTES
#undef MAX_ROWS
#undef TARGET
