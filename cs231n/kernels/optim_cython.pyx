# cython: language_level=3, boundscheck=False, wraparound=False
"""Update rules, compiled, for float32 and float64: one pass over memory where NumPy makes up to nine."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
)
from libc.stdlib cimport calloc, free

cdef extern from "c/optim.h" nogil:
    ctypedef void UpdateRule(void*, const void*, void*, void*, Py_ssize_t, const double*) noexcept
    UpdateRule* UPDATE_RULES[3][5][2]
    int count_sets()

cdef extern from "c/denormals.h" nogil:
    int flush_denormals(int on)

RULES = ("sgd", "sgd_momentum", "nesterov", "rmsprop", "adam")
cdef int WIDEST = count_sets() - 1
cdef enum:
    MOST_SETTINGS = 5
    MOST_ARRAYS = 4  # w, dw and two of state

cdef struct Step:
    Py_buffer buffers[MOST_ARRAYS]
    int num_arrays
    double settings[MOST_SETTINGS]
    UpdateRule* rule


def take_steps(rule, steps, Py_ssize_t start=0, Py_ssize_t stop=1, Py_ssize_t length=1, int vectors=WIDEST):
    """Take one step on each of several parameters, in place; denormal numbers are taken for 0.

    - rule: one of RULES; "adam" is AdamW too
    - steps: for each parameter `(settings, (w, dw, *state))`. Arrays are contiguous, of one dtype and size.
      State: nothing for sgd; the velocity for sgd_momentum and nesterov; s for rmsprop; m and v for adam.
      Settings: the learning rate; then the momentum, or rho and epsilon, or beta1, beta2, epsilon and by what
      w is multiplied first. Those of adam are corrected for its start at zero.
    - start, stop, length: only the elements from size * start / length to size * stop / length of every
      parameter; so can threads share them
    - vectors: the index of a set of vector instructions, to measure or to test; the last is the widest

    The interpreter's lock is held while the arguments are looked at, not while the steps are taken.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
    if not 0 <= vectors <= WIDEST:
        raise ValueError(f"vectors must be from 0 to {WIDEST}; got {vectors}")
    if not 0 <= start <= stop <= length or length == 0:
        raise ValueError(f"start, stop and length must be in order; got {start}, {stop}, {length}")
    cdef int index = RULES.index(rule), num_settings = (1, 2, 2, 3, 5)[index], num_arrays = (2, 3, 3, 3, 4)[index]
    cdef Py_ssize_t count = len(steps), size, first, last, itemsize, done = 0, i
    cdef Step* all_steps = <Step*>calloc(max(count, 1), sizeof(Step))
    cdef Step* step
    cdef int before
    if all_steps == NULL:
        raise MemoryError("too little memory for the addresses of the parameters")
    try:
        for settings, arrays in steps:
            if len(settings) != num_settings or len(arrays) != num_arrays:
                raise ValueError(
                    f"{rule} must have {num_settings} settings and {num_arrays} arrays, w and dw first; "
                    f"got {len(settings)} and {len(arrays)}"
                )
            step = &all_steps[done]
            done += 1
            _look_at(step, arrays)
            for i in range(num_settings):
                step.settings[i] = settings[i]
            step.rule = UPDATE_RULES[vectors][index][step.buffers[0].itemsize == 8]
        with nogil:
            before = flush_denormals(True)
            for i in range(count):
                step = &all_steps[i]
                itemsize = step.buffers[0].itemsize
                size = step.buffers[0].len // itemsize
                first, last = _part(size, start, length), _part(size, stop, length)
                step.rule(
                    _at(step, 0, first), _at(step, 1, first), _at(step, 2, first), _at(step, 3, first),
                    last - first, step.settings,
                )
            flush_denormals(before)
    finally:
        for i in range(done):
            step = &all_steps[i]
            while step.num_arrays:
                step.num_arrays -= 1
                PyBuffer_Release(&step.buffers[step.num_arrays])
        free(all_steps)


cdef _look_at(Step* step, arrays):
    """Find out where the arrays of a step lie; ValueError unless they have one size and one dtype."""
    cdef Py_buffer* buffer
    cdef int flags
    for array in arrays:
        buffer = &step.buffers[step.num_arrays]
        flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT
        PyObject_GetBuffer(array, buffer, flags if step.num_arrays == 1 else flags | PyBUF_WRITABLE)
        step.num_arrays += 1
        if buffer.format[0] not in (c"f", c"d") or buffer.format[1] != 0:
            raise ValueError(f"arrays must be float32 or float64; got the format {buffer.format.decode()}")
        if buffer.len != step.buffers[0].len or buffer.itemsize != step.buffers[0].itemsize:
            sizes = ", ".join(str(array.size) for array in arrays)
            raise ValueError(f"w, dw and the state must have equal lengths and one dtype; got lengths {sizes}")


cdef inline Py_ssize_t _part(Py_ssize_t size, Py_ssize_t start, Py_ssize_t length) noexcept nogil:
    """Return size * start / length, rounded down, without an overflow of the product."""
    return size // length * start + size % length * start // length


cdef inline void* _at(Step* step, int array, Py_ssize_t element) noexcept nogil:
    """Return where an element of an array lies; NULL for an array that the rule has not."""
    if array >= step.num_arrays:
        return NULL
    return <char*>step.buffers[array].buf + element * step.buffers[array].itemsize
