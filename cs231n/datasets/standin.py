"""A synthetic stand-in for CIFAR-10: ten kinds of drawn objects, made from a fixed seed.

It replaces CIFAR-10 when that is not available, with the same files and sizes. The classes differ by shape;
colour, scenery and texture match the class only often enough to tempt a linear classifier. Place, size,
tilt, light, clutter and noise vary as they do in photographs, which makes the images hard for a
fully-connected net and easier for a ConvNet.

Coordinates run from -1 to 1 across the image, x to the right and y up. A shape is a pair of signed
distances, negative inside, in units of the object's radius: to its outline, and to the outline of the part
that is painted in a second colour.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs231n.datasets.batches import META_FILE, TEST_FILE, TRAIN_FILES, write_batch, write_meta

VERSION = 1  # raise it when the images change: copies on disk are then made again
SIZE = 32
SEED = 231
TINY_DIFFICULTY = 0.35
CHUNK = 100  # images drawn at a time: few enough that their planes stay in the processor's cache

# At difficulty 1: the shares of images in which the colour of the object, the colours behind it and
# the direction of the weave behind it do not depend on the class ...
UNRELIABLE_BODY, UNRELIABLE_SCENERY, UNRELIABLE_WEAVE = 0.33, 0.5, 0.32
# ... how far the object strays in place, radius, proportions and tilt (radians) ...
SHIFT, RADIUS_SPREAD, STRETCH, TILT = 0.51, 0.13, 0.15, 0.6
# ... the spread of the light's strength, the greatest noise, the bend of the weave, the share of
# the pieces of clutter that are drawn, and the thickest mist in front of the object.
EXPOSURE, NOISE, BEND, CLUTTER_SHARE, MIST = 0.3, 0.14, 3, 0.45, 0.5
RADIUS = 0.48
WEAVE = 0.04, 0.1  # least and greatest amplitude, of colours that go to 1
CLUTTER_BEHIND, CLUTTER_IN_FRONT = 4, 2

Array = NDArray[Any]
Scene = dict[str, Array]
Shape = Callable[[Array, Array], tuple[Array, Array]]


def _disc(x: Array, y: Array, centre_x: float | Array, centre_y: float | Array, radius: float) -> Array:
    return np.hypot(x - centre_x, y - centre_y) - radius


def _box(
    x: Array,
    y: Array,
    centre_x: float,
    centre_y: float,
    half_width: float | Array,
    half_height: float | Array,
) -> Array:
    return np.maximum(np.abs(x - centre_x) - half_width, np.abs(y - centre_y) - half_height)


def _ellipse(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    radius = np.hypot(x / half_width, y / half_height)
    return (radius - 1) * min(half_width, half_height)


def _gable(x: Array, y: Array, apex: float, base: float, half_width: float) -> Array:
    """Return the distance to an isosceles triangle with apex (0, apex) and its base at height `base`."""
    height = apex - base
    side = (np.abs(x) * height - (apex - y) * half_width) / math.hypot(height, half_width)
    return np.maximum(side, base - y)


def _moon(x: Array, y: Array) -> tuple[Array, Array]:
    crescent = np.maximum(_disc(x, y, 0, 0, 0.95), -_disc(x, y, 0.5, 0.15, 0.75))
    return crescent, _disc(x, y, -0.6, -0.1, 0.17)


def _star(x: Array, y: Array) -> tuple[Array, Array]:
    angle = np.arctan2(x, y)
    wedge = 2 * math.pi / 5
    # Fold the plane into one wedge around a ray; there the outline is a single straight edge.
    angle = np.abs(angle - wedge * np.round(angle / wedge))
    radius = np.hypot(x, y)
    return _star_edge(radius * np.cos(angle), radius * np.sin(angle)), _disc(x, y, 0, 0, 0.25)


def _star_edge(along: Array, across: Array) -> Array:
    tip, notch_angle, notch = 1.05, math.pi / 5, 0.48
    edge = notch * math.cos(notch_angle) - tip, notch * math.sin(notch_angle)
    return ((along - tip) * edge[1] - across * edge[0]) / math.hypot(*edge)


def _heart(x: Array, y: Array) -> tuple[Array, Array]:
    half_diagonal = 0.78
    lobes = _disc(np.abs(x), y, half_diagonal / 2, half_diagonal / 2, half_diagonal / 2**0.5)
    square = (np.abs(x) + np.abs(y) - half_diagonal) * math.sqrt(0.5)
    return np.minimum(lobes, square), _disc(x, y, -0.42, 0.45, 0.17)


def _flower(x: Array, y: Array) -> tuple[Array, Array]:
    petals = 0.25 * np.cos(5 * np.arctan2(x, y))
    return 0.8 * (np.hypot(x, y) - 0.72 - petals), _disc(x, y, 0, 0, 0.32)


def _drop(x: Array, y: Array) -> tuple[Array, Array]:
    belly = _disc(x, y, 0, -0.3, 0.62)
    return np.minimum(belly, _gable(x, y, 1.05, -0.02, 0.55)), _disc(x, y, 0.22, -0.38, 0.18)


def _fish(x: Array, y: Array) -> tuple[Array, Array]:
    body = _ellipse(x - 0.2, y, 0.78, 0.5)
    tail = np.maximum(np.abs(y) - 0.9 * (-x - 0.3), -x - 0.98)
    return np.minimum(body, tail), _disc(x, y, 0.55, 0.12, 0.14)


def _house(x: Array, y: Array) -> tuple[Array, Array]:
    roof = _gable(x, y, 0.95, 0.1, 0.95)
    door = _box(x, y, 0, -0.55, 0.2, 0.35)
    return np.minimum(roof, _box(x, y, 0, -0.4, 0.68, 0.5)), np.minimum(roof, door)


def _tree(x: Array, y: Array) -> tuple[Array, Array]:
    crown = np.minimum(_gable(x, y, 1.05, 0.05, 0.6), _gable(x, y, 0.5, -0.6, 0.85))
    trunk = _box(x, y, 0, -0.8, 0.17, 0.2)
    return np.minimum(crown, trunk), trunk


def _mushroom(x: Array, y: Array) -> tuple[Array, Array]:
    cap = np.maximum(_ellipse(x, y + 0.05, 0.95, 0.85), -0.05 - y)
    stem = _box(x, y, 0, -0.45, 0.26, 0.45)
    return np.minimum(cap, stem), np.minimum(stem, _disc(np.abs(x), y, 0.4, 0.3, 0.15))


def _ring(x: Array, y: Array) -> tuple[Array, Array]:
    gem = (np.abs(x) + np.abs(y - 0.68) - 0.36) * math.sqrt(0.5)
    band = np.abs(_disc(x, y, 0, -0.2, 0.58)) - 0.16
    return np.minimum(band, gem), gem


# For each class: its shape, the typical hues of its object and its background (0 red, 1/3 green), and
# the typical direction, in turns, of the weave in its background.
_CLASSES: dict[str, tuple[Shape, float, float, float]] = {
    "moon": (_moon, 0.22, 0.66, 0.00),
    "star": (_star, 0.14, 0.75, 0.15),
    "heart": (_heart, 0.92, 0.90, 0.30),
    "flower": (_flower, 0.80, 0.28, 0.45),
    "drop": (_drop, 0.57, 0.50, 0.10),
    "fish": (_fish, 0.07, 0.53, 0.25),
    "house": (_house, 0.67, 0.60, 0.40),
    "tree": (_tree, 0.34, 0.56, 0.05),
    "mushroom": (_mushroom, 0.00, 0.36, 0.20),
    "ring": (_ring, 0.48, 0.95, 0.35),
}
CLASS_NAMES = tuple(_CLASSES)
_SHAPES, _OBJECT_HUES, _BACKGROUND_HUES, _WEAVE_TURNS = zip(*_CLASSES.values(), strict=True)


def make_images(labels: ArrayLike, seed: int | Sequence[int], difficulty: float = 1.0) -> NDArray[np.uint8]:
    """Draw one image for each label; equal arguments give equal images.

    - labels: (N,) integers in [0, 10), which are indices into CLASS_NAMES
    - seed: an integer or a sequence of integers, as for `numpy.random.SeedSequence`
    - difficulty: scales everything that hides the class; 0 draws it upright, centred and clean,
      1 is the full stand-in

    Returns uint8 images (N, 32, 32, 3) in RGB. Raises ValueError for a label or a difficulty out
    of range.
    """
    labels = np.asarray(labels)
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must be in [0, 1]; got {difficulty}. Give 1 for the hardest.")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
        raise ValueError(
            f"labels must be in [0, {len(CLASS_NAMES)}); got {labels.min()} to {labels.max()}. "
            "Give indices into CLASS_NAMES."
        )
    scene_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
    scene = _sample_scene(labels, np.random.default_rng(scene_seed), difficulty)
    noise_rng = np.random.default_rng(noise_seed)
    images = np.empty((len(labels), SIZE, SIZE, 3), np.uint8)
    for start in range(0, len(labels), CHUNK):
        chunk = slice(start, start + CHUNK)
        part = {name: values[chunk] for name, values in scene.items()}
        canvas = _draw(part, labels[chunk])
        _develop(canvas, part, noise_rng)
        images[chunk] = canvas.transpose(0, 2, 3, 1)
    return images


class _Dice:
    """Draws float32 numbers of shape (*shape, 1, 1), ready to broadcast over planes of pixels."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], difficulty: float) -> None:
        self.rng = rng
        self.shape = (*shape, 1, 1)
        self.difficulty = difficulty

    def between(self, low: float, high: float) -> Array:
        return self.rng.uniform(low, high, self.shape).astype(np.float32)

    def around(self, middle: float | Array, spread: float) -> Array:
        """Draw values around `middle` that differ from it by up to `spread` at difficulty 1."""
        return middle + self.between(-spread * self.difficulty, spread * self.difficulty)

    def unless(self, share: float) -> Array:
        """Draw True, except in a share of the draws that grows to `share` at difficulty 1."""
        return self.between(0, 1) >= share * self.difficulty

    def colour(
        self,
        saturation: tuple[float, float],
        value: tuple[float, float],
        hue: float | Array = 0,
        trusted: bool | Array = False,
    ) -> Array:
        """Draw colours of a hue near the given one where `trusted` is true, otherwise of any hue."""
        near = hue + self.between(-0.06, 0.06)
        hue = np.where(trusted, near, self.between(0, 1))
        return _rgb(hue, self.between(*saturation), self.between(*value))


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """Return colours (..., 3, 1, 1) in [0, 1] from hue, saturation and value (..., 1, 1) in [0, 1]."""
    hue, saturation, value = (part[..., None, :, :] for part in (hue, saturation, value))
    thirds = np.array([0, 4, 2], np.float32).reshape(3, 1, 1)
    pure = np.clip(np.abs((6 * hue + thirds) % 6 - 3) - 1, 0, 1)
    colours: Array = value * (1 - saturation * (1 - pure))
    return colours


def _sample_scene(labels: Array, rng: np.random.Generator, difficulty: float) -> Scene:
    """Draw everything that is random: a dictionary of arrays with one row for each image."""
    dice = _Dice(rng, (len(labels),), difficulty)
    clutter_dice = _Dice(rng, (len(labels), CLUTTER_BEHIND + CLUTTER_IN_FRONT), difficulty)
    return (
        _sample_pose(dice)
        | _sample_colours(dice, labels)
        | _sample_weave(dice, labels)
        | _sample_light(dice)
        | _sample_clutter(clutter_dice)
    )


def _sample_pose(dice: _Dice) -> Scene:
    return {
        "x": dice.around(0, SHIFT),
        "y": dice.around(0, SHIFT),
        "radius": dice.around(RADIUS, RADIUS_SPREAD),
        "stretch": dice.around(1, STRETCH),
        "tilt": dice.around(0, TILT),
        "mirror": np.where(dice.between(-1, 1) < 0, np.float32(-1), np.float32(1)),
    }


def _sample_colours(dice: _Dice, labels: Array) -> Scene:
    true_body, true_scenery = dice.unless(UNRELIABLE_BODY), dice.unless(UNRELIABLE_SCENERY)
    object_hue, background_hue = _column(_OBJECT_HUES, labels), _column(_BACKGROUND_HUES, labels)
    return {
        "body": dice.colour((0.5, 0.95), (0.55, 1.0), object_hue, true_body),
        "accent": dice.colour((0.0, 0.5), (0.3, 1.0)),
        "sky": dice.colour((0.3, 0.85), (0.45, 1.0), background_hue, true_scenery),
        "ground": dice.colour((0.3, 0.85), (0.25, 0.8), background_hue, true_scenery),
    }


def _sample_weave(dice: _Dice, labels: Array) -> Scene:
    """Draw waves over the background whose direction hints at the class.

    A small filter sees the direction. Length, phase and bend vary so much that no template of the whole
    image fits two of them: the hint is of little use to a fully-connected net.
    """
    trusted = dice.unless(UNRELIABLE_WEAVE)
    near = dice.around(_column(_WEAVE_TURNS, labels), 0.03)
    turn = 2 * math.pi * np.where(trusted, near, dice.between(0, 0.5))
    wave = dice.around(22, 4.5)
    return {
        "weave_x": wave * np.cos(turn),
        "weave_y": wave * np.sin(turn),
        "weave_bend": dice.around(0, BEND),
        "weave_phase": dice.between(0, 2 * math.pi),
        "weave": dice.between(*WEAVE)[:, None],
    }


def _column(values: Sequence[float], labels: Array) -> Array:
    """Return the class's value for each image, float32 (N, 1, 1)."""
    return np.array(values, np.float32)[labels].reshape(-1, 1, 1)


def _sample_light(dice: _Dice) -> Scene:
    return {
        "slope": dice.between(-0.4, 0.4),
        "exposure": dice.around(1, EXPOSURE)[:, None],
        "tint": dice.colour((0, 0.3 * dice.difficulty), (1, 1)),
        "noise": dice.between(0, NOISE * dice.difficulty)[:, None],
        "mist": dice.between(0, MIST * dice.difficulty),
    }


def _sample_clutter(dice: _Dice) -> Scene:
    """Draw pieces of clutter, discs and bars anywhere in the image; some are absent."""
    return {
        "clutter_absent": dice.unless(CLUTTER_SHARE),
        "clutter_round": dice.between(0, 1) < 0.5,
        "clutter_x": dice.between(-1, 1),
        "clutter_y": dice.between(-1, 1),
        "clutter_turn": dice.between(0, math.pi),
        "clutter_length": dice.between(0.1, 0.5),
        "clutter_width": dice.between(0.06, 0.2),
        "clutter_colour": dice.colour((0.2, 0.9), (0.3, 1.0)),
    }


def _draw(scene: Scene, labels: Array) -> Array:
    """Paint a chunk of scenes from back to front: float32 planes (n, 3, 32, 32) from 0 to 1."""
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
    x, y = axis[None, :], -axis[:, None]
    canvas = _draw_background(scene, x, y)
    for i in range(CLUTTER_BEHIND):
        _draw_clutter(canvas, scene, i, x, y)
    _draw_object(canvas, scene, labels, x, y)
    for i in range(CLUTTER_BEHIND, CLUTTER_BEHIND + CLUTTER_IN_FRONT):
        _draw_clutter(canvas, scene, i, x, y)
    return canvas


def _develop(canvas: Array, scene: Scene, noise_rng: np.random.Generator) -> None:
    """Add light and noise as a camera would: planes from 0 to 1 become planes from 0 to 255, in place."""
    grain = noise_rng.integers(0, 256, size=canvas.shape, dtype=np.uint8).astype(np.float32)
    canvas *= 255 * scene["exposure"] * scene["tint"]
    grain -= 127.5
    grain *= scene["noise"]
    canvas += grain
    np.clip(canvas, 0, 255, out=canvas)


def _draw_background(scene: Scene, x: Array, y: Array) -> Array:
    blend = np.clip(0.5 - 0.6 * y + scene["slope"] * x, 0, 1)[:, None]
    canvas: Array = scene["sky"] + blend * (scene["ground"] - scene["sky"])
    phase = scene["weave_x"] * x + scene["weave_y"] * y + scene["weave_phase"]
    phase += scene["weave_bend"] * (x * x + y * y)
    canvas += scene["weave"] * np.sin(phase)[:, None]
    return canvas


def _draw_clutter(canvas: Array, scene: Scene, i: int, x: Array, y: Array) -> None:
    """Paint piece i of the clutter into the images that have one."""
    rows = np.flatnonzero(~scene["clutter_absent"][:, i])
    is_round, centre_x, centre_y, turn, length, width, colour = (
        scene[f"clutter_{name}"][rows, i] for name in ("round", "x", "y", "turn", "length", "width", "colour")
    )
    along, across = _turn(x - centre_x, y - centre_y, turn)
    disc = np.hypot(along, across) - 1.5 * width
    distance = np.where(is_round, disc, _box(along, across, 0, 0, length, width))
    painted = canvas[rows]
    _paint(painted, _coverage(distance), colour)
    canvas[rows] = painted


def _draw_object(canvas: Array, scene: Scene, labels: Array, x: Array, y: Array) -> None:
    """Paint the object with a soft shadow to its lower right, a rounded edge and light from above."""
    u, v = _turn(x - scene["x"], y - scene["y"], scene["tilt"])
    u = u * (scene["mirror"] / (scene["radius"] * scene["stretch"]))
    v = v * (scene["stretch"] / scene["radius"])
    outline, accent = np.empty_like(u), np.empty_like(u)
    for label, shape in enumerate(_SHAPES):
        rows = np.flatnonzero(labels == label)
        outline[rows], accent[rows] = shape(u[rows], v[rows])
    outline *= scene["radius"]
    accent *= scene["radius"]
    shadow = (1 - scene["mist"]) * np.clip(0.5 - 3 * outline, 0, 0.5)
    canvas[:, :, 2:, 1:] *= 1 - shadow[:, None, :-2, :-1]
    shade = 0.8 + 0.15 * v + np.clip(-2 * outline, 0, 0.3)
    colour = scene["body"] + _coverage(accent)[:, None] * (scene["accent"] - scene["body"])
    _paint(canvas, (1 - scene["mist"]) * _coverage(outline), colour * shade[:, None])


def _turn(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def _coverage(distance: Array) -> Array:
    """Return the share of a pixel that lies inside an edge at this distance from its centre."""
    return np.clip(0.5 - distance * (SIZE / 2), 0, 1)


def _paint(canvas: Array, coverage: Array, colour: Array) -> None:
    change = colour - canvas
    change *= coverage[:, None]
    canvas += change


def write_standin(folder: str | os.PathLike[str]) -> None:
    """Write the full stand-in into an existing folder: 50,000 training and 10,000 test images."""
    _write(folder, train_images=10_000, test_images=10_000, difficulty=1.0)


def write_tiny(folder: str | os.PathLike[str]) -> None:
    """Write 5 x 400 training and 400 test images, which are easier, in the same files."""
    _write(folder, train_images=400, test_images=400, difficulty=TINY_DIFFICULTY)


def _write(folder: str | os.PathLike[str], train_images: int, test_images: int, difficulty: float) -> None:
    folder = Path(folder)
    for i, name in enumerate((*TRAIN_FILES, TEST_FILE)):
        count = test_images if name == TEST_FILE else train_images
        labels = np.arange(count) % len(CLASS_NAMES)
        np.random.default_rng([SEED, i]).shuffle(labels)
        write_batch(folder / name, make_images(labels, [SEED, i], difficulty), labels, name)
    write_meta(folder / META_FILE, CLASS_NAMES, train_images)
