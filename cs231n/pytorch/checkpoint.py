"""The trainer's checkpoints: a run's settings and the state of its training, in one file.

A file is written whole or not at all. It is read without unpickling anything but tensors and plain values: a
checkpoint from a stranger can be wrong but cannot run code.
"""

import io
import os
from collections.abc import Mapping
from typing import Any

import torch

from cs231n.files import written_whole


def save(path: str | os.PathLike[str], settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a run's settings, a flat dictionary of plain values, and the state of its training."""
    content = io.BytesIO()  # if the disk is full, torch.save would raise another error than OSError
    torch.save({"settings": settings, "state": state}, content)
    with written_whole(path) as file:
        file.write(content.getbuffer())


def load(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in the file `path`, which must belong to a run with these settings.

    Raises FileNotFoundError, or ValueError if the file is damaged or belongs to another run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = content["state"]
        differences = _differences(settings, content["settings"])
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is not a checkpoint of this trainer, or is damaged ({reason})") from error
    if differences:
        raise ValueError(f"{path} is of another run: {'; '.join(differences)}")
    return state


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return [f"its {name} is {theirs.get(name)!r}, not {ours.get(name)!r}" for name in names]
