"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one."""

import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_whole(path):
    """Yield a binary file to write into, which takes the place of `path` at the end of the block.

    After an error in the block `path` is what it was before, and nothing else is left. Missing folders
    are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
