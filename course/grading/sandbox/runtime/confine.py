"""Confine a worker before it runs any of a learner's code.

The fences are independent of each other, and the report says which of them were active: a separate user;
separate namespaces, without network and without other processes; the kernel's limits on processor time,
memory, processes and files; Landlock, which closes the rest of the file system; and Python's audit hooks. A
worker gets a copy of this file.
"""

import _posixsubprocess
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
PR_SET_PDEATHSIG = 1
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")  # but no disks
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64")
FILES = ("/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    "cpython.PyInterpreterState_New",  # another interpreter would not have these hooks
    "gc.get_objects",
    "gc.get_referents",
    "gc.get_referrers",
    "pty.spawn",
    "resource.prlimit",
    "signal.pthread_kill",
    "sqlite3.connect",
    "subprocess.Popen",
)
FORBIDDEN_FAMILIES = ("ctypes.", "os.", "socket.", "shutil.")
HARMLESS = ("os.fwalk", "os.listdir", "os.putenv", "os.scandir", "os.unsetenv", "os.walk")
UNWATCHED = ("_posixsubprocess", "_cffi_backend", "_xxsubinterpreters", "_interpreters", "_gdbm", "_dbm")


def confine(settings: dict[str, Any]) -> list[str]:
    """Put up the fences that `settings` asks for, and return their names.

    - user: the user id to become, or None
    - namespaces, landlock: whether to use them
    - readable: folders that may be read in addition to the system's
    - cpu_seconds: the limit on processor time
    - memory: the limit on memory, in bytes beyond what is in use already
    - processes: how many processes this user may have, or None
    """
    standing = []
    with contextlib.suppress(OSError):  # if memory runs out, Linux shall end this process, not the judge
        Path("/proc/self/oom_score_adj").write_text("1000")
    if settings["user"] is not None:
        _become(settings["user"])
        standing.append("user")
    if settings["namespaces"]:
        _enter_namespaces()
        standing.append("namespaces")
    _end_with_parent()
    _limit(settings)
    standing.append("limits")
    if settings["landlock"]:
        _read_only([*LIBRARIES, *FILES, *DEVICES, "/proc/self", *settings["readable"]])
        standing.append("landlock")
    return standing


def _enter_namespaces() -> None:
    """Continue as the first process of a new process namespace, without network.

    All processes of the namespace end with this one. A user namespace allows this without root, and drops
    root's privileges.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    child = os.fork()  # only children are in the new process namespace
    if child:
        _end_with_parent()
        _end_as(os.waitpid(child, 0)[1])


def _end_with_parent() -> None:
    """End this process when its parent ends; only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_as(status: int) -> NoReturn:
    """End this process in the same way as the one with this wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _limit(settings: dict[str, Any]) -> None:
    limits = {
        resource.RLIMIT_CPU: settings["cpu_seconds"],
        resource.RLIMIT_AS: _address_space() + settings["memory"],
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    if settings["processes"] is not None:
        limits[resource.RLIMIT_NPROC] = settings["processes"]
    for limit, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # not supported, or already lower
            resource.setrlimit(limit, (value, value))


def _address_space() -> int:
    """Return the bytes of address space in use, or 0 if the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _read_only(folders: Iterable[str]) -> None:
    """Restrict this process to reading files in these folders; it cannot write or execute any file."""
    from landlock import FSAccess, Ruleset  # Linux only

    rules = Ruleset()
    for path in map(Path, folders):
        if path.exists():
            of_folders = FSAccess.READ_DIR if path.is_dir() else 0
            rules.allow(path, rules=FSAccess.READ_FILE | of_folders)
    if Path("/dev/null").exists():
        rules.allow("/dev/null", rules=FSAccess.WRITE_FILE | FSAccess.READ_FILE)
    rules.apply()


def watch(readable: Iterable[str]) -> None:
    """Use Python's audit hooks to refuse to start programs, to use the network, or to open other files.

    Code in the same process can get around the hooks, with effort. If the kernel's fences are active, the
    hooks are a second line of defence; otherwise they are the only one. They cannot be removed.
    """
    # These three functions do not ask the hooks
    _posixsubprocess.fork_exec = subprocess._fork_exec = _refuse  # type: ignore[attr-defined]
    for module, name in ((signal, "pidfd_send_signal"), (os, "pidfd_open")):
        if hasattr(module, name):
            setattr(module, name, _refuse)
    folders = {path for folder in (*LIBRARIES, *readable) for path in (folder, os.path.realpath(folder))}
    sys.addaudithook(_hook((*FILES, *DEVICES), tuple(f"{folder}/" for folder in folders)))


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise PermissionError("the grader does not allow this")


def _hook(files: tuple[str, ...], folders: tuple[str, ...]) -> Callable[[str, Any], None]:
    """Return the audit hook. It only uses its own arguments, no global or built-in name.

    Submitted code can replace globals of this module and built-in names, but not these default values.
    """

    def hook(
        event: str,
        arguments: Any,
        files: tuple[str, ...] = files,
        folders: tuple[str, ...] = folders,
        may_open: Callable[..., bool] = _may_open,
        unwatched: tuple[str, ...] = UNWATCHED,
        forbidden: tuple[str, ...] = FORBIDDEN,
        families: tuple[str, ...] = FORBIDDEN_FAMILIES,
        harmless: tuple[str, ...] = HARMLESS,
        error: type[Exception] = PermissionError,
    ) -> None:
        if event == "open":
            path, _, flags = arguments
            if not may_open(path, flags or 0, files, folders):
                raise error(f"the grader does not allow opening {path!r}")
        elif event == "import":
            if arguments[0].rpartition(".")[2] in unwatched:
                raise error(f"the grader does not allow importing {arguments[0]}")
        elif event in forbidden or (event.startswith(families) and event not in harmless):
            raise error(f"the grader does not allow {event}")

    return hook


def _may_open(
    path: Any,
    flags: int,
    files: tuple[str, ...],
    folders: tuple[str, ...],
    kind: Any = type,
    number: Any = int,
    data: Any = bytes,
    text: Any = str,
    changing: int = CHANGING,
) -> bool:
    """Return whether this path, or a file that is open already and given by its number, may be opened.

    Only Python's own strings are accepted, because the methods of a subclass could lie. Relative paths, and
    paths with "..", are refused: where they lead can be changed.
    """
    if kind(path) is number:
        return True
    if kind(path) is data:
        path = path.decode("utf-8", "surrogateescape")
    if kind(path) is not text or ".." in path.split("/"):
        return False
    name: str = path  # not str(path): submitted code may have replaced that name
    if flags & changing:
        return name == "/dev/null"
    return name in files or name.startswith(folders)
