"""The stand-in for CIFAR-10: the same on every run, balanced, and neither trivial nor hopeless."""

import itertools

import numpy as np
import pytest

from cs231n.datasets import standin
from cs231n.datasets.batches import ALL_FILES, META_FILE, read_batch, read_class_names
from cs231n.datasets.standin import CLASS_NAMES, TINY_DIFFICULTY, make_images

pytestmark = pytest.mark.q1


def labels_of(count):
    return np.arange(count) % len(CLASS_NAMES)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    standin.write_tiny(folder)
    return folder


def nearest_mean_accuracy(difficulty):
    """Share of 1,000 images that lie nearest to the mean training image of their own class."""
    labels, test_labels = labels_of(2000), labels_of(1000)
    images = make_images(labels, 1, difficulty).reshape(2000, -1).astype(np.float32)
    test_images = make_images(test_labels, 2, difficulty).reshape(1000, -1).astype(np.float32)
    means = np.stack([images[labels == y].mean(axis=0) for y in range(len(CLASS_NAMES))])
    scores = test_images @ means.T - 0.5 * (means**2).sum(axis=1)
    return np.mean(scores.argmax(axis=1) == test_labels)


def test_images_are_full_range_colour_images():
    images = make_images(labels_of(200), seed=0)
    assert images.shape == (200, 32, 32, 3)
    assert images.dtype == np.uint8
    assert images.min() < 10 and images.max() > 245
    assert images.std(axis=(1, 2, 3)).min() > 5  # none is blank
    assert np.abs(images[..., 0].astype(int) - images[..., 2]).mean() > 20  # none is grey


def test_same_seed_same_images_other_seed_other_images():
    first, again, other = (make_images(labels_of(60), seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.mean(first == other) < 0.1


def test_images_do_not_depend_on_the_chunk_size(monkeypatch):
    at_once = make_images(labels_of(60), seed=7)
    monkeypatch.setattr(standin, "CHUNK", 13)
    np.testing.assert_array_equal(make_images(labels_of(60), seed=7), at_once)


def test_labels_are_not_changed_and_may_be_a_list():
    labels = labels_of(20)
    images = make_images(labels, seed=0)
    np.testing.assert_array_equal(labels, labels_of(20))
    np.testing.assert_array_equal(make_images(labels.tolist(), seed=0), images)


@pytest.mark.parametrize("labels", [[0, 10], [-1, 3]])
def test_labels_outside_the_classes_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must be in \[0, 10\); got"):
        make_images(labels, seed=0)


@pytest.mark.parametrize("difficulty", [-0.1, 1.5])
def test_difficulty_out_of_range_is_refused(difficulty):
    with pytest.raises(ValueError, match=r"difficulty must be in \[0, 1\]; got"):
        make_images([0], seed=0, difficulty=difficulty)


def test_shapes_differ_and_fill_their_frame():
    """Silhouettes on a grid over [-1.2, 1.2]: none leaves the frame, no two are nearly the same."""
    y, x = np.mgrid[1.2:-1.2:96j, -1.2:1.2:96j].astype(np.float32)
    outlines = [shape(x, y)[0] < 0 for shape in standin._SHAPES]
    for name, inside in zip(CLASS_NAMES, outlines, strict=True):
        assert 0.15 < inside.mean() < 0.6, name
        assert not inside[np.maximum(np.abs(x), np.abs(y)) > 1.1].any(), name
    for i, j in itertools.combinations(range(len(CLASS_NAMES)), 2):
        shared = (outlines[i] & outlines[j]).sum() / (outlines[i] | outlines[j]).sum()
        assert shared < 0.9, (CLASS_NAMES[i], CLASS_NAMES[j])


def test_tiny_is_easy_and_the_full_one_is_hard():
    chance = 1 / len(CLASS_NAMES)
    easy, hard = nearest_mean_accuracy(TINY_DIFFICULTY), nearest_mean_accuracy(1.0)
    assert easy > 0.5
    assert 1.5 * chance < hard < 0.34


def test_tiny_files_are_those_of_cifar10(tiny_folder):
    assert sorted(path.name for path in tiny_folder.iterdir()) == sorted(ALL_FILES)
    assert read_class_names(tiny_folder / META_FILE) == list(CLASS_NAMES)
    assert len(set(CLASS_NAMES)) == 10


@pytest.mark.parametrize("name", [name for name in ALL_FILES if name != META_FILE])
def test_tiny_batches_are_balanced_and_shuffled(tiny_folder, name):
    images, labels = read_batch(tiny_folder / name)
    assert images.shape == (400, 3, 32, 32)
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 40))
    assert len(np.unique(labels[:40])) == 10
    assert np.mean(labels[1:] - labels[:-1] == 1) < 0.3  # not in the order they were counted off


def test_no_image_occurs_twice(tiny_folder):
    names = [name for name in ALL_FILES if name != META_FILE]
    images = np.concatenate([read_batch(tiny_folder / name)[0] for name in names])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_writing_twice_gives_the_same_bytes(tiny_folder, tmp_path):
    standin.write_tiny(tmp_path)
    for name in ALL_FILES:
        assert (tmp_path / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_full_standin_has_the_sizes_of_cifar10(tmp_path, monkeypatch):
    """What is drawn is tested above; here each image is blank, which takes no time."""
    asked = []

    def blank(labels, seed, difficulty):
        asked.append((tuple(seed), difficulty))
        return np.zeros((len(labels), 32, 32, 3), np.uint8)

    monkeypatch.setattr(standin, "make_images", blank)
    standin.write_standin(tmp_path)
    assert len(set(asked)) == 6
    assert {difficulty for _, difficulty in asked} == {1.0}
    for name in ALL_FILES[:-1]:
        labels = read_batch(tmp_path / name)[1]
        np.testing.assert_array_equal(np.bincount(labels), np.full(10, 1000))
