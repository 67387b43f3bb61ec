/* Compiles TEMPLATES for float and for double with the current SET, then undefines the SET. */

#define REAL float
#define INTEGER int32_t /* as wide as REAL */
#include TEMPLATES
#undef REAL
#undef INTEGER

#define REAL double
#define INTEGER int64_t
#include TEMPLATES
#undef REAL
#undef INTEGER

#undef SET
#undef BYTES
#undef MAX_ROWS
#undef TARGET
