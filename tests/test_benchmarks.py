"""The benchmarks: sides that agree, what is chosen, counted and printed; how the cost grows."""

import subprocess
import sys
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from matplotlib.colors import to_hex
from setuptools import find_packages

from benchmarks import growth, layers, measure, sides, tables, timing, training
from benchmarks.growth import BEGIN, COLUMNS, END, SWEEPS, Time
from benchmarks.memory import peak_bytes
from benchmarks.sides import COPY, MATRIX_PRODUCT, Variant
from cs231n import kernels
from cs231n.kernels.threads import num_threads, use_threads
from cs231n.layers import softmax_loss
from cs231n.vis_utils import COLORS

FOLDER = Path(growth.__file__).parent
MACHINE = "a machine, 2 cores"
README = f"# Benchmarks\n\n{BEGIN}\nthe old table\n{END}\nThe end.\n"
CONV, SIDE, NORM = "convolution: batch", "convolution: side", "layer norm"
ROWS = [  # not in order
    Time(CONV, 32, 1, 8.0, 10.0),
    Time(CONV, 32, 2, 5.0, 5.0),
    Time(CONV, 512, 1, 120.0, 100.0),
    Time(CONV, 512, 2, 60.0, 50.0),
    Time(CONV, 1, 1, 0.25, 1.0),
    Time(CONV, 1, 2, 0.5, 2.0),
    Time(NORM, 2, 1, 1.0, 3.0),
    Time(NORM, 2, 2, 0.75, 3.0),
    Time(SIDE, 32, 1, 8.0, 10.0),
    Time(SIDE, 32, 2, 5.0, 5.0),
    Time(SIDE, 64, 1, 32.0, 40.004),
    Time(SIDE, 64, 2, 20.0, 10.0),
]
OURS, THEIRS, WORK = (color.lower() for color in (*COLORS[:2], "#888888"))
TABLE = """\
| what | size | 1 thread, ms: ours | PyTorch | ours / PyTorch \
| 2 threads, ms: ours | PyTorch | ours / PyTorch |
|---|---|---|---|---|---|---|---|
| convolution: batch | 1 | 0.25 | 1.00 | 0.25 | 0.50 | 2.00 | 0.25 |
| convolution: batch | 32 | 8.00 | 10.00 | 0.80 | 5.00 | 5.00 | 1.00 |
| convolution: batch | 512 | 120.00 | 100.00 | 1.20 | 60.00 | 50.00 | 1.20 |
| convolution: side | 32 | 8.00 | 10.00 | 0.80 | 5.00 | 5.00 | 1.00 |
| convolution: side | 64 | 32.00 | 40.00 | 0.80 | 20.00 | 10.00 | 2.00 |
| layer norm | 2 | 1.00 | 3.00 | 0.33 | 0.75 | 3.00 | 0.25 |"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a measurement of made-up numbers and a README.md."""
    lines = [f"# {MACHINE}", ",".join(f'"{name}"' for name in COLUMNS)]
    lines += [",".join(map(str, row)) for row in ROWS]
    (tmp_path / "growth.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """Tiny sizes and hardly any rounds."""
    tiny = (1, 2), (3, 16), (4, 5), (1,), (1, 2), (2,)
    monkeypatch.setattr(growth, "BASE", 2)
    sweeps = [sweep._replace(sizes=sizes) for sweep, sizes in zip(SWEEPS, tiny, strict=False)]
    monkeypatch.setattr(growth, "SWEEPS", sweeps)  # without DeepConvNet, which takes long
    monkeypatch.setattr(timing, "wait_for_threads", lambda: None)
    monkeypatch.setattr(timing, "LIMIT_SECONDS", 0)
    monkeypatch.setattr(growth, "matrix_product_rate", lambda dtype: 3e9)
    monkeypatch.setattr(kernels, "_in_use", None)


def blocks(count):
    """Memory of so many times 100,000 bytes, in pieces that the allocator does not give back at once."""
    return [bytearray(b"1" * 100_000) for _ in range(count)]


class Hungry:
    """A side that takes 10 MB; before it, so many blocks were taken and freed."""

    def __init__(self, freed):
        taken = blocks(freed)
        self.after_them = bytearray(10_000)
        del taken

    def __call__(self):
        return blocks(100)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell the peak here")
@pytest.mark.parametrize("freed", [0, 150])
def test_peak_memory_is_what_a_pass_takes_whatever_was_freed_before(freed):
    megabytes = peak_bytes(partial(Hungry, 0), partial(Hungry, freed)) / 1e6
    assert 9.5 < megabytes < 11


NON_CONVOLUTIONS = [*layers.normalizations(), *layers.others(), *training.updates()]
SMALL = layers.convolution((2, 1, 4, 4), (1, 3, 3), 1, 1)
PLAIN, LAST, FUSED = Variant(), Variant(channels_last=True), Variant(optimizer="fused")


class TestSides:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("row", NON_CONVOLUTIONS, ids=lambda row: row.name)
    def test_agree_in_every_other_row(self, row, dtype):
        for variant in row.variants():
            if not variant.compiled:
                row.agree(row.our_side(dtype, 1), row.their_side(variant, dtype, 1))

    @pytest.mark.parametrize("row", training.trainings(), ids=lambda row: row.name)
    def test_agree_in_every_training_step(self, row):
        *_, variant = (each for each in row.variants() if not each.compiled)
        row.agree(row.our_side(np.float32, 1), row.their_side(variant, np.float32, 1))

    @pytest.mark.parametrize("shape", [layers.TUNED[0], *layers.UNTUNED[8:10]])
    def test_agree_in_convolutions_of_every_layout(self, shape):
        row = layers.convolution(*shape)
        for variant in (PLAIN, LAST):
            row.agree(row.our_side(np.float64, 1), row.their_side(variant, np.float64, 1))

    @pytest.mark.parametrize("place", range(4), ids=["out", "dx", "dw", "db"])
    def test_one_that_differs_ends_the_run(self, monkeypatch, place):
        def broken(inputs, dout):
            results = SMALL.ours(inputs, dout)
            results[place] = 1.001 * results[place]
            return results

        monkeypatch.setitem(measure.GROUPS, "broken", (lambda: [SMALL._replace(ours=broken)], measure.DTYPES))
        measure.start(0, "direct")
        for function in (measure.finalists, measure.times):
            with pytest.raises(AssertionError, match="Not equal to tolerance"):
                function("broken", 0, np.float64, [PLAIN, LAST])

    def test_one_of_another_dtype_differs(self):
        with pytest.raises(AssertionError):
            sides.assert_agree(lambda: [np.ones(3)], lambda: [torch.ones(3)])

    @pytest.mark.parametrize(
        ("rows", "off", "agree"), [(64, 3e-5, False), (2**20, 1e-4, True), (2**20, 3e-4, False)]
    )
    def test_long_sums_may_differ_by_their_rounding(self, rows, off, agree):
        out, db = np.ones((rows, 1), np.float32), np.ones(1, np.float32)
        with nullcontext() if agree else pytest.raises(AssertionError):
            sides.assert_agree(lambda: [out, db + np.float32(off)], lambda: [out, db])

    @pytest.mark.parametrize(
        "change",
        [
            lambda out, dx: [out, np.where(out == 0, 1, dx)],  # the mask is not forward's
            lambda out, dx: [2 * out, dx],
            lambda out, dx: [out, 2 * dx],
            lambda out, dx: [np.where(out > 0, 0, out), np.where(out > 0, 0, dx)],  # half as many are kept
        ],
    )
    def test_a_dropout_that_differs(self, change):
        (row,) = (row for row in layers.others() if row.name.startswith("dropout"))
        broken = row._replace(ours=lambda *arguments: change(*row.ours(*arguments)))
        with pytest.raises(AssertionError):
            row.agree(broken.our_side(np.float32, 0), row.their_side(PLAIN, np.float32, 0))

    @pytest.mark.parametrize("name", ["six layers", "six layers, dropout", "six layers, L2"])
    def test_a_training_step_that_differs(self, name):
        row = training.Training(name, training.CASES[name])
        ours = row.our_side(np.float32, 0)
        ours.model.params["W6"] *= 2
        with pytest.raises(AssertionError):
            row.agree(ours, row.their_side(FUSED, np.float32, 0))

    def test_a_training_step_on_few_images_that_differs(self):
        row = training.Training("", training.CASES["six layers, batch norm"], batch=2)
        ours = row.our_side(np.float32, 0)
        row.agree(ours, row.their_side(FUSED, np.float32, 0))
        ours.model.params["W6"] *= 2
        with pytest.raises(AssertionError):
            row.agree(ours, row.their_side(FUSED, np.float32, 0))

    def test_an_update_that_differs(self):
        sgd, adam = training.updates()
        with pytest.raises(AssertionError):
            adam.agree(adam.our_side(np.float32, 0), sgd.their_side(PLAIN, np.float32, 0))

    def test_a_learned_minibatch_has_denormal_gradients(self):
        *_, row = training.trainings()
        model, _, X, y = row._data(0)
        loss, dscores = softmax_loss(model.loss(X), y)
        tiny = np.abs(dscores) < np.finfo(np.float32).tiny
        assert loss < 1e-10 and tiny.mean() > 0.5 and (tiny & (dscores != 0)).mean() > 0.05


class TestVariants:
    def test_have_names(self):
        names = [str(each) for each in (PLAIN, LAST, FUSED, Variant(True, True, "fused"))]
        assert names == ["plain", "channels_last", "fused", "compiled channels_last fused"]

    def test_are_of_every_kind_that_applies(self):
        layouts = {(False, False), (False, True), (True, False), (True, True)}
        assert {each[:2] for each in SMALL.variants()} == layouts
        (affine, *_), (adam, *_), (conv_net, *_) = layers.others(), training.updates(), training.trainings()
        assert {str(each) for each in affine.variants()} == {"plain", "compiled"}
        assert {str(each) for each in adam.variants()} == {"plain", "foreach", "fused", "compiled"}
        assert {each[:2] for each in conv_net.variants()} == layouts
        assert {each.optimizer for each in conv_net.variants()} == {"", "foreach", "fused"}

    def test_bring_inputs_into_their_layout_before_the_clock_starts(self):
        image = LAST.tensor(np.zeros((2, 3, 4, 5)))
        assert image.is_contiguous(memory_format=torch.channels_last) and image.shape == (2, 3, 4, 5)
        assert PLAIN.tensor(np.zeros((2, 3, 4, 5))).is_contiguous()

    def test_why_one_cannot_be_compiled_is_one_line(self, monkeypatch):
        def fail(function, **options):
            raise RuntimeError("no C++ compiler\nand more")

        monkeypatch.setattr(torch, "compile", fail)
        assert sides.why_not_compiled() == "RuntimeError: no C++ compiler"
        monkeypatch.setattr(torch, "compile", lambda function, **options: function)
        assert sides.why_not_compiled() == ""


class Here:
    """A process that is none: it answers at once with the next of its answers to a function."""

    def __init__(self, **answers):
        self.answers = {name: iter(values) for name, values in answers.items()}
        self.asked = []

    def submit(self, function, *arguments):
        self.asked.append((function.__name__, arguments[-1]))
        future = Future()
        future.set_result(next(self.answers[function.__name__]))
        return future


TWO_ROWS = [SMALL._replace(name=name, work=6e9) for name in ("first", "second")]


class TestTable:
    def test_the_fastest_variant_of_all_processes_is_the_peer(self):
        first = Here(finalists=[[LAST, PLAIN]], times=[[1.0, 3.0, 4.0]])
        others = [Here(times=[[2.0, 5.0, 4.0]]), Here(times=[[3.0, 6.0, 4.0]])]
        bench = tables.Bench([first, *others], compiled=False, thorough=False)
        times = bench._times(SMALL, ("group", 0, np.float32))
        assert times == ((1, 2, 3), (4, 4, 4), PLAIN)
        assert first.asked == [("finalists", [PLAIN, LAST]), ("times", [LAST, PLAIN])]
        assert times.cells() == ["2e+03", "4e+03", "plain", "0.50", "0.25..0.75"]

    def test_compiled_variants_are_tried_where_they_work(self):
        first = Here(finalists=[[LAST, PLAIN]], times=[[1.0, 3.0, 4.0]])
        tables.Bench([first], compiled=True, thorough=False)._times(SMALL, ("group", 0, np.float32))
        assert first.asked[0] == ("finalists", SMALL.variants())

    def test_compiled_variants_are_not_tried_in_float64(self):
        first = Here(finalists=[[LAST, PLAIN]], times=[[1.0, 3.0, 4.0]])
        tables.Bench([first], compiled=True, thorough=False)._times(SMALL, ("group", 0, np.float64))
        assert first.asked[0] == ("finalists", [PLAIN, LAST])

    def test_fastest_of_a_measurement(self):
        assert measure.fastest({"a": 2.3, "b": 2, "c": 2.2}, 2) == ["b", "c"]
        assert measure.fastest({"a": 3, "b": 1, "c": 2}, 2) == ["b"]  # the others are not close

    def test_of_layers(self, monkeypatch, capsys):
        monkeypatch.setattr(measure, "GROUPS", {"group": (lambda: TWO_ROWS, [np.float32])})
        process = Here(
            rate=[24e9],
            finalists=[[LAST, PLAIN]] * 2,
            times=[[0.5, 1.0, 2.0], [0.25, 1.0, 0.125]],
            megabytes=[[3, 5], [0.4, 0.6]],
        )
        tables.Bench([process], compiled=True, thorough=True).print_tables("")
        assert (
            capsys.readouterr().out
            == """
### group, float32

The machine's matrix product: 24.0 GFLOP/s

| group | ours, ms | PyTorch, ms | its fastest | ours / PyTorch | min..max | of the limit: ours | PyTorch \
| peak MB: ours | PyTorch |
|---|---|---|---|---|---|---|---|---|---|
| first | 500 | 1e+03 | channels_last | 0.50 | 0.50..0.50 | 50% | 25% | 3 | 5 |
| second | 250 | 125 | plain | 2.00 | 2.00..2.00 | 100% | 200% | 0 | 1 |
| **geometric mean**; worst: second |  |  |  | **1.00** | worst 2.00 |  |  |  |  |
"""
        )

    def test_of_training_steps_has_them_beside_busy_processes(self, monkeypatch, capsys):
        monkeypatch.setattr(measure, "GROUPS", {"steps": (lambda: training.trainings()[1:2], [np.float32])})
        process = Here(
            finalists=[[FUSED, PLAIN]],
            times=[[0.5, 1.0, 2.0]],
            times_beside_busy_processes=[[1.25, 2.0]],
            megabytes=[[3, 5]],
        )
        tables.Bench([process], compiled=True, thorough=True).print_tables("")
        *_, heading, _, row, _ = capsys.readouterr().out.splitlines()
        assert "| busy / alone: ours | PyTorch | peak MB: ours | PyTorch |" in heading
        assert row == "| six layers | 500 | 1e+03 | fused | 0.50 | 0.50..0.50 | 2.5 | 2.0 | 3 | 5 |"

    @pytest.mark.parametrize("pattern, rows", [("SECOND", ["second"]), ("float32: f", ["first"]), ("x", [])])
    def test_has_the_rows_that_are_asked_for(self, monkeypatch, capsys, pattern, rows):
        monkeypatch.setattr(measure, "GROUPS", {"group": (lambda: TWO_ROWS, [np.float32])})
        process = Here(rate=[24e9], finalists=[[PLAIN]], times=[[0.5, 1.0]])
        tables.Bench([process], compiled=True, thorough=False).print_tables(pattern)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" | ")[0][2:] for line in lines[7:-1]] == rows

    def test_rows_of_a_group_have_different_names(self):
        for make_rows, _ in measure.GROUPS.values():
            names = [row.name for row in make_rows()]
            assert len(names) == len(set(names))


class TestShareOfTheLimit:
    def test_on_paper(self):
        assert tables.share(SMALL._replace(work=6e9), np.float32, 0.5, rate=24e9) == 0.5
        moved = SMALL._replace(work=1e9, limit=COPY)  # elements of 8 bytes
        assert tables.share(moved, np.float64, 2, rate=16e9) == 0.25

    def test_work_of_the_rows(self):
        image, features = 64 * 32 * 32 * 32, 256 * 1024
        assert SMALL.work == 3 * 2 * (2 * 4 * 4) * 9
        strided = layers.convolution((32, 64, 32, 32), (128, 3, 3), 2, 1)
        assert strided.work == 3 * 2 * (32 * 128 * 16 * 16) * 64 * 9
        assert [row.work for row in layers.normalizations()] == [
            5 * n for n in (image, image, features, features)
        ]
        affine, *others = [row.work for row in layers.others()]
        assert affine == 6 * 256 * 1024 * 1024
        pooled = [2 * (image + 64 * 32 * side**2) for side in (16, 15)]
        assert others == [2 * 512 * 1000, 5 * image, 4 * image, 3 * image, *pooled]
        assert [row.work for row in training.updates()] == [5 * 3072 * 500, 7 * 3072 * 500]

    def test_is_of_the_limit_that_the_row_has(self, monkeypatch):
        monkeypatch.setattr(measure, "copy_rate", lambda: 3.0)
        monkeypatch.setattr(measure, "matrix_product_rate", lambda dtype: dtype().itemsize)
        rates = [measure.rate(limit, np.float64) for limit in (COPY, MATRIX_PRODUCT)]
        assert rates == [3, 8]

    def test_rates_are_operations_and_bytes_a_second(self, monkeypatch):
        monkeypatch.setattr(timing, "seconds_per_call", lambda side, calls: 0.5)
        assert timing.copy_rate(megabytes=1) == 2 * 2**20 / 0.5
        assert timing.matrix_product_rate(np.float32, size=10) == 2 * 10**3 / 0.5


class TestTiming:
    def test_blocks_alternate_and_the_median_counts(self):
        seconds = iter([0.01, 0.1, *(1, 2, 9, 8, 3, 4)])
        calls = []

        def block(side, count):
            calls.append((side, count))
            return next(seconds)

        assert timing.compare("ours", "theirs", rounds=3, block_seconds=0.05, time_block=block) == [3, 4]
        assert calls == [("ours", 1), ("theirs", 1), *[("ours", 5), ("theirs", 1)] * 3]  # 0.5 calls are 1

    @pytest.mark.parametrize("limit, rounds", [(60, 5), (0, 3)])
    def test_what_takes_long_gets_fewer_rounds(self, monkeypatch, limit, rounds):
        monkeypatch.setattr(timing, "LIMIT_SECONDS", limit)
        blocks = []
        timing.compare("ours", time_block=lambda side, calls: blocks.append(calls) or 1)
        assert len(blocks) == 1 + rounds

    def test_a_block_begins_when_threads_sleep_and_with_a_call_that_does_not_count(self, monkeypatch):
        events, clock = [], iter([10.0, 16.0])
        monkeypatch.setattr(timing, "wait_for_threads", lambda: events.append("wait"))
        monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or next(clock))
        assert timing.seconds_per_call(lambda: events.append("call"), 3) == 2
        assert events == ["wait", "call", "clock", "call", "call", "call", "clock"]

    def test_waits_while_threads_spin(self, monkeypatch):
        spent = iter([0, 0.02, 0.02, 0.03, 0.03, 0.03])  # seconds before and after each look
        monkeypatch.setattr(timing.time, "process_time", lambda: next(spent))
        monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
        timing.wait_for_threads()
        assert next(spent, None) is None

    def test_every_processor_has_a_busy_process_until_the_block_ends(self):
        def children():
            return [each for each in psutil.Process().children() if "getppid" in " ".join(each.cmdline())]

        with pytest.raises(KeyError), timing.busy_processes():
            assert len(children()) == len(psutil.Process().cpu_affinity())
            raise KeyError
        assert children() == []


def test_a_quick_run_from_end_to_end():
    command = [sys.executable, "-m", "benchmarks", "--quick", "--threads", "1", "--only", "float32: softmax"]
    run = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    machine, threads, kernels_line, without, _, title, *_, heading, _, row, mean = run.stdout.splitlines()
    assert machine == timing.describe_machine()
    assert threads == "threads for every side: 1; processes: 1"
    assert kernels_line.startswith("kernels of ours: cs231n.kernels.")
    assert without == "torch.compile is left out: not with --quick"
    assert title == "### other layers, float32"
    assert row.startswith("| softmax loss, 512x1000 | ") and row.count("|") == heading.count("|")
    assert mean.startswith("| **geometric mean**; worst: softmax loss, 512x1000 |")


def cases():
    """Every (sweep, size, threads), in the order of the measurement."""
    return [(sweep.name, size, n) for sweep in growth.SWEEPS for size in sweep.sizes for n in (1, 2)]


class TestSweeps:
    def test_sizes_are_those_asked_for(self):
        sizes = {sweep.name: sweep.sizes for sweep in SWEEPS}
        batches = (1, 2, 4, 8, 16, 32, 64, 128)
        assert sizes["convolution: channels"] == (3, 8, 16, 32, 64, 128, 256)
        assert sizes["convolution: side"] == (8, 16, 32, 64)
        assert sizes["step: six layers, batch norm"] == batches[1:]
        assert sizes["step: DeepConvNet"] == batches[::3]
        for name in ("convolution: batch", "spatial batch norm", "layer norm"):
            assert sizes[name] == batches
        assert growth.THREADS == (1, 2)

    def test_rows_have_the_size(self):
        batch, channels, side, norm, layer, *steps = (sweep.make(7) for sweep in SWEEPS)
        assert batch.shapes[:2] == ((7, 32, 32, 32), (32, 32, 3, 3))
        assert channels.shapes[:2] == ((32, 7, 32, 32), (7, 7, 3, 3))
        assert side.shapes[:2] == ((32, 32, 7, 7), (32, 32, 3, 3))
        assert norm.shapes[0] == (7, 32, 32, 32) and layer.shapes[0] == (7, 1024)
        for row in steps:
            *_, X, y = row._data(0)
            assert len(X) == len(y) == 7

    def test_work_grows_with_the_power(self):
        for sweep in SWEEPS[:5]:
            one, four = (sweep.make(size).work for size in (8, 32))
            assert four / one == 4**sweep.power

    def test_peers_are_both_layouts_and_the_fused_optimizer(self):
        names = [[str(each) for each in growth.peers(sweep.make(2))] for sweep in SWEEPS]
        layouts = ["plain", "channels_last"]
        deep = ["fused", "channels_last fused"]
        assert names == [layouts, layouts, layouts, layouts, ["plain"], ["fused"], deep]


class TestMeasuring:
    def test_from_sizes_to_files(self, quick, tmp_path):
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        growth.main([], tmp_path)
        machine, rows = growth.read(tmp_path / "growth.csv")
        assert f"PyTorch {torch.__version__}" in machine and "2 threads: 3 GFLOP/s" in machine
        assert [row[:3] for row in rows] == cases()
        assert all(0 < ms < 1000 for row in rows for ms in (row.ours, row.pytorch))
        assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
        assert growth.table(rows) in (tmp_path / "README.md").read_text(encoding="utf-8")

    def test_the_faster_layout_of_pytorch_counts(self, quick, monkeypatch):
        monkeypatch.setattr(growth, "compare", lambda *runs, time_block: [1, 3, 2, 4, 5, 6])
        assert growth.measure(growth.SWEEPS[0], 1, (1, 2)) == [
            Time(CONV, 1, 1, 1e3, 2e3),
            Time(CONV, 1, 2, 4e3, 5e3),
        ]

    def test_threads_and_sweeps_can_be_chosen_and_the_others_are_kept(self, quick, folder, monkeypatch):
        monkeypatch.setattr(growth, "describe_machine", lambda: "a machine")
        growth.main(["--threads", "1", "--only", "batch$"], folder)
        _, rows = growth.read(folder / "growth.csv")
        assert rows[:6] == [row for row in ROWS if row.sweep != CONV]
        assert [row[:3] for row in rows[6:]] == [(CONV, 1, 1), (CONV, 2, 1)]
        monkeypatch.setattr(growth, "describe_machine", lambda: "another")
        with pytest.raises(ValueError, match="from another machine"):
            growth.main(["--only", "batch$"], folder)

    def test_what_was_measured_before_an_interruption_is_kept_and_can_be_drawn(
        self, monkeypatch, quick, tmp_path
    ):
        def measure(sweep, size, threads):
            if size == 3:
                raise KeyboardInterrupt
            return [Time(sweep.name, size, count, 2.0, 4.0) for count in threads]

        monkeypatch.setattr(growth, "measure", measure)
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        with pytest.raises(KeyboardInterrupt):
            growth.main([], tmp_path)
        assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
        growth.main(["--draw"], tmp_path)
        _, rows = growth.read(tmp_path / "growth.csv")
        assert [row[:3] for row in rows] == cases()[:4]

    def test_ours_and_pytorchs_use_as_many_threads_as_asked_for(self):
        with use_threads(1):
            for count in (2, 1):
                with growth.threads_for_all(count):
                    assert num_threads() == torch.get_num_threads() == count
            assert num_threads() == torch.get_num_threads() == 1


class TestTableOfGrowth:
    def test_of_a_measurement(self, folder):
        machine, rows = growth.read(folder / "growth.csv")
        assert (machine, rows) == (MACHINE, ROWS)
        assert growth.table(rows) == TABLE

    def test_takes_the_place_of_the_old_one(self, folder, capsys):
        growth.main(["--draw"], folder)
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert text == README.replace("the old table", f"\n{MACHINE}.\n\n{TABLE}\n")
        assert TABLE in capsys.readouterr().out
        growth.main(["--draw"], folder)
        assert (folder / "README.md").read_text(encoding="utf-8") == text

    @pytest.mark.parametrize("marker", [BEGIN, END])
    def test_has_to_have_its_place(self, marker):
        with pytest.raises(ValueError, match=r"README\.md must have the lines <!-- The table"):
            growth.with_table(README.replace(marker, ""), MACHINE, ROWS)

    def test_of_the_repository_is_that_of_its_measurement(self):
        text = (FOLDER / "README.md").read_text(encoding="utf-8")
        machine, rows = growth.read(FOLDER / "growth.csv")
        assert growth.with_table(text, machine, rows) == text
        assert sorted(row[:3] for row in rows) == sorted(cases())


@pytest.fixture(scope="module")
def panels():
    """{name of a sweep: its panels of times and of ratios}."""
    figure = growth.draw(ROWS)
    figure.canvas.draw()
    axes = np.array(figure.axes).reshape(4, 4)
    pairs = [*axes[:2].T, *axes[2:].T]
    return {times.get_title(): (times, ratios) for times, ratios in pairs}


def points(axes):
    """{(colour, dashes): points} of the lines in a panel."""
    styles = [(to_hex(line.get_color()), line.get_linestyle()) for line in axes.lines]
    return dict(zip(styles, (line.get_xydata().tolist() for line in axes.lines), strict=True))


class TestFigure:
    def test_has_the_times_of_each_size(self, panels):
        assert points(panels[CONV][0]) == {
            (OURS, "--"): [[1, 0.25], [32, 8], [512, 120]],
            (THEIRS, "--"): [[1, 1], [32, 10], [512, 100]],
            (OURS, "-"): [[1, 0.5], [32, 5], [512, 60]],
            (THEIRS, "-"): [[1, 2], [32, 5], [512, 50]],
            (WORK, ":"): [[1, 60 / 512], [32, 60 / 16], [512, 60]],
        }
        assert points(panels[NORM][0])[OURS, "--"] == [[2, 1]]
        assert points(panels[SIDE][0])[THEIRS, "-"] == [[32, 5], [64, 10]]
        assert points(panels[SIDE][0])[WORK, ":"] == [[32, 5], [64, 20]]

    def test_has_the_ratios_and_a_line_at_1(self, panels):
        assert points(panels[CONV][1]) == {
            (THEIRS, "-"): [[0, 1], [1, 1]],  # from edge to edge
            (OURS, "--"): [[1, 0.25], [32, 0.8], [512, 1.2]],
            (OURS, "-"): [[1, 0.25], [32, 1], [512, 1.2]],
        }

    def test_says_what_is_drawn(self, panels):
        assert [text.get_text() for text in panels[""][0].get_legend().get_texts()] == [
            *("ours, 1 thread", "PyTorch, 1 thread", "ours, 2 threads", "PyTorch, 2 threads"),
            "in proportion to the work",
        ]
        assert {sweep.name for sweep in SWEEPS} == panels.keys() - {""}
        assert panels[NORM][1].get_xlabel() == "rows in the batch"
        labels = [label.get_text() for label in panels[CONV][1].get_xticklabels()]
        assert labels == ["", "2", "", "8", "", "32", "", "128"]

    def test_is_logarithmic_in_all_panels(self, panels):
        drawn = [axes for name in (CONV, SIDE, NORM) for axes in panels[name]]
        assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in drawn)


def test_benchmarks_are_not_installed():
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    packages = find_packages(FOLDER.parent, **settings["tool"]["setuptools"]["packages"]["find"])
    assert "cs231n" in packages and not any(name.startswith("benchmarks") for name in packages)
