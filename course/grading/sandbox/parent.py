"""The judge's end of the sandbox: start worker processes, fence them in, and send them requests.

A `WorkerProcess` runs code of the submission. It gets requests, and is ended when its time is over. Its
answers are not trusted: see `course.grading.sandbox.runtime.protocol` for what they can contain.
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
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from course.grading.sandbox.runtime import protocol

RUNTIME = Path(__file__).with_name("runtime")
RUNTIME_FILES = ("worker.py", "protocol.py", "confine.py")
MAIN = "import sys; sys.path.insert(0, sys.argv[2]); import worker; worker.main()"
START_SECONDS, STOP_SECONDS = 60, 10
MEMORY = 2 * 2**30  # bytes of address space
PROCESSES = 32  # including threads
MAX_WORDS = 400  # characters of a text that comes from a worker
FENCES = {
    "limits": "processor time, memory, file sizes and the number of open files are limited",
    "landlock": "only system files and the submission can be read, and no file can be written",
    "user": "the code runs as a separate user",
    "namespaces": "the code has no network and sees no other processes, and its processes end with it",
    "audit": "Python refuses to start programs, to use the network and to open other files",
}
NOT_AN_ANSWER = "the process in which it ran sent something other than an answer"


class Preload(Enum):
    """The libraries that a starter loads before it forks workers; the value is worker.py's argument."""

    NUMPY = "numpy"
    TORCH = "torch"


class WorkerLostError(Exception):
    """A worker did not answer; `reason` tells the learner why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SubmissionError(Exception):
    """The submission's code raised an error: its type, its text, and where it was raised."""

    def __init__(self, error: object, text: object, where: object) -> None:
        self.error, self.text, self.where = _one_line(error), _one_line(text), _one_line(where)
        message = f"raised {self.error}"
        if self.text:
            message += f": {self.text}"
        if self.where:
            message += f" ({self.where})"
        super().__init__(message)


def _one_line(text: object) -> str:
    """Cut a worker's text, and replace characters that could start a line or manipulate a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:MAX_WORDS])


class Deadline:
    """A socket with a limit on the total time to answer, however slowly the bytes arrive."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection, self.end = connection, time.monotonic() + seconds

    def recv(self, count: int) -> bytes:
        self._wait()
        return self.connection.recv(count)

    def sendall(self, data: bytes) -> None:
        self._wait()
        self.connection.sendall(data)

    def _wait(self) -> None:
        remaining = self.end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.connection.settimeout(remaining)


class Starter:
    """A process that has loaded NumPy, and maybe PyTorch, and forks workers on request."""

    def __init__(self, runtime: str, preload: Preload) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", MAIN, str(theirs.fileno()), runtime, preload.value],
                pass_fds=[theirs.fileno()],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )

    def fork(self, connection: socket.socket) -> int:
        """Start a worker at the other end of a socket and return its process id."""
        return self._ask(lambda: socket.send_fds(self.control, [bytes(8)], [connection.fileno()]))

    def wait(self, pid: int) -> int:
        """Return the exit code of a worker that has ended; negative if a signal ended it."""
        return os.waitstatus_to_exitcode(self._ask(lambda: self.control.sendall(pid.to_bytes(8, "big"))))

    def _ask(self, send: Callable[[], object]) -> int:
        """Call `send` and return the number that the process answers."""
        answer = b""
        with contextlib.suppress(OSError):
            send()
            answer = self.control.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            self.process.kill()
            raise WorkerLostError("could not be run: the process that starts workers has ended")
        return int.from_bytes(answer, "big")

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Starters:
    """The starters of a judge, one for each `Preload`, and the folder that they load worker.py from.

    A starter is made when it is first needed, and again if it has ended.
    """

    def __init__(self) -> None:
        self.runtime = tempfile.TemporaryDirectory(prefix="grading-")
        self.starters: dict[Preload, Starter] = {}
        os.chmod(self.runtime.name, 0o755)
        for name in RUNTIME_FILES:
            shutil.copy(RUNTIME / name, self.runtime.name)

    def __getitem__(self, preload: Preload) -> Starter:
        old = self.starters.get(preload)
        if old is None or old.process.poll() is not None:
            if old is not None:
                old.close()
            self.starters[preload] = Starter(self.runtime.name, preload)
        return self.starters[preload]

    def __enter__(self) -> "Starters":
        return self

    def __exit__(self, *_: object) -> None:
        for starter in self.starters.values():
            starter.close()
        self.runtime.cleanup()


class WorkerProcess:
    """A process that runs code of the submission in the folder `tree`, for at most `seconds`.

    - starter: it forks the process
    - fences: the protections to put up, names out of `FENCES`
    - given: {name: function} of the judge's functions that the submission may call
    """

    def __init__(
        self,
        starter: Starter,
        tree: str | Path,
        fences: Iterable[str],
        seconds: float,
        given: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.starter, self.given, self.seconds = starter, given or {}, seconds
        self.fences = tuple(fences)
        self.helper: WorkerProcess | None = None
        self.user = _unused_user() if "user" in self.fences else None
        self.connection, theirs = socket.socketpair()
        try:
            with theirs:
                self.pid = starter.fork(theirs)
        except WorkerLostError:
            self.connection.close()
            raise
        self.status: int | None = None
        self.deadline = Deadline(self.connection, START_SECONDS)
        try:
            self.standing = self._exchange(self._settings(tree))["standing"]
        except WorkerLostError:
            self.close()
            raise
        self.deadline = Deadline(self.connection, seconds)

    def _settings(self, tree: str | Path) -> dict[str, Any]:
        return {
            "tree": str(tree),
            "user": self.user,
            "namespaces": "namespaces" in self.fences,
            "landlock": "landlock" in self.fences,
            "readable": [str(tree), *_libraries()],
            "cpu_seconds": int(self.seconds) + START_SECONDS,
            "memory": MEMORY,
            "processes": _allowed_processes(self.user),
        }

    def ask(self, do: str, **arguments: Any) -> Any:
        """Return the answer to a request, a method of `RequestLoop` in `runtime/worker.py`.

        Raise SubmissionError if the submission's code raised, and WorkerLostError if no answer came.
        """
        reply = self._exchange({"do": do, **arguments})
        if not isinstance(reply, dict) or not ("value" in reply or "error" in reply):
            raise WorkerLostError(NOT_AN_ANSWER)
        if "error" in reply:
            raise SubmissionError(reply["error"], reply.get("text", ""), reply.get("where", ""))
        if not _is_answer(do, arguments, reply["value"]):
            raise WorkerLostError(NOT_AN_ANSWER)
        return reply["value"]

    def _exchange(self, message: dict[str, Any]) -> Any:
        """Send a message and return the answer, after serving the submission's own requests."""
        try:
            protocol.send(self.deadline, message)
            while True:
                reply = protocol.receive(self.deadline, plain=True)
                if not (isinstance(reply, dict) and "given" in reply):
                    return reply
                protocol.send(self.deadline, self._serve(reply))
        except TimeoutError:
            raise WorkerLostError(f"took longer than {self.seconds} s") from None
        except (protocol.ProtocolError, OSError) as error:
            raise WorkerLostError(self._why(error)) from None

    def _serve(self, request: dict[Any, Any]) -> dict[str, Any]:
        """Return the result of a given function that the submission has called.

        It runs in another worker, which has the solutions and no code of the submission: with the learner's
        arguments, the function could run forever or use up the memory.
        """
        try:
            function = self.given[request["given"]]
            answer = self._helper_for(function).ask(
                "call",
                target=f"{function.__module__}:{function.__qualname__}",
                args=request["args"],
                kwargs=request["kwargs"],
            )
            return {"value": answer["result"], "args": answer["args"]}
        except SubmissionError as error:
            return {"error": f"{error.error}: {error.text}"}
        except (WorkerLostError, KeyError, TypeError) as error:
            return {"error": f"the reference's function cannot be computed: {error}"}

    def _helper_for(self, function: Callable[..., Any]) -> "WorkerProcess":
        """Return the worker that runs given functions, and start it if needed.

        Unlike the submission, it may read the solutions.
        """
        if self.helper is None:
            package_file = sys.modules[function.__module__.partition(".")[0]].__file__
            assert package_file is not None
            fences = [fence for fence in self.fences if fence != "user"]
            self.helper = WorkerProcess(self.starter, Path(package_file).parents[1], fences, self.seconds)
        return self.helper

    def _why(self, error: Exception) -> str:
        """Say why the connection ended, from how the process ended."""
        if _is_running(self.pid):
            return f"sent something that is not an answer ({error})"
        status = self._end()
        if status == -signal.SIGSEGV:
            return "crashed (segmentation fault)"
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return "was stopped: it used too much processor time or memory"
        if status < 0:
            return f"was ended by the signal {signal.Signals(-status).name}"
        return f"ended the process (exit status {status})"

    def _end(self) -> int:
        """End the process, and all processes that it has started, and return its exit code."""
        if self.status is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                _kill(psutil.Process(self.pid).children(recursive=True))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.status = -signal.SIGKILL
            with contextlib.suppress(WorkerLostError):  # if the starter has ended, its workers have too
                self.status = self.starter.wait(self.pid)
            if self.user is not None:
                _kill(process for process in psutil.process_iter() if _runs_as(process, self.user))
        return self.status

    def close(self) -> None:
        self._end()
        self.connection.close()
        if self.helper is not None:
            self.helper.close()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_answer(do: str, arguments: dict[str, Any], value: Any) -> bool:
    """Return whether a worker's value has the form of an answer to this request."""
    if do == "state":
        return isinstance(value, dict)
    if do != "call":
        return True
    if not isinstance(value, dict) or not value.keys() >= {"call", "result", "args", "kwargs"}:
        return False
    return type(value["call"]) is int and _has_form_of(arguments["args"], value["args"])


def _has_form_of(before: tuple[Any, ...], after: Any) -> bool:
    """Return whether the arguments after a call are as many as before, and dictionaries where they were."""
    if not isinstance(after, tuple | list) or len(after) != len(before):
        return False
    pairs = zip(before, after, strict=True)
    return all(isinstance(new, dict) for old, new in pairs if isinstance(old, dict))


def _libraries() -> list[str]:
    """Return the folders of Python's own and of installed libraries.

    A whole prefix could contain anything, even this repository.
    """
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix))
    return [f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64")]


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent", "MPLBACKEND": "Agg", **threads}


def _unused_user() -> int:
    """Return an unused user id, a different one for each judge on the machine."""
    return 1_000_000_000 + os.getpid()


def _is_running(pid: int) -> bool:
    """Return whether a process is still running; if it has just closed its connection, give it a moment."""
    for _ in range(20):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        time.sleep(0.05)
    return True


def _allowed_processes(user: int | None) -> int | None:
    """Return how many processes and threads the worker's user may have; None for root, which has no limit."""
    if user is not None:
        return PROCESSES
    if os.getuid() == 0:
        return None
    mine = [process for process in psutil.process_iter() if _runs_as(process, os.getuid())]
    return PROCESSES + sum(_threads(process) for process in mine)


def _threads(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.num_threads())
    return 0


def _runs_as(process: psutil.Process, user: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.uids().real == user)
    return False


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


@functools.cache
def standing_fences() -> tuple[str, ...]:
    """Return the names of the fences that this system supports, found by trying each of them."""
    wanted = ["limits", "audit"]
    with Starters() as starters:
        for fence in ("landlock", "user", "namespaces"):
            fences = [*wanted, fence]
            with (
                contextlib.suppress(WorkerLostError, SubmissionError),
                WorkerProcess(starters[Preload.NUMPY], starters.runtime.name, fences, seconds=10) as worker,
            ):
                worker.ask("seed", number=1)
                wanted.append(fence)
    return tuple(wanted)
