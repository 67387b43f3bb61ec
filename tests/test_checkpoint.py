"""Checkpoints: what is written comes back, whole or not at all, and without pickle."""

import io
import math
import pickle
import zipfile
from functools import partial

import numpy as np
import pytest

from cs231n import checkpoint
from cs231n.schedules import WarmUp

pytestmark = pytest.mark.q1

TREE = {
    "params": {"W1": np.arange(6.0).reshape(2, 3), "b1": np.array([0.1, -0.0], np.float32)},
    "optim": {"W1": {"t": 7, "learning_rate": 0.1 + 0.2, "velocity": np.ones((2, 3))}},
    "shapes": {"one": np.array([5]), "none": np.empty((0, 4), np.float32), "bool": np.array([True])},
    "best": -math.inf,
    "rule": "adam, größer",
    "file": 1,
    "allow_pickle": 2,
    "nothing": {},
    "inner": {"nothing": {}},
}


def assert_same_trees(actual, expected):
    """The same keys in the same order, and values of the same type, dtype, shape and bits."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_same_trees(actual[key], value)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        assert actual.tobytes() == expected.tobytes()
    else:
        assert actual == expected


def test_round_trip(tmp_path):
    checkpoint.save(tmp_path / "new" / "folder" / "run.npz", TREE)
    assert_same_trees(checkpoint.load(tmp_path / "new" / "folder" / "run.npz"), TREE)


def test_numpy_reads_the_file_too(tmp_path):
    checkpoint.save(tmp_path / "run.npz", TREE)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["params/W1"], TREE["params"]["W1"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "run.npz"
    checkpoint.save(path, {"x": np.arange(3.0)})
    write_array, written = np.lib.format.write_array, []

    def write_one_array(file, array, **options):
        if written:
            file.write(b"half an arr")
            raise error
        write_array(file, array, **options)
        written.append(array)

    monkeypatch.setattr(np.lib.format, "write_array", write_one_array)
    with pytest.raises(type(error)):
        checkpoint.save(path, TREE)
    assert written
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(checkpoint.load(path)["x"], [0, 1, 2])


@pytest.mark.parametrize(
    "value", [None, [1, None], object(), np.array([{}], object)], ids=["None", "list", "object", "objects"]
)
def test_other_content_is_refused_and_nothing_written(tmp_path, value):
    with pytest.raises(ValueError, match="a/b must be an array, a number or a string"):
        checkpoint.save(tmp_path / "run.npz", {"a": {"b": value}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["", "a/b", 3])
def test_other_keys_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=f'non-empty strings without "/"; got {key!r}'):
        checkpoint.save(tmp_path / "run.npz", {"a": {key: 1}})


class RunsCode:
    def __reduce__(self):
        return print, ("the pickle ran",)


def npz(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def npy(array):
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=True)
    return packed.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(RunsCode()),
        npz(**{"x.npy": npy(np.array([RunsCode()], object))}),
        npz(**{"x.npy": pickle.dumps(RunsCode())}),
        npz(x=b"no array"),
        npz(**{"x.npy": npy(np.ones(2)), "x/y.npy": npy(np.ones(2))}),
        npz(**{"x.npy": npy(np.ones(3)) + b"more"}),
        npz(**{"x.npy": npy(np.ones(3))[:-1]}),
        npz(**{"x.txt": npy(np.ones(3))}),
        npy(np.ones(3)),
        b"",
        b"text",
    ],
    ids=[
        "pickle",
        "object-array",
        "pickle-inside",
        "no-array",
        "two-of-a-name",
        "too-long",
        "too-short",
        "another-ending",
        "npy",
        "empty",
        "text",
    ],
)
def test_anything_else_is_refused_and_runs_no_code(tmp_path, capsys, content):
    (tmp_path / "run.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"run.npz is not a checkpoint or is damaged"):
        checkpoint.load(tmp_path / "run.npz")
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_a_value_error_wherever_the_damage_is(tmp_path):
    """Bytes changed at random, or the end cut off: either the tree or ValueError, no other exception."""
    path = tmp_path / "run.npz"
    checkpoint.save(path, TREE)
    content, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for i in range(400):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged if i % 4 else damaged[: rng.integers(len(content))])
        try:
            checkpoint.load(path)
        except ValueError:
            refused += 1
    assert refused > 200


def test_a_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        checkpoint.load(tmp_path / "run.npz")


class Plain:
    def method(self):
        """A method, which goes by its class and name."""


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "None"),
        (0.1, "0.1"),
        (np.float64(0.1), "0.1"),
        ("adam", "'adam'"),
        ([min, (1, 2)], "[min, [1, 2]]"),
        (Plain(), "Plain"),
        (Plain().method, "Plain.method"),
        (Plain, "Plain"),
        (lambda: 1, "<lambda>"),
        (partial(Plain.method, 1, name=Plain()), "partial(Plain.method, 1, name=Plain)"),
        (WarmUp(0.5, then=min), "WarmUp(share=0.5, then=min)"),
    ],
)
def test_a_description_is_the_same_in_every_process(value, text):
    assert checkpoint.description(value) == text
