"""Checkpoints: write a nested dictionary of arrays, numbers and strings to one .npz file, and read it back.

A file holds plain arrays only, written and read without pickle: a checkpoint from a stranger can be wrong
but cannot run code, nor take more memory than the file is long. It is written beside its final place and
renamed, so that a crash or a full disk leaves the previous checkpoint as it was.
"""

import math
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


def load(path: str | os.PathLike[str], what: str = "a checkpoint") -> dict[str, Any]:
    """Return the nested dictionary that `save` wrote, with numbers, strings and 0-d arrays as Python's own.

    `what` is what messages say that the file should be. Raises OSError if it cannot be opened, and ValueError
    if it is damaged or is nothing that `save` wrote.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _unflatten(dict(_arrays(archive, os.fstat(file.fileno()).st_size)))
        except MemoryError:
            raise
        except Exception as error:  # a damaged zip archive raises nearly anything
            raise ValueError(f"{path} is not {what} or is damaged: {error}") from error


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


def _arrays(archive: zipfile.ZipFile, size: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and the array of every member of an archive whose file has `size` bytes.

    Raises ValueError before it takes memory for more than these: for compressed or overlapping members, of
    which small files can hold large ones, and for an array that is not as long as its header says.
    """
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed, as np.savez_compressed writes and we do not")
    if sum(member.file_size for member in members) > size:
        raise ValueError(f"its arrays claim to be longer than the file, which has {size:,} bytes")
    if len(archive.NameToInfo) < len(members):
        raise ValueError("it holds two arrays of the same name")
    for member in members:
        with archive.open(member) as content:
            _require_whole_array(member, content)
            content.seek(0)
            yield member.filename.removesuffix(".npy"), np.lib.format.read_array(content, allow_pickle=False)


def _require_whole_array(member: zipfile.ZipInfo, content: IO[bytes]) -> None:
    """Raise ValueError unless a member is an array of numbers or text, with every byte of it and no more."""
    version = np.lib.format.read_magic(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if not member.filename.endswith(".npy") or version not in readers:
        raise ValueError(f"{member.filename} is not an array that np.save writes")
    shape, _, dtype = readers[version](content)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds objects, which only pickle could read")
    expected = math.prod(shape) * dtype.itemsize
    if member.file_size - content.tell() != expected:
        raise ValueError(
            f"{member.filename} should have {expected:,} bytes of numbers; it has "
            f"{member.file_size - content.tell():,}"
        )


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
