"""A synthetic stand-in for CIFAR-10: ten kinds of drawn objects, made from a fixed seed.

It serves where CIFAR-10 cannot be had, in the same files and sizes. What tells the classes apart is
shape; colour, scenery and texture go with the class only often enough to tempt a linear classifier.
Place, size, tilt, light, clutter and noise vary as they do in photographs, so that a
fully-connected net has a hard time and a ConvNet an easier one.

Coordinates run from -1 to 1 across the image, x to the right and y up. A shape is a pair of signed
distances (negative inside, in units of the object's radius): its whole outline and the part of it
that is painted in a second colour.
"""

import math
from pathlib import Path

import numpy as np

from cs231n.datasets.batches import META_FILE, TEST_FILE, TRAIN_FILES, write_batch, write_meta

VERSION = 1  # raised when the images change, so that copies on disk are made anew
SIZE = 32
SEED = 231
TINY_DIFFICULTY = 0.35
CHUNK = 100  # images drawn at a time, so that their planes stay in the processor's cache

# At difficulty 1: the shares of images in which the colour of the object, the colours behind it and
# the direction of the weave behind it have nothing to do with the class ...
UNRELIABLE_BODY, UNRELIABLE_SCENERY, UNRELIABLE_WEAVE = 0.33, 0.5, 0.32
# ... how far the object strays in place, radius, proportions and tilt (radians) ...
SHIFT, RADIUS_SPREAD, STRETCH, TILT = 0.51, 0.13, 0.15, 0.6
# ... the spread of the light's strength, the greatest noise, the bend of the weave, the share of
# the pieces of clutter that are there, and the thickest mist before the object.
EXPOSURE, NOISE, BEND, CLUTTER_SHARE, MIST = 0.3, 0.14, 3, 0.45, 0.5
RADIUS = 0.48
WEAVE = 0.04, 0.1  # least and greatest amplitude, of colours that go to 1
CLUTTER_BEHIND, CLUTTER_IN_FRONT = 4, 2


def _disc(x, y, centre_x, centre_y, radius):
    return np.hypot(x - centre_x, y - centre_y) - radius


def _box(x, y, centre_x, centre_y, half_width, half_height):
    return np.maximum(np.abs(x - centre_x) - half_width, np.abs(y - centre_y) - half_height)


def _ellipse(x, y, half_width, half_height):
    radius = np.hypot(x / half_width, y / half_height)
    return (radius - 1) * min(half_width, half_height)


def _gable(x, y, apex, base, half_width):
    """Isosceles triangle with its apex at (0, apex) over a base at height `base`."""
    height = apex - base
    side = (np.abs(x) * height - (apex - y) * half_width) / math.hypot(height, half_width)
    return np.maximum(side, base - y)


def _moon(x, y):
    crescent = np.maximum(_disc(x, y, 0, 0, 0.95), -_disc(x, y, 0.5, 0.15, 0.75))
    return crescent, _disc(x, y, -0.6, -0.1, 0.17)


def _star(x, y):
    angle = np.arctan2(x, y)
    wedge = 2 * math.pi / 5
    # Fold the plane into one wedge around a ray; there the outline is a single straight edge.
    angle = np.abs(angle - wedge * np.round(angle / wedge))
    radius = np.hypot(x, y)
    return _star_edge(radius * np.cos(angle), radius * np.sin(angle)), _disc(x, y, 0, 0, 0.25)


def _star_edge(along, across):
    tip, notch_angle, notch = 1.05, math.pi / 5, 0.48
    edge = notch * math.cos(notch_angle) - tip, notch * math.sin(notch_angle)
    return ((along - tip) * edge[1] - across * edge[0]) / math.hypot(*edge)


def _heart(x, y):
    half_diagonal = 0.78
    lobes = _disc(np.abs(x), y, half_diagonal / 2, half_diagonal / 2, half_diagonal / 2**0.5)
    square = (np.abs(x) + np.abs(y) - half_diagonal) * math.sqrt(0.5)
    return np.minimum(lobes, square), _disc(x, y, -0.42, 0.45, 0.17)


def _flower(x, y):
    petals = 0.25 * np.cos(5 * np.arctan2(x, y))
    return 0.8 * (np.hypot(x, y) - 0.72 - petals), _disc(x, y, 0, 0, 0.32)


def _drop(x, y):
    belly = _disc(x, y, 0, -0.3, 0.62)
    return np.minimum(belly, _gable(x, y, 1.05, -0.02, 0.55)), _disc(x, y, 0.22, -0.38, 0.18)


def _fish(x, y):
    body = _ellipse(x - 0.2, y, 0.78, 0.5)
    tail = np.maximum(np.abs(y) - 0.9 * (-x - 0.3), -x - 0.98)
    return np.minimum(body, tail), _disc(x, y, 0.55, 0.12, 0.14)


def _house(x, y):
    roof = _gable(x, y, 0.95, 0.1, 0.95)
    door = _box(x, y, 0, -0.55, 0.2, 0.35)
    return np.minimum(roof, _box(x, y, 0, -0.4, 0.68, 0.5)), np.minimum(roof, door)


def _tree(x, y):
    crown = np.minimum(_gable(x, y, 1.05, 0.05, 0.6), _gable(x, y, 0.5, -0.6, 0.85))
    trunk = _box(x, y, 0, -0.8, 0.17, 0.2)
    return np.minimum(crown, trunk), trunk


def _mushroom(x, y):
    cap = np.maximum(_ellipse(x, y + 0.05, 0.95, 0.85), -0.05 - y)
    stem = _box(x, y, 0, -0.45, 0.26, 0.45)
    return np.minimum(cap, stem), np.minimum(stem, _disc(np.abs(x), y, 0.4, 0.3, 0.15))


def _ring(x, y):
    gem = (np.abs(x) + np.abs(y - 0.68) - 0.36) * math.sqrt(0.5)
    band = np.abs(_disc(x, y, 0, -0.2, 0.58)) - 0.16
    return np.minimum(band, gem), gem


# For each class: its shape, the hues its object and its background lean to (0 red, 1/3 green), and
# the direction, in turns, of the weave its background leans to.
_CLASSES = {
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


def make_images(labels, seed, difficulty=1.0):
    """Draw one image for each label; equal arguments give equal images.

    - labels: (N,) integers in [0, 10), places in CLASS_NAMES.
    - seed: what numpy.random.SeedSequence takes, an integer or a sequence of them.
    - difficulty: scales everything that hides the class; 0 draws it upright, centred and clean,
      1 is the full stand-in.

    Returns uint8 images (N, 32, 32, 3) in RGB. Raises ValueError for a label or a difficulty out
    of range.
    """
    labels = np.asarray(labels)
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must be in [0, 1]; got {difficulty}. Give 1 for the hardest.")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
        raise ValueError(
            f"labels must be in [0, {len(CLASS_NAMES)}); got {labels.min()} to {labels.max()}. "
            "Give places in CLASS_NAMES."
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

    def __init__(self, rng, shape, difficulty):
        self.rng, self.shape, self.difficulty = rng, (*shape, 1, 1), difficulty

    def between(self, low, high):
        return self.rng.uniform(low, high, self.shape).astype(np.float32)

    def around(self, middle, spread):
        """Values that stray from the middle by up to `spread` at difficulty 1."""
        return middle + self.between(-spread * self.difficulty, spread * self.difficulty)

    def unless(self, share):
        """True, save in a share of the draws that grows to `share` at difficulty 1."""
        return self.between(0, 1) >= share * self.difficulty

    def colour(self, saturation, value, hue=0, trusted=False):
        """Colours of a hue near the given one where that is trusted, else of any hue."""
        near = hue + self.between(-0.06, 0.06)
        hue = np.where(trusted, near, self.between(0, 1))
        return _rgb(hue, self.between(*saturation), self.between(*value))


def _rgb(hue, saturation, value):
    """Colours (..., 3, 1, 1) in [0, 1] from hue, saturation and value (..., 1, 1) in [0, 1]."""
    hue, saturation, value = (part[..., None, :, :] for part in (hue, saturation, value))
    thirds = np.array([0, 4, 2], np.float32).reshape(3, 1, 1)
    pure = np.clip(np.abs((6 * hue + thirds) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - pure))


def _sample_scene(labels, rng, difficulty):
    """Everything that is left to chance: a dictionary of arrays with one row for each image."""
    dice = _Dice(rng, (len(labels),), difficulty)
    clutter_dice = _Dice(rng, (len(labels), CLUTTER_BEHIND + CLUTTER_IN_FRONT), difficulty)
    return (
        _sample_pose(dice)
        | _sample_colours(dice, labels)
        | _sample_weave(dice, labels)
        | _sample_light(dice)
        | _sample_clutter(clutter_dice)
    )


def _sample_pose(dice):
    return {
        "x": dice.around(0, SHIFT),
        "y": dice.around(0, SHIFT),
        "radius": dice.around(RADIUS, RADIUS_SPREAD),
        "stretch": dice.around(1, STRETCH),
        "tilt": dice.around(0, TILT),
        "mirror": np.where(dice.between(-1, 1) < 0, np.float32(-1), np.float32(1)),
    }


def _sample_colours(dice, labels):
    true_body, true_scenery = dice.unless(UNRELIABLE_BODY), dice.unless(UNRELIABLE_SCENERY)
    object_hue, background_hue = _column(_OBJECT_HUES, labels), _column(_BACKGROUND_HUES, labels)
    return {
        "body": dice.colour((0.5, 0.95), (0.55, 1.0), object_hue, true_body),
        "accent": dice.colour((0.0, 0.5), (0.3, 1.0)),
        "sky": dice.colour((0.3, 0.85), (0.45, 1.0), background_hue, true_scenery),
        "ground": dice.colour((0.3, 0.85), (0.25, 0.8), background_hue, true_scenery),
    }


def _sample_weave(dice, labels):
    """Waves over the background that lean to a direction.

    A small filter sees it; length, phase and bend differ so much that no template of the whole
    image fits two of them, and a fully-connected net has little use for it.
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


def _column(values, labels):
    """The class's value for each image, float32 (N, 1, 1)."""
    return np.array(values, np.float32)[labels].reshape(-1, 1, 1)


def _sample_light(dice):
    return {
        "slope": dice.between(-0.4, 0.4),
        "exposure": dice.around(1, EXPOSURE)[:, None],
        "tint": dice.colour((0, 0.3 * dice.difficulty), (1, 1)),
        "noise": dice.between(0, NOISE * dice.difficulty)[:, None],
        "mist": dice.between(0, MIST * dice.difficulty),
    }


def _sample_clutter(dice):
    """Pieces of clutter, discs and bars anywhere in the image; some are absent."""
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


def _draw(scene, labels):
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


def _develop(canvas, scene, noise_rng):
    """Turn planes from 0 to 1 into what a camera would give in this light: planes from 0 to 255."""
    grain = noise_rng.integers(0, 256, size=canvas.shape, dtype=np.uint8).astype(np.float32)
    canvas *= 255 * scene["exposure"] * scene["tint"]
    grain -= 127.5
    grain *= scene["noise"]
    canvas += grain
    np.clip(canvas, 0, 255, out=canvas)


def _draw_background(scene, x, y):
    blend = np.clip(0.5 - 0.6 * y + scene["slope"] * x, 0, 1)[:, None]
    canvas = scene["sky"] + blend * (scene["ground"] - scene["sky"])
    phase = scene["weave_x"] * x + scene["weave_y"] * y + scene["weave_phase"]
    phase += scene["weave_bend"] * (x * x + y * y)
    canvas += scene["weave"] * np.sin(phase)[:, None]
    return canvas


def _draw_clutter(canvas, scene, i, x, y):
    """Piece i of the clutter, in those images that have one."""
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


def _draw_object(canvas, scene, labels, x, y):
    """The object with a soft shadow to its lower right, a rounded edge and light from above."""
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


def _turn(x, y, angle):
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def _coverage(distance):
    """The share of a pixel that lies inside an edge at this distance from its centre."""
    return np.clip(0.5 - distance * (SIZE / 2), 0, 1)


def _paint(canvas, coverage, colour):
    change = colour - canvas
    change *= coverage[:, None]
    canvas += change


def write_standin(folder):
    """Write the full stand-in into an existing folder: 50,000 training and 10,000 test images."""
    _write(folder, train_images=10_000, test_images=10_000, difficulty=1.0)


def write_tiny(folder):
    """Write 5 x 400 training and 400 test images, drawn to be easy, in the same files."""
    _write(folder, train_images=400, test_images=400, difficulty=TINY_DIFFICULTY)


def _write(folder, train_images, test_images, difficulty):
    folder = Path(folder)
    for i, name in enumerate((*TRAIN_FILES, TEST_FILE)):
        count = test_images if name == TEST_FILE else train_images
        labels = np.arange(count) % len(CLASS_NAMES)
        np.random.default_rng([SEED, i]).shuffle(labels)
        write_batch(folder / name, make_images(labels, [SEED, i], difficulty), labels, name)
    write_meta(folder / META_FILE, CLASS_NAMES, train_images)
