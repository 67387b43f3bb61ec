"""Write the zip of a submission: the files of the rubric, and nothing else from the folder."""

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from course.rubric import FILES
from course.submission.notebook import UnreadableError, read_bytes
from cs231n.files import written_whole

FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest in a zip: equal files should make equal zips
ORDINARY_FILE, PROGRAM = 0o100644 << 16, 0o100755 << 16
UNIX = 3


def write_zip(folder: str | Path, path: Path) -> list[str]:
    """Write those of the rubric's files that can be read into a zip; return their names.

    The bytes of the zip depend on those files only, so two zips can be compared.
    """
    contents = {}
    for name in FILES:
        try:
            contents[name] = read_bytes(folder, name)
        except UnreadableError:  # the inspection has reported it
            continue
    if not contents:
        return []
    write_files(path, contents)
    return list(contents)


def write_files(path: Path, contents: Mapping[str, bytes], programs: Collection[str] = ()) -> None:
    """Write {name: bytes} into a zip, in this order; the files named in `programs` are executable.

    The zip depends on the contents only, not on when or where it is made.
    """
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, FIXED_DATE)
            entry.create_system = UNIX
            entry.external_attr = PROGRAM if name in programs else ORDINARY_FILE
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
