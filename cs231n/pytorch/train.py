"""Train the ConvNet: `python -m cs231n.pytorch.train`, or on many devices with torchrun.

    python -m cs231n.pytorch.train --epochs 30                    # on the GPU, if there is one
    torchrun --nproc-per-node 2 -m cs231n.pytorch.train           # two processes share each minibatch

Every epoch ends with a line of JSON, printed and added to metrics.jsonl in the output folder, and a
checkpoint there. The same command resumes after the last finished epoch, whatever ended the run.
"""

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm

from cs231n.datasets import find_dataset
from cs231n.files import written_whole
from cs231n.pytorch import checkpoint
from cs231n.pytorch.convnet import ConvNet
from cs231n.pytorch.data import ImageDataset, load_datasets
from cs231n.pytorch.training import Recipe, Record, Training, pick_device
from cs231n.validation import require_number

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"
HELP = {
    "epochs": "passes over the training set",
    "batch_size": "images per step, over all processes together",
    "learning_rate": "peak of the learning rate",
    "warmup": "share of all steps in which the learning rate rises",
    "momentum": "Nesterov momentum of SGD",
    "weight_decay": "L2 penalty on the weights",
    "label_smoothing": "share of the target spread over all classes",
    "shift": "largest shift of a training image, in pixels",
    "seed": "seed of the weights, the order of the images and their shifts",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says; exit with status 2 for bad arguments and 1 for an error in the run."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    try:
        recipe = Recipe(**{name: options[name] for name in HELP})
        require_number("width", options["width"], 0, math.inf, closed="neither")
        device = _device(options["device"])
    except ValueError as error:
        parser.error(str(error))
    try:
        with _process_group(device) as own_device:
            _run(recipe, options["width"], own_device, Path(options["output"]))
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Stopped. The same command resumes after the last finished epoch.", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cs231n.pytorch.train",
        description="Train the ConvNet of the PyTorch notebook, on one device or, under torchrun, on many.",
        epilog="Environment variables: CS231N_DATASET and CS231N_DATA choose the data, as in the notebooks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, default in asdict(Recipe()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=HELP[name]
        )
    parser.add_argument("--width", type=float, default=1.0, help="factor on the channels of every layer")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where to train"
    )
    parser.add_argument("--output", default="runs/convnet", help="folder for the checkpoint and the metrics")
    return parser


def _device(name: str) -> torch.device:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name != "auto" and not available[name]:
        raise ValueError(f"--device {name}: PyTorch finds no such device here; use cpu or auto")
    return pick_device() if name == "auto" else torch.device(name)


@contextmanager
def _process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the process group if torchrun started one, and yield this process's own device."""
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    if device.type == "mps":
        raise ValueError("torchrun cannot share Apple's GPU among processes; give --device cpu")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    _join_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def _join_group(backend: str) -> None:
    """Call `init_process_group(backend)` in a way that is safe after a restart too.

    torchrun's workers find each other through a store, which after a restart still has the addresses of the
    processes that died (https://github.com/pytorch/pytorch/issues/135712). So each restart writes under its
    own name. Several machines count their restarts separately; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    there, which lets torchrun make a new store.
    """
    store, rank, world_size = next(distributed.rendezvous("env://"))
    if world_size == int(os.environ["LOCAL_WORLD_SIZE"]):
        store = distributed.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)


def _run(recipe: Recipe, width: float, device: torch.device, folder: Path) -> None:
    """Train to the end, resuming from the checkpoint if there is one, and print the test accuracy."""
    datasets = _load_datasets()
    torch.manual_seed(recipe.seed)
    training = Training(ConvNet(len(datasets["train"].classes), width), datasets, recipe, device)
    sizes = {f"{name} images": len(dataset) for name, dataset in datasets.items()}
    settings = asdict(recipe) | sizes | {"width": width, "data set": find_dataset().name}
    _resume(training, folder / CHECKPOINT, settings)
    while not training.finished:
        record = _train_epoch(training)
        if training.rank == 0:
            _save(folder, settings, training)
            print(json.dumps(record), flush=True)
    test_accuracy = training.accuracy(datasets["test"])
    if training.rank == 0:
        print(json.dumps({"epochs": recipe.epochs, "test_accuracy": test_accuracy}), flush=True)


def _load_datasets() -> dict[str, ImageDataset]:
    """Load the data sets; the first process of a machine makes or reads them before the others do."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if not first:
        distributed.barrier()
    with redirect_stdout(sys.stderr if first else io.StringIO()):  # standard output is for JSON
        datasets = load_datasets()
    if first and distributed.is_initialized():
        distributed.barrier()
    return datasets


def _resume(training: Training, path: Path, settings: Mapping[str, Any]) -> None:
    """Resume from the checkpoint, if there is one; only the first process needs access to the file."""
    message: list[Any] = [checkpoint.load(path, settings)] if training.rank == 0 and path.exists() else [None]
    if training.world_size > 1:
        distributed.broadcast_object_list(message)
    if message[0]:
        try:
            training.load_state_dict(message[0])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} is of another network: {str(error).splitlines()[0]}") from error
        if training.rank == 0:
            print(f"Resuming after epoch {len(training.records)}, from {path}", file=sys.stderr)
            _write_metrics(path.parent, training)


def _train_epoch(training: Training) -> Record:
    """Train for one epoch; the first process shows a progress bar if it has a terminal."""
    epochs, images = training.recipe.epochs, len(training.datasets["train"])
    with tqdm(
        total=images,
        desc=f"epoch {len(training.records) + 1}/{epochs}",
        unit=" images",
        leave=False,
        disable=None if training.rank == 0 else True,
    ) as bar:
        return training.train_epoch(progress=bar.update)


def _save(folder: Path, settings: Mapping[str, Any], training: Training) -> None:
    """Save the checkpoint and the metrics. If the disk is full, warn and train on."""
    try:
        checkpoint.save(folder / CHECKPOINT, settings, training.state_dict())
        _write_metrics(folder, training)
    except OSError as error:
        print(f"warning: no checkpoint after epoch {len(training.records)}: {error}", file=sys.stderr)


def _write_metrics(folder: Path, training: Training) -> None:
    lines = "".join(f"{json.dumps(record)}\n" for record in training.records)
    with written_whole(folder / METRICS) as file:
        file.write(lines.encode())


if __name__ == "__main__":
    main()
