"""Fetch CIFAR-10: download the official archive, check it, and unpack it safely, whole or not at all.

Its host is slow or down at times. A transfer that breaks off is resumed where it stopped, and the environment
variable CS231N_CIFAR10_URL names a mirror to use instead.
"""

import os
import shutil
import tarfile
import time
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pooch
import requests
from tqdm import tqdm

from cs231n.datasets.batches import (
    ALL_FILES,
    FOLDER_NAME,
    MAX_FILE_BYTES,
    META_FILE,
    TEST_FILE,
    TRAIN_FILES,
    has_all_files,
    new_data_folder,
    read_batch,
    read_class_names,
)

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SIZE = 170_498_071

PAUSES = (0, 1, 2, 4, 8)  # seconds before each attempt
TIMEOUT = 30  # seconds without an answer
CHUNK = 1 << 16

_REMEDY = (
    "Try again later, set CS231N_CIFAR10_URL to the address of a mirror of the archive, or set "
    "CS231N_DATASET=standin to use synthetic images."
)
_BROKEN_OFF = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.Timeout,
)


class DownloadError(Exception):
    """CIFAR-10 could not be fetched; the message says why, in one line, and what to do."""


def download_cifar10(
    data_folder: str | os.PathLike[str], url: str | None = None, md5: str = MD5, size: int = SIZE
) -> Path:
    """Fetch CIFAR-10 into `data_folder` unless it is there already; return the folder of its files.

    The archive comes from `url`, by default the address in CS231N_CIFAR10_URL or the official one. It must
    have `size` bytes and the checksum `md5`. Raises DownloadError, and leaves nothing behind, if the archive
    cannot be fetched, is not the expected one or cannot be written.
    """
    url = url or os.environ.get("CS231N_CIFAR10_URL") or URL
    folder = Path(data_folder) / FOLDER_NAME
    if has_all_files(folder):
        return folder
    try:
        with new_data_folder(folder) as unfinished:
            archive = _fetch(url, unfinished.parent, md5, size)
            _unpack(archive, unfinished)
            _check(unfinished)
    except (ValueError, tarfile.TarError) as error:
        raise DownloadError(f"The archive from {url} is refused: {error}. {_REMEDY}") from error
    except OSError as error:
        raise DownloadError(
            f"Cannot write to {data_folder}: {error.strerror or error}. CIFAR-10 needs 400 MB "
            "while it is unpacked: free some space there, or set CS231N_DATA to another folder."
        ) from error
    return folder


def _fetch(url: str, folder: Path, md5: str, size: int) -> Path:
    """Download the archive into `folder`, check its size and checksum, and return its path."""

    def receive(url: str, path: str, _pooch: Any) -> None:
        _receive(url, path, size)

    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, f"md5:{md5}", "archive.tar.gz", folder, downloader=receive))
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"Cannot fetch {url}: {error}. {_REMEDY}") from error
    except ValueError as error:
        raise DownloadError(f"{url} does not have the MD5 checksum {md5}. {_REMEDY}") from error


def _receive(url: str, path: str, size: int) -> None:
    """Write the answer of `url` to the file `path`; resume a broken transfer where it stopped."""
    reason = "the server stopped sending"
    bar = tqdm(total=size, desc="CIFAR-10", unit="B", unit_scale=True, ncols=79, mininterval=0.5)
    with bar, open(path, "wb") as file:
        for pause in PAUSES:
            time.sleep(pause)
            try:
                _append(url, file, size, bar)
            except _BROKEN_OFF as error:
                reason = type(error).__name__
            if file.tell() == size:
                return
        got = file.tell()
    when = f"broke off after {got:,} of {size:,} bytes" if got else "could not be made"
    raise requests.exceptions.ConnectionError(f"the connection {when} ({reason})")


def _append(url: str, file: IO[bytes], size: int, bar: "tqdm[Any]") -> None:
    """Add the missing bytes to `file`; if the server cannot send a part, start again with all of them."""
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={file.tell()}-"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if not response.ok:
            answer = f"the server answers {response.status_code} {response.reason}"
            raise DownloadError(f"Cannot fetch {url}: {answer}. {_REMEDY}")
        if response.status_code != requests.codes.partial_content:
            file.seek(0)
            file.truncate()
            bar.reset()
        announced = file.tell() + int(response.headers.get("Content-Length", size - file.tell()))
        if announced != size:
            raise DownloadError(f"{url} has {announced:,} bytes, not {size:,}. {_REMEDY}")
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _unpack(archive: Path, folder: Path) -> None:
    """Copy CIFAR-10's files from `archive` into `folder`; ValueError for an unexpected archive."""
    wanted = {f"{FOLDER_NAME}/{name}": folder / name for name in ALL_FILES}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            _check_member(member)
            source = tar.extractfile(member) if member.name in wanted else None
            if source is not None:  # a folder has no content
                with source, wanted[member.name].open("wb") as target:
                    shutil.copyfileobj(source, target)
    missing = [name for name, path in wanted.items() if not path.exists()]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")


def _check_member(member: tarfile.TarInfo) -> None:
    """Raise ValueError for a member that the archive must not have, even if it would not be unpacked."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"its member {member.name!r} lies outside the archive's folder")
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"its member {member.name!r} is a link or a device")
    if member.size > MAX_FILE_BYTES:
        raise ValueError(f"its member {member.name!r} has {member.size:,} bytes, which is too large")


def _check(folder: Path) -> None:
    """Read every file once; ValueError if one of them is damaged."""
    for name in (*TRAIN_FILES, TEST_FILE):
        read_batch(folder / name)
    read_class_names(folder / META_FILE)
