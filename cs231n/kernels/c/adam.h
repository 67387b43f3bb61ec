/* One step of Adam in a single pass over memory. Compilers vectorize the loop: with -fno-math-errno a square
   root is one instruction. 1 - beta is computed in double precision, because 1 - 0.999 would lose its last
   digits in float.

   Every operation rounds separately, in the order of fast_optim.py (setup.py forbids fused multiply-adds). So
   every version of the loop gives NumPy's bits, for each set of vector instructions and wherever the arrays
   lie. */

static TARGET void OF(adam)(void *w_array, const void *dw_array, void *m_array, void *v_array,
    ptrdiff_t count, double beta1, double beta2, double epsilon, double step_size)
{
    REAL *w = w_array, *m = m_array, *v = v_array;
    const REAL *dw = dw_array;
    const REAL keep_m = beta1, add_m = 1 - beta1, keep_v = beta2, add_v = 1 - beta2, eps = epsilon,
               step = step_size;
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL g = dw[i];
        REAL mean = keep_m * m[i] + add_m * g;
        REAL square = keep_v * v[i] + add_v * (g * g);
        m[i] = mean;
        v[i] = square;
        w[i] -= step * (mean / (sqrt(square) + eps));
    }
}
