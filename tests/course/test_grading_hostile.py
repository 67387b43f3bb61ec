"""Submissions that attack their grader: they earn nothing, cost nobody else anything and harm nothing.

Every attack stands in the place of an exercise, or at the top of its file, and is judged together with an
exercise that has nothing to do with it. Some would work in an unprotected worker: those that fetch a solution
give the right answer if they can.
"""

import json
import os
import re
import signal
from textwrap import indent

import numpy as np
import pytest
from grading_cases import FINISHED, ROOT, reason, verdicts, with_body, with_top

from course.grading import judge
from course.grading.sandbox import parent as sandbox
from course.rubric import LAYERS, OPTIM, SANDWICHES

UNHARMED = ("abs", "allclose", "asarray", "array_equal", "isfinite", "ndarray", "maximum")
ATTACKED, SAME_FILE, OTHER_FILE = "relu_forward", "affine_forward", "sgd_momentum"


@pytest.fixture(scope="session")
def starters():
    with sandbox.Starters() as starters:
        yield starters


@pytest.fixture(autouse=True)
def time_limit(monkeypatch):
    monkeypatch.setattr(judge, "SECONDS", 1.5)


@pytest.fixture(autouse=True)
def unharmed(tmp_path):
    """What stands beside the submission, and the judge's own NumPy, are afterwards what they were before."""
    canary = tmp_path / "results.json"
    canary.write_text("{}")
    before, mode, handlers = [getattr(np, name) for name in UNHARMED], canary.stat().st_mode, handled()
    yield canary
    assert [getattr(np, name) for name in UNHARMED] == before
    assert canary.read_text() == "{}"
    assert canary.stat().st_mode == mode
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert handled() == handlers


def handled():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]


def attack(starters, files, innocent, attacked=ATTACKED, attacked_score=0, fences=None):
    """Judge the attack, then the innocent exercise; returns what is said of the attack."""
    found = verdicts(files, [attacked, innocent], starters, fences)
    other = found[innocent]
    assert (other.checks, other.state, other.score) == (other.checks, "passed", other.exercise.points)
    assert found[attacked].score == attacked_score, found[attacked]
    said = reason(found[attacked])
    assert said.isprintable()
    return said


# What the exercise does when it is called, and what the learner is told
CALLS = {
    "loops for ever": ("while True: pass", r"took longer than 1\.5 s"),
    "sleeps": ("import time; time.sleep(10**6)", r"took longer than 1\.5 s"),
    "sleeps and refuses to end": (
        "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(10**6)",
        r"took longer than 1\.5 s",
    ),
    "forks": (
        "import os\nwhile True: os.fork()",
        "raised PermissionError: the grader does not allow os.fork",
    ),
    "multiprocessing": (
        "import multiprocessing as m\nm.get_context('fork').Process(target=print).start()",
        "the grader does not allow os.fork",
    ),
    "fork_exec": (
        "import _posixsubprocess as p\np.fork_exec([b'/bin/sh'], [b'/bin/sh'], *[None] * 20)",
        "PermissionError: the grader does not allow",
    ),
    "a fresh fork_exec": (
        "import sys\ndel sys.modules['_posixsubprocess']\nimport _posixsubprocess",
        "the grader does not allow importing _posixsubprocess",
    ),
    "posix_spawn": (
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "the grader does not allow os.posix_spawn",
    ),
    "subprocess": (
        "import subprocess\nsubprocess.run(['true'])",
        "the grader does not allow subprocess.Popen",
    ),
    "system": ("import os\nos.system('true')", "the grader does not allow os.system"),
    "cffi": (
        "try:\n    import _cffi_backend\nexcept ModuleNotFoundError:\n"
        "    raise PermissionError('importing _cffi_backend')",
        "importing _cffi_backend",
    ),
    "ctypes": ("import ctypes\nctypes.string_at(0)", "the grader does not allow ctypes.string_at"),
    "libc": ("import ctypes\nctypes.CDLL(None).kill(-1, 9)", "the grader does not allow ctypes.dlopen"),
    "50 GB": ("return np.ones(50 * 2**27), x", "raised MemoryError|took longer"),
    "50 GB in small pieces": (
        "a = []\nwhile True: a.append(bytearray(2**24))",
        "raised MemoryError|took longer",
    ),
    "out of bounds": (
        "np.lib.stride_tricks.as_strided(x, (2,), (2**44,))[:] = 1",
        "crashed",
    ),
    "abort": ("import os\nos.abort()", "crashed|ended by the signal SIGABRT"),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)", "the grader does not allow os.kill"),
    "leaves": ("import os\nos._exit(0)", r"ended the process \(exit status 0\)"),
    "sys.exit": ("import sys\nsys.exit(0)", r"raised SystemExit: 0 \(cs231n/layers\.py, line \d+\)"),
    "atexit": (
        "import atexit, os\natexit.register(os._exit, 0)\nraise KeyboardInterrupt",
        "raised KeyboardInterrupt",
    ),
    "recursion": ("return relu_forward(x)", "raised RecursionError"),
    "deep recursion in C": (
        "import sys\nsys.setrecursionlimit(10**9)\na = []\nfor _ in range(10**5): a = [a]\nrepr(a)",
        "crashed|RecursionError|MemoryError|took longer",
    ),
    "kills the parent": ("import os\nos.kill(os.getppid(), 9)", "the grader does not allow os.kill"),
    "kills the group": ("import os\nos.killpg(0, 9)", "the grader does not allow os.killpg"),
    "pidfd": (
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid() or 1), 9)",
        "raised PermissionError",
    ),
    "a pidfd of /proc": (
        "import os, signal\nsignal.pidfd_send_signal(os.open(f'/proc/{JUDGE}', os.O_RDONLY), 9)",
        "raised PermissionError",
    ),
    "limits of the judge": (
        "import resource\nresource.prlimit(JUDGE, resource.RLIMIT_CPU, (0, 0))",
        "the grader does not allow resource.prlimit",
    ),
    "higher limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn np.ones(50 * 2**27), x",
        "raised (ValueError|PermissionError|MemoryError)",
    ),
    "the judge's memory": ("open(f'/proc/{JUDGE}/mem', 'rb')", "the grader does not allow opening"),
    "network": ("import socket\nsocket.socket()", "the grader does not allow socket.__new__"),
    "writes": ("open(CANARY, 'w').write('100')", "the grader does not allow opening .*results.json"),
    "appends by a file descriptor": (
        "import os\nos.open(CANARY, os.O_WRONLY | os.O_APPEND)",
        "the grader does not allow opening .*results.json",
    ),
    "truncates": ("import os\nos.truncate(CANARY, 0)", "the grader does not allow os.truncate"),
    "deletes": ("import os\nos.remove(CANARY)", "the grader does not allow os.remove"),
    "deletes the folder": ("import shutil\nshutil.rmtree(CANARY[:-13])", "raised PermissionError"),
    "renames": ("import os\nos.rename(CANARY, CANARY + '2')", "the grader does not allow os.rename"),
    "changes the mode": ("import os\nos.chmod(CANARY, 0)", "the grader does not allow os.chmod"),
    "links": ("import os\nos.symlink(CANARY, CANARY + '2')", "the grader does not allow os.symlink"),
    "hard links": ("import os\nos.link(CANARY, CANARY + '2')", "the grader does not allow os.link"),
    "a pipe in the file system": ("import os\nos.mkfifo(CANARY + '2')", "raised PermissionError"),
    "a database": (
        "import sqlite3\nsqlite3.connect(CANARY + '2').execute('create table t(x)')",
        "the grader does not allow sqlite3.connect",
    ),
    "writes into its own tree": (
        "open(__file__, 'w').write('')",
        "the grader does not allow opening .*layers.py",
    ),
    "all it finds in /proc": (
        "import os\nfor n in range(3, 256):\n    try: os.ftruncate(n, 0)\n    except OSError: pass\n"
        "raise LookupError('found nothing')",
        "found nothing|does not allow os.truncate",
    ),
    "a thread goes on": (
        "import threading\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()\n"
        "return x, x",
        "out has wrong values",
    ),
    "many threads": (
        "import threading\nfor _ in range(10**4): threading.Thread(target=threading.Event().wait).start()",
        "raised (RuntimeError|MemoryError)|too much|took longer",
    ),
    "text without end": ("while True: print('x' * 10**7)", r"took longer than 1\.5 s"),
    "rubbish in low file descriptors": (
        "import os\nfor n in range(64):\n    try: os.write(n, b'x' * 4096)\n    except OSError: pass",
        "sent something that is not an answer",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_attack_of_a_function_costs_that_function(name, starters, unharmed):
    code, words = CALLS[name]
    code = code.replace("CANARY", repr(str(unharmed))).replace("JUDGE", str(os.getpid()))
    said = attack(starters, with_body(ATTACKED, code), SAME_FILE)
    assert re.search(words, said), said


# What stands at the top of the file, and what is said about an exercise in it
IMPORTS = {
    "loops for ever": ("while True: pass", r"took longer than 1\.5 s"),
    "leaves": ("import os\nos._exit(0)", "ended the process"),
    "sys.exit": ("import sys\nsys.exit('done')", "raised SystemExit: done"),
    "SystemExit that is no number": ("raise SystemExit([1])", r"raised SystemExit: \[1\]"),
    "crashes": (
        "import numpy as np\nnp.lib.stride_tricks.as_strided(np.ones(1), (2,), (2**44,))[:] = 1",
        "crashed",
    ),
    "numpy tells that all is equal": (
        "import numpy as np\nnp.abs = lambda *a, **k: 0.0\n"
        "np.allclose = np.array_equal = lambda *a, **k: True\n"
        "np.maximum = lambda *a, **k: 0.0",
        "out should be|out has",
    ),
    "asarray": (
        "import numpy as np\nnp.asarray = lambda *a, **k: np.zeros(3)\nnp.maximum = np.minimum",
        "out has the shape",
    ),
    "isinstance": (
        "import builtins\nbuiltins.isinstance = lambda *a: True",
        "ended the process",
    ),
    "a module's own __getattr__": (
        "def __getattr__(name): raise SystemExit(name)\nimport sys\nsys.modules[__name__] = 3",
        "raised",
    ),
    "messages that say what it likes": (
        "import protocol\nprotocol._pack = lambda *a, **k: {'dict': [['value', True]]}",
        "something other than an answer",
    ),
    "no messages": ("import protocol\nprotocol.encode = lambda value: b''", r"took longer than 1\.5 s"),
    "more than a message": (
        "import sys\nframe = sys._getframe()\n"
        "while not hasattr(frame.f_locals.get('self'), 'connection'): frame = frame.f_back\n"
        "frame.f_locals['self'].connection.sendall(b'\\xff' * 10**5)",
        "is not an answer",
    ),
    "not Python": ("def", "is not Python: line 1"),
    "a null byte": ("x = '\0'", "is not Python"),
    "too deep for Python": (f"x = {'-' * 10**5}1", "is not Python"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_an_attack_at_import_costs_that_file(name, starters):
    code, words = IMPORTS[name]
    said = attack(starters, with_top(LAYERS, code), OTHER_FILE)
    assert re.search(words, said), said


# What is returned in the place of the output
RESULTS = {
    "the input": ("x", "out has wrong values"),
    "None": ("None", "out is None"),
    "a dictionary": ("{'out': x}", "out should be an array of numbers; it is of the type dict"),
    "NaN": ("x * np.nan", "NaN or infinite"),
    "objects": ("x.astype(object)", "of the type array of object"),
    "a generator": ("(v for v in x)", "of the type generator"),
    "1 GB": ("np.zeros(2**27)", "of the type array of 1024 MB|MemoryError"),
    "a view of 8 TB": ("np.broadcast_to(0.0, (10**6, 10**6))", r"array of \d+ MB"),
    "no entries, many axes": ("np.zeros((0, 2**40, 3))", "out has the shape"),
    "always equal": ("type('E', (), {'__eq__': lambda *a: True})()", "of the type E"),
    "lies as an array": ("type('L', (), {'__array__': lambda *a, **k: np.maximum(x, 0)})()", "of the type L"),
    "an int that is always equal": (
        "type('I', (int,), {'__eq__': lambda *a: True, '__hash__': None, '__abs__': lambda s: s})(7)",
        "out has the shape|type",
    ),
    "a subclass that lies": (
        "type('S', (np.ndarray,), {'shape': (1,), 'tobytes': lambda *a: b'', 'dtype': np.dtype('f4')})(4)",
        "out has|raised|is not an answer",
    ),
    "a class that raises": (
        "type('R', (), {'__class__': property(lambda s: 1 / 0)})()",
        "raised ZeroDivisionError",
    ),
    "raises on every look": (
        "type('G', (), {'__getattr__': lambda s, n: exec('raise SystemExit(n)')})()",
        "raised SystemExit",
    ),
    "a giant number": ("10**4000", "of the type int"),
    "a dtype": ("np.dtype('f8')", r"of the type \w*[dD][tT]ype"),
    "complex": ("x + 0j", "array of complex128"),
    "masked": ("np.ma.masked_all(x.shape)", "out has|raised"),
    "text": ("'1.0'", "of the type str"),
    "a list in itself": ("(lambda a: a.append(a) or a)([])", "of the type list"),
    "numbers of a class that lies": (
        "type('F', (np.float64,), {'__eq__': lambda *a: True, '__hash__': None})(1)",
        "out has the shape",
    ),
    "a type of many letters": ("type('N' * 10**6, (), {})()", "of the type N+$|too large"),
    "a type of other letters": ("type('\\x1b[2J\\nQ1 20 of 20', (), {})()", "of the type .*Q1 20 of 20"),
    "not in its cache": ("protocol.Kept(0)", "of the type kept"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_is_no_answer_earns_nothing(name, starters):
    value, words = RESULTS[name]
    said = attack(starters, with_body(ATTACKED, f"import protocol\nreturn {value}, x"), SAME_FILE)
    assert re.search(words, said), said


# Ways to a file that holds the solutions; `read(path)` gives its text
READ = {
    "its path": "return open(path).read()",
    "bytes": "return open(path.encode(), 'rb').read().decode()",
    "the root of a process": "return open('/proc/self/root' + path).read()",
    "the folder of a process": "return open('/proc/self/cwd' + path).read()",
    "up from what is allowed": "return open('/usr/lib/../..' + path).read()",
    "a folder's descriptor": (
        "import os\nfd = os.open('/usr/lib', os.O_RDONLY)\n"
        "return open(os.open('../..' + path, os.O_RDONLY, dir_fd=fd)).read()"
    ),
    "NumPy": "return np.fromfile(path, np.uint8).tobytes().decode()",
    "a path that changes": (
        "import io\nclass P:\n    n = 0\n    def __fspath__(self):\n        self.n += 1\n"
        "        return path if self.n == 1 else '/dev/null'\nreturn io.FileIO(P()).read().decode()"
    ),
    "a text that lies": (
        "class S(str):\n    startswith = __contains__ = __eq__ = lambda *a: True\n    split = lambda *a: []\n"
        "    __hash__ = str.__hash__\nreturn open(S(path)).read()"
    ),
    "another rule": (
        "import confine\nconfine._may_open = confine.watch = confine._hook = lambda *a, **k: True\n"
        "confine.LIBRARIES = confine.FILES = ('/', path)\nreturn open(path).read()"
    ),
    "another Python": (
        "import builtins, os, posixpath\nsaved = dict(vars(builtins))\n"
        "for name in ('isinstance', 'issubclass', 'any', 'all'): setattr(builtins, name, lambda *a: True)\n"
        "builtins.type = lambda *a: int\nbuiltins.str = builtins.bytes = object\n"
        "posixpath.realpath = os.fsdecode = os.fspath = lambda *a, **k: '/usr/lib/x'\n"
        "try: return saved['open'](path).read()\nfinally: vars(builtins).update(saved)"
    ),
    "the frame of the refusal": (
        "try: open(path)\nexcept PermissionError as error: trace = error.__traceback__\n"
        "while trace.tb_next: trace = trace.tb_next\n"
        "frame = trace.tb_frame\n"
        "for names in (frame.f_globals, frame.f_locals, frame.f_builtins):\n"
        "    names.update(folders=('/',), files=(path,), may_open=lambda *a: True, PermissionError=print)\n"
        "return open(path).read()"
    ),
    "an interpreter of its own": (
        "import sys\nfor name in ('_xxsubinterpreters', '_interpreters'): sys.modules.pop(name, None)\n"
        "try: import _xxsubinterpreters as i\nexcept ImportError: import _interpreters as i\n"
        "n = i.create()\ni.run_string(n, f'open({path!r})')\nraise LookupError('it ran')"
    ),
    "the list of all objects": "import gc\nreturn next(t for t in gc.get_objects() if 'affine' in str(t))",
    "Python's own methods": "import gc\ngc.get_referents(str.__dict__)[0]['startswith'] = lambda *a: True",
    "the installed package": (
        "import sys\nfinder = next(f for f in sys.meta_path if 'editable' in str(f).lower())\n"
        "sys.modules.pop('cs231n')\nspec = finder.find_spec('cs231n')\n"
        "return spec.loader.get_data(spec.origin.replace('__init__', 'layers')).decode()"
    ),
    "the package's path": (
        "import cs231n, importlib, inspect, sys\ncs231n.__path__ = [path[:-10]]\n"
        "sys.modules.pop('cs231n.layers')\nimportlib.invalidate_caches()\n"
        "return inspect.getsource(importlib.import_module('cs231n.layers'))"
    ),
    "the grader": (
        "import sys\nsys.path.insert(0, path[:-17])\nimport course.grading.judge\nreturn open(path).read()"
    ),
}
FETCH = """
def read(path):
{read}

space = dict(__name__="fetched")
exec(compile(read({path!r}), "fetched", "exec"), space)
return space["relu_forward"](x)
"""


@pytest.mark.parametrize("fences", [None, ("limits", "audit")], ids=["all-fences", "hooks-only"])
@pytest.mark.parametrize("name", READ)
def test_no_solution_can_be_read(name, fences, starters):
    body = FETCH.format(read=indent(READ[name], "    "), path=str(ROOT / LAYERS))
    said = attack(starters, with_body(ATTACKED, body), SAME_FILE, fences=fences)
    assert re.search(
        "raised (PermissionError|ModuleNotFoundError|StopIteration|ImportError|RuntimeError)", said
    ), said
    assert not re.search("it ran", said)


@pytest.mark.parametrize(
    "name", ["compiled_layers", "fast_optim", "kernels.norms_cython", "kernels.optim_cython"]
)
def test_no_fast_form_of_an_exercise_is_there(name, starters):
    body = f"import cs231n.{name}\nreturn cs231n.{name}.relu_forward(x)"
    assert "raised ModuleNotFoundError" in attack(starters, with_body(ATTACKED, body), SAME_FILE)


def test_the_secret_cannot_be_read(starters):
    body = f"return open({str(ROOT / '.grading-secret')!r}).read(), x"
    assert "does not allow opening" in attack(starters, with_body(ATTACKED, body), SAME_FILE)


def test_no_frame_of_the_worker_holds_what_is_right(starters):
    """Whatever hangs on the frames below the call is searched for the right answer."""
    body = """
    import sys
    right, seen, found = np.maximum(x, 0), set(), []
    frame, todo = sys._getframe(), []
    while frame.f_back:
        frame = frame.f_back
        todo += [dict(frame.f_locals), frame.f_globals]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or len(seen) > 10**5:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray) and thing.shape == right.shape and np.array_equal(thing, right):
            return thing, x
        todo += thing.values() if isinstance(thing, dict) else ()
        todo += thing if isinstance(thing, (list, tuple)) else ()
        todo += [vars(thing)] if hasattr(thing, "__dict__") else []
    raise LookupError(f"searched {len(seen) > 100}")
    """
    assert "searched True" in attack(starters, with_body(ATTACKED, body), SAME_FILE)


WORKER = """
import protocol, sys
frame = sys._getframe()
while not hasattr(frame.f_locals.get("self"), "connection"): frame = frame.f_back
worker = frame.f_locals["self"]
connection = worker.connection
"""
# What is sent to the judge in the place of an answer
MESSAGES = {
    "no answer": ("protocol.send(connection, 'x')", "something other than an answer"),
    "no call": ("protocol.send(connection, {'value': 5})", "something other than an answer"),
    "half a call": ("protocol.send(connection, {'value': {'call': 0, 'result': x}})", "something other"),
    "arguments of another kind": (
        "protocol.send(connection, {'value': {'call': 0, 'result': (x, x), 'args': 7, 'kwargs': {}}})",
        "something other than an answer",
    ),
    "an error of other things": (
        "protocol.send(connection, {'error': x, 'text': {'a': [x]}, 'where': None})",
        "raised",
    ),
    "a lie about where": (
        "protocol.send(connection, {'error': 'Fine\\n\\x1b[31m', 'text': '\\u202e', 'where': 'x' * 999})",
        "raised Fine",
    ),
    "huge lengths": ("connection.sendall(b'\\xff' * 16)", "a message is too large"),
    "a length of which nothing follows": ("connection.sendall(b'\\0' * 8)\nwhile True: pass", "took longer"),
    "not JSON": ("connection.sendall(protocol.LENGTHS.pack(4, 0) + b'{{{{')", "a message cannot be read"),
    "deep JSON": (
        "connection.sendall(protocol.LENGTHS.pack(10**6, 0) + b'[' * 10**6)",
        "a message cannot be read",
    ),
    "a giant number": (
        "connection.sendall(protocol.LENGTHS.pack(10**6, 0) + b'1' * 10**6)",
        "a message cannot be read",
    ),
    "the same bytes many times": (
        "import json\none = {'array': 'u1', 'shape': [2**26]}\n"
        "text = json.dumps({'list': [one] * 10000}).encode()\n"
        "connection.sendall(protocol.LENGTHS.pack(len(text), 2**26) + text + bytes(2**26))",
        "a message cannot be read",
    ),
    "bytes that drip": (
        "import time\nconnection.sendall(protocol.LENGTHS.pack(10**5, 0))\n"
        "while True: time.sleep(0.05), connection.sendall(b' ')",
        r"took longer than 1\.5 s",
    ),
    "what was kept": (
        "result = (protocol.Kept(0), 1)\n"
        "protocol.send(connection, {'value': {'call': 0, 'result': result, 'args': (x,), 'kwargs': {}}})",
        "out should be an array of numbers; it is of the type kept",
    ),
    "the end": ("connection.close()", "ended the process|raised|not an answer"),
    "the exercise itself, from the judge": (
        "return worker._given('relu_forward')(x)",
        "raised ValueError: the reference's function cannot be computed",
    ),
    "anything from the judge": (
        "return worker._given('eval')('1')",
        "the reference's function cannot be computed",
    ),
    "no name": (
        "protocol.send(connection, {'given': ['x'], 'args': 1})\n"
        "raise ValueError(protocol.receive(connection)['error'])",
        "the reference's function cannot be computed",
    ),
    "questions without end": (
        "while True: protocol.send(connection, {'given': 'x'}), protocol.receive(connection)",
        r"took longer than 1\.5 s",
    ),
    "questions, and no answer is read": (
        "while True: protocol.send(connection, {'given': 'x' * 10**5})",
        r"took longer than 1\.5 s",
    ),
    "answers in advance": (
        "for _ in range(9): protocol.send(connection, {'value': {'call': 0, 'result': (x, x), 'args': (x,), "
        "'kwargs': {}}})\nreturn x, x",
        "out has wrong values",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_forged_messages_earn_nothing(name, starters):
    code, words = MESSAGES[name]
    said = attack(starters, with_body(ATTACKED, WORKER + code), SAME_FILE)
    assert re.search(words, said), said
    assert len(said) < 1500


# Exceptions that are not what they seem, and what is told of them
EXCEPTIONS = {
    "raises when it is shown": (
        "class E(Exception):\n    def __str__(self): raise SystemExit(1)\nraise E",
        r"raised E \(",
    ),
    "shows itself for ever": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        r"took longer than 1\.5 s",
    ),
    "no Exception": ("class Quiet(BaseException): pass\nraise Quiet('psst')", "raised Quiet: psst"),
    "GeneratorExit": ("raise GeneratorExit", "raised GeneratorExit"),
    "another's name": (
        "raise type('FaultError', (Exception,), {})('full marks')",
        "raised FaultError: full marks",
    ),
    "no name": (
        "class M(type):\n    __name__ = property(lambda s: 1 / 0)\nraise M('E', (Exception,), {})",
        "raised an exception that cannot be shown",
    ),
    "no trace": (
        "raise type('E', (Exception,), {'__traceback__': property(lambda s: 1 / 0)})",
        "raised an exception that cannot be shown",
    ),
    "escape sequences": (
        "raise ValueError('\\x1b[2J\\r\\nQ1  20 of 20\\n')",
        r"raised ValueError:  \[2J  Q1  20 of",
    ),
    "from right to left": ("raise ValueError('\\u202e\\u2066x')", "raised ValueError:   x"),
    "half a character": ("raise ValueError('\\ud800x')", r"raised ValueError: \?x"),
    "long": ("raise ValueError('x' * 10**8)", "raised ValueError: x{300} "),
    "a text of its own kind": (
        "class S(str):\n    def __getitem__(self, key): return 7\n"
        "class E(Exception):\n    def __str__(self): return S('a text')\nraise E",
        "raised E: a text",
    ),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_told_in_words_on_one_line(name, starters):
    code, words = EXCEPTIONS[name]
    said = attack(starters, with_body(ATTACKED, code), SAME_FILE)
    assert re.search(words, said), said
    assert len(said) < 500


def test_the_arguments_may_be_changed_and_given_back_but_that_earns_what_is_right_only(starters):
    body = "kept = x.copy()\nx *= 2\nout = np.maximum(x, 0) / 2\nx[...] = kept\nreturn out, x"
    files = with_body(ATTACKED, body)
    assert attack(starters, files, SAME_FILE, attacked_score=1) == ""


def test_a_change_of_the_arguments_is_seen(starters):
    body = "x *= 2\nreturn np.maximum(x, 0) / 2, x"
    said = attack(starters, with_body(ATTACKED, body), SAME_FILE, attacked_score=0.67)
    assert said == "the argument x was modified"


def test_a_hostile_file_costs_no_network_that_does_not_need_it(starters):
    """A network is judged with the layers of the reference, and with what other files hold as handed out."""
    files = with_top(SANDWICHES, "raise SystemExit", with_top(OPTIM, "raise SystemExit"))
    found = verdicts(files, [ATTACKED, "add_l2_penalty"], starters)
    assert [verdict.state for verdict in found.values()] == ["passed", "passed"]


def with_cell(source):
    """The files with one more cell at the beginning of the PyTorch notebook."""
    notebook = json.loads(FINISHED["PyTorch.ipynb"])
    cell = {"cell_type": "code", "metadata": {}, "source": source, "execution_count": 1, "outputs": []}
    notebook["cells"].insert(0, cell)
    return FINISHED | {"PyTorch.ipynb": json.dumps(notebook)}


# Cells of a notebook, each beside the exercise's own
CELLS = {
    "fails": "raise SystemExit",
    "leaves": "import os\nos._exit(0)",
    "loops": "while True: pass",
    "is not Python": "def (",
    "is magic": "%%bash\nrm -rf /",
    "calls": "__import__('os')._exit(0)",
}


@pytest.mark.parametrize("name", CELLS)
def test_other_cells_of_a_notebook_are_not_run(name, starters):
    files = with_cell(CELLS[name])
    assert verdicts(files, ["convnet-params"], starters)["convnet-params"].state == "passed"


def test_a_definition_that_attacks_costs_the_notebook(starters):
    files = with_cell("def f(x=__import__('os')._exit(0)): pass")
    said = attack(starters, files, OTHER_FILE, "convnet-params")
    assert "ended the process" in said


def test_a_starter_that_was_killed_is_replaced(starters):
    starter = starters[sandbox.Preload.NUMPY]
    starter.process.kill()
    starter.process.wait()
    found = verdicts(FINISHED, [ATTACKED], starters)
    assert found[ATTACKED].state == "passed"
