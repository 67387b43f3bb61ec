"""CIFAR-10's file format: read a batch file without trusting it, and write one.

A batch is a pickled dictionary with `data`, a uint8 array (N, 3072) whose rows are the red, the
green and the blue plane of a 32x32 image, and `labels`, a list of N integers. `batches.meta` holds
the class names and the number of images in a batch. A pickle can run any code when it is loaded,
so our unpickler accepts byte arrays and plain containers and nothing else.
Source of the format: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

FOLDER_NAME = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
ALL_FILES = (*TRAIN_FILES, TEST_FILE, META_FILE)

IMAGE_SHAPE = (3, 32, 32)
ROW_LENGTH = 3 * 32 * 32
NUM_CLASSES = 10
MAX_BATCH_IMAGES = 10_000
MAX_FILE_BYTES = 100_000_000  # an official batch has 31 MB

StrPath = str | os.PathLike[str]


class _ByteType:
    """Replaces NumPy's dtype; the only one is uint8."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in ("u1", "|u1"):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which do not apply to uint8."""


class _ByteArray:
    """Replaces NumPy's array, which would trust the shape and the type that a file gives."""

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, column_major, content = state
        if column_major or not isinstance(dtype, _ByteType):
            raise pickle.UnpicklingError("it holds an array that is not of bytes in row order")
        if isinstance(content, str):  # Python 2's strings were bytes
            content = content.encode("latin1")
        self.array = np.frombuffer(content, np.uint8).reshape(shape)


class _DataUnpickler(pickle.Unpickler):
    """Loads arrays of bytes, strings, numbers and plain containers; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return _ByteType
        if (module, name) == ("numpy", "ndarray"):
            return None  # only ever an argument of _reconstruct
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _ByteArray
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of images needs")


def _load(path: StrPath) -> dict[Any, Any]:
    """Return the dictionary pickled in the file `path`; ValueError for anything but plain data."""
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; a batch has at most {MAX_FILE_BYTES:,}")
    try:
        with path.open("rb") as file:
            content = _DataUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(
            f"{path} is not a file of CIFAR-10: {error}. "
            "If it should be one, delete it and fetch CIFAR-10 again."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a file of CIFAR-10: it holds {_describe(content)}")
    return content


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    length = f" of {len(value)}" if isinstance(value, (list, str)) else ""
    return f"a {type(value).__name__}{length}"


def read_batch(path: StrPath) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one batch file: images uint8 (N, 3, 32, 32), read-only, and labels int64 (N,).

    Raises FileNotFoundError if there is no such file, and ValueError if it is damaged or holds anything but
    plain data.
    """
    content = _load(path)
    data, labels = content.get("data"), content.get("labels")
    data = data.array if isinstance(data, _ByteArray) else data
    if not isinstance(data, np.ndarray) or data.shape[1:] != (ROW_LENGTH,):
        raise ValueError(f"{path}: `data` must be a uint8 array (N, {ROW_LENGTH}); got {_describe(data)}")
    if not _are_labels(labels) or len(labels) != len(data):
        raise ValueError(
            f"{path}: `labels` must be a list of {len(data)} integers from 0 to {NUM_CLASSES - 1}; "
            f"got {_describe(labels)}"
        )
    return data.reshape(-1, *IMAGE_SHAPE), np.array(labels, dtype=np.int64)


def _are_labels(labels: Any) -> TypeGuard[list[int]]:
    return isinstance(labels, list) and all(
        isinstance(label, int) and 0 <= label < NUM_CLASSES for label in labels
    )


def read_class_names(path: StrPath) -> list[str]:
    """Read the class names from `batches.meta`, in the order of their labels."""
    names = _load(path).get("label_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: `label_names` must be a list of str; got {_describe(names)}")
    return names


def read_images_per_batch(path: StrPath) -> int:
    """Read the number of images in each batch from `batches.meta`."""
    number = _load(path).get("num_cases_per_batch")
    if not isinstance(number, int) or not 1 <= number <= MAX_BATCH_IMAGES:
        raise ValueError(
            f"{path}: `num_cases_per_batch` must be an int from 1 to {MAX_BATCH_IMAGES:,}; got {number!r}"
        )
    return number


def write_batch(
    path: StrPath, images: NDArray[np.uint8], labels: Sequence[int] | NDArray[Any], batch_label: str
) -> None:
    """Write images uint8 (N, 32, 32, 3) and integer labels (N,) as one batch file."""
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), ROW_LENGTH)
    content = {"batch_label": batch_label, "labels": [int(label) for label in labels], "data": rows}
    _dump(path, content)


def write_meta(path: StrPath, class_names: Sequence[str], images_per_batch: int) -> None:
    """Write the class names and the number of images per batch as `batches.meta`."""
    content = {
        "num_cases_per_batch": images_per_batch,
        "label_names": list(class_names),
        "num_vis": ROW_LENGTH,
    }
    _dump(path, content)


def _dump(path: StrPath, content: Mapping[str, Any]) -> None:
    with Path(path).open("wb") as file:
        pickle.dump(content, file, protocol=4)


def has_all_files(folder: StrPath) -> bool:
    """Return whether `folder` holds the six batch files and `batches.meta`."""
    return all((Path(folder) / name).is_file() for name in ALL_FILES)


@contextmanager
def new_data_folder(folder: StrPath) -> Iterator[Path]:
    """Make the data folder `folder` whole or not at all.

    Yields an empty folder to fill, which becomes `folder` at the end of the block. If the block raises an
    error, nothing is left. An incomplete `folder` is replaced; a complete one, which another process has
    made in the meantime, stays.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        filled = Path(temporary) / folder.name
        filled.mkdir()
        yield filled
        if has_all_files(folder):
            return
        if folder.exists():
            folder.replace(Path(temporary) / "incomplete")
        filled.replace(folder)
