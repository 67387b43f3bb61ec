"""The zip of a submission: the files of the rubric, and nothing else that lies about."""

import zipfile

from course.rubric import FILES
from course.submission.notebook import UnreadableError, read_bytes
from cs231n.files import written_whole

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # where a zip's calendar begins; equal files shall make equal zips
ORDINARY_FILE, PROGRAM = 0o100644 << 16, 0o100755 << 16
UNIX = 3


def write_zip(folder, path):
    """Write those of the rubric's files that can be read into a zip; return their names.

    The bytes of the zip depend on those files only, so that two zips can be compared.
    """
    contents = {}
    for name in FILES:
        try:
            contents[name] = read_bytes(folder, name)
        except UnreadableError:  # the inspection has told of it
            continue
    if not contents:
        return []
    write_files(path, contents)
    return list(contents)


def write_files(path, contents, programs=()):
    """Write {name: bytes} into a zip, in this order; those named in `programs` may be run.

    The zip depends on the contents only: not on when or where it is made.
    """
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system = UNIX
            entry.external_attr = PROGRAM if name in programs else ORDINARY_FILE
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
