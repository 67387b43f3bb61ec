"""Starting workers, and what they are fenced in with.

`Worker` is the judge's end: it starts a process on a tree of files, sends it requests and gives up on it
when time is over. Nothing that comes back is trusted, see `course.grading.sandbox.runtime.protocol`.
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

from course.grading.sandbox.runtime import protocol

RUNTIME = Path(__file__).with_name("runtime")
RUNTIME_FILES = ("worker.py", "protocol.py", "confine.py")
MAIN = "import sys; sys.path.insert(0, sys.argv[2]); import worker; worker.main()"
START_SECONDS, STOP_SECONDS = 60, 10
MEMORY = 2 * 2**30  # bytes of address space
PROCESSES = 32  # threads count
MAX_WORDS = 400  # characters of a worker's own
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
        self.error, self.text, self.where = (_one_line(part) for part in (error, text, where))
        place = f" ({self.where})" if self.where else ""
        super().__init__(
            f"raised {self.error}: {self.text}{place}" if self.text else f"raised {self.error}{place}"
        )


def _one_line(text):
    """What a worker says, short, and without what would drive a terminal or start a line of the report."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:MAX_WORDS])


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


class Starter:
    """A process that has loaded NumPy, or PyTorch too, and forks a worker whenever one is needed."""

    def __init__(self, runtime, torch):
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", MAIN, str(theirs.fileno()), str(runtime), *["torch"] * torch],
                pass_fds=[theirs.fileno()],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )

    def fork(self, connection):
        """The process id of a new worker, at the other end of a socket."""
        return self._ask(lambda: socket.send_fds(self.control, [bytes(8)], [connection.fileno()]))

    def wait(self, pid):
        """The exit code of a worker that has ended or been killed; negative for a signal's number."""
        return os.waitstatus_to_exitcode(self._ask(lambda: self.control.sendall(pid.to_bytes(8, "big"))))

    def _ask(self, send):
        """The number that answers what `send` sends."""
        answer = b""
        with contextlib.suppress(OSError):
            send()
            answer = self.control.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            self.process.kill()
            raise WorkerLostError("could not be run: the process that starts workers ended")
        return int.from_bytes(answer, "big")

    def close(self):
        self.control.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Starters:
    """The two starters of a judge, each made when it is first needed, and what they load from."""

    def __init__(self):
        self.runtime = tempfile.TemporaryDirectory(prefix="grading-")
        self.starters = {}
        os.chmod(self.runtime.name, 0o755)
        for name in RUNTIME_FILES:
            shutil.copy(RUNTIME / name, self.runtime.name)

    def __getitem__(self, torch):
        old = self.starters.get(torch)
        if old is None or old.process.poll() is not None:
            if old is not None:
                old.close()
            self.starters[torch] = Starter(self.runtime.name, torch)
        return self.starters[torch]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for starter in self.starters.values():
            starter.close()
        self.runtime.cleanup()


class Worker:
    """A process that runs code of the submission in `tree`, for `seconds` at most.

    - starter: what it is forked from; fences: names out of `FENCES`
    - given: {name: function} of what the submission may ask the judge for
    """

    def __init__(self, starter, tree, fences, seconds, given=None):
        self.starter, self.given, self.seconds = starter, given or {}, seconds
        self.fences, self.helper = fences, None
        self.user = _user() if "user" in fences else None
        self.connection, theirs = socket.socketpair()
        try:
            with theirs:
                self.pid = starter.fork(theirs)
        except WorkerLostError:
            self.connection.close()
            raise
        self.status = None
        self.deadline = Deadline(self.connection, START_SECONDS)
        try:
            self.standing = self._exchange(self._settings(tree, fences))["standing"]
        except WorkerLostError:
            self.close()
            raise
        self.deadline = Deadline(self.connection, seconds)

    def _settings(self, tree, fences):
        return {
            "tree": str(tree),
            "user": self.user,
            "namespaces": "namespaces" in fences,
            "landlock": "landlock" in fences,
            "readable": [str(tree), *_libraries()],
            "cpu_seconds": int(self.seconds) + START_SECONDS,
            "memory": MEMORY,
            "processes": _allowed_processes(self.user),
        }

    def ask(self, do, **arguments):
        """The answer to a request; SubmissionError if the code raised, WorkerLostError if none came."""
        reply = self._exchange({"do": do, **arguments})
        if not isinstance(reply, dict) or not ("value" in reply or "error" in reply):
            raise WorkerLostError("the process in which it ran sent something else than an answer")
        if "error" in reply:
            raise SubmissionError(reply["error"], reply.get("text", ""), reply.get("where", ""))
        if not _answers(do, arguments, reply["value"]):
            raise WorkerLostError("the process in which it ran sent something else than an answer")
        return reply["value"]

    def _exchange(self, message):
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

    def _serve(self, request):
        """What a function that is given to the submission returns.

        It is computed in a worker, too, which has the right answers and runs nothing else: arguments may be
        such that it takes for ever, or all memory.
        """
        try:
            function = self.given[request["given"]]
            answer = self._with_answers(function).ask(
                "call",
                target=f"{function.__module__}:{function.__qualname__}",
                args=request["args"],
                kwargs=request["kwargs"],
            )
            return {"value": answer["result"], "args": answer["args"]}
        except SubmissionError as error:
            return {"error": f"{error.error}: {error.text}"}
        except (WorkerLostError, KeyError, TypeError) as error:
            return {"error": f"what is given cannot be computed: {error}"}

    def _with_answers(self, function):
        """The worker for what is given, made when it is needed; it may read what the submission may not."""
        if self.helper is None:
            package = sys.modules[function.__module__.partition(".")[0]]
            fences = [fence for fence in self.fences if fence != "user"]
            root = Path(package.__file__).parent.parent
            self.helper = Worker(self.starter, root, fences, self.seconds)
        return self.helper

    def _why(self, error):
        """Why the connection ended, in words, from how the process did."""
        if _is_running(self.pid):
            return f"sent something that is not an answer ({error})"
        status = self._end()
        if status == -signal.SIGSEGV:
            return "crashed (segmentation fault)"
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return "was stopped: too much processor time or memory"
        if status < 0:
            return f"was ended by the signal {signal.Signals(-status).name}"
        return f"ended the process (exit status {status})"

    def _end(self):
        """End the process, and all that it has started; returns the exit code it had."""
        if self.status is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                _kill(psutil.Process(self.pid).children(recursive=True))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.status = -signal.SIGKILL
            with contextlib.suppress(WorkerLostError):  # the starter ended first, and it ends with that
                self.status = self.starter.wait(self.pid)
            if self.user is not None:
                _kill(process for process in psutil.process_iter() if _runs_as(process, self.user))
        return self.status

    def close(self):
        self._end()
        self.connection.close()
        if self.helper is not None:
            self.helper.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _answers(do, arguments, value):
    """Whether a worker's value has the form that an answer to this request has."""
    if do == "state":
        return isinstance(value, dict)
    if do != "call":
        return True
    if not isinstance(value, dict) or not value.keys() >= {"call", "result", "args", "kwargs"}:
        return False
    before, after = arguments["args"], value["args"]
    return (
        type(value["call"]) is int
        and isinstance(after, tuple | list)
        and len(after) == len(before)
        and all(
            isinstance(new, dict) for old, new in zip(before, after, strict=True) if isinstance(old, dict)
        )
    )


def _libraries():
    """The folders of Python's own libraries and of installed ones; a whole prefix might hold anything."""
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix))
    return [f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64")]


def _environment():
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent", "MPLBACKEND": "Agg", **threads}


def _user():
    """The number of a user that nobody else is: one for each judge on the machine."""
    return 1_000_000_000 + os.getpid()


def _is_running(pid):
    """Whether a process goes on; one that has just closed its connection gets a moment to end."""
    for _ in range(20):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        time.sleep(0.05)
    return True


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
    with Starters() as starters:
        for fence in ("landlock", "user", "namespaces"):
            fences = [*wanted, fence]
            with (
                contextlib.suppress(WorkerLostError, SubmissionError),
                Worker(starters[False], starters.runtime.name, fences, seconds=10) as worker,
            ):
                worker.ask("seed", number=1)
                wanted.append(fence)
    return tuple(wanted)
