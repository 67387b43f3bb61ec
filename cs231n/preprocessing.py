"""From pictures to a model's input: the mean image that was subtracted, the scale, and the class names.

A model learns on prepared images and is right about pictures only if these are prepared in the same way.
`get_CIFAR10_data` returns how it prepared its images in `data.preprocessing`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs231n.validation import as_float_array

Array = NDArray[Any]
ImageShape = tuple[int, int, int]

CHECKED_IMAGES = 20  # of a training set, to see whether they were prepared as its preprocessing says
PIXEL_ERROR = 0.02  # how far float32 may take a pixel from the whole number that it was


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """How pixels from 0 to 255 become a model's input: X = (pixels - mean_image) / scale.

    - mean_image: what was subtracted from every image: (C, H, W), (C, 1, 1) for a mean of each channel, or a
      number
    - scale: what the centred pixels were divided by, likewise: 255, or their standard deviation
    - class_names: a str per class in the order of the labels; none if classes have no names

    Raises ValueError for arrays of another shape, or that are not finite, and for a scale that is not
    positive.

    >>> preprocessing = Preprocessing(mean_image=100, scale=50, class_names=["cat", "dog"])
    >>> preprocessing.prepare(np.full((1, 2, 2, 3), 200, np.uint8)).shape
    (1, 3, 2, 2)
    """

    mean_image: Array | float = 0.0
    scale: Array | float = 1.0
    class_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean_image", _per_pixel("mean_image", self.mean_image))
        object.__setattr__(self, "scale", _per_pixel("scale", self.scale))
        object.__setattr__(self, "class_names", _names(self.class_names))
        if not np.all(np.asarray(self.scale) > 0):
            raise ValueError(
                f"scale must be positive, since images are divided by it; got {np.min(self.scale)}"
            )

    @property
    def image_shape(self) -> ImageShape | None:
        """Return (C, H, W) of the images, or None if the mean image is but a number, or one per channel."""
        shape = np.shape(self.mean_image)
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 and shape[1:] != (1, 1) else None

    def prepare(self, pictures: NDArray[np.uint8]) -> Array:
        """Return the input X (N, C, H, W) of pictures (N, H, W, C), float32 unless the mean is float64."""
        pixels = pictures.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        prepared: Array = (pixels - self.mean_image) / self.scale
        return prepared

    def made(self, X: Array) -> bool:
        """Return whether images X (N, C, H, W) may come from pictures by this preprocessing.

        They do not if, undone, it does not give whole numbers from 0 to 255 for the first of them.
        """
        if X.ndim != 4 or self.image_shape not in (None, X.shape[1:]):
            return False
        pixels = X[:CHECKED_IMAGES] * self.scale + self.mean_image
        return bool(np.all(np.abs(pixels - np.clip(np.rint(pixels), 0, 255)) < PIXEL_ERROR))


def _per_pixel(name: str, value: ArrayLike) -> Array | float:
    """Return a number, or a read-only array (C, H, W) or (C, 1, 1); ValueError for anything else.

    A single number becomes Python's own, which leaves float32 images what they are.
    """
    try:
        array = as_float_array(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers; got {value!r}") from None
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64; got {array.dtype}: pass {name}.astype(float)")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite; it holds {np.count_nonzero(~np.isfinite(array))} that are not"
        )
    if array.ndim == 0:
        return float(array)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(
            f"{name} must have the axes (C, H, W) or be a number; got the shape {array.shape}. "
            f"{_per_pixel_remedy(name, array.shape)}"
        )
    if array.shape[0] > 4 and array.shape[2] in (1, 3):
        raise ValueError(
            f"{name} must have the axes (C, H, W), the channels first; got the shape {array.shape}. "
            f"Pass {name}.transpose(2, 0, 1)."
        )
    fixed: Array = array.copy()
    fixed.flags.writeable = False
    return fixed


def _per_pixel_remedy(name: str, shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[0] == 1:
        return f"Pass {name}[0]."
    if len(shape) == 1 and shape[0] <= 4:
        return f"Pass {name}.reshape(-1, 1, 1), one number per channel."
    if len(shape) == 1 and (guess := guess_image_shape(shape[0])):
        return f"Pass {name}.reshape{guess}."
    return f"Pass it in the shape of an image, such as {name}.reshape(3, 32, 32)."


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as a tuple; ValueError unless they are str and differ."""
    given = tuple(names) if isinstance(names, (list, tuple, np.ndarray)) else None
    if given is None or not all(isinstance(name, str) for name in given):
        raise ValueError(f'class_names must be a list of str, such as ["cat", "dog"]; got {names!r}')
    if len(set(given)) < len(given):
        raise ValueError(f"class_names must differ from each other; got {list(given)}")
    return tuple(map(str, given))


def guess_image_shape(num_features: int) -> ImageShape | None:
    """Return the (C, H, W) of a square image with so many values, in colour or else in grey; None for none.

    >>> guess_image_shape(3072), guess_image_shape(64), guess_image_shape(65)
    ((3, 32, 32), (1, 8, 8), None)
    """
    for channels in (3, 1):
        side = math.isqrt(max(num_features, 0) // channels)
        if side and channels * side * side == num_features:
            return channels, side, side
    return None


def as_pictures(images: ArrayLike, shape: ImageShape) -> tuple[NDArray[np.uint8], bool]:
    """Return pictures uint8 (N, H, W, C), as files hold them, and whether it was a single one (H, W, C).

    Raises ValueError with the remedy if they are anything else.

    - images: one picture, or several of the same size
    - shape: (C, H, W) that the model takes
    """
    pixels = _pixels(images)
    _require_bytes(pixels)
    C, H, W = shape
    if pixels.shape[-3:] != (H, W, C) or pixels.ndim not in (3, 4):
        raise ValueError(
            f"images must be pictures of the shape {(H, W, C)}: height, width and channels, one or several; "
            f"got {pixels.shape}. {_shape_remedy(pixels.shape, shape)}"
        )
    single = pixels.ndim == 3
    return pixels[np.newaxis] if single else pixels, single


def _pixels(images: ArrayLike) -> Array:
    """Return the pixels of pictures as an array of numbers."""
    if isinstance(images, (str, bytes)) or hasattr(images, "__fspath__"):
        raise ValueError(
            f"images must be the pixels of pictures, not the name of a file; got {images!r}. "
            'Read it first: np.asarray(PIL.Image.open(name).convert("RGB")).'
        )
    try:
        pixels = np.asarray(images)
    except ValueError:
        raise ValueError(
            "images must be pictures of the same size; these differ. Resize them, or predict one at a time."
        ) from None
    if pixels.size == 0:
        raise ValueError(f"images must hold at least one picture; got the shape {pixels.shape}")
    if pixels.dtype.kind not in "buif":
        raise ValueError(
            f"images must be the pixels of pictures; got {pixels.dtype} of {type(images).__name__}"
        )
    return pixels


def _require_bytes(pixels: Array) -> None:
    """Raise ValueError unless pixels are bytes; say how those of another scale or type become bytes."""
    if pixels.dtype == np.uint8:
        return
    low, high = pixels.min(), pixels.max()
    got = f"images must hold bytes (uint8) from 0 to 255; got {pixels.dtype} from {low} to {high}"
    if pixels.dtype.kind == "b":
        raise ValueError(f"{got}. Pass images * np.uint8(255).")
    if not (low >= 0 and high <= 255):
        raise ValueError(
            f"{got}. If they are prepared for the model already, their labels are "
            "model.loss(X).argmax(axis=1), with X of the axes (N, C, H, W)."
        )
    if pixels.dtype.kind == "f" and high <= 1:
        raise ValueError(
            f"{got}, as matplotlib reads PNG files. Pass (images * 255).round().astype(np.uint8)."
        )
    rounded = ".round()" if pixels.dtype.kind == "f" else ""
    raise ValueError(f"{got}. Pass images{rounded}.astype(np.uint8).")


def _shape_remedy(got: tuple[int, ...], shape: ImageShape) -> str:
    """Return how pictures of the shape `got` become (H, W, C) or (N, H, W, C)."""
    C, H, W = shape
    if got[-3:] == shape:
        axes = "1, 2, 0" if len(got) == 3 else "0, 2, 3, 1"
        return f"The channels are first, as in prepared images: pass images.transpose({axes})."
    if len(got) in (2, 3) and got[-2:] == (H, W):
        return f"They are grey: pass {_with_channels('images[..., np.newaxis]', C)}."
    if got[-3:-1] == (H, W) and len(got) in (3, 4):
        return _channels_remedy(got[-1], C)
    if len(got) in (1, 2) and got[-1] == math.prod(shape):
        return (
            f"They are flattened: if they had their channels first, as CIFAR-10's have, pass "
            f"images.reshape(-1, {C}, {H}, {W}).transpose(0, 2, 3, 1)."
        )
    if len(got) in (2, 3, 4):
        return (
            f"Bring each to this size: np.asarray(PIL.Image.fromarray(picture).convert("
            f'"{"L" if C == 1 else "RGB"}").resize({(W, H)})){"[..., np.newaxis]" if C == 1 else ""}.'
        )
    return "Three axes are needed for one picture, four for several."


def _with_channels(grey: str, C: int) -> str:
    return grey if C == 1 else f"np.repeat({grey}, {C}, axis=-1)"


def _channels_remedy(got: int, C: int) -> str:
    if got == 1:
        return f"They are grey: pass {_with_channels('images', C)}."
    if got == 4 and C == 3:
        return "The fourth channel is opacity: pass images[..., :3]."
    if C == 1:
        return "They are in colour: pass images.mean(axis=-1, keepdims=True).round().astype(np.uint8)."
    return f"They have {got} channels, and the model takes {C}."
