"""The matrix product of the affine layers, compiled and by the BLAS."""

from itertools import product

import numpy as np
import pytest
from conftest import DTYPES, compiled, draw, draw_all
from test_placement import assert_all_equal, placements

from cs231n.kernels import matmul as module
from cs231n.kernels import threads
from cs231n.kernels.matmul import matmul
from cs231n.kernels.threads import use_threads

pytestmark = pytest.mark.q1

matmul_cython = compiled("matmul_cython")
SETS = matmul_cython.vector_sets()
ROUNDING = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}  # of one operation

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(params=SETS)
def vectors(request):
    """Let the compiled product use this set of vector instructions."""
    matmul_cython.use_vectors(request.param)
    yield request.param
    matmul_cython.use_vectors(SETS[-1])


def assert_is_product(found, a, b):
    """It is the product, up to 8 times what rounding errors of either sign add up to."""
    depth = a.shape[1]
    expected = a.astype(np.longdouble) @ b.astype(np.longdouble)
    of_terms = np.sqrt(np.square(a.astype(np.float64)) @ np.square(b.astype(np.float64)))
    assert found.dtype == a.dtype and found.shape == expected.shape
    assert (abs(found - expected) <= 8 * np.sqrt(depth) * ROUNDING[a.dtype] * of_terms).all()


def in_every_layout(array):
    """Yield the same matrix with contiguous rows, columns or neither, reversed, and within a larger one."""
    yield array
    yield np.asfortranarray(array)
    yield np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]
    yield array[::-1, ::-1].copy()[::-1, ::-1]
    yield np.pad(array, 1)[1:-1, 1:-1]


@every_dtype
@pytest.mark.parametrize(
    "rows, depth, columns",
    [
        (1, 1, 1),
        (2, 3, 2),
        (3, 40, 7),
        (9, 17, 8),
        (50, 30, 100),
        (13, 25, 33),
        (8, 600, 49),  # several parts of the depth
        (300, 530, 10),  # several blocks of rows
        (10, 530, 300),
        (257, 2, 257),
    ],
)
def test_the_compiled_product_is_the_product(vectors, dtype, rows, depth, columns):
    a, b = draw_all([(rows, depth), (depth, columns)], dtype)
    for left, right in product(in_every_layout(a), in_every_layout(b)):
        out = np.full((rows, columns), np.nan, dtype)
        matmul_cython.matmul(left, right, out)
        assert_is_product(out, a, b)


@every_dtype
@pytest.mark.parametrize("rows, columns", [(5, 40), (40, 5), (7, 3)])
def test_only_the_output_is_written(vectors, dtype, rows, columns):
    a, b = draw_all([(rows, 20), (20, columns)], dtype)
    around = np.full((rows + 4, columns + 6), 7, dtype)
    matmul_cython.matmul(a, b, around[2:-2, 3:-3])
    assert_is_product(around[2:-2, 3:-3].copy(), a, b)
    around[2:-2, 3:-3] = 7
    assert (around == 7).all()


@every_dtype
def test_sums_are_taken_in_the_order_of_the_depth(vectors, dtype):
    """The result tells: 1 is lost beside the large number, whichever block it is in."""
    large = 4 / ROUNDING[np.dtype(dtype)]
    for depth in (3, 1000):
        a, b = np.zeros((6, depth), dtype), np.ones((depth, 30), dtype)
        a[:, 0], a[:, depth // 2], a[:, -1] = 1, large, -large
        for left, right in product(in_every_layout(a), in_every_layout(b)):
            out = np.empty((6, 30), dtype)
            matmul_cython.matmul(left, right, out)
            assert (out == 0).all()


@every_dtype
def test_numbers_that_are_not_finite_go_where_they_belong(vectors, dtype):
    """0 times infinity is NaN, and no other row or column sees any of it."""
    for rows, columns in ((5, 21), (21, 5), (2, 3)):
        a, b = draw_all([(rows, 9), (9, columns)], dtype)
        a[1, 2], a[0, 3], b[4, 1] = np.inf, np.nan, 0
        b[2, :] = 0
        out = np.empty((rows, columns), dtype)
        matmul_cython.matmul(a, b, out)
        assert np.isnan(out[:2]).all() and np.isfinite(out[2:]).all()


def test_denormal_numbers_are_numbers(vectors):
    tiny = np.full((4, 9), 1e-40, np.float32)
    out = np.empty((4, 4), np.float32)
    matmul_cython.matmul(tiny, np.ones((9, 4), np.float32), out)
    np.testing.assert_allclose(out, 9e-40, rtol=1e-4)


@every_dtype
@pytest.mark.parametrize("rows, depth, columns", [(5, 7, 3), (6, 40, 30), (30, 40, 6)])
def test_the_product_has_the_same_bits_everywhere(vectors, dtype, rows, depth, columns):
    """It depends neither on the places of the arrays nor on their layout."""
    a, b, out = draw_all([(rows, depth), (depth, columns), (rows, columns)], dtype)

    def products():
        for a_, b_, out_ in placements(a, b, out):
            matmul_cython.matmul(a_, b_, out_)
            yield [out_.copy()]

    assert_all_equal(products())
    matmul_cython.matmul(a, b, out)
    for left, right in product(in_every_layout(a), in_every_layout(b)):
        again = np.empty_like(out)
        matmul_cython.matmul(left, right, again)
        np.testing.assert_array_equal(again, out)


@every_dtype
def test_the_product_does_not_depend_on_the_number_of_threads(monkeypatch, dtype):
    monkeypatch.setattr(threads, "WORTH_SHARING", 0)
    for rows, columns in ((50, 101), (101, 50)):
        a, b = draw_all([(rows, 300), (300, columns)], dtype)
        alone = matmul(a, b)
        for count in (1, 2, 3, 7):
            with use_threads(count):
                np.testing.assert_array_equal(matmul(a, b), alone)


def arguments(rows=2, depth=3, columns=4, dtype=np.float64):
    return [np.ones(shape, dtype) for shape in ((rows, depth), (depth, columns), (rows, columns))]


@pytest.mark.parametrize(
    "name, changed",
    [
        ("b", lambda a, b, out: (a, b[:2], out)),
        ("out", lambda a, b, out: (a, b, out[:, :3])),
        ("out", lambda a, b, out: (a, b, out[:1])),
        ("a and b", lambda a, b, out: (a[:0], b, out[:0])),
        ("a and b", lambda a, b, out: (a[:, :0], b[:0], out)),
        ("a and b", lambda a, b, out: (a, b[:, :0], out[:, :0])),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, changed):
    with pytest.raises(ValueError, match=f"^{name} must "):
        matmul_cython.matmul(*changed(*arguments()))


def test_numbers_within_records_are_refused():
    record = np.zeros((2, 3), np.dtype([("flag", np.int8), ("number", np.float64)]))
    _, b, out = arguments()
    with pytest.raises(ValueError, match=r"^a must have strides that are multiples of 8"):
        matmul_cython.matmul(record["number"], b, out)


# Which product is taken


@pytest.fixture
def calls(monkeypatch):
    """Return the shapes of the slices that the compiled product computes."""
    shapes = []

    class Watched:
        @staticmethod
        def matmul(a, b, out):
            shapes.append(out.shape)
            matmul_cython.matmul(a, b, out)

    monkeypatch.setattr(module, "compiled", Watched)
    return shapes


@pytest.mark.skipif(not threads.blas_takes_a_limit(), reason="this BLAS takes no limit")
@pytest.mark.parametrize(
    "a, b, is_compiled",
    [
        (np.ones((4, 5)), np.ones((5, 6)), True),
        (np.ones((5, 4)).T, np.ones((6, 5)).T, True),
        (np.ones((4, 5), np.float32), np.ones((5, 6), np.float32), True),
        (np.ones((4, 5), np.float32), np.ones((5, 6)), False),
        (np.ones((4, 5), np.longdouble), np.ones((5, 6), np.longdouble), False),
        (np.ones((4, 5), np.dtype("f8").newbyteorder()), np.ones((5, 6)), False),
        (np.ones((1, 5)), np.ones((5, 6)), False),  # a vector
        (np.ones((4, 5)), np.ones((5, 1)), False),
        (np.ones((0, 5)), np.ones((5, 6)), False),
        (np.ones((4, 0)), np.ones((0, 6)), False),
        (np.ones((4, 5)), np.ones((5, 0)), False),
        (np.frombuffer(bytes(161), np.uint8)[1:].view(np.float64).reshape(4, 5), np.ones((5, 6)), False),
        (np.zeros((4, 5), np.dtype([("flag", np.int8), ("x", np.float64)]))["x"], np.ones((5, 6)), False),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else str(value),
)
def test_matrices_of_known_numbers_are_multiplied_by_the_compiled_product(calls, a, b, is_compiled):
    product = matmul(a, b)
    expected = a @ b
    assert product.dtype == expected.dtype
    np.testing.assert_array_equal(product, expected)
    assert bool(calls) == is_compiled


@pytest.mark.parametrize("large", [0, 2**60], ids=["by_the_blas", "compiled"])
@pytest.mark.parametrize("count", [1, 2])
@every_dtype
@pytest.mark.parametrize(
    "rows, inner, columns",
    [(3, 4, 5), (100, 300, 200), (256, 128, 256), (3000, 60, 50), (50, 60, 3001), (4, 1100, 2000), (1, 9, 1)],
)
def test_matmul_is_the_matrix_product(monkeypatch, dtype, rows, inner, columns, count, large):
    monkeypatch.setattr(module, "LARGE", large)
    a, b = draw((rows, inner), dtype), draw((inner, columns), dtype, 1)
    at, bt = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    with use_threads(count):
        for left, right in ((a, b), (at.T, b), (a, bt.T), (at.T, bt.T)):
            assert_is_product(matmul(left, right), a, b)


@pytest.mark.skipif(not threads.blas_takes_a_limit(), reason="this BLAS takes no limit")
@pytest.mark.parametrize("by_blas", [False, True])
def test_large_products_only_are_shared(monkeypatch, by_blas):
    shared = []
    map_slices = threads.map_slices

    def watched(work, length, *arguments):
        return map_slices(lambda part: (shared.append(length), work(part)), length, *arguments)

    monkeypatch.setattr(module, "map_slices", watched)
    monkeypatch.setattr(threads, "WORTH_SHARING", threads.MATRIX_PRODUCT * 2**23)
    if by_blas:
        monkeypatch.setattr(module, "compiled", None)
    with use_threads(2):
        matmul(np.ones((256, 128)), np.ones((128, 255)))
        assert shared == ([] if by_blas else [256])
        shared.clear()
        matmul(np.ones((128, 128)), np.ones((128, 512)))  # large enough, and wide: the columns are shared
        matmul(np.ones((1024, 128)), np.ones((128, 64)))  # tall: the rows
    assert shared == [512, 512, 1024, 1024]


def test_with_a_silent_blas_products_are_its_own(monkeypatch, calls):
    monkeypatch.setattr(threads, "WORTH_SHARING", 0)
    monkeypatch.setattr(module, "blas_takes_a_limit", lambda: False)
    monkeypatch.setattr(module, "map_slices", None)
    np.testing.assert_array_equal(matmul(np.ones((4, 3)), np.ones((3, 5))), np.full((4, 5), 3.0))
    assert calls == []
