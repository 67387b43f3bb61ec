"""Starting workers, and what they are fenced in with.

`Worker` is the judge's end: it starts a process on a tree of files, sends it requests and gives up on it
when time is over. Nothing that comes back is trusted, see `grading.protocol`.
"""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from grading import protocol

RUNTIME = Path(__file__).parent
RUNTIME_FILES = ("worker.py", "protocol.py", "confine.py")
START = "import sys; sys.path.insert(0, sys.argv[2]); import worker; worker.main()"
START_SECONDS = 60
MEMORY, TORCH_MEMORY = (
    2 * 2**30,
    6 * 2**30,
)  # bytes of address space; PyTorch reserves much that it never uses
PROCESSES = 32  # threads count
FENCES = {
    "limits": "processor time, memory, size of files and open files are limited",
    "landlock": "files can be read only where the system and the submission are, and written nowhere",
    "user": "it runs as a user of its own",
    "namespaces": "it has no network, sees no process but its own, and these end with it",
    "audit": "Python refuses to start programs, to use the network and to open other files",
}


class WorkerLostError(Exception):
    """A worker did not answer: `reason` says why, for the learner."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class SubmissionError(Exception):
    """The submission's code raised: the type, its words and where."""

    def __init__(self, error, text, where):
        self.error, self.text, self.where = (str(part) for part in (error, text, where))
        place = f" ({self.where})" if self.where else ""
        super().__init__(
            f"raised {self.error}: {self.text}{place}" if self.text else f"raised {self.error}{place}"
        )


class Deadline:
    """A socket of which the time to answer is limited as a whole, however slowly the bytes drip."""

    def __init__(self, connection, seconds):
        self.connection, self.end = connection, time.monotonic() + seconds

    def recv(self, count):
        self._wait()
        return self.connection.recv(count)

    def sendall(self, data):
        self._wait()
        self.connection.sendall(data)

    def _wait(self):
        remaining = self.end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.connection.settimeout(remaining)


class Worker:
    """A process that runs code of the submission in `tree`, for `seconds` at most.

    - given: {name: function} of what the submission may ask the judge for
    - fences: names out of `FENCES`
    """

    def __init__(self, tree, runtime, fences, seconds, torch=False, given=None):
        self.given, self.seconds = given or {}, seconds
        self.user = _user() if "user" in fences else None
        self.connection, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", START, str(theirs.fileno()), str(runtime)],
                pass_fds=[theirs.fileno()],
                cwd=tree,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.deadline = Deadline(self.connection, START_SECONDS)
        self.standing = self._exchange(self._settings(tree, fences, torch))["standing"]
        self.deadline = Deadline(self.connection, seconds)

    def _settings(self, tree, fences, torch):
        return {
            "tree": str(tree),
            "torch": torch,
            "user": self.user,
            "namespaces": "namespaces" in fences,
            "landlock": "landlock" in fences,
            "readable": [str(tree), sys.prefix, sys.base_prefix],
            "cpu_seconds": self.seconds + START_SECONDS,
            "memory": TORCH_MEMORY if torch else MEMORY,
            "processes": _allowed_processes(self.user),
        }

    def ask(self, do, **arguments):
        """The answer to a request; SubmissionError if the code raised, WorkerLostError if none came."""
        reply = self._exchange({"do": do, **arguments})
        if not isinstance(reply, dict) or not ("value" in reply or "error" in reply):
            raise WorkerLostError("the process in which it ran sent something else than an answer")
        if "error" in reply:
            raise SubmissionError(reply["error"], reply.get("text", ""), reply.get("where", ""))
        return reply["value"]

    def _exchange(self, message):
        try:
            protocol.send(self.deadline, message)
            while True:
                reply = protocol.receive(self.deadline)
                if not (isinstance(reply, dict) and "given" in reply):
                    return reply
                protocol.send(self.deadline, self._serve(reply))
        except TimeoutError:
            raise WorkerLostError(f"took longer than {self.seconds} s") from None
        except (protocol.ProtocolError, OSError) as error:
            raise WorkerLostError(self._why(error)) from None

    def _serve(self, request):
        """Compute what the submission asks for, a function that is given to it."""
        try:
            args, kwargs = request["args"], request["kwargs"]
            value = self.given[request["given"]](*args, **kwargs)
            return {"value": value, "args": args}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _why(self, error):
        """Why the connection ended, in words, from how the process did."""
        try:
            status = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return f"sent something that is not an answer ({error})"
        if status == -signal.SIGSEGV:
            return "crashed (segmentation fault)"
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return "was stopped: too much processor time or memory"
        if status < 0:
            return f"was ended by the signal {signal.Signals(-status).name}"
        return f"ended the process (exit status {status})"

    def close(self):
        """End the process, and all that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            _kill(psutil.Process(self.process.pid).children(recursive=True))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        if self.user is not None:
            _kill(process for process in psutil.process_iter() if _runs_as(process, self.user))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _environment():
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent", "MPLBACKEND": "Agg", **threads}


def _user():
    """The number of a user that nobody else is: one for each judge on the machine."""
    return 1_000_000_000 + os.getpid()


def _allowed_processes(user):
    """How many processes and threads the worker's user may have; None for root, whom nothing limits."""
    if user is not None:
        return PROCESSES
    if os.getuid() == 0:
        return None
    return PROCESSES + sum(
        _threads(process) for process in psutil.process_iter() if _runs_as(process, os.getuid())
    )


def _threads(process):
    with contextlib.suppress(psutil.Error):
        return process.num_threads()
    return 0


def _runs_as(process, user):
    with contextlib.suppress(psutil.Error):
        return process.uids().real == user
    return False


def _kill(processes):
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


@functools.cache
def standing_fences():
    """The names of the fences that this system can put up, found by trying."""
    wanted = ["limits", "audit"]
    for fence in ("landlock", "user", "namespaces"):
        with contextlib.suppress(WorkerLostError), _trial([*wanted, fence]) as worker:
            worker.ask("seed", number=1)
            wanted.append(fence)
    return tuple(wanted)


@contextlib.contextmanager
def _trial(fences):
    with runtime_folder() as runtime, Worker(runtime, runtime, fences, seconds=10) as worker:
        yield worker


@contextlib.contextmanager
def runtime_folder():
    """A folder with what a worker imports besides the submission, which it may read and nothing more."""
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        os.chmod(folder, 0o755)
        for name in RUNTIME_FILES:
            shutil.copy(RUNTIME / name, folder)
        yield Path(folder)
