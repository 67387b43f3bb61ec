"""Checkpoints: a nested dictionary of arrays, numbers and strings to one .npz file and back.

A file holds plain arrays only and is read without pickle, so a checkpoint from a stranger can be wrong but
cannot run code. It is written beside its final place and renamed, so that a crash or a full disk leaves the
previous checkpoint as it was.
"""

import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np


def save(path, tree):
    """Write a nested dictionary (str keys without "/") of arrays, numbers and strings to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **dict(_flatten(tree)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path):
    """The nested dictionary that `save` wrote; numbers and strings come back as Python's own.

    Raises FileNotFoundError, or ValueError where the file is damaged or is not a checkpoint.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return _unflatten({name: file[name] for name in file.files})
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is not a checkpoint or is damaged: {error}") from error


def _flatten(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", np.asarray(value)


def _unflatten(arrays):
    tree = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[leaf] = array if array.ndim else array.item()
    return tree
