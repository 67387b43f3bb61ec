"""What a network sees: windows, gradients, hidden squares and patches, on chains small enough to know."""

import numpy as np
import pytest
from conftest import draw

from cs231n import seeing
from cs231n.classifiers.small_convnet import SmallConvNet
from cs231n.fast_layers import conv_backward_fast, conv_forward_fast
from cs231n.gradcheck import PASS, check_model, rel_error
from cs231n.gradient_check import eval_numerical_gradient
from cs231n.layer_utils import chain_forward

pytestmark = pytest.mark.q4


def net(normalization=None, **options):
    np.random.seed(0)
    return SmallConvNet((4, 6), normalization, 2, (3, 8, 8), 5, np.float64, **options)


def conv(w, stride=1, pad=0):
    return conv_forward_fast, conv_backward_fast, w, np.zeros(len(w)), {"stride": stride, "pad": pad}


@pytest.mark.parametrize("normalization", [None, "batch", "layer", "group"])
def test_the_small_convnet_has_the_right_gradients(normalization):
    report = check_model(net(normalization), draw((4, 3, 8, 8)), np.arange(4))
    assert report.status == PASS, report


def test_the_small_convnet_refuses_another_normalization():
    with pytest.raises(ValueError, match="normalization"):
        SmallConvNet(normalization="instance")


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_the_receptive_field_is_the_window(depth):
    layers = net().layers()[:depth]
    size, stride, pad = seeing.window_of(layers)
    field = seeing.receptive_field(layers, draw((100, 3, 8, 8)))
    middle = chain_forward(draw((1, 3, 8, 8)), *layers)[0].shape[2] // 2
    first = middle * stride - pad
    for axis in (0, 1):
        seen = np.flatnonzero(field.any(axis=axis))
        assert (seen.min(), seen.max()) == (max(first, 0), min(first + size, 8) - 1)


def test_windows_by_hand():
    w = np.ones((1, 1, 3, 3))
    assert seeing.window_of([]) == (1, 1, 0)
    assert seeing.window_of([conv(w, 2, 1)]) == (3, 2, 1)
    assert seeing.window_of([conv(w, 2, 1), conv(w, 1, 1)]) == (7, 2, 3)


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_saliency_is_the_numeric_gradient_of_the_score(normalization):
    layers, images, y = net(normalization).layers(), draw((2, 3, 8, 8)), np.array([1, 4])
    score = lambda images: chain_forward(images, *layers)[0][np.arange(2), y].sum()  # noqa: E731
    expected = eval_numerical_gradient(score, images, verbose=False)
    expected = np.abs(expected).max(axis=1)
    assert rel_error(seeing.saliency(layers, images, y), expected) < 1e-6


def test_occlusion_hides_one_square_after_the_other():
    layers, image = net().layers(), draw((3, 8, 8))
    found = seeing.occlusion(layers, image, 2, size=4, stride=2)
    assert found.shape == (3, 3)
    hidden = image.copy()
    hidden[:, 2:6, 4:8] = 0
    assert found[1, 2] == pytest.approx(seeing.probabilities(layers, hidden[np.newaxis])[0, 2])


def test_the_strongest_patches_are_what_the_filter_looks_for():
    """A filter of ones answers most where images are bright: one patch of each, the brightest first."""
    images = np.zeros((3, 1, 6, 6))
    images[1, 0, 1:4, 2:5], images[2, 0, 3:6, 0:3] = 1, 2
    pictures = np.random.default_rng(0).integers(0, 255, (3, 6, 6, 3))
    for pad in (0, 1):
        layers = [conv(np.ones((1, 1, 3, 3)), pad=pad)]
        patches = seeing.strongest_patches(layers, images, 0, pictures, count=2)
        np.testing.assert_array_equal(patches, [pictures[2, 3:6, 0:3], pictures[1, 1:4, 2:5]])


def test_mistakes_and_classes():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    y = np.array([1, 0, 1, 0])
    assert list(seeing.surest_mistakes(probabilities, y, count=2)) == [0, 3]
    predictions = probabilities.argmax(axis=1)
    np.testing.assert_array_equal(seeing.accuracy_per_class(predictions, y, 2), [0, 0.5])
