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

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc", "/sys", "/dev")
FORBIDDEN = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.killpg",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
    "signal.pthread_kill",
    "subprocess.Popen",
    "gc.get_objects",
    "gc.get_referrers",
)
FORBIDDEN_FAMILIES = ("ctypes.", "socket.", "shutil.")
CHANGES = ("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink")


def confine(settings):
    """Put up the fences that `settings` asks for; returns the names of those that stand.

    - user: a user's number to become, or None
    - namespaces, landlock: whether to use them
    - readable: folders that may be read besides the system's
    - cpu_seconds; memory, in bytes beyond what is in use; processes, how many this user may have, or None
    """
    standing = []
    if settings["user"] is not None:
        _become(settings["user"])
        standing.append("user")
    if settings["namespaces"]:
        _enter_namespaces()
        standing.append("namespaces")
    _limit(settings)
    standing.append("limits")
    if settings["landlock"]:
        _read_only([*READABLE, *settings["readable"]])
        standing.append("landlock")
    return standing


def _enter_namespaces():
    """Go on as the first process of a namespace of processes, which all end with it, and without network.

    The namespace of users makes that possible for who is not root, and takes from root what root may do.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    child = os.fork()  # the namespace of processes is for children
    if child:
        _end_as(os.waitpid(child, 0)[1])


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
    """From here on files may be read in these folders only, and nowhere be written."""
    from landlock import FSAccess, Ruleset  # Linux only

    rules = Ruleset()
    for path in map(Path, folders):
        if path.exists():
            of_folders = FSAccess.READ_DIR if path.is_dir() else 0
            rules.allow(path, rules=FSAccess.READ_FILE | FSAccess.EXECUTE | of_folders)
    if Path("/dev/null").exists():
        rules.allow("/dev/null", rules=FSAccess.WRITE_FILE | FSAccess.READ_FILE)
    rules.apply()


def watch(readable):
    """Refuse, with Python's audit hooks, to start programs, use the network, or open other files.

    What runs in the same process may get around it, with effort; where the kernel's fences stand, it is
    the second line, and elsewhere the only one. It cannot be taken away again.
    """
    _posixsubprocess.fork_exec = subprocess._fork_exec = _refuse  # starts programs without asking the hooks
    allowed = tuple(os.path.realpath(folder) for folder in (*READABLE, *readable))

    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not _may_open(path, flags or 0, allowed):
                raise PermissionError(f"the grader does not allow to open {path!r}")
        elif event == "import":
            if arguments[0] == "_posixsubprocess":
                _refuse()
        elif event in FORBIDDEN or event in CHANGES or event.startswith(FORBIDDEN_FAMILIES):
            raise PermissionError(f"the grader does not allow {event}")

    sys.addaudithook(hook)


def _refuse(*_):
    raise PermissionError("the grader does not allow to start programs")


def _may_open(path, flags, allowed):
    if isinstance(path, int):
        return True
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
        return os.fspath(path) in ("/dev/null", b"/dev/null")
    real = os.path.realpath(os.fsdecode(path))
    return any(real == folder or real.startswith(folder + os.sep) for folder in allowed)
