"""Read the files to grade from what a learner handed in, whatever that is.

Only the rubric's files are read. Nothing is written to disk, no name in an archive is used as a path, and a
file is unpacked only up to its maximum size.
"""

import codecs
import hashlib
import io
import stat
import tokenize
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from course.rubric import FILES

MAX_BYTES = {".py": 2**18, ".ipynb": 2**25}  # of one unpacked file; its syntax tree takes 1000 times as much
MAX_ENTRIES = 20_000
MAX_NOTES = 20
DEPTH = max(len(PurePosixPath(name).parts) for name in FILES)
# How the names of the accepted encodings begin
ENCODINGS = ("utf-8", "ascii", "iso8859", "cp", "gb", "big5", "euc", "shift_jis", "koi8", "mac")

Place = tuple[str, ...]  # a folder in a zip, by its parts


@dataclass
class Submission:
    """A learner's files, {path: text}, and notes on problems with reading them."""

    name: str
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A fingerprint of the files, which tells whether a submission has changed since it was graded."""
        digest = hashlib.sha256()
        for path, text in sorted(self.files.items()):
            digest.update(f"{path}\0{len(text)}\0{text}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def note(self, text: str) -> None:
        """Add a note for the learner, on one line; after `MAX_NOTES`, only say that there are more."""
        if len(self.notes) <= MAX_NOTES:
            line = "".join(c if c.isprintable() else "?" for c in text[:300])
            self.notes.append(line if len(self.notes) < MAX_NOTES else "and more problems of this kind")


def take(name: str, source: bytes | str | Path) -> Submission:
    """Read the submission in a folder, given its path, or in a zip, given its bytes.

    If it cannot be read, return a submission without files and with a note that says why.
    """
    submission = Submission(name)
    try:
        if isinstance(source, bytes):
            _take_zip(source, submission)
        else:
            _take_folder(Path(source), submission)
    except zipfile.BadZipFile:
        submission.note("this is not a zip, or it is damaged: make it with ./collect_submission.sh")
    except Exception as error:  # damaged zips raise many kinds of errors
        submission.note(f"the submission cannot be read: {type(error).__name__}: {error}")
    return submission


def _take_zip(data: bytes, submission: Submission) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ValueError(f"a zip may have at most {MAX_ENTRIES} entries; got {len(entries)}")
        found = _by_place(entries, submission)
        for name in FILES:
            if name in found:
                _add(submission, name, partial(_read_entry, archive, found[name]))


def _by_place(entries: list[zipfile.ZipInfo], submission: Submission) -> dict[str, zipfile.ZipInfo]:
    """Return {path in FILES: entry} of the folder that has most of these files; of several, the topmost."""
    places: dict[Place, dict[str, zipfile.ZipInfo]] = {}
    for entry in entries:
        parts = _parts(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            submission.note(f"left out the link {entry.filename!r}")
        elif parts is None:
            submission.note(f"left out {entry.filename!r}, whose path leads out of the zip")
        elif parts and not entry.is_dir():
            _file_under(places, parts, entry, submission)
    best = min(places, key=lambda top: (-len(places[top]), len(top)), default=())
    return places.get(best, {})


def _file_under(
    places: dict[Place, dict[str, zipfile.ZipInfo]],
    parts: Place,
    entry: zipfile.ZipInfo,
    submission: Submission,
) -> None:
    """Enter an entry under each folder below which it would be one of FILES."""
    for start in range(max(len(parts) - DEPTH, 0), len(parts)):
        name = "/".join(parts[start:])
        if name in FILES:
            here = places.setdefault(parts[:start], {})
            if name in here:
                submission.note(f"{entry.filename!r} is in the zip twice; the second one is graded")
            here[name] = entry


def _parts(name: str) -> Place | None:
    """Return the parts of an entry's path: () for files that macOS adds, None if it leads out of the zip."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if any(part == ".." or part.startswith("/") or ":" in part or "\0" in part for part in parts):
        return None
    if "__MACOSX" in parts or any(part.startswith("._") for part in parts):
        return ()
    return parts


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    with archive.open(entry) as file:
        return file.read(limit + 1)


def _take_folder(folder: Path, submission: Submission) -> None:
    tops = [folder, *sorted(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink())]
    top = max(tops, key=lambda top: len([name for name in FILES if _is_file(top, name)]))
    for name in FILES:
        if _is_file(top, name):
            _add(submission, name, partial(_read_file, top / name))
        elif (top / name).exists():
            submission.note(f"left out {name}, which is a link or not a file")


def _is_file(top: Path, name: str) -> bool:
    """Return whether there is a file, without a link in its path: a link could lead to the solutions."""
    path = top / name
    ways = [path, *path.parents][: len(PurePosixPath(name).parts)]
    return path.is_file() and not any(way.is_symlink() for way in ways)


def _read_file(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _add(submission: Submission, name: str, read: Callable[[int], bytes]) -> None:
    """Read and decode one of FILES; an error only loses this file.

    - read: returns the contents, up to one byte more than the limit that it is given
    """
    limit = MAX_BYTES[PurePosixPath(name).suffix]
    try:
        data = read(limit)
        if len(data) > limit:
            raise ValueError(f"it is larger than {limit // 2**10} KB")
        submission.files[name] = _decode(name, data)
    except Exception as error:  # damaged zips raise many kinds of errors
        submission.note(f"{name} cannot be read: {error}")


def _decode(name: str, data: bytes) -> str:
    """Decode a Python file in the encoding that it declares, any other file in UTF-8."""
    if not name.endswith(".py"):
        return data.decode("utf-8-sig")
    return data.decode(declared_encoding(data))


def declared_encoding(data: bytes) -> str:
    """Return the encoding that Python source declares in its first lines; raise ValueError if it is unusual.

    Some of Python's encodings take forever to decode, and some can hide other code.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if not codecs.lookup(encoding).name.startswith(ENCODINGS):
        raise ValueError(f"its encoding {encoding} is not supported; save it as UTF-8")
    return encoding
