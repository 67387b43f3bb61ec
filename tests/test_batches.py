"""CIFAR-10's files: what is read is what was written, and nothing but plain data is read."""

import os
import pickle
import struct

import numpy as np
import pytest

from cs231n.datasets import batches
from cs231n.datasets.batches import (
    ALL_FILES,
    has_all_files,
    new_data_folder,
    read_batch,
    read_class_names,
    read_images_per_batch,
    write_batch,
    write_meta,
)

pytestmark = pytest.mark.q1


def random_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def dump(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def python2_string(text):
    return b"U" + bytes([len(text)]) + text.encode()


def python2_batch(rows, labels, type_code="u1"):
    """The bytes that Python 2 and the NumPy of 2009 wrote for a batch of fewer than 256 images."""
    dtype = b"cnumpy\ndtype\n" + python2_string(type_code) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + python2_string("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"K" + bytes([len(rows)]) + b"M" + struct.pack("<H", 3072) + b"\x86"
    content = b"T" + struct.pack("<I", rows.nbytes) + rows.tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    array = empty + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    label_list = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    pairs = python2_string("labels") + label_list + python2_string("data") + array
    return b"\x80\x02}(" + pairs + b"u."


def test_a_written_batch_reads_back(tmp_path):
    images = random_images(7)
    write_batch(tmp_path / "batch", images, range(7), "a label")
    read, labels = read_batch(tmp_path / "batch")
    np.testing.assert_array_equal(read, images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels, np.arange(7))
    assert read.dtype == np.uint8
    assert labels.dtype == np.int64


def test_a_row_is_the_red_then_the_green_then_the_blue_plane(tmp_path):
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 1, 2] = 10, 20, 30  # second row, third column
    write_batch(tmp_path / "batch", image, [0], "")
    images, _ = read_batch(tmp_path / "batch")
    flat = images.reshape(-1)
    assert np.flatnonzero(flat).tolist() == [34, 1024 + 34, 2048 + 34]
    assert flat[flat > 0].tolist() == [10, 20, 30]


def test_a_batch_as_python_2_wrote_it(tmp_path):
    rows = random_images(200).reshape(200, 3072)  # every byte value occurs, ASCII or not
    labels = np.arange(200) % 10
    path = tmp_path / "batch"
    path.write_bytes(python2_batch(rows, labels))
    images, read_labels = read_batch(path)
    np.testing.assert_array_equal(images.reshape(200, 3072), rows)
    np.testing.assert_array_equal(read_labels, labels)


def test_class_names_and_batch_size(tmp_path):
    write_meta(tmp_path / "batches.meta", ("a", "b"), 400)
    assert read_class_names(tmp_path / "batches.meta") == ["a", "b"]
    assert read_images_per_batch(tmp_path / "batches.meta") == 400


@pytest.mark.parametrize("number", [0, -1, 10_001, "400", None])
def test_an_impossible_batch_size_is_refused(tmp_path, number):
    path = dump(tmp_path / "meta", {"num_cases_per_batch": number})
    with pytest.raises(ValueError, match=r"`num_cases_per_batch` must be an int from 1 to 10,000"):
        read_images_per_batch(path)


@pytest.mark.parametrize("names", [None, "cat", ["cat", 3]])
def test_class_names_that_are_no_names_are_refused(tmp_path, names):
    path = dump(tmp_path / "meta", {"label_names": names})
    with pytest.raises(ValueError, match="`label_names` must be a list of str; got"):
        read_class_names(path)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_batch(tmp_path / "batch")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_batch_is_refused(tmp_path, share):
    content = python2_batch(random_images(20).reshape(20, 3072), [0] * 20)
    path = tmp_path / "batch"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"batch is not a file of CIFAR-10.*If it should be one, delete it"):
        read_batch(path)


@pytest.mark.parametrize("content", [b"<html>not a pickle</html>", pickle.dumps([1, 2])])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(ValueError, match="batch is not a file of CIFAR-10"):
        read_batch(tmp_path / "batch")


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_FILE_BYTES", 10)
    write_batch(tmp_path / "batch", random_images(1), [0], "")
    with pytest.raises(ValueError, match=r"batch has [\d,]+ bytes; a batch has at most 10"):
        read_batch(tmp_path / "batch")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "`data` must be a uint8 array .N, 3072.; got nothing"),
        ([[0] * 3072] * 2, "got a list of 2"),
        (np.zeros((2, 3071), np.uint8), r"got an array of shape \(2, 3071\)"),
        (np.zeros(6144, np.uint8), r"got an array of shape \(6144,\)"),
        (np.zeros((2, 3, 1024), np.uint8), r"got an array of shape \(2, 3, 1024\)"),
        (np.zeros((2, 3072), np.int8), "it holds an array of type 'i1', not of bytes"),
        (np.zeros((2, 3072), np.float32), "it holds an array of type 'f4', not of bytes"),
        (np.full((2, 3072), None), "it holds an array of type 'O8', not of bytes"),
        (np.zeros((3072, 2), np.uint8).T, "not of bytes in row order"),
    ],
)
def test_data_other_than_rows_of_bytes_is_refused(tmp_path, data, message):
    path = dump(tmp_path / "batch", {"data": data, "labels": [0, 1]})
    with pytest.raises(ValueError, match=message):
        read_batch(path)


def test_an_array_larger_than_its_content_is_refused(tmp_path):
    rows = random_images(20).reshape(20, 3072)
    twenty, forty = b"K\x14M\x00\x0c\x86", b"K\x28M\x00\x0c\x86"
    content = python2_batch(rows, [0] * 20)
    assert content.count(twenty) == 1
    (tmp_path / "batch").write_bytes(content.replace(twenty, forty))
    with pytest.raises(ValueError, match="cannot reshape array of size 61440"):
        read_batch(tmp_path / "batch")


@pytest.mark.parametrize(
    "labels", [None, "01", [0], [0, 1, 2], [0, 10], [0, -1], [0, 1.0], [0, None], [[0], [1]]]
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels):
    path = dump(tmp_path / "batch", {"data": np.zeros((2, 3072), np.uint8), "labels": labels})
    with pytest.raises(ValueError, match="`labels` must be a list of 2 integers from 0 to 9; got"):
        read_batch(path)


class Call:
    """Pickles as a call of `function`, as a crafted file would hold it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, np.fromfile, np.load, getattr])
def test_a_pickle_that_runs_code_is_refused(tmp_path, protocol, function):
    marker = tmp_path / "marker"
    argument = f"open({str(marker)!r}, 'w')" if function is eval else f"touch {marker}"
    content = {"extra": Call(function, argument), "data": None, "labels": [0]}
    path = dump(tmp_path / "batch", content, protocol)
    with pytest.raises(ValueError, match=rf"it asks for [\w.]+\.{function.__name__}, which no file"):
        read_batch(path)
    assert not marker.exists()


def fill(folder):
    for name in ALL_FILES:
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize("absent", ALL_FILES)
def test_a_folder_is_complete_with_all_seven_files_only(tmp_path, absent):
    fill(tmp_path)
    assert has_all_files(tmp_path)
    (tmp_path / absent).unlink()
    assert not has_all_files(tmp_path)


def test_a_new_folder_appears_when_it_is_filled(tmp_path):
    folder = tmp_path / "data" / "set"
    with new_data_folder(folder) as unfinished:
        fill(unfinished)
        assert not folder.exists()
    assert has_all_files(folder)
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_is_left_of_a_folder_whose_filling_failed(tmp_path, error):
    with pytest.raises(error), new_data_folder(tmp_path / "set") as unfinished:
        fill(unfinished)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_complete_folder_made_meanwhile_is_kept(tmp_path):
    folder = tmp_path / "set"
    with new_data_folder(folder) as unfinished:
        fill(unfinished)
        folder.mkdir()
        fill(folder)
        (folder / "theirs").touch()
    assert (folder / "theirs").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_an_incomplete_folder_is_replaced(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"half")
    with new_data_folder(folder) as unfinished:
        fill(unfinished)
    assert has_all_files(folder)
    assert (folder / "data_batch_1").read_bytes() == b""
    assert list(tmp_path.iterdir()) == [folder]
