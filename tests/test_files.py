"""Files that are written whole or not at all."""

import os

import pytest

from cs231n.files import written_whole

pytestmark = pytest.mark.q1


def test_the_file_is_there_at_the_end_of_the_block_and_not_before(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with written_whole(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_error_leaves_what_was_there(tmp_path, before, error):
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)), written_whole(path) as file:
        file.write(b"half")
        raise error
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_others_may_read_it_as_any_new_file(tmp_path):
    mask = os.umask(0o027)
    try:
        with written_whole(tmp_path / "file.txt") as file:
            file.write(b"x")
    finally:
        os.umask(mask)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640
