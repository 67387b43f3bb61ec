"""Augmentations: what each does to an image, pixel by pixel, and how often."""

import numpy as np
import pytest
from conftest import every_second, reversed_twice

from cs231n.augment import Cutout, Mirror, Shift

pytestmark = pytest.mark.q1

EVERY = [Mirror(), Mirror(1), Shift(0), Shift(2), Shift(9), Cutout(1), Cutout(3), Cutout(40)]
every_augmentation = pytest.mark.parametrize("augment", EVERY, ids=str)


def images(N=5, C=3, H=4, W=6, dtype=np.float32):
    """Every pixel has a number of its own, none of them 0."""
    return np.arange(1, N * C * H * W + 1).reshape(N, C, H, W).astype(dtype)


def augmented(augment, X, seed=0):
    return augment(X, np.random.default_rng(seed))


@every_augmentation
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64])
@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (1, 1, 1, 1), (2, 1, 7, 3)])
def test_shape_and_dtype_stay_and_the_minibatch_is_left_alone(augment, dtype, shape):
    X = images(*shape, dtype=dtype)
    before = X.copy()
    out = augmented(augment, X)
    assert (out.shape, out.dtype) == (X.shape, X.dtype)
    assert not np.shares_memory(out, X)
    np.testing.assert_array_equal(X, before)


@every_augmentation
def test_a_generator_repeats_it_and_numpys_global_one_is_left_alone(augment):
    X, state = images(20, 1, 12, 12), np.random.get_state()
    np.testing.assert_array_equal(augmented(augment, X, 3), augmented(augment, X, 3))
    assert np.random.get_state()[2] == state[2]
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])


@every_augmentation
@pytest.mark.parametrize("arrange", [np.asfortranarray, every_second, reversed_twice])
def test_any_memory_layout(augment, arrange):
    X = arrange(images())
    np.testing.assert_array_equal(augmented(augment, X), augmented(augment, X.copy()))


@every_augmentation
@pytest.mark.parametrize("shape", [(5, 12), (4, 6, 3), (0, 3, 4, 4)])
def test_what_is_no_minibatch_of_images_is_refused(augment, shape):
    with pytest.raises(ValueError, match="X must"):
        augmented(augment, np.ones(shape))


def test_each_image_is_mirrored_or_not():
    X = images(400, 1, 2, 3)
    out = augmented(Mirror(0.25), X)
    mirrored = [bool((image == original[..., ::-1]).all()) for image, original in zip(out, X, strict=True)]
    kept = [bool((image == original).all()) for image, original in zip(out, X, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 <= sum(mirrored) <= 130  # 100 are expected, with a deviation of 9
    np.testing.assert_array_equal(augmented(Mirror(1), X), X[..., ::-1])
    np.testing.assert_array_equal(augmented(Mirror(0), X), X)


def shifted_by_hand(image, down, right):
    out = np.zeros_like(image)
    _, H, W = image.shape
    for i in range(H):
        for j in range(W):
            if 0 <= i - down < H and 0 <= j - right < W:
                out[:, i, j] = image[:, i - down, j - right]
    return out


@pytest.mark.parametrize("most", [0, 1, 2])
def test_each_image_is_shifted_with_zeros_moving_in_and_every_shift_occurs(most):
    X = images(600, 2, 5, 4)
    by_hand = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    counts = dict.fromkeys(by_hand, 0)
    for image, original in zip(augmented(Shift(most), X), X, strict=True):
        (found,) = (each for each in by_hand if (image == shifted_by_hand(original, *each)).all())
        counts[found] += 1
    expected = len(X) / len(by_hand)
    assert all(abs(count - expected) <= 5 * expected**0.5 for count in counts.values())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_square_of_each_image_is_erased_and_every_middle_occurs(size):
    H, W = 5, 4
    X = images(800, 2, H, W)
    seen = set()
    for image, original in zip(augmented(Cutout(size), X), X, strict=True):
        erased = image == 0
        assert (erased == erased[:1]).all()  # the same in all channels
        np.testing.assert_array_equal(image[~erased], original[~erased])
        rows, columns = np.nonzero(erased[0].any(axis=1))[0], np.nonzero(erased[0].any(axis=0))[0]
        assert erased[0].sum() == len(rows) * len(columns) > 0  # a rectangle
        assert len(rows) == rows[-1] - rows[0] + 1 and len(columns) == columns[-1] - columns[0] + 1
        seen.add((rows[0], rows[-1], columns[0], columns[-1]))
    ends = [
        {(max(middle - size // 2, 0), min(middle - size // 2 + size, length) - 1) for middle in range(length)}
        for length in (H, W)
    ]
    assert seen == {(*rows, *columns) for rows in ends[0] for columns in ends[1]}


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: Mirror(1.5), r"probability must be in \[0, 1\]; got 1.5"),
        (lambda: Shift(-1), "most must be an integer of at least 0; got -1"),
        (lambda: Shift(0.5), "most must be an integer of at least 0; got 0.5"),
        (lambda: Cutout(0), "size must be an integer of at least 1; got 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
