"""The messages between the judge and a worker: plain values and arrays, never pickled objects.

A message is a JSON document, followed by the bytes of its arrays. Reading one only ever builds None,
booleans, numbers, strings, tuples, lists, dictionaries and arrays of plain numbers: a worker has run unknown
code, and can send anything. A worker gets a copy of this file, so it imports nothing of this repository.
"""

import io
import json
import math
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LENGTHS = struct.Struct("!QQ")  # bytes of the JSON document and of the arrays
MAX_JSON, MAX_ARRAYS = 2**20, 2**27
MAX_DEPTH, MAX_ITEMS = 12, 20_000
MAX_DIGITS, MAX_AXES, MAX_NAME = 19, 32, 80
ARRAY_DTYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}


class ProtocolError(Exception):
    """The other side broke the protocol, or closed the connection."""


class Connection(Protocol):
    """A socket, or something that reads and writes as a socket does."""

    def recv(self, count: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...


@dataclass(frozen=True)
class Kept:
    """A reference to a result that stays in the worker: its number, and a path of indices into it."""

    call: int
    path: tuple[int, ...] = ()

    def __getitem__(self, index: int) -> "Kept":
        return Kept(self.call, (*self.path, index))


@dataclass(frozen=True)
class Tensor:
    """An array that is a PyTorch tensor in the worker."""

    array: NDArray[Any]


@dataclass(frozen=True)
class Other:
    """Anything else that a learner's code returned, of which only the name of its type is sent."""

    type_name: str


def send(connection: Connection, value: Any) -> None:
    """Send a value through a socket."""
    connection.sendall(encode(value))


def encode(value: Any) -> bytes:
    """Return the bytes of a message."""
    buffers: list[bytes] = []
    document = json.dumps(_pack(value, buffers)).encode()
    data = b"".join(buffers)
    return LENGTHS.pack(len(document), len(data)) + document + data


def receive(connection: Connection, plain: bool = False) -> Any:
    """Return the next value from a socket; raise ProtocolError if it is not a message.

    - plain: whether the message comes from a worker. A worker may send values and arrays, but a reference to
      a kept result becomes `Other`.
    """
    json_length, data_length = LENGTHS.unpack(_read(connection, LENGTHS.size))
    if json_length > MAX_JSON or data_length > MAX_ARRAYS:
        raise ProtocolError("a message is too large")
    document, data = _read(connection, json_length), _read(connection, data_length)
    try:
        return _Reader(data, plain).unpack(json.loads(document, parse_int=_integer))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise ProtocolError(f"a message cannot be read: {type(error).__name__}") from None


def _read(connection: Connection, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 2**20))
        if not part:
            raise ProtocolError("the connection ended")
        parts += part
    return bytes(parts)


def _pack(value: Any, buffers: list[bytes], depth: int = 0) -> Any:
    """Return `value` as JSON, and append the bytes of its arrays to `buffers`."""
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


def _pack_object(value: Any, buffers: list[bytes]) -> dict[str, Any]:
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
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a PyTorch tensor
        return _pack_array(value.detach().cpu().numpy(), buffers) | {"tensor": True}
    return {"other": value.type_name if isinstance(value, Other) else type(value).__name__}


def _pack_array(array: NDArray[Any], buffers: list[bytes]) -> dict[str, Any]:
    if array.dtype.str[1:] not in ARRAY_DTYPES:
        return {"other": f"array of {array.dtype}"}
    if array.nbytes > MAX_ARRAYS:  # a broadcast view of one number can have any number of bytes
        return {"other": f"array of {array.nbytes // 2**20} MB"}
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"))
    buffers.append(array.tobytes())
    return {"array": array.dtype.str[1:], "shape": list(array.shape)}


class _Reader:
    """Builds a value from its document, and its arrays from bytes in the same order.

    No byte is read twice: otherwise a short message could ask for any amount of memory.
    """

    def __init__(self, data: bytes, plain: bool) -> None:
        self.data, self.plain = io.BytesIO(data), plain

    def unpack(self, packed: Any) -> Any:
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

    def _array(self, packed: dict[str, Any]) -> Any:
        dtype, shape = _dtype(packed["array"]), packed["shape"]
        if len(shape) > MAX_AXES or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("not a shape")
        content = self.data.read(math.prod(shape) * dtype.itemsize)
        array = np.frombuffer(content, dtype).reshape(shape).copy()
        if packed.get("scalar"):
            return array[()]
        return Tensor(array) if packed.get("tensor") else array

    def _named(self, packed: dict[str, Any]) -> Any:
        if "kept" in packed and not self.plain:
            return Kept(packed["kept"], tuple(packed["path"]))
        if "dtype" in packed:
            return _dtype(packed["dtype"])
        name = "kept" if "kept" in packed else str(packed["other"])[:MAX_NAME]
        return Other("".join(c if c.isprintable() else " " for c in name))


def _text(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can contain and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _integer(digits: str) -> int:
    """Read an integer of at most 64 bits: larger ones take long to read, and NumPy makes objects of them."""
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError("the number is too large")
    return int(digits)


def _dtype(name: Any) -> np.dtype[Any]:
    if name not in ARRAY_DTYPES:
        raise ValueError("not a numeric dtype")
    return np.dtype(f"<{name}")
