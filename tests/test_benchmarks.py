"""The benchmark of how the cost grows: what it measures, keeps, draws and writes."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from setuptools import find_packages

from benchmarks import growth
from benchmarks.growth import BASE, BEGIN, COLUMNS, END, SIZES, Row, growing
from benchmarks.memory import peak_bytes
from cs231n import kernels
from cs231n.kernels.threads import num_threads, use_threads
from cs231n.vis_utils import COLORS

FOLDER = Path(growth.__file__).parent
MACHINE = "a machine, 2 cores"
README = f"# Benchmarks\n\n{BEGIN}\nthe old table\n{END}\nThe end.\n"
ROWS = [  # not in order
    Row(32, 32, 32, 1, 8.0, 10.0),
    Row(32, 32, 32, 2, 5.0, 5.0),
    Row(512, 32, 32, 1, 120.0, 100.0),
    Row(512, 32, 32, 2, 60.0, 50.0),
    Row(1, 32, 32, 1, 0.25, 1.0),
    Row(1, 32, 32, 2, 0.5, 2.0),
    Row(32, 3, 32, 1, 1.0, 3.0),
    Row(32, 3, 32, 2, 0.75, 3.0),
    Row(32, 32, 64, 1, 32.0, 40.004),
    Row(32, 32, 64, 2, 20.0, 10.0),
]
OURS, THEIRS, WORK = (color.lower() for color in (*COLORS[:2], "#888888"))
TABLE = """\
| size | 1 thread, ms: ours | PyTorch | ours / PyTorch | 2 threads, ms: ours | PyTorch | ours / PyTorch |
|---|---|---|---|---|---|---|
| batch 1 | 0.25 | 1.00 | 0.25 | 0.50 | 2.00 | 0.25 |
| batch 32 | 8.00 | 10.00 | 0.80 | 5.00 | 5.00 | 1.00 |
| batch 512 | 120.00 | 100.00 | 1.20 | 60.00 | 50.00 | 1.20 |
| channels 3 | 1.00 | 3.00 | 0.33 | 0.75 | 3.00 | 0.25 |
| channels 32 | 8.00 | 10.00 | 0.80 | 5.00 | 5.00 | 1.00 |
| side 32 | 8.00 | 10.00 | 0.80 | 5.00 | 5.00 | 1.00 |
| side 64 | 32.00 | 40.00 | 0.80 | 20.00 | 10.00 | 2.00 |"""


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
    monkeypatch.setattr(growth, "BASE", {"batch": 2, "channels": 3, "side": 4})
    monkeypatch.setattr(growth, "SIZES", {"batch": (1, 2), "channels": (3, 16), "side": (4, 5)})
    monkeypatch.setattr(growth, "PAUSE", 0)
    monkeypatch.setattr(growth, "BLOCK_SECONDS", 1e-3)
    monkeypatch.setattr(growth, "ROUNDS", 3)
    monkeypatch.setattr(growth, "matrix_product_rate", lambda dtype: 3e9)
    monkeypatch.setattr(kernels, "_in_use", None)


def blocks(count):
    """Memory of so many times 100,000 bytes, in pieces that the allocator does not give back at once."""
    return [bytearray(b"1" * 100_000) for _ in range(count)]


class Hungry:
    """A side whose pass takes 20 MB; before it, so many blocks were taken and freed."""

    def __init__(self, freed):
        taken = blocks(freed)
        self.after_them = bytearray(10_000)
        del taken

    def forward(self):
        return blocks(100)

    def backward(self):
        return blocks(100)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell the peak here")
@pytest.mark.parametrize("freed", [0, 150])
def test_peak_memory_is_what_a_pass_takes_whatever_was_freed_before(freed):
    megabytes = peak_bytes(partial(Hungry, 0), partial(Hungry, freed)) / 1e6
    assert 19 < megabytes < 22


class TestCases:
    def test_sizes_are_those_asked_for(self):
        assert SIZES["batch"] == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
        assert SIZES["channels"][0] == 3 and SIZES["channels"][-1] == 256
        assert SIZES["side"] == (8, 16, 32, 64, 128)
        assert growth.THREADS == (1, 2)

    def test_every_case_is_measured_once_and_the_base_case_first(self):
        cases = growth.cases()
        assert cases[0] == tuple(BASE.values())
        assert len(cases) == len(set(cases)) == sum(map(len, SIZES.values())) - 2

    @pytest.mark.parametrize("name", SIZES)
    def test_every_size_has_its_cases(self, name):
        rows = [Row(*case, threads, 1.0, 1.0) for case in growth.cases() for threads in (1, 2)]
        lines = growing(rows, name)
        assert list(lines) == [1, 2]
        for line in lines.values():
            assert tuple(getattr(row, name) for row in line) == SIZES[name]


class TestMeasuring:
    def test_from_sizes_to_files(self, quick, tmp_path):
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        growth.main([], tmp_path)
        machine, rows = growth.read(tmp_path / "growth.csv")
        assert f"PyTorch {torch.__version__}" in machine and "2 threads: 3 GFLOP/s" in machine
        assert [row[:4] for row in rows] == [(*case, n) for case in growth.cases() for n in (1, 2)]
        assert all(0 < ms < 1000 for row in rows for ms in (row.ours, row.pytorch))
        assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
        assert growth.table(rows) in (tmp_path / "README.md").read_text(encoding="utf-8")

    def test_the_number_of_threads_can_be_chosen(self, quick, tmp_path):
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        growth.main(["--threads", "2"], tmp_path)
        _, rows = growth.read(tmp_path / "growth.csv")
        assert {row.threads for row in rows} == {2}

    def test_what_was_measured_before_an_interruption_is_kept_and_can_be_drawn(
        self, monkeypatch, quick, tmp_path
    ):
        def measure(case, threads):
            if case == growth.cases()[2]:
                raise KeyboardInterrupt
            return [Row(*case, count, 2.0, 4.0) for count in threads]

        monkeypatch.setattr(growth, "measure", measure)
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        with pytest.raises(KeyboardInterrupt):
            growth.main([], tmp_path)
        assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
        growth.main(["--draw"], tmp_path)
        _, rows = growth.read(tmp_path / "growth.csv")
        assert [row[:3] for row in rows] == [case for case in growth.cases()[:2] for _ in (1, 2)]

    def test_ours_and_pytorchs_use_as_many_threads_as_asked_for(self):
        with use_threads(1):
            for count in (2, 1):
                with growth.threads_for_all(count):
                    assert num_threads() == torch.get_num_threads() == count
            assert num_threads() == torch.get_num_threads() == 1

    @pytest.mark.parametrize("seconds, rounds", [(60, 9), (0, 3)])
    def test_blocks_alternate_and_what_takes_long_gets_fewer_rounds(self, monkeypatch, seconds, rounds):
        calls = []

        def block(threads, function, count):
            calls.append((threads, function, count))
            return 1e-3 * threads * len(calls)

        runs = [(1, "ours"), (1, "PyTorch's"), (2, "ours")]
        monkeypatch.setattr(growth, "_block", block)
        monkeypatch.setattr(growth, "CASE_SECONDS", seconds)
        monkeypatch.setattr(growth, "BLOCK_SECONDS", 0.012)
        medians = growth._alternate(runs)
        assert [call[:2] for call in calls] == runs * (1 + rounds)
        assert [count for _, _, count in calls] == [1, 1, 1] + [12, 6, 2] * rounds
        middle = 3 * (rounds + 1) / 2
        assert np.allclose(medians, 1e-3 * np.array([middle + 1, middle + 2, 2 * (middle + 3)]))


class TestTable:
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
        assert [row[:4] for row in rows] == [(*case, n) for case in growth.cases() for n in (1, 2)]


@pytest.fixture(scope="module")
def panels():
    figure = growth.draw(ROWS)
    figure.canvas.draw()
    return np.array(figure.axes).reshape(2, 3)


def points(axes):
    """{(colour, dashes): points} of the lines in a panel."""
    styles = [(to_hex(line.get_color()), line.get_linestyle()) for line in axes.lines]
    return dict(zip(styles, (line.get_xydata().tolist() for line in axes.lines), strict=True))


class TestFigure:
    def test_has_the_times_of_each_size(self, panels):
        assert points(panels[0, 0]) == {
            (OURS, "--"): [[1, 0.25], [32, 8], [512, 120]],
            (THEIRS, "--"): [[1, 1], [32, 10], [512, 100]],
            (OURS, "-"): [[1, 0.5], [32, 5], [512, 60]],
            (THEIRS, "-"): [[1, 2], [32, 5], [512, 50]],
            (WORK, ":"): [[1, 60 / 512], [32, 60 / 16], [512, 60]],
        }
        assert points(panels[0, 1])[OURS, "--"] == [[3, 1], [32, 8]]
        assert points(panels[0, 2])[THEIRS, "-"] == [[32, 5], [64, 10]]
        assert points(panels[0, 2])[WORK, ":"] == [[32, 5], [64, 20]]

    def test_has_the_ratios_and_a_line_at_1(self, panels):
        assert points(panels[1, 0]) == {
            (THEIRS, "-"): [[0, 1], [1, 1]],  # from edge to edge
            (OURS, "--"): [[1, 0.25], [32, 0.8], [512, 1.2]],
            (OURS, "-"): [[1, 0.25], [32, 1], [512, 1.2]],
        }

    def test_says_what_is_drawn(self, panels):
        (legend,) = panels[0, 0].figure.legends
        assert [text.get_text() for text in legend.get_texts()] == [
            *("ours, 1 thread", "PyTorch, 1 thread", "ours, 2 threads", "PyTorch, 2 threads"),
            "in proportion to the work",
        ]
        assert panels[0, 0].get_ylabel() == "forward + backward, ms"
        for axes, (name, sizes) in zip(panels[1], SIZES.items(), strict=True):
            assert axes.get_xlabel() == growth.AXES[name]
            assert [label.get_text() for label in axes.get_xticklabels()] == list(map(str, sizes))

    def test_is_logarithmic_in_all_panels(self, panels):
        assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in panels.flat)


def test_benchmarks_are_not_installed():
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    packages = find_packages(FOLDER.parent, **settings["tool"]["setuptools"]["packages"]["find"])
    assert "cs231n" in packages and not any(name.startswith("benchmarks") for name in packages)
