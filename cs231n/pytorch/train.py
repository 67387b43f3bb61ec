"""Train the ConvNet: `python -m cs231n.pytorch.train`, or on many devices with torchrun.

    python -m cs231n.pytorch.train --epochs 30                    # on the GPU, if there is one
    torchrun --nproc-per-node 2 -m cs231n.pytorch.train           # two processes share each minibatch

Every epoch ends with a line of JSON, printed and added to metrics.jsonl in the output folder, and a
checkpoint there. The same command again goes on after the last finished epoch, whatever ended the run.
"""

import argparse
import io
import json
import math
import os
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed
from tqdm import tqdm

from cs231n.datasets import find_dataset
from cs231n.files import written_whole
from cs231n.pytorch import checkpoint
from cs231n.pytorch.convnet import ConvNet
from cs231n.pytorch.data import load_datasets
from cs231n.pytorch.training import Recipe, Training, pick_device
from cs231n.validation import require_number

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"
HELP = {
    "epochs": "passes over the training set",
    "batch_size": "images per step, over all processes together",
    "learning_rate": "its peak",
    "warmup": "share of all steps in which it rises",
    "momentum": "of SGD, Nesterov's kind",
    "weight_decay": "L2 penalty on the weights",
    "label_smoothing": "share of the target spread over all classes",
    "shift": "pixels by which a training image may be moved",
    "seed": "of the weights, the order of the images and their shifts",
}


def main(arguments=None):
    """Train as the command line says; exit with status 2 for bad arguments, 1 for an error in the run."""
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
        print("Stopped. The same command goes on after the last finished epoch.", file=sys.stderr)
        sys.exit(130)


def _parser():
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
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where")
    parser.add_argument("--output", default="runs/convnet", help="folder of the checkpoint and the metrics")
    return parser


def _device(name):
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name != "auto" and not available[name]:
        raise ValueError(f"--device {name}: PyTorch finds no such device here; take cpu, or auto")
    return pick_device() if name == "auto" else torch.device(name)


@contextmanager
def _process_group(device):
    """Join the group that torchrun has started, if it has, and yield this process's own device."""
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


def _join_group(backend):
    """What `init_process_group(backend)` does, safely after a restart too.

    torchrun's workers find each other through a store, in which the addresses of the processes that died are
    still found after a restart (https://github.com/pytorch/pytorch/issues/135712). So each restart writes
    under a name of its own. Several machines count restarts each for itself; there torchrun has to be told
    to make a new store, by TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
    """
    store, rank, world_size = next(distributed.rendezvous("env://"))
    if world_size == int(os.environ["LOCAL_WORLD_SIZE"]):
        store = distributed.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)


def _run(recipe, width, device, folder):
    """Train to the end, from the checkpoint on if there is one, and print the test accuracy."""
    datasets = _load_datasets()
    torch.manual_seed(recipe.seed)
    training = Training(ConvNet(len(datasets["train"].classes), width), datasets, recipe, device)
    sizes = {f"{name} images": len(dataset) for name, dataset in datasets.items()}
    settings = asdict(recipe) | sizes | {"width": width, "data set": find_dataset().name}
    _resume(training, folder / CHECKPOINT, settings)
    while not training.finished:
        record = _train_epoch(training)
        if training.rank == 0:
            _keep(folder, settings, training)
            print(json.dumps(record), flush=True)
    test_accuracy = training.accuracy(datasets["test"])
    if training.rank == 0:
        print(json.dumps({"epochs": recipe.epochs, "test_accuracy": test_accuracy}), flush=True)


def _load_datasets():
    """The data sets; the first process of a machine makes or reads them before the others do."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if not first:
        distributed.barrier()
    with redirect_stdout(sys.stderr if first else io.StringIO()):  # standard output is for JSON
        datasets = load_datasets()
    if first and distributed.is_initialized():
        distributed.barrier()
    return datasets


def _resume(training, path, settings):
    """Go on from the checkpoint, if there is one; only the first process needs to see the file."""
    message = [checkpoint.load(path, settings)] if training.rank == 0 and path.exists() else [None]
    if training.world_size > 1:
        distributed.broadcast_object_list(message)
    if message[0]:
        try:
            training.load_state_dict(message[0])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} is of another network: {str(error).splitlines()[0]}") from error
        if training.rank == 0:
            print(f"Going on after epoch {len(training.records)}, from {path}", file=sys.stderr)
            _write_metrics(path.parent, training)


def _train_epoch(training):
    """One epoch behind a progress bar, which the first process draws, on a terminal."""
    epochs, images = training.recipe.epochs, len(training.datasets["train"])
    with tqdm(
        total=images,
        desc=f"epoch {len(training.records) + 1}/{epochs}",
        unit=" images",
        leave=False,
        disable=None if training.rank == 0 else True,
    ) as bar:
        return training.train_epoch(progress=bar.update)


def _keep(folder, settings, training):
    """Write checkpoint and metrics; a disk that is full costs these, not the training."""
    try:
        checkpoint.save(folder / CHECKPOINT, settings, training.state_dict())
        _write_metrics(folder, training)
    except OSError as error:
        print(f"warning: no checkpoint after epoch {len(training.records)}: {error}", file=sys.stderr)


def _write_metrics(folder, training):
    lines = "".join(f"{json.dumps(record)}\n" for record in training.records)
    with written_whole(folder / METRICS) as file:
        file.write(lines.encode())


if __name__ == "__main__":
    main()
