"""Classify pictures with a saved model: `python -m cs231n.classify model.npz picture.png`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cs231n.preprocessing import ImageShape
from cs231n.saving import load

SHOWN_CLASSES = 3
MAX_PIXELS = 50_000_000  # a picture of 150 MB; a PNG of a few kilobytes can ask for any number


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the likeliest classes of each picture; exit with status 1 and the reason where that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m cs231n.classify", description="Say what is in pictures, by a model that was saved."
    )
    parser.add_argument("model", metavar="MODEL", help="a file that model.save wrote")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="a PNG, or what else Pillow reads")
    parser.add_argument(
        "--resize", action="store_true", help="cut and resize pictures of another size to the model's"
    )
    options = parser.parse_args(arguments)
    try:
        model = load(options.model)
        for name in options.pictures:
            pixels = read_picture(name, model.image_shape, options.resize)
            print(f"{name}: {_likeliest(model, pixels)}")
    except (OSError, ValueError, NotImplementedError) as error:
        sys.exit(f"error: {error}")


def read_picture(name: str, shape: ImageShape, resize: bool = False) -> NDArray[np.uint8]:
    """Return the picture in a file as bytes (H, W, C), in colour if the model's C is 3, in grey if it is 1.

    Raises OSError if the file cannot be opened, and ValueError for what is no picture of bytes, or one of
    another size unless `resize` allows to cut its middle out and resize it.
    """
    C, H, W = shape
    if C not in (1, 3):
        raise ValueError(
            f"pictures are grey or in colour, and the model takes {C} channels: use model.predict"
        )
    with open(name, "rb") as file:
        try:
            picture = Image.open(file)
            _require_readable(picture, (W, H), resize)
            converted: Any = picture.convert("L" if C == 1 else "RGB")
        except UnidentifiedImageError:
            raise ValueError(f"{name} is no picture, or none that Pillow can read") from None
        except Exception as error:  # a damaged picture raises nearly anything
            raise ValueError(f"{name} cannot be classified: {error}") from error
    fitted = ImageOps.fit(converted, (W, H)) if converted.size != (W, H) else converted
    return np.asarray(fitted, np.uint8).reshape(H, W, C)


def _require_readable(picture: Image.Image, size: tuple[int, int], resize: bool) -> None:
    """Raise ValueError for a picture of the wrong size or mode, before its pixels are read."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it has {width * height:,} pixels, more than {MAX_PIXELS:,}; make it smaller")
    if picture.mode[0] in "IF":
        raise ValueError(f"it has more than 8 bits per channel (mode {picture.mode}); save it with 8")
    if picture.size != size and not resize:
        raise ValueError(
            f"it is {width} pixels wide and {height} high, and the model's images are {size[0]} by "
            f"{size[1]}. Add --resize to cut its middle out and resize that."
        )


def _likeliest(model: Any, pixels: NDArray[np.uint8]) -> str:
    """Return the names or labels of the likeliest classes, with their probabilities."""
    _, probabilities = model.predict(pixels, probabilities=True)
    names = model.preprocessing.class_names or range(len(probabilities))
    order = np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES]
    return ", ".join(f"{names[i]} {probabilities[i]:.1%}" for i in order)


if __name__ == "__main__":
    main()
