"""Pictures as people have them: how they become a model's input, what is refused, what models say of them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE
from PIL import Image

from cs231n import classify
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.data_utils import get_CIFAR10_data, load_splits
from cs231n.preprocessing import Preprocessing, as_pictures
from cs231n.saved_model import SavedModel
from cs231n.saving import load
from cs231n.solver import Solver

pytestmark = pytest.mark.q1

ROOT = Path(__file__).parents[1]
H, W = 4, 6
IMAGE = (3, H, W)
NAMES = ["cat", "dog", "bird"]
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (230, H, W, 3), np.uint8)
MEAN = RNG.uniform(90, 160, IMAGE).astype(np.float32)


def small_model(**preprocessing):
    np.random.seed(0)
    model = FullyConnectedNet([5], 3 * H * W, 3, weight_scale=0.1)
    model.preprocessing = Preprocessing(**{"mean_image": MEAN, "class_names": NAMES, **preprocessing})
    return model


def prepared(mean=MEAN, scale=1.0):
    return (PICTURES.transpose(0, 3, 1, 2).astype(np.float32) - mean) / scale


def batchnorm_net():
    return FullyConnectedNet([5], 72, 3, normalization="batchnorm")


def two_layer_net():
    return TwoLayerNet(72, 5, 3, 0.1)


def convnet():
    return ThreeLayerConvNet(IMAGE, 4, 3, 5, 3, weight_scale=0.5)


@pytest.mark.parametrize(
    "build, mean, scale",
    [
        *((build, MEAN, scale) for build in (batchnorm_net, two_layer_net, convnet) for scale in (1, 62.5)),
        (two_layer_net, MEAN.astype(np.float64), MEAN),
        (convnet, 128, 64),
        (convnet, MEAN[:, :1, :1], MEAN[:, 1:2, 1:2]),
    ],
)
def test_predict_is_what_the_model_says_of_prepared_data(build, mean, scale):
    """Of 230 pictures too, which take three passes."""
    np.random.seed(0)
    model = build()
    model.preprocessing = Preprocessing(mean, scale, NAMES)
    X = prepared(mean, scale)
    scores = np.concatenate([model.loss(X[i : i + 100]) for i in (0, 100, 200)])
    exponentials = np.exp(scores.astype(np.float64))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    classes, probabilities = model.predict(PICTURES, probabilities=True)
    assert classes.tolist() == [NAMES[i] for i in scores.argmax(axis=1)]
    assert len(set(classes)) > 1
    assert probabilities.dtype == scores.dtype
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-7)
    assert model.predict(PICTURES).tolist() == classes.tolist()
    name, shares = model.predict(PICTURES[3], probabilities=True)
    assert (type(name), name) == (str, classes[3])
    np.testing.assert_allclose(shares, probabilities[3], rtol=1e-5)
    assert model.predict(list(PICTURES[:2])).tolist() == classes[:2].tolist()
    assert model.predict(Image.fromarray(PICTURES[3])) == classes[3]


def test_without_names_a_class_is_its_label():
    model = small_model(class_names=())
    labels = model.predict(PICTURES)
    assert labels.dtype == np.int64
    assert labels.tolist() == model.loss(prepared()).argmax(axis=1).tolist()
    assert type(model.predict(PICTURES[0])) is int


def test_huge_scores_have_probabilities_too():
    model = small_model()
    model.params["W2"] *= 1e4
    _, probabilities = model.predict(PICTURES, probabilities=True)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_preparing_is_what_the_data_went_through_to_the_bit(tiny_data):
    data, splits = get_CIFAR10_data(), load_splits(num_test=1000)
    for name, (images, _) in splits.items():
        X = data.preprocessing.prepare(images.transpose(0, 2, 3, 1))
        assert X.dtype == np.float32 and X.flags.c_contiguous
        np.testing.assert_array_equal(X, data[f"X_{name}"])
    raw = get_CIFAR10_data(subtract_mean=False)
    np.testing.assert_array_equal(
        raw.preprocessing.prepare(splits["test"][0].transpose(0, 2, 3, 1)), raw["X_test"]
    )
    assert len(raw.preprocessing.class_names) == 10


# What is refused, and whether the remedy in the message cures it


def cure(error, images):
    """What the code in a message's remedy makes of the images."""
    code = str(error).split("pass ", 1)[-1] if "pass " in str(error) else str(error).split("Pass ", 1)[1]
    return eval(code.rstrip("."), {"np": np, "images": images})


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda p: p / 255, "from 0.0 to 1.0, as matplotlib reads PNG files"),
        (lambda p: (p / 255).astype(np.float32), "as matplotlib reads PNG files"),
        (lambda p: p.astype(np.float64), r"must hold bytes \(uint8\) from 0 to 255; got float64"),
        (lambda p: p.astype(int), r"must hold bytes \(uint8\) from 0 to 255; got int64 from 0 to 255"),
        (lambda p: p.tolist(), "got int64 from 0 to 255"),
        (lambda p: np.moveaxis(p, -1, -3), "The channels are first"),
        (lambda p: p[..., :1], "They are grey"),
        (lambda p: p[..., 0], "They are grey"),
        (lambda p: np.concatenate([p, p[..., :1]], axis=-1), "fourth channel is opacity"),
    ],
)
@pytest.mark.parametrize("single", [True, False])
def test_another_form_is_refused_with_a_remedy_that_cures_it(spoil, reason, single):
    images = PICTURES.copy()
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    images = images[0] if single else images
    with pytest.raises(ValueError, match=reason) as caught:
        small_model().predict(spoil(images))
    cured = cure(caught.value, np.asarray(spoil(images)))
    assert cured.dtype == np.uint8 and cured.shape == images.shape
    small_model().predict(cured)
    if "grey" not in reason:
        np.testing.assert_array_equal(cured, images)


@pytest.mark.parametrize(
    "images, reason",
    [
        (prepared(), r"got float32 from -\d.* prepared for the model already.*loss\(X\)\.argmax\(axis=1\)"),
        (np.full((H, W, 3), np.nan), "got float64 from nan"),
        (np.zeros((9, 9, 3), np.uint8), r"shape \(4, 6, 3\).*got \(9, 9, 3\).*\.resize\(\(6, 4\)\)"),
        (np.zeros((2, 9, 9, 3), np.uint8), r"Bring each to this size"),
        (np.zeros((6, 4, 3), np.uint8), r"got \(6, 4, 3\)\. Bring each"),
        (np.zeros((H, W, 2), np.uint8), "They have 2 channels, and the model takes 3"),
        (np.zeros((5, 72), np.uint8), r"flattened.*reshape\(-1, 3, 4, 6\)\.transpose\(0, 2, 3, 1\)"),
        (np.zeros((1, 2, H, W, 3), np.uint8), "Three axes are needed for one picture, four for several"),
        (np.zeros((0, H, W, 3), np.uint8), "at least one picture"),
        (np.uint8(3), "Three axes are needed"),
        (np.ones((H, W, 3), bool), r"Pass images \* np.uint8\(255\)"),
        ([np.zeros((H, W, 3)), np.zeros((H, 5, 3))], "of the same size; these differ"),
        ("cat.png", r"not the name of a file; got 'cat.png'. Read it first: np.asarray\(PIL.Image.open"),
        (Path("cat.png"), "not the name of a file"),
        (None, "must be the pixels of pictures; got object"),
        (np.zeros((H, W, 3), complex), "must be the pixels of pictures; got complex"),
    ],
)
def test_what_is_no_picture_of_the_models_is_refused(images, reason):
    with pytest.raises(ValueError, match=reason):
        small_model().predict(images)


def test_a_model_of_grey_images_takes_grey_pictures():
    grey = PICTURES[..., :1]
    pictures, single = as_pictures(grey, (1, H, W))
    assert not single and pictures.shape == grey.shape
    for images in (PICTURES, PICTURES[..., 0]):
        with pytest.raises(ValueError, match=r"[Pp]ass images") as caught:
            as_pictures(images, (1, H, W))
        assert cure(caught.value, images).shape == grey.shape
    with pytest.raises(ValueError, match=r'convert\("L"\)\.resize\(\(6, 4\)\)\)\[\.\.\., np\.newaxis\]'):
        as_pictures(np.zeros((9, 9, 1), np.uint8), (1, H, W))


@pytest.mark.parametrize("preprocessing", [None, "mean", MEAN])
def test_a_model_that_does_not_know_the_preprocessing_says_how_to_give_it(preprocessing):
    model = small_model()
    model.preprocessing = preprocessing
    with pytest.raises(ValueError, match=r"must say how .* Set it to data\.preprocessing.*Preprocessing\("):
        model.predict(PICTURES)


def test_the_size_of_pictures_comes_from_the_mean_image_or_the_models_input():
    assert small_model().image_shape == IMAGE
    net = FullyConnectedNet([5], 3 * 32 * 32)
    assert net.image_shape == (3, 32, 32)
    assert FullyConnectedNet([5], 64).image_shape == (1, 8, 8)
    net.preprocessing = Preprocessing(128)
    assert net.image_shape == (3, 32, 32)
    convnet = ThreeLayerConvNet((3, 8, 10))
    assert convnet.image_shape == (3, 8, 10)
    for model in (net, convnet):
        model.preprocessing = Preprocessing(MEAN)
        with pytest.raises(ValueError, match=r"must fit the model's input_dim, .* got the shape \(3, 4, 6\)"):
            model.image_shape  # noqa: B018
    with pytest.raises(ValueError, match=r"input_dim, 72, does not say it.*np\.zeros\(\(C, H, W\)\)"):
        FullyConnectedNet([5], 72).image_shape  # noqa: B018


def test_scores_and_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must name each of the model's 3 classes; got 2: a, b"):
        small_model(class_names=["a", "b"]).predict(PICTURES)
    model = small_model()
    model.params["b2"][1] = np.nan
    with pytest.raises(ValueError, match="must return finite scores"):
        model.predict(PICTURES)

    class Flat(SavedModel):
        def loss(self, X, y=None):
            return X.reshape(len(X), -1).sum(axis=1)

    flat = Flat()
    flat.preprocessing = Preprocessing(MEAN)
    with pytest.raises(ValueError, match=r"must return scores \(230, C\); got the shape"):
        flat.predict(PICTURES)


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"mean_image": MEAN[np.newaxis]}, r"Pass mean_image\[0\]"),
        ({"mean_image": MEAN.transpose(1, 2, 0).repeat(3, 0)}, r"Pass mean_image\.transpose\(2, 0, 1\)"),
        ({"mean_image": np.zeros(3)}, r"Pass mean_image\.reshape\(-1, 1, 1\)"),
        ({"mean_image": np.zeros(3072)}, r"Pass mean_image\.reshape\(3, 32, 32\)"),
        ({"mean_image": np.zeros((5, 5))}, r"must have the axes \(C, H, W\) or be a number; got .*\(5, 5\)"),
        ({"mean_image": MEAN.astype(np.float16)}, "must be float32 or float64; got float16"),
        ({"mean_image": np.where(MEAN > 100, np.inf, MEAN)}, r"must be finite; it holds \d+ that are not"),
        ({"mean_image": "zero"}, "must be an array of numbers; got 'zero'"),
        ({"mean_image": None}, "must be an array of numbers; got None|must be finite"),
        ({"scale": 0}, "scale must be positive, since images are divided by it; got 0"),
        ({"scale": -MEAN}, "scale must be positive"),
        ({"class_names": "cat"}, "class_names must be a list of str"),
        ({"class_names": [1, 2]}, "class_names must be a list of str"),
        ({"class_names": ["cat", "cat"]}, "class_names must differ"),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        Preprocessing(**settings)


def test_a_preprocessing_is_not_changed_from_outside():
    mean = MEAN.copy()
    preprocessing = Preprocessing(mean, class_names=np.array(NAMES))
    mean += 1
    np.testing.assert_array_equal(preprocessing.mean_image, MEAN)
    assert preprocessing.class_names == tuple(NAMES)
    with pytest.raises(ValueError, match="read-only"):
        preprocessing.mean_image += 1


# How the preprocessing gets to the model


@pytest.mark.usefixtures("tiny_data")
class TestTheSolverHandsItOn:
    def solver(self, data, model=None):
        model = model or TwoLayerNet(hidden_dim=3)
        Solver(model, data, num_epochs=1, verbose=False)
        return model

    def test_where_the_data_say_it(self):
        data = get_CIFAR10_data()
        assert self.solver(data).preprocessing is data.preprocessing
        raw = get_CIFAR10_data(subtract_mean=False)
        assert self.solver(raw).preprocessing is raw.preprocessing

    def test_not_where_the_images_were_changed_since(self):
        for change in (lambda X: X / 61, lambda X: X + 0.5, lambda X: -X, lambda X: X.reshape(len(X), -1)):
            data = get_CIFAR10_data()
            for name in ("X_train", "X_val"):
                data[name] = change(data[name])
            assert self.solver(data).preprocessing is None

    def test_not_where_the_user_has_said_it_or_nobody_does(self):
        model = TwoLayerNet(hidden_dim=3)
        model.preprocessing = own = Preprocessing(MEAN.mean())
        data = get_CIFAR10_data()
        assert self.solver(data, model).preprocessing is own
        assert self.solver(dict(data)).preprocessing is None

    def test_nor_to_a_model_that_has_no_place_for_it(self):
        class Plain:
            def __init__(self):
                self.params = {"w": np.zeros(1)}

        assert "preprocessing" not in vars(self.solver(get_CIFAR10_data(), Plain()))


# The command line


@pytest.fixture
def model_file(tmp_path):
    small_model().save(tmp_path / "model.npz")
    for i in range(3):
        Image.fromarray(PICTURES[i]).save(tmp_path / f"{i}.png")
    return tmp_path / "model.npz"


def run(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cs231n.classify", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


def test_the_command_line_classifies_png_files(model_file):
    done = run(model_file.parent, "model.npz", "0.png", "1.png", "2.png")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()[-3:]
    _, probabilities = small_model().predict(PICTURES[:3], probabilities=True)
    for i, line in enumerate(lines):
        order = np.argsort(-probabilities[i])
        expected = ", ".join(f"{NAMES[k]} {probabilities[i, k]:.1%}" for k in order)
        assert line == f"{i}.png: {expected}"


def test_train_save_classify(tiny_data, tmp_path, capsys):
    """The whole way, as the README has it."""
    np.random.seed(0)
    model = FullyConnectedNet([30], normalization="batchnorm")
    Solver(model, get_CIFAR10_data(), update_rule="adam", num_epochs=1, verbose=False).train()
    model.save(tmp_path / "model.npz")
    images, _ = load_splits()["test"]
    Image.fromarray(images[0].transpose(1, 2, 0)).save(tmp_path / "picture.png")
    capsys.readouterr()
    classify.main([str(tmp_path / "model.npz"), str(tmp_path / "picture.png")])
    first = capsys.readouterr().out.split("picture.png: ")[1].split()[0]
    assert first == load(tmp_path / "model.npz").predict(images[0].transpose(1, 2, 0))


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(PICTURES[0]).convert("RGBA"),
        Image.fromarray(PICTURES[0]).convert("P"),
        Image.fromarray(PICTURES[0]).convert("L"),
        Image.fromarray(PICTURES[0]).convert("1"),
    ],
)
def test_pictures_of_any_mode_are_read_in_colour_or_grey(tmp_path, picture):
    picture.save(tmp_path / "picture.png")
    for C, mode in {3: "RGB", 1: "L"}.items():
        pixels = classify.read_picture(tmp_path / "picture.png", (C, H, W))
        assert pixels.shape == (H, W, C) and pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels.squeeze(), np.asarray(picture.convert(mode)))


def test_another_size_is_refused_or_resized(tmp_path):
    picture = Image.new("RGB", (4 * W, 8 * H), "red")
    picture.paste("blue", (0, 2 * H, 4 * W, 6 * H))
    picture.save(tmp_path / "picture.png")
    with pytest.raises(ValueError, match=r"24 pixels wide and 32 high, and .* are 6 by 4\. Add --resize"):
        classify.read_picture(tmp_path / "picture.png", IMAGE)
    middle = classify.read_picture(tmp_path / "picture.png", IMAGE, resize=True)
    assert middle.shape == (H, W, 3)
    assert middle[..., 2].min() > 200 and middle[..., 0].max() < 50


def png(picture):
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return packed.getvalue()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"no picture", "picture.png is no picture, or none that Pillow can read"),
        (b"", "is no picture"),
        (png(Image.fromarray(PICTURES[0]))[:-60], "cannot be classified: "),
        (png(Image.new("L", (10_000, 10_000))), "it has 100,000,000 pixels, more than 50,000,000"),
        (png(Image.new("1", (30_000, 30_000))), "cannot be classified: .*(pixels|bomb)"),
        (png(Image.new("I;16", (W, H))), "more than 8 bits per channel"),
    ],
    ids=["text", "empty", "truncated", "large", "bomb", "16-bit"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_cannot_be_read_is_an_error_that_says_why(model_file, capsys, content, reason):
    (model_file.parent / "picture.png").write_bytes(content)
    with pytest.raises(SystemExit, match=f"^error: .*{reason}"):
        classify.main([str(model_file), str(model_file.parent / "picture.png")])


def test_a_model_that_cannot_be_read_is_an_error_without_a_traceback(model_file):
    for name, reason in {"none.npz": "No such file", "0.png": "is not a saved model or is damaged"}.items():
        done = run(model_file.parent, name, "0.png")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and reason in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_four_channels_are_not_for_the_command_line():
    with pytest.raises(ValueError, match=r"the model takes 4 channels: use model\.predict"):
        classify.read_picture("any.png", (4, H, W))
