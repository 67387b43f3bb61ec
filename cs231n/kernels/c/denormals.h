/* Whether this thread takes denormal numbers for 0, as operands and as results.

   These numbers lie closer to 0 than the smallest normal one: 1e-38 for float, 1e-308 for double. Averages of
   gradients that have become 0 decay into them, and a processor takes up to a hundred times as long for one.
 */

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#define FLUSH_BITS 0x8040 /* of the control register: results (0x8000) and operands (0x40) */
static inline uint64_t get_control(void) { return _mm_getcsr(); }
static inline void set_control(uint64_t control) { _mm_setcsr((unsigned)control); }
#elif defined(__aarch64__) && defined(__GNUC__)
#define FLUSH_BITS (1 << 24) /* one bit for both */
static inline uint64_t get_control(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static inline void set_control(uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
#define FLUSH_BITS 0 /* unknown: denormals are computed with */
static inline uint64_t get_control(void) { return 0; }
static inline void set_control(uint64_t control) { (void)control; }
#endif

static inline int flushes_denormals(void) { return (get_control() & FLUSH_BITS) != 0; }

/* Flush denormals from now on, or no longer; return whether this thread did before. */
static inline int flush_denormals(int on)
{
    int before = flushes_denormals();
    if (before != on) set_control(on ? get_control() | FLUSH_BITS : get_control() & ~(uint64_t)FLUSH_BITS);
    return before;
}
