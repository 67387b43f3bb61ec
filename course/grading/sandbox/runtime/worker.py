"""The process in which submitted code runs: it does what the judge asks, and knows no right answer.

It is started with a socket to the judge, confines itself, and then calls functions of the submission with
the arguments it is sent. A reply holds the result and the arguments as they are after the call. What is
given to the submission (functions that other exercises ask for) the judge has computed elsewhere: this
process has no solution in it. A worker runs from a copy of this file, beside protocol.py and confine.py.
"""

import ast
import contextlib
import importlib
import os
import socket
import sys
import traceback
import types

import confine
import numpy as np
import protocol
import scipy.linalg  # noqa: F401  what the compiled kernels load

MAX_TEXT = 300  # characters of an error's own words that are passed on
IMPORTED_FROM = {"torch", "numpy", "math", "functools", "itertools", "collections", "copy"}


class Worker:
    """Answers the requests that come through a connection, until it ends."""

    def __init__(self, connection, tree):
        self.connection = connection
        self.tree = tree
        self.results = []

    def serve(self):
        while True:
            self.connection.sendall(self._reply(protocol.receive(self.connection)))

    def _reply(self, request):
        """The bytes of the answer. Objects of the submission may raise also while they are looked at."""
        fault = {"error": "an exception of which nothing can be told"}
        try:
            return protocol.encode({"value": getattr(self, request.pop("do"))(**request)})
        except BaseException as error:  # SystemExit and KeyboardInterrupt are a learner's to raise, too
            with contextlib.suppress(BaseException):
                fault = self._fault(error)
        return protocol.encode(fault)

    def call(self, target, args, kwargs):
        """Call `target` with the arguments; the result is kept, and the judge may refer to it."""
        function = self._target(target)
        args, kwargs = self._resolve(args), self._resolve(kwargs)
        result = function(*args, **kwargs)
        self.results.append(result)
        return {"call": len(self.results) - 1, "result": result, "args": args, "kwargs": kwargs}

    def get(self, owner, name):
        return getattr(self._resolve(owner), name)

    def set(self, owner, name, value):
        setattr(self._resolve(owner), name, self._resolve(value))

    def give(self, functions, stubs):
        """Put functions of the judge in the place of the submission's: {module: names}.

        `stubs` are methods, "module:Class.name", that set up what the judge is going to set itself.
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

    def define(self, cells):
        """Make the module `notebook` of the definitions and imports in a notebook's code cells.

        What is not Python, or fails, is left out: that costs what it defines.
        """
        module = types.ModuleType("notebook")
        module.device = "cpu"
        sys.modules["notebook"] = module
        for node in _definitions(cells):
            with contextlib.suppress(Exception):
                exec(compile(ast.Module([node], []), "<notebook>", "exec"), vars(module))

    def seed(self, number):
        """Seed NumPy's global generator and, where it is loaded, PyTorch's."""
        np.random.seed(number)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(number)

    def state(self, owner):
        """The parameters of a module of PyTorch, by name."""
        return dict(self._resolve(owner).named_parameters())

    def fit(self, model, images, labels, steps, batch_size, learning_rate):
        """Train a module of PyTorch on the images, `steps` minibatches in turn."""
        torch = sys.modules["torch"]
        model, images, labels = self._resolve((model, images, labels))
        optimizer = Descent(model.parameters(), learning_rate, momentum=0.9)
        model.train()
        for step in range(steps):
            batch = torch.arange(step * batch_size, (step + 1) * batch_size) % len(images)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()

    def train_loop(self, name, model, learning_rate, batches):
        """Call the notebook's `train` with what it takes from the notebook: minibatches, runs, accuracy."""
        notebook = sys.modules["notebook"]
        model, batches = self._resolve((model, batches))
        notebook.runs, notebook.loaders, notebook.epochs = {}, {"train": batches, "val": batches}, 1
        notebook.minibatches = lambda _: iter(batches)
        notebook.accuracy = lambda model, loader: 0.5
        return notebook.train(name, model, Descent(model.parameters(), learning_rate))

    def _target(self, target):
        if isinstance(target, list | tuple):  # an attribute of something kept
            owner, name = target
            return getattr(self._resolve(owner), name)
        module_name, path = target.split(":")
        found = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
        return found

    def _resolve(self, value):
        """`value` with results in the place of references to them, and tensors where they are asked for."""
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

    def _given(self, name):
        """A function that asks the judge for its result; what the judge changed in place is changed here."""

        def given(*args, **kwargs):
            protocol.send(self.connection, {"given": name, "args": args, "kwargs": kwargs})
            reply = protocol.receive(self.connection)
            if "error" in reply:
                raise ValueError(reply["error"])
            _write_back(args, reply["args"])
            return reply["value"]

        given.__name__ = name
        return given

    def _fault(self, error):
        """What went wrong: the error's type, its words and the line of the submission it comes from."""
        frames = traceback.walk_tb(error.__traceback__)
        places = [(frame.f_code.co_filename, line) for frame, line in frames]
        here = [place for place in places if place[0].startswith((self.tree, "<notebook>"))]
        where = ""
        if here:
            file, line = here[-1]
            where = f"{file.removeprefix(self.tree).lstrip('/')}, line {line}"
        try:
            text = "".join([str(error)])  # a string of Python's own
        except BaseException:
            text = ""
        return {"error": "".join([type(error).__name__]), "text": text[:MAX_TEXT], "where": where}


class Descent:
    """Gradient descent with the methods of PyTorch's optimizers, which take a second to load."""

    def __init__(self, parameters, learning_rate, momentum=0.0):
        self.parameters = list(parameters)
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocities = [0 for _ in self.parameters]

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                self.velocities[i] = self.momentum * self.velocities[i] + parameter.grad
                parameter.data = parameter.data - self.learning_rate * self.velocities[i]


def _definitions(cells):
    """The functions, classes and imports of numeric libraries at the top level of code cells, in order."""
    for cell in cells:
        try:
            nodes = ast.parse(cell).body
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) or _imports(node) & IMPORTED_FROM:
                yield node


def _imports(node):
    """The top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def _write_back(old, new):
    """Give arrays and dictionaries in `old` the contents that they have in `new`, which is built alike."""
    if isinstance(old, np.ndarray):
        if not np.array_equal(old, new):
            old[...] = new
    elif isinstance(old, tuple | list):
        for old_item, new_item in zip(old, new, strict=True):
            _write_back(old_item, new_item)
    elif isinstance(old, dict):
        for key, item in new.items():
            if isinstance(item, np.ndarray) and np.shape(old.get(key)) == item.shape:
                _write_back(old[key], item)
            else:
                old[key] = item


def main():
    """Start workers: each is a fork of this process, which has loaded the libraries and run nothing else.

    The judge sends eight bytes: zero and a socket for a new worker, whose process id is the answer, or a
    process id for the wait status of that worker.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    if "torch" in sys.argv:
        import torch

        torch.set_num_threads(1)
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 8, 1)
        if not message:
            return
        if sockets:
            answer = os.fork() or _work(control, sockets[0])
            os.close(sockets[0])
        else:
            answer = os.waitpid(int.from_bytes(message, "big"), 0)[1]
        control.sendall(answer.to_bytes(8, "big"))


def _work(control, number):
    """Be a worker, from here to the end."""
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
        Worker(connection, settings["tree"]).serve()
    except protocol.ProtocolError:
        os._exit(0)  # the judge has closed the connection
    except BaseException:
        os._exit(1)


if __name__ == "__main__":
    main()
