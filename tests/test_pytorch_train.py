"""The trainer as it is used: its files, its errors, and runs that are killed and go on."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
import torch
from conftest import PATIENCE

from cs231n.pytorch import checkpoint
from cs231n.pytorch.train import CHECKPOINT, METRICS, main

pytestmark = [pytest.mark.q5, pytest.mark.usefixtures("tiny_data")]

SMALL = ["--device", "cpu", "--width", "0.125", "--batch-size", "200"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(folder, *options):
    main([*SMALL, "--output", str(folder), *options])


def read_metrics(folder):
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


class TestRun:
    def test_files_and_output(self, tmp_path, capsys):
        run(tmp_path / "new" / "run", "--epochs", "2")
        records = read_metrics(tmp_path / "new" / "run")
        assert [record["epoch"] for record in records] == [1, 2]
        assert set(records[0]) == {"epoch", "loss", "train_accuracy", "val_accuracy", "seconds"}
        printed = capsys.readouterr()
        *lines, last = (json.loads(line) for line in printed.out.splitlines())
        assert lines == records
        assert last["epochs"] == 2
        assert 0 <= last["test_accuracy"] <= 1
        assert "Data: the tiny stand-in" in printed.err
        files = sorted(file.name for file in (tmp_path / "new" / "run").iterdir())
        assert files == sorted([CHECKPOINT, METRICS])

    def test_a_finished_run_is_not_trained_again(self, tmp_path, capsys):
        run(tmp_path, "--epochs", "1")
        before = capsys.readouterr().out.splitlines()
        run(tmp_path, "--epochs", "1")
        printed = capsys.readouterr()
        assert "Resuming after epoch 1" in printed.err
        assert printed.out.splitlines() == before[-1:]

    def test_a_run_that_ctrl_c_ended_goes_on(self, tmp_path, capsys, monkeypatch):
        """It ends as one that was not stopped, and metrics hold a line for every epoch."""
        run(tmp_path / "whole", "--epochs", "3")
        save, calls = checkpoint.save, []

        def save_and_interrupt(*arguments):
            save(*arguments)
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint, "save", save_and_interrupt)
        with pytest.raises(SystemExit) as stop:
            run(tmp_path / "stopped", "--epochs", "3")
        assert stop.value.code == 130
        assert "The same command resumes" in capsys.readouterr().err
        assert len(read_metrics(tmp_path / "stopped")) == 1  # the second epoch's were still to be written
        run(tmp_path / "stopped", "--epochs", "3")
        assert len(calls) == 3
        ours, theirs = (read_metrics(tmp_path / name) for name in ("whole", "stopped"))
        assert [a | {"seconds": 0} for a in ours] == [b | {"seconds": 0} for b in theirs]

    def test_a_full_disk_costs_the_checkpoint_not_the_training(self, tmp_path, capsys, monkeypatch):
        def no_space(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "save", no_space)
        run(tmp_path, "--epochs", "2")
        printed = capsys.readouterr()
        assert len(printed.out.splitlines()) == 3
        assert "warning: no checkpoint after epoch 2: [Errno 28] No space left" in printed.err


class TestErrors:
    @pytest.mark.parametrize(
        "options, message",
        [
            (["--epochs", "0"], "epochs must be an integer of at least 1; got 0"),
            (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
            (["--learning-rate", "-1"], "learning_rate must be in (0, inf); got -1.0"),
            (["--width", "0"], "width must be in (0, inf); got 0.0"),
            (["--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
            (["--depth", "3"], "unrecognized arguments: --depth 3"),
        ],
    )
    def test_bad_arguments(self, tmp_path, capsys, options, message):
        with pytest.raises(SystemExit) as stop:
            run(tmp_path, *options)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err

    def test_a_device_that_is_not_there(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(SystemExit) as stop:
            run(tmp_path, "--device", "cuda")
        assert stop.value.code == 2
        assert "--device cuda: PyTorch finds no such device here" in capsys.readouterr().err

    def test_a_data_set_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CS231N_DATASET", "cifar10")
        with pytest.raises(SystemExit, match=r"error: CIFAR-10 is not in .* `python -m cs231n.datasets`"):
            run(tmp_path)

    @pytest.mark.parametrize(
        "options, difference",
        [
            (["--width", "0.25"], "its width is 0.125, not 0.25"),
            (["--epochs", "2"], "its epochs is 1, not 2"),
            (["--seed", "7"], "its seed is 231, not 7"),
        ],
    )
    def test_a_checkpoint_of_another_run(self, tmp_path, options, difference):
        run(tmp_path, "--epochs", "1")
        before = (tmp_path / CHECKPOINT).read_bytes()
        with pytest.raises(SystemExit, match=f"error: .*{CHECKPOINT} is of another run: {difference}"):
            run(tmp_path, "--epochs", "1", *options)
        assert (tmp_path / CHECKPOINT).read_bytes() == before

    def test_a_checkpoint_of_another_network_with_the_same_settings(self, tmp_path):
        """As after a change of the code."""
        run(tmp_path, "--epochs", "1")
        content = torch.load(tmp_path / CHECKPOINT)
        content["state"]["model"].popitem()
        torch.save(content, tmp_path / CHECKPOINT)
        with pytest.raises(SystemExit, match=f"error: .*{CHECKPOINT} is of another network"):
            run(tmp_path, "--epochs", "1")

    def test_a_loss_that_is_not_finite(self, tmp_path):
        with pytest.raises(SystemExit, match="error: the loss is no longer finite in epoch 1"):
            run(tmp_path, "--learning-rate", "1e30")
        assert list(tmp_path.iterdir()) == []


class RunsCode:
    def __reduce__(self):
        return print, ("the pickle ran",)


STATE = {"model": {"w": torch.arange(3.0)}, "records": [{"epoch": 1, "loss": 0.5}]}


class TestCheckpoint:
    def test_round_trip(self, tmp_path):
        path = tmp_path / "new" / CHECKPOINT
        checkpoint.save(path, {"width": 1.0}, STATE)
        state = checkpoint.load(path, {"width": 1.0})
        assert torch.equal(state["model"]["w"], torch.arange(3.0))
        assert state["records"] == STATE["records"]
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("content", [b"", b"PK", b"noise" * 100], ids=["empty", "cut", "noise"])
    def test_a_damaged_file(self, tmp_path, content):
        (tmp_path / CHECKPOINT).write_bytes(content)
        with pytest.raises(
            ValueError, match=f"{CHECKPOINT} is not a checkpoint of this trainer, or is damaged"
        ):
            checkpoint.load(tmp_path / CHECKPOINT, {})

    def test_half_a_file(self, tmp_path):
        path = tmp_path / CHECKPOINT
        checkpoint.save(path, {}, STATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match="or is damaged"):
            checkpoint.load(path, {})

    @pytest.mark.parametrize(
        "content", [RunsCode(), {"settings": {}, "state": RunsCode()}, {"state": {}}, [1]]
    )
    def test_nothing_but_tensors_and_plain_values_is_read(self, tmp_path, capsys, content):
        for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
            write(content, tmp_path / CHECKPOINT)
            with pytest.raises(ValueError, match="is not a checkpoint of this trainer"):
                checkpoint.load(tmp_path / CHECKPOINT, {})
        assert "the pickle ran" not in capsys.readouterr().out

    def test_a_write_that_fails_leaves_the_old_one(self, tmp_path, monkeypatch):
        path = tmp_path / CHECKPOINT
        checkpoint.save(path, {}, STATE)

        def no_space(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(path, {}, {"model": {}})
        assert "w" in checkpoint.load(path, {})["model"]
        assert list(tmp_path.iterdir()) == [path]


@contextmanager
def started(command, folder, *options):
    """The trainer in a process of its own, with its output in files; nothing of it outlives the block."""
    command = [*command, "-m", "cs231n.pytorch.train", *SMALL, "--output", str(folder), *options]
    with (folder / "out").open("ab") as out, (folder / "err").open("ab") as err:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def wait_for_epoch(folder, epoch, process):
    """Wait until so many epochs are done."""
    deadline = time.monotonic() + PATIENCE
    while not (folder / METRICS).exists() or len(read_metrics(folder)) < epoch:
        assert process.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_after_kill_9_the_same_command_goes_on(tmp_path):
    command = [sys.executable], tmp_path, "--epochs", "12"
    with started(*command) as process:
        wait_for_epoch(tmp_path, 2, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = len(read_metrics(tmp_path))
    assert done < 12
    with started(*command) as process:
        assert process.wait(timeout=PATIENCE) == 0
    assert [record["epoch"] for record in read_metrics(tmp_path)] == list(range(1, 13))
    assert f"Resuming after epoch {done}" in (tmp_path / "err").read_text()


def test_torchrun_restarts_after_kill_9_of_a_worker(tmp_path):
    """The epoch in flight is trained again, and the run ends with all of its epochs."""
    with started([*TORCHRUN, "--max-restarts", "1"], tmp_path, "--epochs", "16") as process:
        wait_for_epoch(tmp_path, 2, process)
        workers = [child for child in psutil.Process(process.pid).children() if "-u" in child.cmdline()]
        assert len(workers) == 2
        workers[1].kill()
        assert process.wait(timeout=PATIENCE) == 0, (tmp_path / "err").read_text()
    assert [record["epoch"] for record in read_metrics(tmp_path)] == list(range(1, 17))
    assert "Resuming after epoch" in (tmp_path / "err").read_text()
    trained = [json.loads(line).get("epoch") for line in (tmp_path / "out").read_text().splitlines()]
    assert len(trained) - 1 <= 17  # but for the line with the test accuracy: at most one epoch twice


def test_torchrun_says_what_is_wrong(tmp_path):
    with started(TORCHRUN, tmp_path, "--epochs", "1", "--batch-size", "33") as process:
        assert process.wait(timeout=PATIENCE) != 0
    assert (
        "error: batch_size must be a multiple of the number of processes, 2" in (tmp_path / "err").read_text()
    )
