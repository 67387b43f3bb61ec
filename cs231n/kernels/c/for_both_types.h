/* Compiles TEMPLATES for both types of numbers and the present SET, then forgets the SET. */

#define REAL float
#define WHOLE int32_t /* as wide */
#include TEMPLATES
#undef REAL
#undef WHOLE

#define REAL double
#define WHOLE int64_t
#include TEMPLATES
#undef REAL
#undef WHOLE

#undef SET
#undef BYTES
#undef MAX_ROWS
#undef TARGET
