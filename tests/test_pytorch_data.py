"""Data for PyTorch: the images of the other notebooks, whole minibatches, and each image moved by itself."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2

from cs231n.data_utils import get_CIFAR10_data, get_class_names
from cs231n.pytorch.data import (
    ImageDataset,
    RandomShiftAndFlip,
    load_datasets,
    make_loader,
    to_normalized_floats,
)

pytestmark = pytest.mark.q5


def noise(count=10, size=(32, 32), seed=0):
    """A data set of noise, and its images and labels as NumPy arrays."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, *size), dtype=np.uint8)
    labels = rng.integers(0, 10, count)
    return ImageDataset(images, labels, [f"class {i}" for i in range(10)]), images, labels


class TestLoadDatasets:
    def test_they_are_the_splits_of_the_other_notebooks(self, tiny_data):
        expected = get_CIFAR10_data(num_test=10_000, subtract_mean=False)
        datasets = load_datasets()
        assert list(datasets) == ["train", "val", "test"]
        for name, dataset in datasets.items():
            assert isinstance(dataset, VisionDataset)
            assert dataset.images.dtype == torch.uint8
            np.testing.assert_array_equal(dataset.images, expected[f"X_{name}"])
            np.testing.assert_array_equal(dataset.labels, expected[f"y_{name}"])
            assert dataset.classes == get_class_names()

    def test_it_says_once_which_data_set_it_is(self, tiny_data, capsys):
        load_datasets()
        printed = capsys.readouterr().out
        assert printed.startswith("Data: the tiny stand-in for CIFAR-10 (synthetic images")
        assert len(printed.splitlines()) == 1


class TestImageDataset:
    def test_an_item_is_an_image_and_its_label(self):
        dataset, images, labels = noise()
        assert len(dataset) == 10
        image, label = dataset[3]
        np.testing.assert_array_equal(image, images[3])
        assert (label, type(label)) == (labels[3], int)

    def test_the_transform_gets_one_image_at_a_time_in_minibatches_too(self):
        dataset, images, _ = noise()
        shapes = []
        dataset.transform = lambda image: shapes.append(image.shape) or image.flip(0)
        image, _ = dataset[2]
        np.testing.assert_array_equal(image, images[2, ::-1])
        minibatch, _ = dataset.__getitems__([4, 0])
        np.testing.assert_array_equal(minibatch, images[[4, 0], ::-1])
        assert shapes == [(3, 32, 32)] * 3

    def test_pytorchs_own_loader_takes_it_image_by_image(self):
        """With default collation and a sampler of single items, as in any tutorial."""
        dataset, images, labels = noise()
        loader = DataLoader(dataset, batch_size=None, sampler=[1, 5])
        for (image, label), index in zip(loader, [1, 5], strict=True):
            np.testing.assert_array_equal(image, images[index])
            assert label == labels[index]


class TestMakeLoader:
    def test_minibatches_in_order_the_last_one_smaller(self):
        dataset, images, labels = noise()
        batches = list(make_loader(dataset, 4))
        assert [len(y) for _, y in batches] == [4, 4, 2]
        np.testing.assert_array_equal(torch.cat([x for x, _ in batches]), images)
        np.testing.assert_array_equal(torch.cat([y for _, y in batches]), labels)

    def test_shuffled_each_image_comes_once_with_its_label(self):
        dataset, images, labels = noise(50)
        torch.manual_seed(0)
        (x, y), (again, _) = (next(iter(make_loader(dataset, 50, shuffle=True))) for _ in range(2))
        assert not torch.equal(x, again)
        order = [next(i for i in range(50) if np.array_equal(images[i], image)) for image in x]
        assert sorted(order) == list(range(50)) != order
        np.testing.assert_array_equal(y, labels[order])

    def test_the_transform_gets_the_minibatch_as_a_whole(self):
        dataset, images, _ = noise()
        shapes = []
        loader = make_loader(dataset, 4, transform=lambda x: shapes.append(x.shape) or 2 * x.float())
        np.testing.assert_array_equal(torch.cat([x for x, _ in loader]), 2 * images.astype(np.float32))
        assert shapes == [(4, 3, 32, 32), (4, 3, 32, 32), (2, 3, 32, 32)]

    def test_a_subset_and_a_sampler(self):
        dataset, images, labels = noise()
        ((x, y),) = make_loader(Subset(dataset, [7, 1, 5]), 4, sampler=[2, 0])
        np.testing.assert_array_equal(x, images[[5, 7]])
        np.testing.assert_array_equal(y, labels[[5, 7]])

    @pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "4"])
    def test_batch_size_is_checked(self, batch_size):
        with pytest.raises(ValueError, match="batch_size must be an integer of at least 1; got"):
            make_loader(noise()[0], batch_size)


class TestToNormalizedFloats:
    def test_each_channel_has_mean_0_and_deviation_1(self):
        dataset, images, _ = noise(200)
        images[:, 1] = images[:, 1] // 2 + 100  # channels unlike each other; the data set shares the memory
        normalized = to_normalized_floats(dataset)(dataset.images)
        assert (normalized.dtype, normalized.shape) == (torch.float32, images.shape)
        torch.testing.assert_close(normalized.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
        torch.testing.assert_close(normalized.std((0, 2, 3), correction=0), torch.ones(3), rtol=0, atol=1e-5)

    def test_on_paper(self):
        """Half of the bytes 0, half 255: mean 1/2, deviation 1/2, so that they become -1 and 1."""
        images = np.zeros((2, 3, 4, 4), np.uint8)
        images[1] = 255
        dataset = ImageDataset(images, np.zeros(2, int), ["one"])
        normalize = to_normalized_floats(dataset)
        np.testing.assert_allclose(normalize(dataset.images)[:, 0, 0, 0], [-1, 1], atol=1e-6)
        np.testing.assert_allclose(normalize(torch.full((3, 1, 1), 51, dtype=torch.uint8)), -0.6, atol=1e-6)


def moved(image, most):
    """All that may become of an image (C, H, W): {(down, right, mirrored): image}."""
    _, H, W = image.shape
    padded = np.pad(image, [(0, 0), (most, most), (most, most)], mode="reflect")
    shifted = {
        (i - most, j - most): padded[:, i : i + H, j : j + W]
        for i in range(2 * most + 1)
        for j in range(2 * most + 1)
    }
    return {
        (*shift, mirror): out[..., ::-1] if mirror else out
        for shift, out in shifted.items()
        for mirror in (0, 1)
    }


class TestRandomShiftAndFlip:
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    @pytest.mark.parametrize("size", [(32, 32), (5, 8), (9, 6)], ids=str)
    def test_every_image_is_moved_by_itself_and_in_every_way(self, dtype, size):
        torch.manual_seed(0)
        count, most = 600, 2
        images = np.repeat(noise(1, size)[1], count, axis=0).astype(dtype)
        expected = moved(images[0], most)
        out = RandomShiftAndFlip(most)(torch.from_numpy(images))
        assert (out.shape, out.numpy().dtype) == (images.shape, dtype)
        keys = {value.tobytes(): key for key, value in expected.items()}
        assert len(keys) == 2 * (2 * most + 1) ** 2
        found = [keys[image.tobytes()] for image in np.ascontiguousarray(out)]  # KeyError: none of these
        assert set(found) == set(expected)
        assert 240 < sum(mirrored for *_, mirrored in found) < 360

    def test_each_image_stays_in_its_place_of_the_minibatch(self):
        torch.manual_seed(0)
        _, images, _ = noise(20, (6, 7))
        for image, out in zip(images, RandomShiftAndFlip(1)(torch.from_numpy(images)), strict=True):
            assert out.numpy().tobytes() in {value.tobytes() for value in moved(image, 1).values()}

    def test_without_shift_images_are_only_mirrored(self):
        torch.manual_seed(0)
        _, images, _ = noise(20)
        out = RandomShiftAndFlip(0)(torch.from_numpy(images)).numpy()
        same = (out == images).all((1, 2, 3))
        np.testing.assert_array_equal(out[~same], images[~same, :, :, ::-1])
        assert 0 < same.sum() < 20

    def test_the_seed_repeats_it_and_the_argument_is_left_alone(self):
        images = torch.from_numpy(noise()[1])
        before = images.clone()
        move = v2.Compose([RandomShiftAndFlip(3)])
        outs = [torch.manual_seed(seed) and move(images) for seed in (1, 1, 2)]
        assert torch.equal(outs[0], outs[1])
        assert not torch.equal(outs[0], outs[2])
        assert torch.equal(images, before)

    def test_errors(self):
        with pytest.raises(ValueError, match="most must be an integer of at least 0; got -1"):
            RandomShiftAndFlip(-1)
        with pytest.raises(
            ValueError, match=r"most must be less than the height and width .* got 4 for \(4, 8\)"
        ):
            RandomShiftAndFlip(4)(torch.zeros(1, 3, 4, 8))
