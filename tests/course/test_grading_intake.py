"""What is taken out of a zip or a folder that somebody has handed in, whatever it is."""

import io
import os
import random
import stat
import struct
import time
import tracemalloc
import zipfile

import pytest
from grading_cases import FINISHED

from course.grading import intake
from course.grading.intake import take
from course.rubric import FILES, LAYERS, OPTIM

ONE = {LAYERS: "x = 1\n"}


def zipped(files, method=zipfile.ZIP_DEFLATED):
    """A zip of (name, content) pairs, or of a dictionary; content is text, bytes or an entry's settings."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return buffer.getvalue()


def taken(files):
    return take("one", zipped(files))


def entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_all_files_of_the_assignment_are_taken():
    submission = taken(FINISHED)
    assert submission.files == FINISHED
    assert submission.notes == []


@pytest.mark.parametrize("top", ["a2/", "a/b/c/", "a2\\", "./"])
def test_the_project_may_lie_in_a_folder(top):
    assert taken({top + name: text for name, text in FINISHED.items()}).files == FINISHED


def test_of_two_projects_the_fuller_one_counts_and_of_equal_ones_the_topmost():
    assert taken({"old/" + LAYERS: "old", "new/" + LAYERS: "new", "new/" + OPTIM: ""}).files[LAYERS] == "new"
    assert taken({"deep/er/" + LAYERS: "deeper", LAYERS: "top"}).files == {LAYERS: "top"}


OUTSIDE = {
    "climbs": "../" + LAYERS,
    "climbs in between": "a/../../" + LAYERS,
    "climbs with backslashes": "..\\cs231n\\layers.py",
    "starts at the root": "/" + LAYERS,
    "a drive": "C:/" + LAYERS,
    "a drive without a slash": "C:" + LAYERS,
    "a share": "\\\\server\\" + LAYERS,
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_the_zip_is_left_out_and_told(name):
    submission = taken([(OUTSIDE[name], "out"), (OPTIM, "in")])
    assert submission.files == {OPTIM: "in"}
    assert any("leads out of the zip" in note for note in submission.notes)


@pytest.mark.parametrize("name", ["__MACOSX/" + LAYERS, "__MACOSX/cs231n/._layers.py", "cs231n/._layers.py"])
def test_what_macos_adds_is_left_out_in_silence(name):
    submission = taken([(name, "\0\x05\x16\x07"), (OPTIM, "in")])
    assert (submission.files, submission.notes) == ({OPTIM: "in"}, [])


def test_a_link_in_a_zip_is_left_out():
    submission = taken([(entry(LAYERS, stat.S_IFLNK | 0o777), "/etc/passwd"), (OPTIM, "in")])
    assert submission.files == {OPTIM: "in"}
    assert submission.notes == [f"left out the link {LAYERS!r}"]


def test_a_folder_of_a_files_name_is_no_file():
    submission = taken([(entry(LAYERS + "/", stat.S_IFDIR | 0o755), ""), (LAYERS + "/x", ""), (OPTIM, "")])
    assert set(submission.files) == {OPTIM}


def test_of_two_entries_of_one_name_the_later_counts_and_that_is_told():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([(LAYERS, "first"), (LAYERS, "second")])
    submission = take("one", data)
    assert submission.files == {LAYERS: "second"}
    assert "twice" in submission.notes[0]


def test_a_null_byte_ends_a_name():
    data = zipped({LAYERS + "!.txt": "x"}).replace(b"layers.py!.txt", b"layers.py\0.txt")
    assert take("one", data).files in ({LAYERS: "x"}, {})


@pytest.mark.parametrize("name", [LAYERS, "Dropout.ipynb"])
def test_a_bomb_costs_its_file_and_little_time(name):
    data = zipped({name: bytes(42 * 2**20), OPTIM: "in"})
    started = time.process_time()
    submission = take("one", data)
    assert time.process_time() - started < 2
    assert submission.files == {OPTIM: "in"}
    assert f"{name} cannot be read: it is larger than" in submission.notes[0]


def test_of_a_bomb_no_more_is_unpacked_than_a_file_may_be_long():
    data = zipped({LAYERS: bytes(42 * 2**20)})
    tracemalloc.start()
    take("one", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_file_as_long_as_it_may_be_is_taken():
    most = intake.MAX_BYTES[".py"]
    assert len(taken({LAYERS: "#" * most}).files[LAYERS]) == most
    assert taken({LAYERS: "#" * (most + 1)}).files == {}


def test_very_many_entries_are_refused():
    submission = taken({str(number): "" for number in range(intake.MAX_ENTRIES + 1)} | ONE)
    assert submission.files == {}
    assert "at most 20000 entries" in submission.notes[0]


def test_long_names_cost_little_time():
    data = zipped({f"{number}/" + "a/" * 30_000 + "x": "" for number in range(50)} | ONE)
    started = time.process_time()
    submission = take("one", data)
    assert time.process_time() - started < 3
    assert submission.files == ONE


def test_there_are_few_notes_and_short_ones():
    submission = taken({f"../{number}{'x' * 5000}\x1b": "" for number in range(500)} | ONE)
    assert submission.files == ONE
    assert len(submission.notes) == intake.MAX_NOTES + 1
    assert submission.notes[-1] == "and more problems of this kind"
    assert all(len(note) <= 300 and note.isprintable() for note in submission.notes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a zip"),
        (b"not a zip", "not a zip"),
        (zipped(FINISHED)[:-100], "not a zip"),
        (zipped({}), None),
    ],
    ids=["nothing", "text", "without its end", "empty"],
)
def test_what_is_no_zip_gives_no_files_and_a_note(data, words):
    submission = take("one", data)
    assert submission.files == {}
    assert (words is None and submission.notes == []) or any(words in note for note in submission.notes)


def test_of_a_zip_without_its_beginning_the_rest_is_read():
    submission = take("one", zipped(FINISHED)[100_000:])
    assert 0 < len(submission.files) < len(FINISHED)
    assert submission.files.items() <= FINISHED.items()


def encrypted(data):
    """The zip with every entry said to be encrypted."""
    data = bytearray(data)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        while start >= 0:
            data[start + place] |= 1
            start = data.find(signature, start + 4)
    return bytes(data)


def with_method(data, method):
    """The zip with another number for how its one entry is compressed."""
    data = bytearray(data)
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", data, data.find(signature) + place, method)
    return bytes(data)


def test_an_encrypted_file_is_told_to_be_so():
    assert "encrypted" in take("one", encrypted(zipped(ONE))).notes[0]


@pytest.mark.parametrize("method", [1, 9, 12, 14, 97], ids=lambda method: f"method-{method}")
def test_a_file_in_another_compression_costs_itself(method):
    submission = take("one", with_method(zipped({LAYERS: "x = 1\n" * 99}), method))
    assert submission.files == {}
    assert submission.notes[0].startswith(f"{LAYERS} cannot be read: ")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_compression_that_python_knows_is_read(method):
    assert take("one", zipped(ONE, method)).files == ONE


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_never_stops_the_grader(method):
    rng = random.Random(method)
    data = zipped({LAYERS: "x = 1\n" * 50, OPTIM: "y = 2\n" * 50}, method)
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        submission = take("one", bytes(damaged[: rng.choice([len(data), rng.randrange(len(data))])]))
        assert set(submission.files) <= {LAYERS, OPTIM}


ENCODED = {
    "UTF-8": ("# é\n".encode(), "# é\n"),
    "a BOM": ("# é\n".encode("utf-8-sig"), "# é\n"),
    "declared latin-1": ("# coding: latin-1\n# é\n".encode("latin-1"), "# coding: latin-1\n# é\n"),
    "declared in line 2": ("\n# coding: cp1252\n# €\n".encode("cp1252"), "\n# coding: cp1252\n# €\n"),
    "Chinese": ("# coding: gbk\n# 卷积\n".encode("gbk"), "# coding: gbk\n# 卷积\n"),
    "Windows' lines": (b"x = 1\r\ny = 2\r\n", "x = 1\r\ny = 2\r\n"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_file_is_read_in_its_encoding(name):
    data, text = ENCODED[name]
    assert taken({LAYERS: data}).files == {LAYERS: text}


UNDECODABLE = {
    "UTF-16": "x = 1\n".encode("utf-16"),
    "not what it says": "# é\n".encode("latin-1"),
    "an unknown encoding": b"# coding: klingon\n",
    "one that is no text": b"# coding: rot13\n",
    "one that hides code": b"# coding: utf-7\n+AHg-\n",
    "one that takes for ever": b"# coding: punycode\n" + b"a" * 2**17 + b"-" + b"b" * 2**17,
    "another one": b"# coding: idna\n" + b"a." * 2**16,
    "escapes": b"# coding: unicode_escape\n\\ud800\n",
    "a BOM and another encoding": b"\xef\xbb\xbf# coding: latin-1\n",
}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_what_cannot_be_decoded_costs_its_file(name):
    started = time.process_time()
    submission = taken({LAYERS: UNDECODABLE[name], OPTIM: "in"})
    assert time.process_time() - started < 1
    assert submission.files == {OPTIM: "in"}
    assert submission.notes[0].startswith(f"{LAYERS} cannot be read: ")


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_folder_is_taken_as_a_zip_is(tmp_path):
    assert take("one", write(tmp_path, FINISHED)).files == FINISHED
    assert take("one", write(tmp_path, FINISHED)).digest == taken(FINISHED).digest


def test_a_folder_may_hold_the_project_in_one_of_its_folders(tmp_path):
    write(tmp_path / "a2", FINISHED)
    write(tmp_path / "__MACOSX", {LAYERS: "no"})
    assert take("one", tmp_path).files == FINISHED


def test_a_link_to_a_file_is_left_out(tmp_path):
    write(tmp_path / "solution", ONE)
    mine = write(tmp_path / "mine", {OPTIM: "in"})
    (mine / LAYERS).symlink_to(tmp_path / "solution" / LAYERS)
    submission = take("one", mine)
    assert submission.files == {OPTIM: "in"}
    assert submission.notes == [f"left out {LAYERS}, which is a link or not a file"]


def test_a_link_on_the_way_to_a_file_is_left_out(tmp_path):
    """It might lead to where the grader keeps the solutions."""
    write(tmp_path / "solution", FINISHED)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "cs231n").symlink_to(tmp_path / "solution" / "cs231n", target_is_directory=True)
    (mine / "a2").symlink_to(tmp_path / "solution", target_is_directory=True)
    submission = take("one", mine)
    assert submission.files == {}
    assert len(submission.notes) == len([name for name in FILES if name.startswith("cs231n/")])


def test_the_folder_itself_may_be_reached_by_a_link(tmp_path):
    write(tmp_path / "real", ONE)
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert take("one", tmp_path / "link").files == ONE


def test_a_folder_or_a_pipe_of_a_files_name_is_left_out(tmp_path):
    write(tmp_path, {OPTIM: "in"})
    (tmp_path / LAYERS).mkdir()
    os.mkfifo(tmp_path / "Dropout.ipynb")
    assert take("one", tmp_path).files == {OPTIM: "in"}


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file")
def test_an_unreadable_file_costs_itself(tmp_path):
    write(tmp_path, ONE | {OPTIM: "in"})
    (tmp_path / LAYERS).chmod(0)
    submission = take("one", tmp_path)
    assert submission.files == {OPTIM: "in"}
    assert submission.notes[0].startswith(f"{LAYERS} cannot be read: ")


def test_a_file_that_fails_while_it_is_read_costs_itself(tmp_path, monkeypatch):
    write(tmp_path, ONE | {OPTIM: "in"})
    read = intake._read_file

    def failing(path, limit):
        if path.name == "layers.py":
            raise PermissionError(13, "Permission denied")
        return read(path, limit)

    monkeypatch.setattr(intake, "_read_file", failing)
    submission = take("one", tmp_path)
    assert submission.files == {OPTIM: "in"}
    assert submission.notes == [f"{LAYERS} cannot be read: [Errno 13] Permission denied"]


def test_a_folder_that_is_not_there_gives_no_files_and_a_note(tmp_path):
    submission = take("one", tmp_path / "nothing")
    assert submission.files == {}
    assert "cannot be read: FileNotFoundError" in submission.notes[0]
