# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The layers that memory limits, compiled, for float32 and float64: what `cs231n.compiled_layers` calls.

The functions here check the sizes of their arguments and call C code, which begins in `c/norms.h`. It runs
without the interpreter's lock. Images x are (N, C, P) with P pixels, or P = 1 where there are none. `part` is
a slice: the channels, images or rows to compute, so that threads can share the work. Results do not depend
on it, nor on the set of vector instructions.
"""

from cython cimport floating

import numpy as np

cdef extern from "c/norms.h" nogil:
    ctypedef struct Images:
        Py_ssize_t images, channels, pixels, first, last
    ctypedef struct Norms:
        void (*relu)(Py_ssize_t, const void*, void*) noexcept nogil
        void (*relu_backward)(Py_ssize_t, const void*, const void*, void*) noexcept nogil
        void (*keep)(Py_ssize_t, const void*, const unsigned char*, double, void*) noexcept nogil
        void (*batch_forward)(
            const Images*, const void*, const void*, const void*, double, double*, void*, void*, void*, void*
        ) noexcept nogil
        void (*batch_backward)(
            const Images*, const void*, const void*, const void*, const void*, const void*, double*, void*,
            void*, void*
        ) noexcept nogil
        void (*group_forward)(
            const Images*, Py_ssize_t, const void*, const void*, const void*, double, void*, void*, void*
        ) noexcept nogil
        void (*group_backward)(
            const Images*, Py_ssize_t, const void*, const void*, const void*, const void*, const void*, void*,
            double*, double*
        ) noexcept nogil
        void (*softmax)(
            Py_ssize_t, Py_ssize_t, Py_ssize_t, const void*, const Py_ssize_t*, double*, void*
        ) noexcept nogil
    const Norms NORMS_FOR[3][2]
    const char* const SET_NAMES[3]
    int count_sets()

cdef int _set = count_sets() - 1  # the vector instructions in use: the widest


def vector_sets():
    """Return the names of the processor's sets of vector instructions, the widest last; it is the default."""
    return [SET_NAMES[i].decode() for i in range(count_sets())]


def use_vectors(name):
    """Use this set of vector instructions from now on, to measure or to test; the default is the fastest."""
    global _set
    if name not in vector_sets():
        raise ValueError(f"name must be one of {', '.join(vector_sets())}; got {name!r}")
    _set = vector_sets().index(name)


def relu(const floating[::1] x, floating[::1] out):
    """Write max(x, 0) into out."""
    _require_lengths(len(x), out=len(out))
    with nogil:
        NORMS_FOR[_set][floating is double].relu(len(x), &x[0], &out[0])


def relu_backward(const floating[::1] dout, const floating[::1] out, floating[::1] dx):
    """Write dout into dx where out > 0, and 0 elsewhere."""
    _require_lengths(len(dout), out=len(out), dx=len(dx))
    with nogil:
        NORMS_FOR[_set][floating is double].relu_backward(len(dout), &dout[0], &out[0], &dx[0])


def keep(const floating[::1] x, const unsigned char[::1] kept, double scale, floating[::1] out):
    """Write scale x into out where `kept` is 1, and 0 x where it is 0."""
    _require_lengths(len(x), kept=len(kept), out=len(out))
    with nogil:
        NORMS_FOR[_set][floating is double].keep(len(x), &x[0], &kept[0], scale, &out[0])


def batch_forward(
    const floating[:, :, ::1] x,
    part,
    const floating[::1] gamma,
    const floating[::1] beta,
    double eps,
    floating[::1] mean,
    floating[::1] var,
    floating[::1] inv_std,
    floating[:, :, ::1] out,
):
    """Write out = (x - mean) inv_std gamma + beta for channels, and first their mean, var and inv_std (C,).

    If var is None, mean and inv_std are given.
    """
    cdef Images images = _images(_shape(x.shape), part, axis=1)
    cdef bint given = var is None
    _require_shapes(_shape(x.shape), out=_shape(out.shape))
    _require_lengths(x.shape[1], gamma=len(gamma), beta=len(beta), mean=len(mean), inv_std=len(inv_std))
    if not given:
        _require_lengths(x.shape[1], var=len(var))
    cdef double[:, ::1] work = np.zeros((2, x.shape[1]))
    with nogil:
        NORMS_FOR[_set][floating is double].batch_forward(
            &images, &x[0, 0, 0], &gamma[0], &beta[0], eps, &work[0, 0], &mean[0],
            NULL if given else &var[0], &inv_std[0], &out[0, 0, 0],
        )


def batch_backward(
    const floating[:, :, ::1] dout,
    const floating[:, :, ::1] x,
    part,
    const floating[::1] mean,
    const floating[::1] inv_std,
    const floating[::1] gamma,
    floating[:, :, ::1] dx,
    floating[::1] dgamma,
    floating[::1] dbeta,
):
    """Write the gradients of batch normalization in training mode, for channels."""
    cdef Images images = _images(_shape(x.shape), part, axis=1)
    _require_shapes(_shape(x.shape), dout=_shape(dout.shape), dx=_shape(dx.shape))
    _require_lengths(
        x.shape[1], mean=len(mean), inv_std=len(inv_std), gamma=len(gamma), dgamma=len(dgamma), dbeta=len(dbeta)
    )
    cdef double[:, ::1] work = np.zeros((2, x.shape[1]))
    with nogil:
        NORMS_FOR[_set][floating is double].batch_backward(
            &images, &dout[0, 0, 0], &x[0, 0, 0], &mean[0], &inv_std[0], &gamma[0], &work[0, 0],
            &dx[0, 0, 0], &dgamma[0], &dbeta[0],
        )


def group_forward(
    const floating[:, :, ::1] x,
    part,
    const floating[::1] gamma,
    const floating[::1] beta,
    double eps,
    floating[:, ::1] mean,
    floating[:, ::1] inv_std,
    floating[:, :, ::1] out,
):
    """Normalize groups of channels of images; write mean and inv_std (N, G) and out."""
    cdef Images images = _images(_shape(x.shape), part, axis=0)
    cdef Py_ssize_t groups = _groups(images, mean.shape, inv_std.shape)
    _require_shapes(_shape(x.shape), out=_shape(out.shape))
    _require_lengths(x.shape[1], gamma=len(gamma), beta=len(beta))
    with nogil:
        NORMS_FOR[_set][floating is double].group_forward(
            &images, groups, &x[0, 0, 0], &gamma[0], &beta[0], eps, &mean[0, 0], &inv_std[0, 0],
            &out[0, 0, 0],
        )


def group_backward(
    const floating[:, :, ::1] dout,
    const floating[:, :, ::1] x,
    part,
    const floating[:, ::1] mean,
    const floating[:, ::1] inv_std,
    const floating[::1] gamma,
    floating[:, :, ::1] dx,
):
    """Write dx of these images; return what they add to dgamma and dbeta, (2, C) in double precision."""
    cdef Images images = _images(_shape(x.shape), part, axis=0)
    cdef Py_ssize_t groups = _groups(images, mean.shape, inv_std.shape)
    _require_shapes(_shape(x.shape), dout=_shape(dout.shape), dx=_shape(dx.shape))
    _require_lengths(x.shape[1], gamma=len(gamma))
    sums = np.zeros((2, x.shape[1]))
    cdef double[:, ::1] of_params = sums
    with nogil:
        NORMS_FOR[_set][floating is double].group_backward(
            &images, groups, &dout[0, 0, 0], &x[0, 0, 0], &mean[0, 0], &inv_std[0, 0], &gamma[0],
            &dx[0, 0, 0], &of_params[0, 0], &of_params[1, 0],
        )
    return sums


def softmax(
    const floating[:, ::1] x,
    const Py_ssize_t[::1] y,
    Py_ssize_t examples,
    double[::1] losses,
    floating[:, ::1] dx,
):
    """Write the losses of rows of scores x (N, C), and dx, the gradient of their sum over `examples`.

    - y: labels (N,) from 0 to C - 1
    """
    cdef Py_ssize_t i
    if (dx.shape[0], dx.shape[1]) != (x.shape[0], x.shape[1]):
        raise ValueError("dx must have the shape of x")
    _require_lengths(len(x), y=len(y), losses=len(losses))
    for i in range(len(y)):
        if not 0 <= y[i] < x.shape[1]:
            raise ValueError(f"y must hold labels from 0 to {x.shape[1] - 1}; got {y[i]}")
    with nogil:
        NORMS_FOR[_set][floating is double].softmax(
            x.shape[0], x.shape[1], examples, &x[0, 0], &y[0], &losses[0], &dx[0, 0]
        )


cdef tuple _shape(const Py_ssize_t* shape):
    return shape[0], shape[1], shape[2]


cdef Images _images(tuple shape, part, int axis) except *:
    """Return the sizes of images (N, C, P); ValueError unless `part` is a slice of this axis."""
    cdef Images images
    if 0 in shape:
        raise ValueError(f"x must not be empty; got the shape {shape}")
    if not 0 <= part.start <= part.stop <= shape[axis]:
        raise ValueError(f"part must be a slice from 0 to {shape[axis]}; got {part}")
    images.images, images.channels, images.pixels = shape
    images.first, images.last = part.start, part.stop
    return images


cdef Py_ssize_t _groups(Images images, const Py_ssize_t* mean, const Py_ssize_t* inv_std) except -1:
    """Return the number of groups; ValueError unless mean and inv_std are (N, G) and G divides C."""
    groups = mean[1]
    if groups < 1 or images.channels % groups:
        raise ValueError(f"mean must have a column for each group of the {images.channels} channels; got {groups}")
    for name, found in (("mean", (mean[0], mean[1])), ("inv_std", (inv_std[0], inv_std[1]))):
        if found != (images.images, groups):
            raise ValueError(f"{name} must have shape {(images.images, groups)}, one per group; got {found}")
    return groups


def _require_shapes(shape, **found):
    for name, other in found.items():
        if other != shape:
            raise ValueError(f"{name} must have shape {shape}, that of x; got {other}")


def _require_lengths(length, **found):
    for name, other in found.items():
        if other != length:
            raise ValueError(f"{name} must have length {length}; got {other}")
