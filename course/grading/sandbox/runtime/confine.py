"""How a worker gives up what it does not need, before it runs a line of a learner's code.

Each fence stands by itself, and the report says which ones did: another user; namespaces of its own, in which
there is no network and no other process; the kernel's limits on processor time, memory, processes and
files; Landlock, which closes the rest of the file system; and Python's audit hooks. A worker gets a copy
of this file.
"""

import _posixsubprocess
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
PR_SET_PDEATHSIG = 1
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")  # not the disk
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64")
FILES = ("/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    "cpython.PyInterpreterState_New",  # another interpreter has hooks of its own
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


def confine(settings):
    """Put up the fences that `settings` asks for; returns the names of those that stand.

    Where memory runs short, the system is to end this process rather than the judge.

    - user: a user's number to become, or None
    - namespaces, landlock: whether to use them
    - readable: folders that may be read besides the system's
    - cpu_seconds; memory, in bytes beyond what is in use; processes, how many this user may have, or None
    """
    standing = []
    with contextlib.suppress(OSError):  # not on every system
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


def _enter_namespaces():
    """Go on as the first process of a namespace of processes, which all end with it, and without network.

    The namespace of users makes that possible for who is not root, and takes from root what root may do.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    child = os.fork()  # the namespace of processes is for children
    if child:
        _end_with_parent()
        _end_as(os.waitpid(child, 0)[1])


def _end_with_parent():
    """From here on, the end of the process that started this one ends it too; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_as(status):
    """End this process as the one with this wait status did."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _become(user):
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _limit(settings):
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
        with contextlib.suppress(ValueError, OSError):  # not on every system, or lower already
            resource.setrlimit(limit, (value, value))


def _address_space():
    """The bytes of address space in use; where the system does not tell, none."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _read_only(folders):
    """From here on files may be read in these folders only, and nowhere be written or executed."""
    from landlock import FSAccess, Ruleset  # Linux only

    rules = Ruleset()
    for path in map(Path, folders):
        if path.exists():
            of_folders = FSAccess.READ_DIR if path.is_dir() else 0
            rules.allow(path, rules=FSAccess.READ_FILE | of_folders)
    if Path("/dev/null").exists():
        rules.allow("/dev/null", rules=FSAccess.WRITE_FILE | FSAccess.READ_FILE)
    rules.apply()


def watch(readable):
    """Refuse, with Python's audit hooks, to start programs, use the network, or open other files.

    What runs in the same process may get around it, with effort; where the kernel's fences stand, it is
    the second line, and elsewhere the only one. It cannot be taken away again.
    """
    _posixsubprocess.fork_exec = subprocess._fork_exec = _refuse  # starts programs without asking the hooks
    for module, name in ((signal, "pidfd_send_signal"), (os, "pidfd_open")):  # nor do these ask
        if hasattr(module, name):
            setattr(module, name, _refuse)
    folders = {path for folder in (*LIBRARIES, *readable) for path in (folder, os.path.realpath(folder))}
    sys.addaudithook(_hook((*FILES, *DEVICES), tuple(f"{folder}/" for folder in folders)))


def _refuse(*_, **__):
    raise PermissionError("the grader does not allow this")


def _hook(files, folders):
    """The hook, which looks up no name but those of its own arguments.

    Submitted code may replace what this module and Python's own name; default values it does not reach.
    """

    def hook(
        event,
        arguments,
        files=files,
        folders=folders,
        may_open=_may_open,
        unwatched=UNWATCHED,
        forbidden=FORBIDDEN,
        families=FORBIDDEN_FAMILIES,
        harmless=HARMLESS,
        error=PermissionError,
    ):
        if event == "open":
            path, _, flags = arguments
            if not may_open(path, flags or 0, files, folders):
                raise error(f"the grader does not allow to open {path!r}")
        elif event == "import":
            if arguments[0].rpartition(".")[2] in unwatched:
                raise error(f"the grader does not allow to import {arguments[0]}")
        elif event in forbidden or (event.startswith(families) and event not in harmless):
            raise error(f"the grader does not allow {event}")

    return hook


def _may_open(path, flags, files, folders, kind=type, number=int, data=bytes, text=str, changing=CHANGING):
    """Whether an open file, if it is a number, or a file of this path may be opened.

    Only Python's own strings are looked at, as others may lie. A path that is relative or goes up is refused:
    whence it leads can be changed.
    """
    if kind(path) is number:
        return True
    if kind(path) is data:
        path = path.decode("utf-8", "surrogateescape")
    if kind(path) is not text or ".." in path.split("/"):
        return False
    if flags & changing:
        return path == "/dev/null"
    return path in files or path.startswith(folders)
