/* A step of Adam in one pass over memory. The compiler makes vectors of it: without errno, a root is a single
   instruction. 1 - beta is computed in double precision, as 1 - 0.999 would lose its last digits in float.

   Every operation rounds on its own, in the order of fast_optim.py (setup.py forbids to fuse them): so all versions
   of the loop, for every set of vector instructions and any distance of the arrays, give NumPy's bits. */

static TARGET void OF(adam)(void *w_array, const void *dw_array, void *m_array, void *v_array,
    ptrdiff_t count, double beta1, double beta2, double epsilon, double step_size)
{
    REAL *w = w_array, *m = m_array, *v = v_array;
    const REAL *dw = dw_array;
    const REAL keep_m = beta1, add_m = 1 - beta1, keep_v = beta2, add_v = 1 - beta2, eps = epsilon,
               step = step_size;
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL g = dw[i], mean = keep_m * m[i] + add_m * g, square = keep_v * v[i] + add_v * (g * g);
        m[i] = mean, v[i] = square;
        w[i] -= step * (mean / (sqrt(square) + eps));
    }
}
