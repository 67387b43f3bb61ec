/* Whether this thread takes denormal numbers for 0, as operands and as results.

   These numbers lie closer to 0 than the smallest normal one: 1e-38 for float, 1e-308 for double. Averages of
   gradients that have become 0 decay into them, and a processor takes up to a hundred times as long over one.
 */

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#define FLUSH_BITS 0x8040 /* of the control register: results (0x8000) and operands (0x40) */
static uint64_t get_control(void) { return _mm_getcsr(); }
static void set_control(uint64_t control) { _mm_setcsr((unsigned)control); }
#elif defined(__aarch64__) && defined(__GNUC__)
#define FLUSH_BITS (1 << 24) /* one bit for both */
static uint64_t get_control(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static void set_control(uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
#define FLUSH_BITS 0 /* unknown: denormals are computed with */
static uint64_t get_control(void) { return 0; }
static void set_control(uint64_t control) { (void)control; }
#endif

/* Flush denormals from now on, or no longer; return whether this thread did before. */
static int flush_denormals(int on)
{
    uint64_t control = get_control();
    int before = (control & FLUSH_BITS) != 0;
    if (before != on) set_control(on ? control | FLUSH_BITS : control & ~(uint64_t)FLUSH_BITS);
    return before;
}
