"""What the judge and a worker say to each other: plain values and arrays, never pickled objects.

A message is a JSON document and, behind it, the bytes of its arrays. Whoever reads one builds nothing but
None, booleans, numbers, strings, tuples, lists, dictionaries and arrays of plain numbers, whatever the
sender meant: a worker has run code that nobody has read, and may send anything. A worker gets a copy of
this file, so it imports NumPy only.
"""

import io
import json
import math
import struct
from dataclasses import dataclass

import numpy as np

LENGTHS = struct.Struct("!QQ")  # bytes of the JSON document and of the arrays
MAX_JSON, MAX_ARRAYS = 2**20, 2**27
MAX_DEPTH, MAX_ITEMS = 12, 20_000
MAX_DIGITS, MAX_AXES, MAX_NAME = 19, 32, 80
ARRAY_DTYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}


class ProtocolError(Exception):
    """The other side does not keep to the protocol, or is gone."""


@dataclass(frozen=True)
class Kept:
    """A result that stays in the worker: number `call`, followed by a path of indices into it."""

    call: int
    path: tuple = ()

    def __getitem__(self, index):
        return Kept(self.call, (*self.path, index))


@dataclass(frozen=True)
class Tensor:
    """An array that is a PyTorch tensor in the worker."""

    array: np.ndarray


@dataclass(frozen=True)
class Other:
    """What a learner's code returned and cannot be sent: only the name of its type is known."""

    type_name: str


def send(connection, value):
    """Send a value through a socket."""
    connection.sendall(encode(value))


def encode(value):
    """The bytes of a message."""
    buffers = []
    document = json.dumps(_pack(value, buffers)).encode()
    data = b"".join(buffers)
    return LENGTHS.pack(len(document), len(data)) + document + data


def receive(connection, plain=False):
    """The next value from a socket; ProtocolError if it is none.

    - plain: whether it comes from a worker, who may send values and arrays, but not say "the result that you
      keep", which becomes `Other`
    """
    json_length, data_length = LENGTHS.unpack(_read(connection, LENGTHS.size))
    if json_length > MAX_JSON or data_length > MAX_ARRAYS:
        raise ProtocolError("a message is too large")
    document, data = _read(connection, json_length), _read(connection, data_length)
    try:
        return _Reader(data, plain).unpack(json.loads(document, parse_int=_integer))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise ProtocolError(f"a message cannot be read: {type(error).__name__}") from None


def _read(connection, count):
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 2**20))
        if not part:
            raise ProtocolError("the connection ended")
        parts += part
    return bytes(parts)


def _pack(value, buffers, depth=0):
    """`value` as JSON; the bytes of its arrays are appended to `buffers`."""
    if depth > MAX_DEPTH:
        return {"other": "a deeply nested object"}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return value if abs(value) < 2**63 or isinstance(value, float) else {"other": "int"}
    if isinstance(value, tuple | list):
        items = [_pack(item, buffers, depth + 1) for item in value[:MAX_ITEMS]]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, dict):
        pairs = list(value.items())[:MAX_ITEMS]
        return {"dict": [[_pack(part, buffers, depth + 1) for part in pair] for pair in pairs]}
    return _pack_object(value, buffers)


def _pack_object(value, buffers):
    if isinstance(value, Kept):
        return {"kept": value.call, "path": list(value.path)}
    if isinstance(value, np.dtype):
        return {"dtype": value.str[1:]}
    if isinstance(value, Tensor):
        return _pack_array(value.array, buffers) | {"tensor": True}
    if isinstance(value, np.ndarray):
        return _pack_array(value, buffers)
    if isinstance(value, np.generic):
        return _pack_array(np.asarray(value), buffers) | {"scalar": True}
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor of PyTorch
        return _pack_array(value.detach().cpu().numpy(), buffers) | {"tensor": True}
    return {"other": value.type_name if isinstance(value, Other) else type(value).__name__}


def _pack_array(array, buffers):
    if array.dtype.str[1:] not in ARRAY_DTYPES:
        return {"other": f"array of {array.dtype}"}
    if array.nbytes > MAX_ARRAYS:  # of which a view of a single number can pretend to have any number
        return {"other": f"array of {array.nbytes // 2**20} MB"}
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"))
    buffers.append(array.tobytes())
    return {"array": array.dtype.str[1:], "shape": list(array.shape)}


class _Reader:
    """Builds a value from its document and, in the same order, the bytes of its arrays.

    No byte is read twice: otherwise a short message could ask for any amount of memory.
    """

    def __init__(self, data, plain):
        self.data, self.plain = io.BytesIO(data), plain

    def unpack(self, packed):
        if isinstance(packed, str):
            return _text(packed)
        if packed is None or isinstance(packed, bool | int | float):
            return packed
        if "tuple" in packed:
            return tuple(self.unpack(item) for item in packed["tuple"])
        if "list" in packed:
            return [self.unpack(item) for item in packed["list"]]
        if "dict" in packed:
            return {self.unpack(key): self.unpack(value) for key, value in packed["dict"]}
        return self._array(packed) if "array" in packed else self._named(packed)

    def _array(self, packed):
        dtype, shape = _dtype(packed["array"]), packed["shape"]
        if len(shape) > MAX_AXES or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("not a shape")
        content = self.data.read(math.prod(shape) * dtype.itemsize)
        array = np.frombuffer(content, dtype).reshape(shape).copy()
        if packed.get("scalar"):
            return array[()]
        return Tensor(array) if packed.get("tensor") else array

    def _named(self, packed):
        if "kept" in packed and not self.plain:
            return Kept(packed["kept"], tuple(packed["path"]))
        if "dtype" in packed:
            return _dtype(packed["dtype"])
        name = "kept" if "kept" in packed else str(packed["other"])[:MAX_NAME]
        return Other("".join(c if c.isprintable() else " " for c in name))


def _text(text):
    """A string that can be written down: JSON may hold halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _integer(digits):
    """A number of at most 64 bits: NumPy makes objects of greater ones, and reading them takes long."""
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError("too large a number")
    return int(digits)


def _dtype(name):
    if name not in ARRAY_DTYPES:
        raise ValueError("not a dtype of numbers")
    return np.dtype(f"<{name}")
