"""Fetching CIFAR-10 from a local server: whole and checked, or refused with nothing left behind."""

import errno
import hashlib
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cs231n.datasets import download
from cs231n.datasets.__main__ import main
from cs231n.datasets.batches import ALL_FILES, has_all_files, read_batch, write_batch, write_meta
from cs231n.datasets.download import DownloadError, download_cifar10

pytestmark = pytest.mark.q1

FOLDER = "cifar-10-batches-py"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The content of CIFAR-10's seven files, with three images of noise in each batch."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name in ALL_FILES[:-1]:
        images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        write_batch(folder / name, images, [1, 2, 3], name)
    write_meta(folder / "batches.meta", ["a name"] * 10, 3)
    return {name: (folder / name).read_bytes() for name in ALL_FILES}


def add_file(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def pack(files, *extras):
    """An archive of `files`, a dict of contents by name, and of members without content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        add_file(tar, f"{FOLDER}/readme.html", b"hello")
        for name, content in files.items():
            add_file(tar, name if "/" in name else f"{FOLDER}/{name}", content)
        for member in extras:
            tar.addfile(member)
    return packed.getvalue()


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, the last again and again."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = []
        self.ranges = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/cifar.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers["Range"])
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_):
        pass


def send(handler, body, announced=None, status=200):
    """Answer with `body`, and announce as many bytes as `announced` says."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if announced is None else announced))
    handler.end_headers()
    handler.wfile.write(body)


def whole(archive):
    return partial(send, body=archive)


def cut_off(archive):
    return partial(send, body=archive[: len(archive) // 2], announced=len(archive))


def rest_of(archive):
    """Answer with the part of `archive` that was asked for."""

    def answer(handler):
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        send(handler, archive[start:], status=206)

    return answer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0, 0, 0))
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("CS231N_CIFAR10_URL", raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch an archive into the folder `tmp_path/data`, which the server sends with `answers`."""

    def fetch(archive, *answers):
        server.answers[:] = answers or [whole(archive)]
        md5 = hashlib.md5(archive).hexdigest()
        return download_cifar10(tmp_path / "data", server.url, md5, len(archive))

    return fetch


@pytest.fixture
def refused(fetch, tmp_path):
    """Expect a fetch to be refused with `message` in one line, and nothing left anywhere."""

    def refused(message, archive, *answers):
        with pytest.raises(DownloadError, match=message) as caught:
            fetch(archive, *answers)
        assert "\n" not in str(caught.value)
        assert [path for path in tmp_path.rglob("*") if path != tmp_path / "data"] == []
        return str(caught.value)

    return refused


def assert_fetched(folder, files):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert list(folder.parent.iterdir()) == [folder], "something else is left in the data folder"


def test_a_good_archive_gives_the_seven_files(fetch, files, tmp_path):
    folder = fetch(pack(files))
    assert folder == tmp_path / "data" / FOLDER
    assert_fetched(folder, files)


def test_nothing_is_fetched_twice(fetch, server, files):
    folder = fetch(pack(files))
    assert fetch(pack(files)) == folder
    assert len(server.ranges) == 1


def test_an_incomplete_folder_is_replaced(fetch, files, tmp_path):
    (tmp_path / "data" / FOLDER).mkdir(parents=True)
    (tmp_path / "data" / FOLDER / "data_batch_1").write_bytes(b"half")
    assert_fetched(fetch(pack(files)), files)


def test_the_mirror_is_asked_instead(server, files, tmp_path, monkeypatch):
    archive = pack(files)
    server.answers = [whole(archive)]
    monkeypatch.setenv("CS231N_CIFAR10_URL", server.url)
    md5 = hashlib.md5(archive).hexdigest()
    assert_fetched(download_cifar10(tmp_path, md5=md5, size=len(archive)), files)


class TestTransfer:
    def test_a_wrong_checksum(self, refused, files):
        archive = pack(files)
        forged = archive[:-1] + bytes([archive[-1] ^ 1])
        message = refused("does not have the MD5 checksum", archive, whole(forged))
        assert "CS231N_CIFAR10_URL" in message
        assert "CS231N_DATASET=standin" in message

    def test_a_transfer_that_always_breaks_off(self, refused, server, files):
        archive = pack(files)
        message = rf"broke off after [1-9][\d,]+ of {len(archive):,} bytes"
        refused(message, archive, cut_off(archive))
        assert len(server.ranges) == 3

    def test_a_broken_transfer_is_taken_up_where_it_stopped(self, fetch, server, files):
        archive = pack(files)
        assert_fetched(fetch(archive, cut_off(archive), rest_of(archive)), files)
        first, second = (int(asked[len("bytes=") : -1]) for asked in server.ranges)
        assert first == 0
        assert len(archive) // 2 - 1000 < second <= len(archive) // 2  # all but a last chunk

    def test_a_server_that_knows_no_ranges_sends_all_again(self, fetch, files):
        archive = pack(files)
        assert_fetched(fetch(archive, cut_off(archive), whole(archive)), files)

    def test_a_page_in_place_of_the_archive(self, refused, files):
        archive = pack(files)
        refused(f"has 6 bytes, not {len(archive):,}", archive, whole(b"<html>"))

    @pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (503, "503 Service")])
    def test_a_server_that_has_no_archive(self, refused, server, files, status, text):
        refused(f"the server answers {text}", pack(files), partial(send, body=b"", status=status))
        assert len(server.ranges) == 1

    def test_a_host_that_cannot_be_reached(self, server, tmp_path):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
            message = r"the connection could not be made \(ConnectionError\).*CS231N_CIFAR10_URL"
            with pytest.raises(DownloadError, match=message):
                download_cifar10(tmp_path, url)
        assert list(tmp_path.iterdir()) == []

    def test_an_address_that_is_none(self, tmp_path):
        with pytest.raises(DownloadError, match="Cannot fetch a/path: Invalid URL"):
            download_cifar10(tmp_path, "a/path")


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


class TestArchive:
    @pytest.mark.parametrize("name", ["../evil", f"{FOLDER}/../../evil", f"{FOLDER}/..", "/evil", "//evil"])
    def test_a_member_that_lies_outside(self, refused, files, name):
        member = tarfile.TarInfo(name)
        refused(f"'{name}' lies outside the archive's folder", pack(files, member))

    def test_a_member_with_the_absolute_path_of_a_file(self, refused, files, tmp_path):
        refused("lies outside the archive's folder", pack(files | {f"{tmp_path}/evil": b"evil"}))

    @pytest.mark.parametrize(
        "member",
        [
            special(f"{FOLDER}/link", tarfile.SYMTYPE, "/etc/passwd"),
            special(f"{FOLDER}/test_batch", tarfile.SYMTYPE, "data_batch_1"),
            special(f"{FOLDER}/link", tarfile.LNKTYPE, f"{FOLDER}/test_batch"),
            special("pipe", tarfile.FIFOTYPE),
            special("device", tarfile.CHRTYPE),
        ],
    )
    def test_a_link_or_a_device(self, refused, files, member):
        refused(f"'{member.name}' is a link or a device", pack(files, member))

    def test_a_huge_member(self, refused, files, monkeypatch):
        monkeypatch.setattr(download, "MAX_FILE_BYTES", 20_000)
        content = bytes(20_001)
        refused(r"has 20,001 bytes, which is too large", pack(files | {"readme.html": content}))

    @pytest.mark.parametrize("name", ALL_FILES)
    def test_a_missing_member(self, refused, files, name):
        rest = {other: files[other] for other in files if other != name}
        refused(f"it lacks {FOLDER}/{name}", pack(rest))

    def test_a_folder_in_place_of_a_file(self, refused, files):
        rest = {name: files[name] for name in ALL_FILES[1:]}
        folder = special(f"{FOLDER}/data_batch_1", tarfile.DIRTYPE)
        refused(f"it lacks {FOLDER}/data_batch_1", pack(rest, folder))

    def test_what_is_no_archive(self, refused):
        refused("is refused: not a gzip file", b"not an archive")

    @pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
    def test_a_damaged_file(self, refused, files, name):
        message = rf"{name} is not a file of CIFAR-10"
        refused(message, pack(files | {name: files[name][:-20]}))

    @pytest.mark.parametrize("name", ["data_batch_5", "batches.meta"])
    def test_a_pickle_that_runs_code(self, refused, files, tmp_path, name):
        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {tmp_path / 'marker'}",)

        refused(r"it asks for \w+\.system", pack(files | {name: pickle.dumps(Evil())}))
        assert not (tmp_path / "marker").exists()


class TestDisk:
    def test_a_full_disk(self, refused, files, monkeypatch):
        def copy(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(shutil, "copyfileobj", copy)
        refused("Cannot write to .*: No space left on device.*set CS231N_DATA", pack(files))

    def test_a_data_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(DownloadError, match=r"Cannot write to .*file: .*set CS231N_DATA"):
            download_cifar10(tmp_path / "file")

    def test_a_folder_without_permission(self, tmp_path, monkeypatch):
        def refuse(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("tempfile.mkdtemp", refuse)
        with pytest.raises(DownloadError, match=r"Cannot write to .*: Permission denied"):
            download_cifar10(tmp_path)

    def test_ctrl_c_leaves_nothing(self, fetch, files, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(download, "_unpack", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(pack(files))
        assert list((tmp_path / "data").iterdir()) == []


class TestCommand:
    @pytest.fixture(autouse=True)
    def data_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CS231N_DATA", str(tmp_path))

    def test_it_fetches_once_and_says_where(self, server, files, tmp_path, monkeypatch, capsys):
        archive = pack(files)
        server.answers = [whole(archive)]
        monkeypatch.setenv("CS231N_CIFAR10_URL", server.url)
        md5, size = hashlib.md5(archive).hexdigest(), len(archive)
        monkeypatch.setattr(download_cifar10, "__defaults__", (None, md5, size))
        main([])
        assert capsys.readouterr().out == f"CIFAR-10 is in {tmp_path / FOLDER}\n"
        assert has_all_files(tmp_path / FOLDER)
        images, _ = read_batch(tmp_path / FOLDER / "data_batch_1")
        assert len(images) == 3
        main([])
        assert capsys.readouterr().out == f"CIFAR-10 is already in {tmp_path / FOLDER}\n"
        assert len(server.ranges) == 1

    def test_a_failure_is_one_line_and_status_1(self, server, tmp_path):
        server.answers = [partial(send, body=b"", status=404)]
        run = subprocess.run(
            [sys.executable, "-m", "cs231n.datasets"],
            env=os.environ | {"CS231N_CIFAR10_URL": server.url},
            cwd=Path(download.__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1
        assert run.stdout == ""
        progress, line = run.stderr.splitlines()[:-1], run.stderr.splitlines()[-1]
        assert all(text.startswith("CIFAR-10:") or not text for text in progress)
        assert line.startswith(f"error: Cannot fetch {server.url}: the server answers 404")
        assert list(tmp_path.iterdir()) == []

    def test_ctrl_c_is_no_traceback(self, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("cs231n.datasets.__main__.download_cifar10", interrupt)
        with pytest.raises(SystemExit, match="Stopped"):
            main([])
