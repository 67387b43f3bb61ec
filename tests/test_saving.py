"""Models in files: what is saved comes back to the bit, anywhere; what is damaged or hostile is refused."""

import copy
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE, draw

from cs231n import checkpoint
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.deep_cnn import DeepConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.preprocessing import Preprocessing
from cs231n.saved_model import SavedModel
from cs231n.saving import load
from cs231n.solver import Solver

pytestmark = pytest.mark.q1

ROOT = Path(__file__).parents[1]
IMAGE = (3, 4, 6)
D, C = 72, 3
PREPROCESSING = Preprocessing(100 + draw(IMAGE, np.float32), 50.5, ["cat", "dog", "größter Hund"])


def nets():
    """A model of every kind and dtype, by name."""
    yield "two-layers", lambda: TwoLayerNet(D, 5, C, reg=0.1)
    for dtype in (np.float32, np.float64):
        for normalization in (None, "batchnorm", "layernorm"):
            for keep in (1, 0.6):
                yield (
                    f"fully-connected-{normalization}-{keep}-{dtype.__name__}",
                    lambda n=normalization, k=keep, d=dtype: FullyConnectedNet(
                        (5, np.int64(4)), D, C, k, n, dtype=d, seed=3
                    ),
                )
        yield (
            f"convnet-{dtype.__name__}",
            lambda d=dtype: ThreeLayerConvNet(np.array(IMAGE), 4, 3, 5, C, 0.1, dtype=d),
        )
        yield f"deep-convnet-{dtype.__name__}", lambda d=dtype: DeepConvNet(IMAGE, (2, 3, 4), C, 0.1, dtype=d)
    yield (
        "dropout-by-its-other-name",
        lambda: FullyConnectedNet([5], D, C, dropout_keep_ratio=0.5, dtype="float64"),
    )


every_net = pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in nets()])


def trained(build):
    """A model after two steps, so that averages are not where they began, with a preprocessing."""
    model = build()
    X = draw((8, *IMAGE), seed=1)
    data = {"X_train": X, "y_train": np.arange(8) % C, "X_val": X, "y_val": np.arange(8) % C}
    Solver(model, data, batch_size=4, num_epochs=1, verbose=False).train()
    model.preprocessing = PREPROCESSING
    return model


def small_net():
    return trained(lambda: FullyConnectedNet([5, 4], D, C, normalization="batchnorm"))


def bits(tree):
    """The type, shape, dtype and bits of all arrays and numbers in nested dictionaries and lists."""
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [bits(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return tree.dtype, tree.shape, tree.tobytes()
    return type(tree), repr(tree)


def state(model):
    """All that a model is, but for the mode in which it was last used."""
    parts = {
        name: value for name, value in vars(model).items() if name not in ("preprocessing", "_arguments")
    }
    made = vars(model.preprocessing) if model.preprocessing else None
    averages = [{**each, "mode": ""} for each in parts.pop("bn_params", [])]
    dropout = {**(parts.pop("dropout_param", None) or {}), "mode": ""}
    return bits([parts, made, averages, dropout, model.settings])


PICTURES = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), np.uint8)


@every_net
def test_a_model_comes_back_to_the_bit(tmp_path, build):
    model = trained(build)
    model.save(tmp_path / "model.npz")
    before = np.random.get_state()[1:3]
    loaded = load(tmp_path / "model.npz")
    assert bits(before) == bits(np.random.get_state()[1:3])
    assert type(loaded) is type(model)
    assert state(loaded) == state(model)
    X = draw((6, *IMAGE))
    assert bits(loaded.loss(X)) == bits(model.loss(X))
    np.random.seed(0)
    expected = model.loss(X, np.arange(6) % C)
    np.random.seed(0)
    assert bits(loaded.loss(X, np.arange(6) % C)) == bits(expected)
    assert bits(loaded.predict(PICTURES, True)) == bits(model.predict(PICTURES, True))


FRESH = """
import sys, numpy as np
from cs231n.saving import load
assert not any(name.startswith("torch") for name in sys.modules)
for name in sys.argv[1:]:
    classes, probabilities = load(name).predict(np.load("pictures.npy"), probabilities=True)
    print(f"> {','.join(classes)} {probabilities.tobytes().hex()} {probabilities.dtype}")
"""


def test_a_fresh_process_in_another_folder_predicts_the_same(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    expected, names = [], []
    for name, build in nets():
        model = trained(build)
        model.save(tmp_path / "here" / f"{name}.npz")
        (tmp_path / "here" / f"{name}.npz").rename(tmp_path / "there" / f"{name}.npz")
        names.append(f"{name}.npz")
        classes, probabilities = model.predict(PICTURES, probabilities=True)
        expected.append(f"> {','.join(classes)} {probabilities.tobytes().hex()} {probabilities.dtype}")
    np.save(tmp_path / "there" / "pictures.npy", PICTURES)
    done = run([sys.executable, "-c", FRESH, *names], tmp_path / "there")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("> ")] == expected, done.stderr


def run(command, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=PATIENCE
    )


def test_a_model_without_preprocessing_or_training_comes_back_without(tmp_path):
    FullyConnectedNet([5], D, C, normalization="batchnorm").save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert loaded.preprocessing is None
    assert loaded.bn_params == [{}]


def test_parameters_of_a_training_warn_where_its_running_averages_are_missing(tmp_path):
    model = small_net()
    np.savez(tmp_path / "params.npz", **model.params)
    fresh = FullyConnectedNet([5, 4], D, C, normalization="batchnorm")
    X = draw((8, *IMAGE))
    fresh.loss(X)  # before training there are none, and nothing is lost
    fresh.params = dict(np.load(tmp_path / "params.npz"))
    with pytest.warns(
        UserWarning, match="gamma1 and beta1 were trained, but bn_params has no running averages"
    ):
        fresh.loss(X)
    fresh.bn_params = copy.deepcopy(model.bn_params)
    np.testing.assert_array_equal(fresh.loss(X), model.loss(X))


def test_a_loaded_model_trains_on(tmp_path):
    model = small_net()
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    for each in (model, loaded):
        np.random.seed(1)
        trained(lambda each=each: each)
    assert state(loaded) == state(model)


def test_what_was_changed_since_the_model_was_made_is_saved(tmp_path):
    model = small_net()
    model.reg = 0.25
    model.dtype = np.dtype(np.float64)
    model.params = {name: param.astype(np.float64) for name, param in model.params.items()}
    model.bn_params[0]["eps"] = 1e-3
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert (loaded.reg, loaded.dtype, loaded.bn_params[0]["eps"]) == (0.25, np.float64, 1e-3)
    assert state(loaded) == state(model)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_is_saved_as_its_original(tmp_path, copied):
    model = small_net()
    copied(model).save(tmp_path / "model.npz")
    assert state(load(tmp_path / "model.npz")) == state(model)


class OwnNet(SavedModel):
    """A model as a user writes it: it has nothing of ours but the base."""

    def __init__(self, sizes, *, gain=1.0, **others):
        self.params = {"scale": np.full(sizes, gain), "w": np.random.randn(*sizes)}
        self.others = others

    def loss(self, X, y=None):
        return X.reshape(len(X), -1) @ (self.params["w"] * self.params["scale"])


class Derived(TwoLayerNet):
    """A model of ours under another name."""


@pytest.mark.parametrize("build", [lambda: OwnNet((D, C), gain=2.0, extra="x"), lambda: Derived(D, 5, C)])
def test_a_class_of_ones_own_is_loaded_where_it_is_given(tmp_path, build):
    model = build()
    model.preprocessing = PREPROCESSING
    model.save(tmp_path / "model.npz")
    name = type(model).__name__
    with pytest.raises(ValueError, match=rf"'{name}', and known are TwoLayerNet, .*models=\[TheClass\]"):
        load(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz", models=[OwnNet, Derived])
    assert type(loaded) is type(model)
    assert bits(loaded.params) == bits(model.params)
    assert bits(loaded.predict(PICTURES, True)) == bits(model.predict(PICTURES, True))


def test_an_argument_that_json_cannot_hold_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"extra must be a number, .* it was made with <built-in"):
        OwnNet((D, C), extra=min).save(tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_call_is_still_the_constructors_own_error():
    with pytest.raises(TypeError, match=r"__init__\(\) got an unexpected keyword argument 'hidden'"):
        TwoLayerNet(hidden=3)
    with pytest.raises(
        TypeError, match=r"__init__\(\) missing 1 required positional argument: 'hidden_dims'"
    ):
        FullyConnectedNet()


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda model: model.params.pop("W2"), "its W2 has the shape missing; with its settings"),
        (lambda model: model.params.update(W2=np.ones((5, 5))), r"its W2 has the shape \(5, 5\)"),
        (lambda model: model.params.update(W9=np.ones(1)), r"its W9 .* has none of that name"),
        (lambda model: model.params.update(b1=np.ones(5, np.float16)), "its b1 must be float32 or float64"),
        (lambda model: model.params.update(b1=np.ones(5, int)), "its b1 must be float32 or float64; got int"),
        (lambda model: model.bn_params.pop(), "its bn_params must be 2"),
        (lambda model: setattr(model, "preprocessing", "mean"), "preprocessing must say how .* got str"),
    ],
)
def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path, change, reason):
    model = small_net()
    model.save(tmp_path / "model.npz")
    before = (tmp_path / "model.npz").read_bytes()
    change(model)
    with pytest.raises(ValueError, match=reason):
        model.save(tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "model.npz"
    small_net().save(path)
    before, written, write_array = path.read_bytes(), [], np.lib.format.write_array

    def fail(*arguments, **options):
        if len(written) == 4:
            raise error
        written.append(1)
        write_array(*arguments, **options)

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(type(error)):
        small_net().save(path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.npz", before)]


# Damage and malice


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What the file of `small_net` holds."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    small_net().save(path)
    return checkpoint.load(path)


def written(path, tree, **header):
    """Write a tree to a file, with these changes of its header; return the file."""
    tree = {**tree, "header": json.dumps(json.loads(tree["header"]) | header)}
    checkpoint.save(path, tree)
    return path


def test_a_deep_net_is_counted_before_it_is_made(tmp_path):
    """Its weights are counted exactly: one that asks for more numbers than the file holds is refused."""
    DeepConvNet(IMAGE, (2, 3, 4), C).save(tmp_path / "model.npz")
    tree = checkpoint.load(tmp_path / "model.npz")
    settings = json.loads(tree["header"])["settings"]
    for widths, count in (([2, 3, 10**9], "9,000,000,030,000,000,108"), ([2, 10**6, 4], "54,000,210")):
        path = written(tmp_path / "model.npz", tree, settings=settings | {"widths": widths})
        with pytest.raises(ValueError, match=f"its settings ask for {count} weights"):
            load(path)


def test_any_flipped_byte_and_any_end_cut_off_is_noticed(tmp_path):
    """Either an error that names the file, or, where the byte means nothing, the same model to the bit."""
    path, model = tmp_path / "model.npz", trained(lambda: TwoLayerNet(D, 2, C))
    model.save(path)
    content, expected, rng, refused = path.read_bytes(), state(model), np.random.default_rng(0), 0
    for i in range(600):
        damaged = bytearray(content)
        if i % 4:
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged if i % 4 else damaged[: rng.integers(len(content))])
        try:
            assert state(load(path)) == expected
        except ValueError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 500


@pytest.mark.parametrize(
    "write, reason",
    [
        (lambda path: np.savez(path, **small_net().params), "it holds the arrays W1, b1, gamma1, beta1, W2"),
        (lambda path: np.savez(path), "it is no model that model.save wrote$"),
        (lambda path: np.savez_compressed(path, x=np.ones(3)), "it is compressed"),
        (lambda path: checkpoint.save(path, {"header": 3}), "it is no model"),
        (lambda path: checkpoint.save(path, {"header": "{"}), "its header is damaged"),
        (lambda path: checkpoint.save(path, {"header": "[" * 10**5}), "its header is damaged"),
        (lambda path: checkpoint.save(path, {"header": "[]"}), "another program's"),
        (lambda path: checkpoint.save(path, {"header": '{"format": "theirs"}'}), "another program's"),
        (lambda path: path.write_bytes(b""), "is not a saved model or is damaged"),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), "is not a saved model or is damaged"),
        (lambda path: np.savez(path, header=np.array([Evil()], object)), "objects, which only pickle"),
        (lambda path: np.savez(path, W1=np.array([Evil()], object)), "objects, which only pickle"),
        (lambda path: zipped(path, {"header.npy": pickle.dumps(Evil())}), "is not a saved model"),
    ],
)
def test_what_is_foreign_is_refused_with_a_reason_and_runs_no_code(tmp_path, capsys, write, reason):
    path = tmp_path / "model.npz"
    write(path)
    with pytest.raises(ValueError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert capsys.readouterr().out == ""


class Evil:
    def __reduce__(self):
        return print, ("code has run",)


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_checkpoint_of_the_solver_is_told_from_a_model(tmp_path):
    X, y = draw((4, D)), np.arange(4) % C
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    Solver(TwoLayerNet(D, 2, C), data, num_epochs=1, verbose=False, checkpoint_name=tmp_path / "run").train()
    with pytest.raises(ValueError, match=r"a Solver's checkpoint.*resume\(\).*model\.save\(path\)"):
        load(tmp_path / "run.npz")


@pytest.mark.parametrize(
    "header, reason",
    [
        ({"version": 2}, "it was saved by a later version .* version 2 .* reads 1. Update the library"),
        ({"version": "1"}, "its version must be a number of at least 1"),
        ({"version": 0}, "its version must be a number of at least 1"),
        ({"class": "os.system"}, r"class 'os.system', and known are TwoLayerNet, Fully"),
        ({"class": "SavedModel"}, "class 'SavedModel', and known are"),
        ({"class": ["TwoLayerNet"]}, "its header is damaged"),
        ({"settings": []}, "its header is damaged"),
        ({"settings": {}}, "its input_dim must be an integer"),
        ({"class": "TwoLayerNet"}, "its hidden_dim must be an integer"),
        ({"class": "ThreeLayerConvNet"}, r"its input_dim must be \(C, H, W\)"),
        ({"class": "DeepConvNet"}, "its widths must be an integer"),
        ({"class_names": "abc"}, "its class_names must be a list"),
        ({"class_names": [1, 2, 3]}, "class_names must be a list of str"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, tree, header, reason):
    with pytest.raises(ValueError, match=reason):
        load(written(tmp_path / "model.npz", tree, **header))


@pytest.mark.parametrize(
    "settings, reason",
    [
        (
            {"hidden_dims": [5, 10**9]},
            r"its settings ask for 8,000,000,360 weights, and it holds [\d,]+ numbers",
        ),
        ({"hidden_dims": [10**30]}, "its settings ask for"),
        ({"input_dim": 10**12}, "its settings ask for"),
        ({"num_classes": 2**31}, "its settings ask for"),
        ({"hidden_dims": [5, -4]}, "its hidden_dims must be an integer of at least 1; got -4"),
        ({"hidden_dims": [5, 4.0]}, "its hidden_dims must be an integer"),
        ({"hidden_dims": [[5, 4]]}, "its hidden_dims must be an integer"),
        ({"hidden_dims": None}, "its hidden_dims must be an integer"),
        ({"hidden_dims": [5, 3]}, r"its W2 has the shape \(5, 4\); with its settings .* \(5, 3\)"),
        (
            {"hidden_dims": [4, 5]},
            r"its W1 has the shape|its W2 has the shape|its b1 has the shape|its beta1",
        ),
        ({"normalization": None}, "its beta1 has the shape"),
        ({"normalization": "evil"}, "its settings make no FullyConnectedNet: normalization must be one of"),
        ({"dropout": 7}, "its settings make no FullyConnectedNet: dropout"),
        ({"weight_scale": [1] * 1000}, "its weight_scale must be"),
        ({"dtype": "U100000"}, "its dtype must be one of 'float32', 'float64'"),
        ({"dtype": ["f4"]}, "its dtype must be one of"),
        ({"surprise": 1}, "its settings make no FullyConnectedNet: .*unexpected keyword argument 'surprise'"),
    ],
)
def test_settings_that_do_not_fit_the_arrays_are_refused_before_anything_is_made(
    tmp_path, tree, settings, reason
):
    settings = json.loads(tree["header"])["settings"] | settings
    path = written(tmp_path / "model.npz", tree, settings=settings)
    tracemalloc.start()
    with pytest.raises(ValueError, match=reason):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("sizes", [{"num_filters": 10**8}, {"filter_size": 10**5 + 1}, {"hidden_dim": 10**8}])
def test_a_convnet_that_asks_for_all_memory_is_refused(tmp_path, sizes):
    path = tmp_path / "model.npz"
    ThreeLayerConvNet(IMAGE, 4, 3, 5, C).save(path)
    tree = checkpoint.load(path)
    settings = json.loads(tree["header"])["settings"]
    for changed in (sizes, {"input_dim": [3, 10**5, 10**5]}, {"input_dim": [10**9, 4, 6]}):
        with pytest.raises(ValueError, match="its settings ask for"):
            load(written(path, tree, settings=settings | changed))


def drop(name):
    return lambda tree: tree.pop(name)


@pytest.mark.parametrize(
    "change, reason",
    [
        (drop("params"), "its settings ask for 392 weights, and it holds 0 numbers"),
        (drop("bn_params"), "its bn_params are missing"),
        (drop("preprocessing"), "its preprocessing are missing"),
        (lambda tree: tree["bn_params"].pop("1"), r"its bn_params must be 2, .*\['0'\]"),
        (lambda tree: tree["bn_params"].update({"1": 3}), r"its bn_params\[1\] must be a dictionary"),
        (
            lambda tree: tree["bn_params"]["1"].update(running_mean=np.ones(10**5)),
            r"bn_params\[1\]\['running_mean'\] has the shape \(100000,\)",
        ),
        (lambda tree: tree["bn_params"]["0"].update(running_var=1), r"\['running_var'\] must be float32"),
        (
            lambda tree: tree["bn_params"]["0"].update(mode="evil"),
            r"bn_params\[0\]\['mode'\] must be 'train'",
        ),
        (
            lambda tree: tree["bn_params"]["0"].update(eps=-1.0),
            r"bn_params\[0\]\['eps'\] must be in \[0, 1\]",
        ),
        (lambda tree: tree["params"].update(b2=np.ones(4, ">f4")), "its b2 must be float32 or float64"),
        (lambda tree: tree["params"].update(b2=np.array(list("abcd"))), "its b2 must be float32 or float64"),
        (lambda tree: tree["params"].update(b2={"x": np.ones(4)}), "its b2 has the shape"),
        (lambda tree: tree["params"].update(b2=np.ones((4, 1))), "its b2 has the shape"),
        (lambda tree: tree["preprocessing"].pop("scale"), "must have a mean_image and a scale"),
        (lambda tree: tree["preprocessing"].update(scale=0.0), "scale must be positive"),
        (lambda tree: tree["preprocessing"].update(scale=np.nan), "scale must be finite"),
        (lambda tree: tree["preprocessing"].update(mean_image="evil"), "mean_image must be an array of numb"),
        (lambda tree: tree["preprocessing"].update(mean_image=np.ones(3)), "mean_image must have the axes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, tree, change, reason):
    tree = copy.deepcopy(tree)
    change(tree)
    with pytest.raises(ValueError, match=reason):
        load(written(tmp_path / "model.npz", tree))


def test_a_missing_file_or_a_folder_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        load(tmp_path / "none.npz")
    with pytest.raises(OSError):
        load(tmp_path)


def npy(array):
    packed = io.BytesIO()
    np.save(packed, array)
    return packed.getvalue()


def overlapping(path):
    """An archive whose table of contents names one array of 100 kB a hundred times."""
    zipped(path, {"header.npy": npy(np.zeros(12_500))})
    content = path.read_bytes()
    table, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entries = content[table:end] * 100
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 100, 100, len(entries), table, 0)
    path.write_bytes(content[:table] + entries + record)


@pytest.mark.parametrize(
    "bomb, reason",
    {
        "deflated": "it is compressed",
        "lying-shape": r"header\.npy should have 8,000,000,000,000 bytes of numbers; it has 0",
        "lying-size": "its arrays claim to be longer than the file",
        "overlapping": "its arrays claim to be longer than the file",
    }.items(),
)
def test_a_zip_bomb_is_refused_before_it_takes_memory(tmp_path, bomb, reason):
    path = tmp_path / "model.npz"
    header = npy(np.zeros(1))[:-8]
    huge = header.replace(b"(1,), }" + b" " * 12, b"(1000000000000,), }")
    assert bomb != "lying-shape" or (huge != header and len(huge) == len(header))
    if bomb == "deflated":
        zipped(path, {"header.npy": npy(np.zeros(20_000_000, np.uint8))}, zipfile.ZIP_DEFLATED)
    elif bomb == "lying-shape":
        zipped(path, {"header.npy": huge})
    elif bomb == "lying-size":
        zipped(path, {"header.npy": huge})
        path.write_bytes(path.read_bytes().replace(len(huge).to_bytes(4, "little"), b"\xf0\xff\xff\xff"))
    else:
        overlapping(path)
    assert path.stat().st_size < 300_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"is not a saved model or is damaged: {reason}"):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path, tree):
    path = written(tmp_path / "model.npz", tree)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("params/W1.npy", npy(tree["params"]["W1"]))
    with pytest.raises(ValueError, match="it holds two arrays of the same name"):
        load(path)
