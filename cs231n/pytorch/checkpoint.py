"""The trainer's checkpoints: a run's settings and the state of its training, in one file.

A file is written whole or not at all, and read without unpickling anything but tensors and plain values, so
that a checkpoint from a stranger can be wrong but cannot run code.
"""

import io

import torch

from cs231n.files import written_whole


def save(path, settings, state):
    """Write a run's settings, a flat dictionary of plain values, and the state of its training."""
    content = io.BytesIO()  # torch.save to a disk that is full does not say OSError
    torch.save({"settings": settings, "state": state}, content)
    with written_whole(path) as file:
        file.write(content.getbuffer())


def load(path, settings):
    """The state in the file `path`, which must be of a run with these settings.

    Raises FileNotFoundError, or ValueError where the file is damaged or of another run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        theirs, state = content["settings"], content["state"]
        differences = _differences(settings, theirs)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is not a checkpoint of this trainer, or is damaged ({reason})") from error
    if differences:
        raise ValueError(f"{path} is of another run: {'; '.join(differences)}")
    return state


def _differences(ours, theirs):
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return [f"its {name} is {theirs.get(name)!r}, not {ours.get(name)!r}" for name in names]
