/* One step of an update rule in a single pass over memory, as fast_optim.py has it. Compilers vectorize the
   loops: with -fno-math-errno a square root is one instruction. Settings come in double precision and are
   rounded once; 1 - beta is computed before, because 1 - 0.999 would lose its last digits in float.

   Every operation rounds separately, in the order of fast_optim.py (setup.py forbids fused multiply-adds). So
   every version of a loop gives NumPy's bits, for each set of vector instructions and wherever the arrays
   lie. Only denormal numbers are 0 here, see denormals.h. */

static TARGET void OF(sgd)(void *w_array, const void *dw_array, void *unused, void *unused_too,
    ptrdiff_t count, const double *settings)
{
    REAL *w = w_array;
    const REAL *dw = dw_array;
    const REAL rate = settings[0];
    for (ptrdiff_t i = 0; i < count; i++) w[i] -= dw[i] * rate;
}

static TARGET void OF(sgd_momentum)(
    void *w_array, const void *dw_array, void *v_array, void *unused, ptrdiff_t count, const double *settings)
{
    REAL *w = w_array, *v = v_array;
    const REAL *dw = dw_array;
    const REAL rate = settings[0], momentum = settings[1];
    for (ptrdiff_t i = 0; i < count; i++) {
        v[i] = v[i] * momentum - dw[i] * rate;
        w[i] += v[i];
    }
}

static TARGET void OF(nesterov)(
    void *w_array, const void *dw_array, void *v_array, void *unused, ptrdiff_t count, const double *settings)
{
    REAL *w = w_array, *v = v_array;
    const REAL *dw = dw_array;
    const REAL rate = settings[0], momentum = settings[1];
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL step = dw[i] * rate;
        REAL velocity = v[i] * momentum - step;
        v[i] = velocity;
        w[i] = w[i] - step + velocity * momentum;
    }
}

static TARGET void OF(rmsprop)(
    void *w_array, const void *dw_array, void *s_array, void *unused, ptrdiff_t count, const double *settings)
{
    REAL *w = w_array, *s = s_array;
    const REAL *dw = dw_array;
    const REAL rate = settings[0], keep = settings[1], add = 1 - settings[1], epsilon = settings[2];
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL g = dw[i];
        REAL square = keep * s[i] + add * (g * g);
        s[i] = square;
        w[i] -= rate * (g / (sqrt(square) + epsilon));
    }
}

/* AdamW is Adam after w was multiplied by what remains of it; for Adam that is 1, which changes no bit. */
static TARGET void OF(adam)(void *w_array, const void *dw_array, void *m_array, void *v_array,
    ptrdiff_t count, const double *settings)
{
    REAL *w = w_array, *m = m_array, *v = v_array;
    const REAL *dw = dw_array;
    const REAL rate = settings[0], keep_m = settings[1], add_m = 1 - settings[1], keep_v = settings[2],
               add_v = 1 - settings[2], epsilon = settings[3], remaining = settings[4];
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL g = dw[i];
        REAL mean = keep_m * m[i] + add_m * g;
        REAL square = keep_v * v[i] + add_v * (g * g);
        m[i] = mean;
        v[i] = square;
        w[i] = w[i] * remaining - rate * (mean / (sqrt(square) + epsilon));
    }
}
