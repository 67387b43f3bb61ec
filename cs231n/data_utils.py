"""Loading CIFAR-10, or its stand-in, as NumPy arrays ready for training.

Images are float32 throughout and are read file by file into arrays of their final size, so that
the peak of memory is little more than what is returned.
"""

from pathlib import Path

import numpy as np

from cs231n.datasets import find_dataset
from cs231n.datasets.batches import (
    IMAGE_SHAPE,
    META_FILE,
    TEST_FILE,
    TRAIN_FILES,
    read_batch,
    read_class_names,
    read_images_per_batch,
)
from cs231n.validation import require_integer


def load_CIFAR_batch(filename):
    """Read one batch file: X float32 (N, 32, 32, 3) with values 0 to 255, y int64 (N,)."""
    images, labels = read_batch(filename)
    return images.transpose(0, 2, 3, 1).astype(np.float32, order="C"), labels


def load_CIFAR10(root):
    """Read all batch files in the folder `root`, values 0 to 255.

    Returns Xtr float32 (50000, 32, 32, 3), Ytr int64 (50000,), Xte (10000, 32, 32, 3), Yte
    (10000,).
    """
    per_batch = read_images_per_batch(Path(root) / META_FILE)
    height_width_channels = (*IMAGE_SHAPE[1:], IMAGE_SHAPE[0])
    arrays = []
    for files in (TRAIN_FILES, (TEST_FILE,)):
        X = np.empty((len(files) * per_batch, *height_width_channels), np.float32)
        y = _read_into(X.transpose(0, 3, 1, 2), root, files)
        arrays += [X, y]
    return tuple(arrays)


def get_CIFAR10_data(num_training=49000, num_validation=1000, num_test=1000, subtract_mean=True):
    """Load the chosen data set, split and centred for training; print one line that says which.

    The training images are the first of the training files' order, the validation images the next,
    the test images the first of the test file. With `subtract_mean` the mean of the training images
    is subtracted from all three. Every size must be at least 1, and there must be as many images;
    only for the tiny data set are the sizes cut down to what it holds.

    Returns a dictionary: X_train float32 (num_training, 3, 32, 32), y_train int64 (num_training,),
    and X_val, y_val, X_test, y_test likewise. Raises ValueError for a size that does not fit.
    """
    splits = load_splits(num_training, num_validation, num_test, dtype=np.float32)
    data = {}
    for name, (images, labels) in splits.items():
        data[f"X_{name}"], data[f"y_{name}"] = images, labels
    if subtract_mean:
        mean_image = data["X_train"].mean(axis=0, dtype=np.float64).astype(np.float32)
        for name in splits:
            data[f"X_{name}"] -= mean_image
    return data


def load_splits(num_training=49000, num_validation=1000, num_test=10000, dtype=np.uint8):
    """Load the chosen data set, split, with pixels as they are, 0 to 255; print one line that says which.

    Which images these are, and the ValueErrors, see `get_CIFAR10_data`. Returns {"train": (images, labels),
    "val": ..., "test": ...}: images (N, 3, 32, 32) of the `dtype`, labels int64 (N,).
    """
    dataset = find_dataset()
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


def get_class_names():
    """Return the class names of the chosen data set, a list of 10 str in label order."""
    return read_class_names(find_dataset().folder / META_FILE)


def _read_into(X, folder, files, start=0):
    """Fill X (N, 3, 32, 32) with the images from the one numbered `start`; return labels (N,)."""
    y = np.empty(len(X), np.int64)
    per_batch = read_images_per_batch(Path(folder) / META_FILE)
    filled = 0
    while filled < len(X):
        number, first = divmod(start + filled, per_batch)
        path = Path(folder) / files[number]
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


def _fit_sizes(dataset, per_batch, num_training, num_validation, num_test):
    """The three sizes, checked against what the data set holds (cut down to it where tiny)."""
    sizes = {
        "num_training": num_training,
        "num_validation": num_validation,
        "num_test": num_test,
    }
    for name, size in sizes.items():
        require_integer(name, size, 1)
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
