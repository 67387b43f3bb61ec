"""Load CIFAR-10, or its stand-in, as NumPy arrays ready for training.

Images are read file by file into arrays of their final size, so that the peak of memory is little more than
the arrays that are returned.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cs231n.datasets import Dataset, cifar10_in, find_dataset
from cs231n.datasets.batches import (
    IMAGE_SHAPE,
    META_FILE,
    TEST_FILE,
    TRAIN_FILES,
    read_batch,
    read_class_names,
    read_images_per_batch,
)
from cs231n.datasets.standin import CLASS_NAMES, make_images
from cs231n.gone import explain_gone
from cs231n.preprocessing import Preprocessing
from cs231n.validation import require_integer

Images = NDArray[Any]
Labels = NDArray[np.int64]

if not TYPE_CHECKING:  # mypy would take every name to be here
    __getattr__ = explain_gone(__name__)


class ImageData(dict[str, NDArray[Any]]):
    """Arrays by their names and, for `model.predict`, how the images were made of pictures.

    - preprocessing: the mean image that was subtracted, if one was, and the class names
    """

    preprocessing: Preprocessing


# The notebooks that the course itself hands out call this function.
def load_CIFAR_batch(filename: str | os.PathLike[str]) -> tuple[NDArray[np.float32], Labels]:
    """Read one batch file: X float32 (N, 32, 32, 3) with values 0 to 255, y int64 (N,)."""
    images, labels = read_batch(filename)
    return images.transpose(0, 2, 3, 1).astype(np.float32, order="C"), labels


# The notebooks that the course itself hands out call this function.
def load_CIFAR10(root: str | os.PathLike[str]) -> tuple[Images, Labels, Images, Labels]:
    """Read all batch files in the folder `root`, values 0 to 255; FileNotFoundError if one is missing.

    Returns Xtr float32 (50000, 32, 32, 3), Ytr int64 (50000,), Xte (10000, 32, 32, 3), Yte (10000,).
    """
    folder = cifar10_in(root).folder
    Xtr, Ytr = _read_all(folder, TRAIN_FILES)
    Xte, Yte = _read_all(folder, (TEST_FILE,))
    return Xtr, Ytr, Xte, Yte


def _read_all(folder: Path, files: tuple[str, ...]) -> tuple[NDArray[np.float32], Labels]:
    """Read whole batch files into X float32 (N, 32, 32, 3) and y (N,)."""
    channels, height, width = IMAGE_SHAPE
    N = len(files) * read_images_per_batch(folder / META_FILE)
    X = np.empty((N, height, width, channels), np.float32)
    y = _read_into(X.transpose(0, 3, 1, 2), folder, files)
    return X, y


def get_CIFAR10_data(
    num_training: int = 49000,
    num_validation: int = 1000,
    num_test: int = 1000,
    subtract_mean: bool = True,
    cifar10_dir: str | os.PathLike[str] | None = None,
) -> ImageData:
    """Load the chosen data set, split and centred for training; print one line that says which it is.

    The first images of the training files are for training and the next ones for validation; the first
    images of the test file are for testing. With `subtract_mean` the mean of the training images is
    subtracted from all three. Every size must be at least 1 and at most the number of images; only the tiny
    data set reduces larger sizes to what it holds. `cifar10_dir` names the folder of the batch files, in
    place of the environment variables.

    Returns a dictionary: X_train float32 (num_training, 3, 32, 32), y_train int64 (num_training,),
    and X_val, y_val, X_test, y_test likewise. Its `preprocessing` is what a model needs to classify pictures;
    who goes on to scale the images must say so there. Raises ValueError for a size that does not fit, and
    FileNotFoundError for a `cifar10_dir` without all files.
    """
    splits = load_splits(num_training, num_validation, num_test, np.float32, cifar10_dir)
    data = ImageData()
    for name, (images, labels) in splits.items():
        data[f"X_{name}"], data[f"y_{name}"] = images, labels
    mean_image: Any = 0.0
    if subtract_mean:
        mean_image = data["X_train"].mean(axis=0, dtype=np.float64).astype(np.float32)
        for name in splits:
            data[f"X_{name}"] -= mean_image
    data.preprocessing = Preprocessing(mean_image, class_names=get_class_names(cifar10_dir))
    return data


def get_drawings(num_training: int = 8000, num_validation: int = 1000, seed: int = 0) -> ImageData:
    """Draw images like those of the stand-in, whichever data set is chosen: these pictures may be published.

    Images have mean 0 at every pixel and standard deviation 1 over all. Returns X_train, y_train, X_val and
    y_val as `get_CIFAR10_data` does, and `pictures`, those of X_val to look at: uint8 (N, 32, 32, 3).
    """
    y = np.arange(num_training + num_validation) % len(CLASS_NAMES)
    pictures = make_images(y, seed)
    images = pictures.transpose(0, 3, 1, 2).astype(np.float32)
    mean_image = images[:num_training].mean(axis=0, dtype=np.float64).astype(np.float32)
    images -= mean_image
    images /= images[:num_training].std(dtype=np.float64)
    train, val = slice(num_training), slice(num_training, None)
    return ImageData(
        X_train=images[train], y_train=y[train], X_val=images[val], y_val=y[val], pictures=pictures[val]
    )


def load_splits(
    num_training: int = 49000,
    num_validation: int = 1000,
    num_test: int = 10000,
    dtype: DTypeLike = np.uint8,
    cifar10_dir: str | os.PathLike[str] | None = None,
) -> dict[str, tuple[Images, Labels]]:
    """Load the chosen data set, split, with pixels from 0 to 255; print one line that says which it is.

    The split, `cifar10_dir` and the errors are those of `get_CIFAR10_data`. Returns
    {"train": (images, labels), "val": ..., "test": ...}: images (N, 3, 32, 32) of the `dtype`, labels
    int64 (N,).
    """
    dataset = _dataset(cifar10_dir)
    per_batch = read_images_per_batch(dataset.folder / META_FILE)
    num_training, num_validation, num_test = _fit_sizes(
        dataset, per_batch, num_training, num_validation, num_test
    )
    print(
        f"Data: {dataset.description}; {num_training:,} training, {num_validation:,} validation, "
        f"{num_test:,} test images"
    )
    places = {
        "train": (TRAIN_FILES, 0, num_training),
        "val": (TRAIN_FILES, num_training, num_validation),
        "test": ((TEST_FILE,), 0, num_test),
    }
    splits = {}
    for name, (files, start, count) in places.items():
        images = np.empty((count, *IMAGE_SHAPE), dtype)
        splits[name] = images, _read_into(images, dataset.folder, files, start)
    return splits


def get_class_names(cifar10_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the class names of the data set that `get_CIFAR10_data` loads, 10 str in label order."""
    return read_class_names(_dataset(cifar10_dir).folder / META_FILE)


def _dataset(cifar10_dir: str | os.PathLike[str] | None) -> Dataset:
    return find_dataset() if cifar10_dir is None else cifar10_in(cifar10_dir)


def _read_into(X: Images, folder: Path, files: tuple[str, ...], start: int = 0) -> Labels:
    """Fill X (N, 3, 32, 32) with the images from number `start` on; return their labels (N,)."""
    y = np.empty(len(X), np.int64)
    per_batch = read_images_per_batch(folder / META_FILE)
    filled = 0
    while filled < len(X):
        number, first = divmod(start + filled, per_batch)
        path = folder / files[number]
        images, labels = read_batch(path)
        if len(images) != per_batch:
            raise ValueError(
                f"{path} holds {len(images):,} images; {META_FILE} says {per_batch:,}. "
                "Delete the folder and fetch or make it again."
            )
        end = min(filled + per_batch - first, len(X))
        X[filled:end] = images[first : first + end - filled]
        y[filled:end] = labels[first : first + end - filled]
        filled = end
    return y


def _fit_sizes(
    dataset: Dataset, per_batch: int, num_training: int, num_validation: int, num_test: int
) -> tuple[int, int, int]:
    """Return the three sizes; ValueError if the data set holds fewer images (the tiny one reduces them)."""
    num_training = require_integer("num_training", num_training, 1)
    num_validation = require_integer("num_validation", num_validation, 1)
    num_test = require_integer("num_test", num_test, 1)
    total = len(TRAIN_FILES) * per_batch
    if dataset.name == "tiny":
        num_validation = min(num_validation, per_batch)
        num_test = min(num_test, per_batch)
        num_training = min(num_training, total - num_validation)
    if num_test > per_batch:
        raise ValueError(f"num_test must be at most {per_batch:,}; got {num_test:,}")
    if num_training + num_validation > total:
        raise ValueError(
            f"num_training + num_validation must be at most {total:,}, the images in the training "
            f"files; got {num_training:,} + {num_validation:,}"
        )
    return num_training, num_validation, num_test
