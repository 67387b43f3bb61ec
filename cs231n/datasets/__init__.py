"""Choose and find the data set that a run uses. This folder is also the default data folder.

Two environment variables decide: CS231N_DATA names the data folder, CS231N_DATASET the data set:
`auto` (CIFAR-10 if it is there, otherwise the stand-in), `cifar10`, `standin` or `tiny`.
The two synthetic sets are made when they are first needed and saved in the data folder.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cs231n.datasets import standin
from cs231n.datasets.batches import ALL_FILES, FOLDER_NAME, StrPath, has_all_files, new_data_folder

CHOICES = ("auto", "cifar10", "standin", "tiny")

_DESCRIPTIONS = {
    "cifar10": "CIFAR-10",
    "standin": "the stand-in for CIFAR-10 (synthetic images; `python -m cs231n.datasets` fetches CIFAR-10)",
    "tiny": "the tiny stand-in for CIFAR-10 (synthetic images, for quick tests)",
}


@dataclass(frozen=True)
class Dataset:
    """A data set on disk: `name` is cifar10, standin or tiny; `description` is one line."""

    name: str
    folder: Path
    description: str


def find_dataset() -> Dataset:
    """Return the `Dataset` that CS231N_DATASET chooses; make a synthetic one first if it is missing.

    Raises ValueError for an unknown choice, FileNotFoundError if cifar10 is chosen and is missing, and
    OSError if a synthetic set cannot be written.
    """
    choice = os.environ.get("CS231N_DATASET") or "auto"
    if choice not in CHOICES:
        raise ValueError(
            f"the environment variable CS231N_DATASET must be one of {', '.join(CHOICES)}; got {choice!r}"
        )
    folder = data_folder() / FOLDER_NAME
    if choice in ("auto", "cifar10") and has_all_files(folder):
        return Dataset("cifar10", folder, _DESCRIPTIONS["cifar10"])
    if choice == "cifar10":
        raise FileNotFoundError(
            f"CIFAR-10 is not in {folder}. Type `python -m cs231n.datasets` to fetch it, set "
            "CS231N_DATA to the folder that holds cifar-10-batches-py, or set "
            "CS231N_DATASET=standin to use synthetic images."
        )
    return _synthetic("standin" if choice == "auto" else choice)


def cifar10_in(folder: StrPath) -> Dataset:
    """Return the data set whose batch files are in this folder; FileNotFoundError unless all are."""
    path = Path(folder).expanduser().resolve()
    if has_all_files(path):
        return Dataset("cifar10", path, f"the batch files in {path}")
    inside = f" That is {path / FOLDER_NAME}." if has_all_files(path / FOLDER_NAME) else ""
    raise FileNotFoundError(
        f"CIFAR-10's files are not all in {path}. Name the folder {FOLDER_NAME} itself, which holds "
        f"{', '.join(ALL_FILES)}.{inside} Type `python -m cs231n.datasets` to fetch CIFAR-10."
    )


def data_folder() -> Path:
    """Return the Path of the folder that holds the data sets."""
    return Path(os.environ.get("CS231N_DATA") or Path(__file__).parent).expanduser().resolve()


def _synthetic(name: str) -> Dataset:
    """Return the stand-in or its tiny variant; make it first if it is missing."""
    folder = data_folder() / f"{name}-v{standin.VERSION}"
    if not has_all_files(folder):
        _make(name, folder)
    return Dataset(name, folder, _DESCRIPTIONS[name])


def _make(name: str, folder: Path) -> None:
    write = {"standin": standin.write_standin, "tiny": standin.write_tiny}[name]
    if name == "standin":
        print(f"Making the stand-in for CIFAR-10 in {folder} (about 10 s, once) ...", flush=True)
    try:
        with new_data_folder(folder) as unfinished:
            write(unfinished)
    except OSError as error:
        raise OSError(
            f"cannot make the data set in {folder}: {error}. It needs 190 MB: free some space, or "
            "set CS231N_DATA to a folder that you may write to."
        ) from error
