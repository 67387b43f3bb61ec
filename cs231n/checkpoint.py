"""Checkpoints: a nested dictionary of arrays, numbers and strings to one .npz file and back.

A file holds plain arrays only, written and read without pickle, so a checkpoint from a stranger can be
wrong but cannot run code. It is written beside its final place and renamed, so that a crash or a full disk
leaves the previous checkpoint as it was.
"""

import zipfile

import numpy as np

from cs231n.files import written_whole


def save(path, tree):
    """Write a nested dictionary (str keys without "/") of arrays, numbers and strings to `path`.

    Raises ValueError, and writes nothing, for any other content.
    """
    arrays = dict(_flatten(tree))
    with written_whole(path) as file:
        _write(file, arrays)


def load(path):
    """The nested dictionary that `save` wrote; numbers, strings and 0-d arrays come back as Python's own.

    Raises FileNotFoundError, or ValueError where the file is damaged or is not a checkpoint.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _unflatten({name: arrays[name] for name in arrays.files})
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip archive raises nearly anything
        raise ValueError(f"{path} is not a checkpoint or is damaged: {error}") from error


def _write(file, arrays):
    """What np.savez writes, but for any names, and never a pickle."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _flatten(tree, prefix=""):
    for key, value in tree.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise ValueError(f'keys must be non-empty strings without "/"; got {key!r}')
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}/") if value else [(f"{name}/", np.empty(0))]
            continue
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise ValueError(f"{name} must be an array, a number or a string; got {value!r}")
        yield name, array


def _unflatten(arrays):
    tree = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        if leaf:  # there is none in an empty dictionary
            branch[leaf] = array if array.ndim else array.item()
    return tree
