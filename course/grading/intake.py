"""Taking the files that are graded out of what a learner handed in, whatever that is.

Only the rubric's files are looked at. Nothing is written to disk here, no name of an archive becomes a
path, and no more is unpacked than a file may be long.
"""

import codecs
import hashlib
import io
import stat
import tokenize
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from course.rubric import FILES

MAX_BYTES = {".py": 2**18, ".ipynb": 2**25}  # of one file, unpacked; a syntax tree takes 1000 times as much
MAX_ENTRIES = 20_000
MAX_NOTES = 20
DEPTH = max(len(PurePosixPath(name).parts) for name in FILES)
ENCODINGS = ("utf-8", "ascii", "iso8859", "cp", "gb", "big5", "euc", "shift_jis", "koi8", "mac")  # beginnings


@dataclass
class Submission:
    """A learner's files: {path: text}, and what was noticed on the way to them."""

    name: str
    files: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)

    @property
    def digest(self):
        """A fingerprint of the files, by which a submission that was graded already is known again."""
        digest = hashlib.sha256()
        for path, text in sorted(self.files.items()):
            digest.update(f"{path}\0{len(text)}\0{text}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def note(self, text):
        """Note something for the learner, on one line; after many it only says that there is more."""
        if len(self.notes) <= MAX_NOTES:
            line = "".join(c if c.isprintable() else "?" for c in text[:300])
            self.notes.append(line if len(self.notes) < MAX_NOTES else "and more of this kind")


def take(name, source):
    """The submission in a folder, given its path, or in a zip, given its bytes.

    One that cannot be read has no files, and a note that says why.
    """
    submission = Submission(name)
    try:
        if isinstance(source, bytes):
            _take_zip(source, submission)
        else:
            _take_folder(Path(source), submission)
    except zipfile.BadZipFile:
        submission.note("this is not a zip, or a damaged one: make it with ./collect_submission.sh")
    except Exception as error:  # zipfile, and what unpacks for it, raise many kinds on what is damaged
        submission.note(f"it cannot be read: {type(error).__name__}: {error}")
    return submission


def _take_zip(data, submission):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ValueError(f"it has {len(entries)} entries, and may have {MAX_ENTRIES}")
        found = _by_place(entries, submission)
        for name in FILES:
            if name in found:
                _add(submission, name, lambda limit, entry=found[name]: _read_entry(archive, entry, limit))


def _by_place(entries, submission):
    """{path in FILES: entry}, for the folder that holds most of them, the topmost if several do."""
    places = {}
    for entry in entries:
        parts = _parts(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            submission.note(f"left out the link {entry.filename!r}")
        elif parts is None:
            submission.note(f"left out {entry.filename!r}, which is no place inside the zip")
        elif parts and not entry.is_dir():
            _file_under(places, parts, entry, submission)
    best = min(places, key=lambda top: (-len(places[top]), len(top)), default=())
    return places.get(best, {})


def _file_under(places, parts, entry, submission):
    """Enter a file under the folder that is the top of the project if this is the file of that name."""
    for start in range(max(len(parts) - DEPTH, 0), len(parts)):
        name = "/".join(parts[start:])
        if name in FILES:
            here = places.setdefault(parts[:start], {})
            if name in here:
                submission.note(f"{entry.filename!r} is in the zip twice; the later one counts")
            here[name] = entry


def _parts(name):
    """The parts of an entry's path; none for what macOS adds, None if it leads out of the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if any(part == ".." or part.startswith("/") or ":" in part or "\0" in part for part in parts):
        return None
    if "__MACOSX" in parts or any(part.startswith("._") for part in parts):
        return ()
    return parts


def _read_entry(archive, entry, limit):
    with archive.open(entry) as file:
        return file.read(limit + 1)


def _take_folder(folder, submission):
    tops = [folder, *sorted(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink())]
    top = max(tops, key=lambda top: sum(_is_file(top, name) for name in FILES))
    for name in FILES:
        if _is_file(top, name):
            _add(submission, name, lambda limit, path=top / name: _read_file(path, limit))
        elif (top / name).exists():
            submission.note(f"left out {name}, which is a link, or no file")


def _is_file(top, name):
    """Whether there is a file, and no link on the way to it: one might lead to the solutions."""
    path = top / name
    ways = [path, *path.parents][: len(PurePosixPath(name).parts)]
    return path.is_file() and not any(way.is_symlink() for way in ways)


def _read_file(path, limit):
    with path.open("rb") as file:
        return file.read(limit + 1)


def _add(submission, name, read):
    """Read a file of the rubric and decode it; what goes wrong costs this file only."""
    limit = MAX_BYTES[PurePosixPath(name).suffix]
    try:
        data = read(limit)
        if len(data) > limit:
            raise ValueError(f"it is longer than {limit // 2**10} KB")
        submission.files[name] = _decode(name, data)
    except Exception as error:  # see `take`
        submission.note(f"{name} cannot be read: {error}")


def _decode(name, data):
    """Text in the encoding that a Python file declares, else in UTF-8."""
    if not name.endswith(".py"):
        return data.decode("utf-8-sig")
    return data.decode(declared_encoding(data))


def declared_encoding(data):
    """The encoding that Python source declares in its first lines; ValueError if nobody writes with it.

    Python knows some that take for ever to decode, or in which other code is hidden.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if not codecs.lookup(encoding).name.startswith(ENCODINGS):
        raise ValueError(f"its encoding is {encoding}; save it as UTF-8")
    return encoding
