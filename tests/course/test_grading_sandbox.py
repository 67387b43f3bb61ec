"""The fences of a worker, each by itself, and what the judge and a worker say to each other."""

import contextlib
import ctypes
import glob
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import psutil
import pytest
from conftest import PATIENCE
from hypothesis import given
from hypothesis import strategies as st

from course.grading.sandbox import parent as sandbox
from course.grading.sandbox.parent import Deadline, Preload, SubmissionError, WorkerLostError, WorkerProcess
from course.grading.sandbox.runtime import protocol
from course.grading.sandbox.runtime.protocol import Kept, Other, ProtocolError, Tensor
from cs231n import layers

ROOT = Path(sandbox.__file__).parents[3]
RUNTIME = sandbox.RUNTIME
TEMPLATES = ROOT / "course" / "grading" / "templates"


def needs(fence):
    """Tests of a fence run where it stands."""
    standing = fence in sandbox.standing_fences()
    return pytest.mark.skipif(not standing, reason=f"this system cannot put up the fence {fence!r}")


@pytest.fixture(scope="module")
def starters():
    with sandbox.Starters() as starters:
        yield starters


def confined(code, tmp_path, **fences):
    """What code prints in a process of its own, behind the kernel's fences only: without Python's hooks."""
    settings = {
        "user": None,
        "namespaces": False,
        "landlock": False,
        "readable": [str(TEMPLATES), *sandbox._libraries()],
        "cpu_seconds": 5,
        "memory": 2**29,
        "processes": None,
    }
    script = f"import ctypes, os, resource, sys\nsys.path.insert(0, {str(RUNTIME)!r})\nimport confine\n"
    script += f"confine.confine({settings | fences!r})\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script + dedent(code)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PATIENCE,
    )
    return (done.stdout + done.stderr.strip()[-200:]).strip()


PROGRAM = next(iter(glob.glob("/lib*/ld-*.so*")), "/bin/true")  # a program among the libraries, on Linux
# what a process tries behind Landlock, and what it prints where it succeeds
LANDLOCK = {
    "reads a file": f"open({str(ROOT / 'cs231n' / 'layers.py')!r}).read()",
    "reads through /proc": f"open('/proc/self/root' + {str(ROOT / 'README.md')!r}).read()",
    "reads a folder": f"os.listdir({str(ROOT)!r})",
    "creates": "open('new', 'w')",
    "writes": "open('old', 'a')",
    "truncates": "os.truncate('old', 0)",
    "removes": "os.remove('old')",
    "renames": "os.rename('old', 'new')",
    "makes a folder": "os.mkdir('new')",
    "makes a pipe": "os.mkfifo('new')",
    "makes a link": "os.symlink('old', 'new')",
    "executes": f"os.execv({PROGRAM!r}, ['program', '--version'])",
    "reads the kernel's log": "os.open('/dev/kmsg', os.O_RDONLY)",  # which stands for every device
}


@needs("landlock")
@pytest.mark.parametrize("attempt", LANDLOCK)
def test_landlock_refuses(attempt, tmp_path):
    (tmp_path / "old").write_text("old")
    code = f"try:\n    {LANDLOCK[attempt]}\n    print('done')\nexcept PermissionError:\n    print('refused')"
    said = confined(code, tmp_path, landlock=True)
    assert said == "refused"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@needs("landlock")
def test_landlock_allows_what_a_worker_needs(tmp_path):
    code = f"""
    open({str(TEMPLATES / "setup.sh")!r}).read(), open('/dev/null', 'w').write('x')
    import numpy, scipy.linalg
    print(numpy.ones(3).sum())
    """
    assert confined(code, tmp_path, landlock=True) == "3.0"


@needs("landlock")
def test_nothing_else_that_lies_in_the_same_place_can_be_read():
    """The libraries are readable, but not all that lies under the prefix, as a repository may."""
    for folder in sandbox._libraries():
        assert not ROOT.is_relative_to(folder)
        assert not (ROOT / "cs231n" / "layers.py").resolve().is_relative_to(folder)


SHARED = 0x2 << 24 | os.getpid()  # the key of a piece of memory that processes share


@pytest.fixture
def shared_memory():
    """A piece of memory that any process of this user may find."""
    libc = ctypes.CDLL(None)
    number = libc.shmget(SHARED, 4096, 0o1600)
    assert number >= 0
    yield
    libc.shmctl(number, 0, None)


NAMESPACES = {
    "other processes": (f"print(libc.kill({os.getpid()}, 0))", "-1"),
    "the parent": ("print(os.getpid(), os.getppid())", "1 0"),
    "a pidfd through /proc": (
        f"""
        import signal
        try: signal.pidfd_send_signal(os.open('/proc/{os.getpid()}', os.O_RDONLY), 0)
        except OSError as error: print(type(error).__name__)
        """,
        "OSError",
    ),
    "memory of the judge": (
        f"""
        try: open('/proc/{os.getpid()}/mem', 'rb')
        except PermissionError: print('refused')
        """,
        "refused",
    ),
    "interfaces but the unconnected one": (
        "import socket\nprint([name for _, name in socket.if_nameindex()])",
        "['lo']",
    ),
    "shared memory": (f"print(libc.shmget({SHARED}, 0, 0))", "-1"),
}


@needs("namespaces")
@pytest.mark.parametrize("what", NAMESPACES)
def test_in_its_namespaces_a_process_does_not_reach(what, tmp_path, shared_memory):
    code, expected = NAMESPACES[what]
    assert confined(code, tmp_path, namespaces=True) == expected


@needs("namespaces")
def test_a_process_in_its_namespaces_ends_as_it_ended_for_who_waits(tmp_path):
    assert confined("os._exit(7)", tmp_path, namespaces=True) == ""
    with pytest.raises(subprocess.CalledProcessError, match="SIGSEGV"):
        settings = (
            "dict(user=None, namespaces=True, landlock=False, readable=[], cpu_seconds=5, memory=2**29,"
        )
        code = f"import confine, ctypes; confine.confine({settings} processes=None)); ctypes.string_at(0)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=RUNTIME)


LIMITS = {
    "memory": ("bytearray(2**30)", "MemoryError"),
    "memory that is mapped": ("import mmap\nmmap.mmap(-1, 2**30)", "Cannot allocate memory"),
    "files": ("open('new', 'w').write('x' * 10**5)", "File too large"),
    "open files": ("a = [open('/dev/null') for _ in range(300)]", "Too many open files"),
    "higher limits than these": (
        "try: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nexcept ValueError: pass\nbytearray(2**30)",
        "MemoryError",
    ),
}


@pytest.mark.parametrize("what", LIMITS)
def test_the_limits_hold_for(what, tmp_path):
    code, expected = LIMITS[what]
    namespaces = "namespaces" in sandbox.standing_fences()  # without which root may raise its limits
    assert expected in confined(f"{code}", tmp_path, namespaces=namespaces)


def test_processor_time_is_limited(tmp_path):
    started = time.monotonic()
    assert confined("while True: pass", tmp_path, cpu_seconds=1) == ""
    assert time.monotonic() - started < 10


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_user_is_another_and_may_not_become_root(tmp_path):
    code = "try: os.setuid(0)\nexcept PermissionError: print(os.getuid(), os.getgroups())"
    assert confined(code, tmp_path, user=1_000_000_123) == "1000000123 []"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux chooses whom to end by such a score")
def test_where_memory_runs_short_the_worker_is_ended_rather_than_the_judge(tmp_path):
    assert confined("print(open('/proc/self/oom_score_adj').read())", tmp_path) == "1000"


def plain_values():
    numbers = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False), st.text()
    )
    keys = st.one_of(st.text(), st.integers(-9, 9), st.tuples(st.text(), st.booleans()))
    return st.recursive(
        numbers,
        lambda parts: st.one_of(
            st.lists(parts), st.tuples(parts, parts), st.dictionaries(keys, parts, max_size=4)
        ),
        max_leaves=12,
    )


def round_trip(value, plain=False):
    """What arrives of a value; the receiver is there before, since a socket holds little."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=protocol.send, args=(ours, value))
        sender.start()
        found = protocol.receive(theirs, plain)
        sender.join()
    return found


@given(plain_values())
def test_plain_values_arrive_as_they_were_sent(value):
    found = round_trip(value)
    assert found == value
    assert repr(found) == repr(value)  # 1 is not True, and no list a tuple


ARRAYS = [np.arange(6).reshape(2, 3).astype(dtype) for dtype in sorted(protocol.ARRAY_DTYPES)]
ARRAYS += [
    np.zeros((0, 3)),
    np.array(3.5),
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::-1],
    np.arange(6, dtype=">f4"),
    np.broadcast_to(np.float32(2), (3, 4)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}-{array.shape}")
def test_arrays_arrive_as_they_were_sent(array):
    found = round_trip({"a": [array, array[None]], "b": (array, 3)})
    for sent, arrived in ((array, found["a"][0]), (array[None], found["a"][1]), (array, found["b"][0])):
        assert arrived.dtype == sent.dtype.newbyteorder("<")
        assert arrived.shape == sent.shape
        np.testing.assert_array_equal(arrived, sent)
        assert arrived.flags.owndata
        assert arrived.flags.writeable


def test_scalars_tensors_and_references_arrive_as_such():
    scalar = round_trip(np.float32(2.5))
    assert type(scalar) is np.float32
    assert scalar == 2.5
    assert round_trip(Tensor(np.ones(3))).array.tolist() == [1, 1, 1]
    assert round_trip(Kept(3)[1][0]) == Kept(3, (1, 0))
    assert round_trip(np.dtype("f4")) == np.dtype("f4")


def test_a_worker_may_not_name_what_the_judge_keeps():
    assert round_trip((Kept(3), Other("x")), plain=True) == (Other("kept"), Other("x"))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        (2**70, "int"),
        (np.array([None]), "array of object"),
        (np.ones(2, complex), "array of complex128"),
        (np.broadcast_to(1.0, 2**30), "array of 8192 MB"),
        (np.array("2020-01-01", "M8[D]"), "array of datetime64[D]"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_of_anything_else_only_the_type_arrives(value, name):
    assert round_trip([value]) == [Other(name)]


def arriving(document, data=b""):
    """What is read from a message that nobody of ours wrote."""
    document = document if isinstance(document, bytes) else json.dumps(document).encode()
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.settimeout(5)
            ours.sendall(protocol.LENGTHS.pack(len(document), len(data)) + document + data)
        return protocol.receive(theirs, plain=True)


BAD = {
    "a bare list": [1],
    "an unknown kind": {"object": "os.system"},
    "a key that is no key": {"dict": [[{"list": []}, 1]]},
    "no pairs": {"dict": [[1, 2, 3]]},
    "a negative size": {"array": "f8", "shape": [-1]},
    "a size that is no number": {"array": "u1", "shape": [True]},
    "a size of a fraction": {"array": "u1", "shape": [1.5]},
    "no shape": {"array": "u1"},
    "more than there is": {"array": "u1", "shape": [100]},
    "far more than there is": {"array": "u1", "shape": [2**62, 2**62]},
    "objects": {"array": "O", "shape": [1]},
    "a dtype that is no name": {"array": ["u1"], "shape": [1]},
    "many axes": {"array": "u1", "shape": [1] * 1000},
    "the same bytes twice": {"list": [{"array": "u1", "shape": [8]}, {"array": "u1", "shape": [8]}]},
    "a giant number": b"1" * 1000,
    "nonsense": b"\xff\xfe\x00",
    "nothing": b"",
    "deep": b"[" * 100_000,
    "deep, closed": b'{"list":[' * 5_000 + b"]}" * 5_000,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_message_is_refused(name):
    with pytest.raises(ProtocolError):
        arriving(BAD[name], bytes(8))


def is_plain(value):
    if isinstance(value, tuple | list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, Tensor):
        value = value.array
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fiub"
    return value is None or type(value) in (bool, int, float, str, Other)


PARTS = st.recursive(
    st.one_of(st.none(), st.integers(-3, 9), st.floats(), st.sampled_from(["f8", "O", "u1", "\ud800", "V8"])),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["tuple", "list", "dict", "array", "shape", "kept", "path", "dtype", "other", "tensor"]
            ),
            parts,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@given(PARTS, st.binary(max_size=16))
def test_a_message_of_odd_parts_is_plain_or_refused(document, data):
    with contextlib.suppress(ProtocolError):
        assert is_plain(arriving(document, data))


def test_a_damaged_message_is_plain_or_refused():
    rng = random.Random(1)
    value = {"a": (np.ones(3), [1, "x", None]), "b": Kept(1), "c": Tensor(np.zeros((2, 2), "f4"))}
    for _ in range(500):
        message = bytearray(protocol.encode(value))
        for _ in range(rng.randint(1, 5)):
            message[rng.randrange(7, len(message))] = rng.randrange(256)
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(message[: rng.choice([len(message), rng.randrange(len(message))])])
            with contextlib.suppress(ProtocolError):
                assert is_plain(protocol.receive(theirs, plain=True))


def test_nothing_of_a_hostile_text_remains_that_cannot_be_written():
    assert arriving({"dict": [["\ud800", {"other": "\x1b[2J\ud800\n"}]]}) == {"?": Other(" [2J  ")}


def test_the_deadline_is_kept_however_slowly_the_bytes_drip():
    ours, theirs = socket.socketpair()
    stopped = threading.Event()

    def drip():
        with contextlib.suppress(OSError):
            ours.sendall(protocol.LENGTHS.pack(10**6, 0))
            while not stopped.wait(0.02):
                ours.sendall(b" ")

    thread = threading.Thread(target=drip)
    with ours, theirs:
        thread.start()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            protocol.receive(Deadline(theirs, 0.3))
        assert 0.2 < time.monotonic() - started < 5  # a busy machine; the drip would go on for 20,000
        stopped.set()
        thread.join()


def tree_with(folder, **modules):
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    return folder


def worker_on(starters, tree, seconds=5, fences=None, given=None):
    fences = sandbox.standing_fences() if fences is None else fences
    return WorkerProcess(starters[Preload.NUMPY], tree, fences, seconds, given)


def call(worker, target, *args):
    return worker.ask("call", target=target, args=args, kwargs={})["result"]


def family_of(starters):
    """The processes below the starter."""
    return psutil.Process(starters[Preload.NUMPY].process.pid).children(recursive=True)


def test_no_process_is_left_behind(starters, tmp_path):
    tree = tree_with(tmp_path, mod="import threading, time\n\ndef wait(): time.sleep(1000)\n")
    with worker_on(starters, tree, seconds=0.3) as worker:
        below = family_of(starters)
        assert below
        with pytest.raises(WorkerLostError, match=r"took longer than 0\.3 s"):
            call(worker, "mod:wait")
    assert family_of(starters) == []
    assert psutil.wait_procs(below, timeout=PATIENCE)[1] == []


@needs("namespaces")
def test_what_a_process_has_started_ends_with_its_namespace(tmp_path):
    """Even if it has made itself independent, twice."""
    code = """
    if os.fork() == 0:
        os.setsid()
        os.fork()
        libc.pause()
    print('x', flush=True)
    """
    before = {process.pid for process in psutil.process_iter()}
    assert confined(code, tmp_path, namespaces=True) == "x"
    time.sleep(0.1)
    new = [process for process in psutil.process_iter() if process.pid not in before]
    assert [process for process in new if "confine" in " ".join(cmdline(process))] == []


def cmdline(process):
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_workers_of_a_judge_that_was_killed_end(tmp_path):
    """Also one that sleeps, and does not look at its connection."""
    tree_with(tmp_path, mod="import time\n\ndef wait(): time.sleep(1000)\n")
    code = f"""
    from course.grading.sandbox import parent as sandbox
    from course.grading.sandbox.runtime import protocol
    starters = sandbox.Starters()
    starter = starters[sandbox.Preload.NUMPY]
    worker = sandbox.WorkerProcess(starter, {str(tmp_path)!r}, sandbox.standing_fences(), 100)
    request = {{"do": "call", "target": "mod:wait", "args": (), "kwargs": {{}}}}
    protocol.send(worker.connection, request)
    print("started", flush=True)
    import time
    time.sleep(1000)
    """
    judge = subprocess.Popen([sys.executable, "-c", dedent(code)], stdout=subprocess.PIPE, cwd=ROOT)
    with judge:
        assert judge.stdout.readline() == b"started\n"
        below = psutil.Process(judge.pid).children(recursive=True)
        assert len(below) >= 2
        judge.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(below, timeout=PATIENCE)
    assert alive == []


def test_what_is_given_is_computed_elsewhere(starters, tmp_path):
    """A learner's arguments may ask for any memory and time: of a worker, not of the judge."""
    code = """
    import numpy as np

    def ask(n, m):
        return relu_forward(np.full((n, m), -1.0))

    def giant():
        return affine_forward(np.ones((2**15, 1)), np.ones((1, 2**15)), np.ones(2**15))

    def kept(x):
        import protocol
        return relu_forward(protocol.Kept(0))
    """
    tree = tree_with(tmp_path, mod=code)
    functions = {name: getattr(layers, name) for name in ("relu_forward", "affine_forward")}
    with worker_on(starters, tree, given=functions) as worker:
        worker.ask("give", functions={"mod": list(functions)}, stubs=[])
        out, _ = call(worker, "mod:ask", 2, 3)
        assert out.tolist() == [[0, 0, 0]] * 2
        before = psutil.Process().memory_info().rss
        with pytest.raises(SubmissionError, match="MemoryError"):
            call(worker, "mod:giant")
        assert psutil.Process().memory_info().rss - before < 2**28
        with pytest.raises(SubmissionError, match="ValueError"):
            call(worker, "mod:kept", 1)
        assert call(worker, "mod:ask", 1, 1)[0].tolist() == [[0]]
    assert family_of(starters) == []


def test_what_is_given_changes_its_arguments_as_it_would_here(starters, tmp_path):
    code = """
    import numpy as np

    def averages():
        param = {"mode": "train"}
        batchnorm_forward(np.arange(6.0).reshape(3, 2), np.ones(2), np.zeros(2), param)
        return sorted(param)
    """
    tree = tree_with(tmp_path, mod=code)
    with worker_on(starters, tree, given={"batchnorm_forward": layers.batchnorm_forward}) as worker:
        worker.ask("give", functions={"mod": ["batchnorm_forward"]}, stubs=[])
        assert call(worker, "mod:averages") == ["mode", "running_mean", "running_var"]


def test_a_worker_runs_on_after_its_code_has_raised(starters, tmp_path):
    tree = tree_with(tmp_path, mod="def fail(x): raise SystemExit(x)\n\ndef same(x): return x\n")
    with worker_on(starters, tree) as worker:
        with pytest.raises(SubmissionError, match=r"raised SystemExit: 3 \(mod\.py, line 1\)"):
            call(worker, "mod:fail", 3)
        assert call(worker, "mod:same", 3) == 3


def test_a_starter_that_has_ended_is_told_in_words(tmp_path):
    with sandbox.Starters() as starters:
        starter = starters[Preload.NUMPY]
        starter.process.kill()
        starter.process.wait()
        with pytest.raises(WorkerLostError, match="the process that starts workers has ended"):
            worker_on({Preload.NUMPY: starter}, tmp_path)
        assert starters[Preload.NUMPY] is not starter
        tree_with(tmp_path, mod="def same(x): return x\n")
        with worker_on(starters, tmp_path) as worker:
            assert call(worker, "mod:same", 3) == 3


def test_a_worker_may_be_closed_after_its_starter(tmp_path):
    with sandbox.Starters() as starters, worker_on(starters, tmp_path):
        starter = starters[Preload.NUMPY]
        starter.process.kill()
        starter.process.wait()
