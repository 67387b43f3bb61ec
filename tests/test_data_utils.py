"""Which data set is used, and the arrays that come of it."""

import errno

import numpy as np
import pytest

from cs231n import datasets
from cs231n.data_utils import (
    get_CIFAR10_data,
    get_class_names,
    get_drawings,
    load_CIFAR10,
    load_CIFAR_batch,
    load_splits,
)
from cs231n.datasets import Dataset, data_folder, find_dataset, standin
from cs231n.datasets.batches import TEST_FILE, TRAIN_FILES, write_batch, write_meta

pytestmark = pytest.mark.q1

NAMES = [f"class {i}" for i in range(10)]
PER_BATCH = 20
FLOAT32_EPS = np.finfo(np.float32).eps


def write_set(folder, seed=0):
    """Write a small data set of noise; return its images (120, 32, 32, 3) and labels (120,)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (6 * PER_BATCH, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 6 * PER_BATCH)
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate((*TRAIN_FILES, TEST_FILE)):
        batch = slice(i * PER_BATCH, (i + 1) * PER_BATCH)
        write_batch(folder / name, images[batch], labels[batch], name)
    write_meta(folder / "batches.meta", NAMES, PER_BATCH)
    return images, labels


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder in which the stand-in is a small set of noise."""
    monkeypatch.setenv("CS231N_DATA", str(tmp_path))
    monkeypatch.delenv("CS231N_DATASET", raising=False)
    monkeypatch.setattr(standin, "write_standin", lambda folder: write_set(folder, seed=1))
    monkeypatch.setattr(standin, "VERSION", 7, raising=False)
    return tmp_path


@pytest.fixture
def cifar10(data):
    """A small set of noise in CIFAR-10's place: its images and labels in file order."""
    return write_set(data / "cifar-10-batches-py")


class TestFindDataset:
    def test_auto_takes_cifar10_where_it_is(self, data, cifar10):
        expected = Dataset("cifar10", data / "cifar-10-batches-py", "CIFAR-10")
        assert find_dataset() == expected
        assert [path.name for path in data.iterdir()] == ["cifar-10-batches-py"]

    @pytest.mark.parametrize("choice", [None, "", "auto", "standin"])
    def test_the_standin_is_made_where_cifar10_is_not(self, data, monkeypatch, capsys, choice):
        if choice is not None:
            monkeypatch.setenv("CS231N_DATASET", choice)
        found = find_dataset()
        assert found.name == "standin"
        assert found.folder == data / "standin-v7"
        assert "synthetic images" in found.description
        assert list(data.iterdir()) == [found.folder]
        assert len(capsys.readouterr().out.splitlines()) == 1

    def test_the_standin_is_made_once(self, data, monkeypatch, capsys):
        found = find_dataset()
        monkeypatch.setattr(standin, "write_standin", lambda folder: pytest.fail("made twice"))
        capsys.readouterr()
        assert find_dataset() == found
        assert capsys.readouterr().out == ""

    def test_the_standin_can_be_had_beside_cifar10(self, cifar10, monkeypatch):
        monkeypatch.setenv("CS231N_DATASET", "standin")
        assert find_dataset().name == "standin"

    @pytest.mark.parametrize("absent", ["data_batch_3", "test_batch", "batches.meta"])
    def test_an_incomplete_cifar10_does_not_count(self, data, cifar10, monkeypatch, absent):
        (data / "cifar-10-batches-py" / absent).unlink()
        assert find_dataset().name == "standin"
        monkeypatch.setenv("CS231N_DATASET", "cifar10")
        with pytest.raises(FileNotFoundError):
            find_dataset()

    def test_cifar10_asked_for_and_absent_says_what_to_type(self, data, monkeypatch):
        monkeypatch.setenv("CS231N_DATASET", "cifar10")
        with pytest.raises(FileNotFoundError, match=r"`python -m cs231n\.datasets`") as caught:
            find_dataset()
        for text in (str(data), "CS231N_DATA ", "CS231N_DATASET=standin"):
            assert text in str(caught.value)

    @pytest.mark.parametrize("choice", ["CIFAR10", "mnist", " "])
    def test_an_unknown_choice_is_an_error(self, data, monkeypatch, choice):
        monkeypatch.setenv("CS231N_DATASET", choice)
        message = f"CS231N_DATASET must be one of auto, cifar10, standin, tiny; got '{choice}'"
        with pytest.raises(ValueError, match=message):
            find_dataset()

    def test_the_default_data_folder_is_the_packages_own(self, monkeypatch):
        monkeypatch.delenv("CS231N_DATA", raising=False)
        assert (data_folder() / "batches.py").is_file()

    def test_nothing_is_left_of_a_standin_that_could_not_be_written(self, data, monkeypatch):
        def write_half(folder):
            write_batch(folder / "data_batch_1", np.zeros((1, 32, 32, 3), np.uint8), [0], "")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(standin, "write_standin", write_half)
        with pytest.raises(OSError, match=r"No space left on device.*set CS231N_DATA"):
            find_dataset()
        assert list(data.iterdir()) == []

    def test_a_data_folder_that_is_a_file_is_an_error(self, data, monkeypatch):
        monkeypatch.setenv("CS231N_DATA", str(data / "file"))
        (data / "file").touch()
        with pytest.raises(OSError, match=r"cannot make the data set in .*set CS231N_DATA"):
            find_dataset()


class TestLoad:
    def test_one_batch(self, data, cifar10):
        images, labels = cifar10
        X, y = load_CIFAR_batch(data / "cifar-10-batches-py" / "data_batch_2")
        np.testing.assert_array_equal(X, images[PER_BATCH : 2 * PER_BATCH])
        np.testing.assert_array_equal(y, labels[PER_BATCH : 2 * PER_BATCH])
        assert X.dtype == np.float32
        assert y.dtype == np.int64
        assert X.flags.c_contiguous

    def test_all_batches(self, data, cifar10):
        images, labels = cifar10
        Xtr, Ytr, Xte, Yte = load_CIFAR10(str(data / "cifar-10-batches-py"))
        np.testing.assert_array_equal(Xtr, images[: 5 * PER_BATCH])
        np.testing.assert_array_equal(Ytr, labels[: 5 * PER_BATCH])
        np.testing.assert_array_equal(Xte, images[5 * PER_BATCH :])
        np.testing.assert_array_equal(Yte, labels[5 * PER_BATCH :])
        for array in (Xtr, Xte):
            assert array.dtype == np.float32
            assert array.flags.owndata and array.flags.c_contiguous

    def test_class_names(self, cifar10):
        assert get_class_names() == NAMES

    def test_a_batch_of_another_size_is_refused(self, data, cifar10):
        path = data / "cifar-10-batches-py" / "data_batch_4"
        write_batch(path, np.zeros((19, 32, 32, 3), np.uint8), [0] * 19, "")
        with pytest.raises(ValueError, match=r"data_batch_4 holds 19 images; .*meta says 20"):
            load_CIFAR10(path.parent)


class TestSplit:
    @pytest.mark.parametrize(
        ("num_training", "num_validation", "num_test"),
        [(90, 10, 20), (1, 1, 1), (20, 20, 5), (7, 50, 20), (99, 1, 1), (1, 99, 1)],
    )
    def test_validation_follows_training_in_the_files_order(
        self, cifar10, num_training, num_validation, num_test
    ):
        images, labels = cifar10
        images = images.transpose(0, 3, 1, 2)
        data = get_CIFAR10_data(num_training, num_validation, num_test, subtract_mean=False)
        starts = {"train": 0, "val": num_training, "test": 5 * PER_BATCH}
        counts = {"train": num_training, "val": num_validation, "test": num_test}
        for name, start in starts.items():
            part = slice(start, start + counts[name])
            np.testing.assert_array_equal(data[f"X_{name}"], images[part])
            np.testing.assert_array_equal(data[f"y_{name}"], labels[part])

    def test_the_arrays_are_float32_and_nobody_elses(self, cifar10):
        data = get_CIFAR10_data(90, 10, 20)
        assert list(data) == ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]
        for name, array in data.items():
            assert array.dtype == (np.float32 if name[0] == "X" else np.int64)
            assert array.flags.owndata and array.flags.c_contiguous and array.flags.writeable

    def test_the_training_mean_is_subtracted_from_all_three(self, cifar10):
        images = cifar10[0].transpose(0, 3, 1, 2)
        mean_image = images[:90].sum(axis=0, dtype=np.int64) / 90
        data = get_CIFAR10_data(90, 10, 20)
        for name, part in (("train", images[:90]), ("val", images[90:100]), ("test", images[100:])):
            error = np.abs(data[f"X_{name}"] - (part - mean_image))
            assert error.max() <= 255 * FLOAT32_EPS

    def test_the_mean_worked_out_on_paper(self, data):
        folder = data / "cifar-10-batches-py"
        write_set(folder)
        grey = np.arange(PER_BATCH, dtype=np.uint8).reshape(-1, 1, 1, 1)
        for name in (*TRAIN_FILES, TEST_FILE):
            write_batch(folder / name, np.broadcast_to(grey, (20, 32, 32, 3)), [0] * 20, "")
        split = get_CIFAR10_data(4, 2, 1)  # of 0, 1, 2, 3 the mean is 1.5
        assert (split["X_train"][:, 2, 31, 0] == [-1.5, -0.5, 0.5, 1.5]).all()
        assert (split["X_val"][:, 0, 0, 0] == [2.5, 3.5]).all()
        assert (split["X_test"][:, 1, 5, 7] == [-1.5]).all()


class TestLoadSplits:
    def test_bytes_as_they_are_in_the_files(self, data, cifar10):
        images, labels = cifar10
        splits = load_splits(num_training=90, num_validation=10, num_test=20)
        assert list(splits) == ["train", "val", "test"]
        for (X, y), place in zip(splits.values(), (slice(90), slice(90, 100), slice(100, 120)), strict=True):
            assert (X.dtype, y.dtype) == (np.uint8, np.int64)
            np.testing.assert_array_equal(X, images[place].transpose(0, 3, 1, 2))
            np.testing.assert_array_equal(y, labels[place])

    def test_all_test_images_by_default(self, data, monkeypatch):
        monkeypatch.setenv("CS231N_DATASET", "tiny")
        assert [len(y) for _, y in load_splits().values()] == [1600, 400, 400]


class TestSizes:
    def test_more_images_than_there_are(self, cifar10):
        message = r"num_training \+ num_validation must be at most 100, .*got 91 \+ 10"
        with pytest.raises(ValueError, match=message):
            get_CIFAR10_data(91, 10, 20)
        with pytest.raises(ValueError, match="num_test must be at most 20; got 21"):
            get_CIFAR10_data(90, 10, 21)

    def test_the_default_sizes_are_not_cut_down(self, cifar10):
        with pytest.raises(ValueError, match=r"must be at most 100, .*got 49,000 \+ 1,000"):
            get_CIFAR10_data(num_test=20)

    @pytest.mark.parametrize("size", [0, -1, 2.0, None, True])
    @pytest.mark.parametrize("name", ["num_training", "num_validation", "num_test"])
    def test_what_is_no_size(self, cifar10, name, size):
        message = f"{name} must be an integer of at least 1; got {size}"
        with pytest.raises(ValueError, match=message):
            get_CIFAR10_data(**{name: size})


class TestPrintedLine:
    def test_cifar10(self, cifar10, capsys):
        get_CIFAR10_data(90, 9, 8)
        line = "Data: CIFAR-10; 90 training, 9 validation, 8 test images\n"
        assert capsys.readouterr().out == line

    def test_the_standin_is_said_to_be_one(self, data, capsys):
        find_dataset()
        capsys.readouterr()
        get_CIFAR10_data(90, 9, 8)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("Data: the stand-in for CIFAR-10 (synthetic images; ")
        assert line.endswith("90 training, 9 validation, 8 test images")


@pytest.mark.usefixtures("tiny_data")
class TestTiny:
    """The tiny set as it is drawn."""

    @pytest.mark.parametrize(
        ("asked", "given"),
        [
            ((49000, 1000, 1000), (1600, 400, 400)),
            ((49000, 100, 1000), (1900, 100, 400)),
            ((50, 1000, 10), (50, 400, 10)),
        ],
    )
    def test_sizes_are_cut_down_to_what_it_holds(self, capsys, asked, given):
        data = get_CIFAR10_data(*asked)
        assert tuple(len(data[f"y_{name}"]) for name in ("train", "val", "test")) == given
        line = capsys.readouterr().out
        assert line.startswith("Data: the tiny stand-in for CIFAR-10")
        counts = f"{given[0]:,} training, {given[1]:,} validation, {given[2]:,} test images"
        assert line.endswith(f"{counts}\n")

    def test_it_is_kept(self, tiny_folder, monkeypatch):
        found = find_dataset()
        assert found.folder.parent == tiny_folder
        monkeypatch.setattr(datasets, "_make", lambda *_: pytest.fail("made twice"))
        assert find_dataset() == found

    def test_class_names(self):
        assert get_class_names() == list(standin.CLASS_NAMES)


@pytest.mark.parametrize("choice", ["cifar10", "standin"])
def test_drawings_are_drawn_whichever_data_set_is_chosen(monkeypatch, choice):
    monkeypatch.setenv("CS231N_DATASET", choice)
    data = get_drawings(30, 10, seed=1)
    np.testing.assert_array_equal(data["pictures"], standin.make_images(np.arange(40) % 10, 1)[30:])
    assert [data[f"{name}_val"].shape for name in "Xy"] == [(10, 3, 32, 32), (10,)]
    assert data["X_train"].dtype == np.float32
    np.testing.assert_allclose(data["X_train"].mean(axis=0), 0, atol=1e-5)
    assert data["X_train"].std() == pytest.approx(1, rel=1e-5)


def test_the_pictures_of_drawings_are_the_images_that_a_model_reads():
    data = get_drawings(30, 10)
    pictures = data["pictures"].transpose(0, 3, 1, 2).astype(np.float64)
    differences = (pictures[0] - pictures[1]).ravel(), (data["X_val"][0] - data["X_val"][1]).ravel()
    assert np.corrcoef(*differences)[0, 1] == pytest.approx(1)
