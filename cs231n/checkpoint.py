"""Checkpoints: write a nested dictionary of arrays, numbers and strings to one .npz file, and read it back.

A file holds plain arrays only, written and read without pickle: a checkpoint from a stranger can be wrong
but cannot run code. It is written beside its final place and renamed, so that a crash or a full disk leaves
the previous checkpoint as it was.
"""

import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cs231n.files import written_whole


def save(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Write a nested dictionary (str keys without "/") of arrays, numbers and strings to `path`.

    Raises ValueError, and writes nothing, for any other content.
    """
    arrays = dict(_flatten(tree))
    with written_whole(path) as file:
        _write(file, arrays)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the nested dictionary that `save` wrote, with numbers, strings and 0-d arrays as Python's own.

    Raises FileNotFoundError, or ValueError if the file is damaged or is not a checkpoint.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _unflatten({name: arrays[name] for name in arrays.files})
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip archive raises nearly anything
        raise ValueError(f"{path} is not a checkpoint or is damaged: {error}") from error


def description(value: object) -> str:
    """Return a text for a setting that another process makes too, as no address in memory would be.

    Functions go by their names and other objects by their classes'; numbers, strings, sequences and data
    classes are written out.

    >>> description([min, partial(round, ndigits=2), 0.5])
    '[min, partial(round, ndigits=2), 0.5]'
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(description, value))}]"
    if isinstance(value, partial):
        named = [f"{name}={description(each)}" for name, each in value.keywords.items()]
        return f"partial({', '.join([*map(description, (value.func, *value.args)), *named])})"
    if is_dataclass(value) and not isinstance(value, type):
        named = [f"{field.name}={description(getattr(value, field.name))}" for field in fields(value)]
        return f"{type(value).__qualname__}({', '.join(named)})"
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _write(file: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write what `np.savez` writes, but under any names, and never a pickle."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield every array of a nested dictionary under its path, such as "params/W1"."""
    for key, value in tree.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise ValueError(f'keys must be non-empty strings without "/"; got {key!r}')
        name = f"{prefix}{key}"
        if isinstance(value, dict) and not value:
            yield f"{name}/", np.empty(0)  # stands for an empty dictionary
        elif isinstance(value, dict):
            yield from _flatten(value, f"{name}/")
        else:
            yield name, _plain_array(name, value)


def _plain_array(name: str, value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise ValueError(f"{name} must be an array, a number or a string; got {value!r}")
    return array


def _unflatten(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the nested dictionary whose arrays `_flatten` put under these paths."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        if leaf:  # the path of an empty dictionary ends in "/"
            branch[leaf] = array if array.ndim else array.item()
    return tree
