"""The process that runs submitted code: it does what the judge asks, and contains no solution.

It starts with a socket to the judge, confines itself, and then calls functions of the submission with the
arguments that the judge sends. A reply has the result, and the arguments as they are after the call. If the
submission may call functions of the reference, the judge computes them in another process. A worker runs from
a copy of this file, beside copies of protocol.py and confine.py.
"""

import ast
import contextlib
import importlib
import os
import socket
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import scipy.linalg  # noqa: F401  the compiled kernels load it

if TYPE_CHECKING:  # a worker cannot import `course`: it has copies of these files beside this one
    from course.grading.sandbox.runtime import confine, protocol
else:
    import confine
    import protocol

MAX_TEXT = 300  # characters of an error's text that are passed on
IMPORTED_FROM = {"torch", "numpy", "math", "functools", "itertools", "collections", "copy"}


class RequestLoop:
    """Answers the requests that come through a connection, until the connection ends.

    - tree: the folder of the submission's files
    """

    def __init__(self, connection: socket.socket, tree: str) -> None:
        self.connection = connection
        self.tree = tree
        self.results: list[Any] = []

    def serve(self) -> NoReturn:
        while True:
            self.connection.sendall(self._reply(protocol.receive(self.connection)))

    def _reply(self, request: dict[str, Any]) -> bytes:
        """Return the bytes of the answer. Even looking at an object of the submission can raise an error."""
        fault = {"error": "an exception that cannot be shown"}
        try:
            return protocol.encode({"value": getattr(self, request.pop("do"))(**request)})
        except BaseException as error:  # a learner's code can also raise SystemExit and KeyboardInterrupt
            with contextlib.suppress(BaseException):
                fault = self._fault(error)
        return protocol.encode(fault)

    def call(self, target: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """Call `target` with the arguments; the result stays here, and the judge can refer to it."""
        function = self._target(target)
        args, kwargs = self._resolve(args), self._resolve(kwargs)
        result = function(*args, **kwargs)
        self.results.append(result)
        return {"call": len(self.results) - 1, "result": result, "args": args, "kwargs": kwargs}

    def get(self, owner: Any, name: str) -> Any:
        return getattr(self._resolve(owner), name)

    def set(self, owner: Any, name: str, value: Any) -> None:
        setattr(self._resolve(owner), name, self._resolve(value))

    def give(self, functions: dict[str, list[str]], stubs: list[str]) -> None:
        """Replace functions of the submission.

        - functions: {module: names} of those that the judge computes instead
        - stubs: methods, "module:Class.name", that shall return {}, because the judge sets the parameters
        """
        for module_name, names in functions.items():
            module = importlib.import_module(module_name)
            for name in names:
                setattr(module, name, self._given(name))
        for stub in stubs:
            module_name, path = stub.split(":")
            owner, name = path.split(".")
            module = importlib.import_module(module_name)
            setattr(getattr(module, owner), name, lambda *_: {})

    def define(self, cells: list[str], names: dict[str, Any]) -> None:
        """Make a module `notebook` of the definitions and imports in a notebook's code cells.

        Cells that are not Python, and definitions that fail, are left out.

        - names: {name: value} of other names that the definitions use
        """
        module = types.ModuleType("notebook")
        vars(module).update(names)
        sys.modules["notebook"] = module
        for node in _definitions(cells):
            with contextlib.suppress(Exception):
                exec(compile(ast.Module([node], []), "<notebook>", "exec"), vars(module))

    def load(self, name: str, source: str) -> None:
        """Make a module of source code that a check sends, to run beside the submission's code."""
        module = types.ModuleType(name)
        exec(compile(source, f"<{name}>", "exec"), vars(module))
        sys.modules[name] = module

    def seed(self, number: int) -> None:
        """Seed NumPy's global generator and, if it is loaded, PyTorch's."""
        np.random.seed(number)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(number)

    def state(self, owner: Any) -> dict[str, Any]:
        """Return the parameters of a PyTorch module, by name."""
        return dict(self._resolve(owner).named_parameters())

    def _target(self, target: Any) -> Any:
        """Return the function of a target: "module:path", or an earlier result and an attribute's name."""
        if isinstance(target, list | tuple):
            owner, name = target
            return getattr(self._resolve(owner), name)
        module_name, path = target.split(":")
        found: Any = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
        return found

    def _resolve(self, value: Any) -> Any:
        """Return `value` with earlier results in place of references to them, and with PyTorch's tensors."""
        if isinstance(value, protocol.Kept):
            found = self.results[value.call]
            for index in value.path:
                found = found[index]
            return found
        if isinstance(value, protocol.Tensor):
            return sys.modules["torch"].from_numpy(value.array)
        if isinstance(value, list | tuple):
            return type(value)(self._resolve(item) for item in value)
        if isinstance(value, dict):
            return {key: self._resolve(item) for key, item in value.items()}
        return value

    def _given(self, name: str) -> Callable[..., Any]:
        """Return a function that asks the judge for its result, and for changes of its arguments."""

        def given(*args: Any, **kwargs: Any) -> Any:
            protocol.send(self.connection, {"given": name, "args": args, "kwargs": kwargs})
            reply = protocol.receive(self.connection)
            if "error" in reply:
                raise ValueError(reply["error"])
            _write_back(args, reply["args"])
            return reply["value"]

        given.__name__ = name
        return given

    def _fault(self, error: BaseException) -> dict[str, str]:
        """Describe an error: its type, its text and the submission's line that it comes from."""
        frames = traceback.walk_tb(error.__traceback__)
        places = [(frame.f_code.co_filename, line) for frame, line in frames]
        here = [place for place in places if place[0].startswith((self.tree, "<notebook>"))]
        where = ""
        if here:
            file, line = here[-1]
            where = f"{file.removeprefix(self.tree).lstrip('/')}, line {line}"
        try:
            text = "".join([str(error)])  # makes a plain string of any subclass
        except BaseException:
            text = ""
        return {"error": "".join([type(error).__name__]), "text": text[:MAX_TEXT], "where": where}


def _definitions(cells: list[str]) -> Iterator[ast.stmt]:
    """Yield the functions, classes and imports of numeric libraries at the top level of code cells."""
    for cell in cells:
        try:
            nodes = ast.parse(cell).body
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) or _imports(node) & IMPORTED_FROM:
                yield node


def _imports(node: ast.stmt) -> set[str]:
    """Return the top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def _write_back(old: Any, new: Any) -> None:
    """Copy the contents of arrays and dictionaries in `new` into those in `old`, which has the same form."""
    if isinstance(old, np.ndarray):
        if not np.array_equal(old, new):
            old[...] = new
    elif isinstance(old, tuple | list):
        for old_item, new_item in zip(old, new, strict=True):
            _write_back(old_item, new_item)
    elif isinstance(old, dict):
        for key, item in new.items():
            if isinstance(item, np.ndarray) and np.shape(old.get(key, ())) == item.shape:
                _write_back(old[key], item)
            else:
                old[key] = item


def main() -> None:
    """Start workers: each is a fork of this process, which has loaded the libraries and run nothing else.

    The command line has the number of the judge's socket, the folder of this file, and "torch" or "numpy".
    Each request of the judge is eight bytes. With zero comes a socket for a new worker, and the answer is the
    worker's process id. For the process id of a worker that has ended, the answer is its wait status.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[3] == "torch":
        import torch

        torch.set_num_threads(1)
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 8, 1)
        if not message:
            return
        if sockets:
            answer = os.fork()
            if answer == 0:
                _work(control, sockets[0])
            os.close(sockets[0])
        else:
            answer = os.waitpid(int.from_bytes(message, "big"), 0)[1]
        control.sendall(answer.to_bytes(8, "big"))


def _work(control: socket.socket, number: int) -> NoReturn:
    """Be a worker until the judge closes the connection; never return.

    - number: the file descriptor of the connection
    """
    os.setsid()
    control.close()
    connection = socket.socket(fileno=number)
    try:
        settings = protocol.receive(connection)
        sys.path.insert(0, settings["tree"])
        sys.dont_write_bytecode = True
        standing = confine.confine(settings)
        confine.watch(settings["readable"])
        protocol.send(connection, {"standing": [*standing, "audit"]})
        RequestLoop(connection, settings["tree"]).serve()
    except protocol.ProtocolError:
        os._exit(0)  # the judge has closed the connection
    except BaseException:
        os._exit(1)


if __name__ == "__main__":
    main()
