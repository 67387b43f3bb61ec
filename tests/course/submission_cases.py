"""Submissions to try the collecting on: a folder with the solved assignment, and ways to spoil it."""

import base64
import io
import json
import shutil
from pathlib import Path

from PIL import Image

import course
from course.rubric import FILES

ROOT = Path(course.__file__).parents[1]


def copy_files(folder, names=FILES):
    """Put copies of the assignment's files into a folder and return it."""
    for name in names:
        target = Path(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return Path(folder)


def edit(path, change):
    """Change a notebook: `change` gets it as a dictionary."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def replace(path, old, new):
    """Replace a text that must be in a file once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def markdown(source, **more):
    return {"cell_type": "markdown", "metadata": {}, "source": source, **more}


def code(source, count=1, outputs=(), tags=()):
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "execution_count": count,
        "outputs": list(outputs),
    }


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def failed(name, value, traceback=()):
    return {"output_type": "error", "ename": name, "evalue": value, "traceback": list(traceback)}


def picture(width=300, height=200):
    """Return a picture of one colour as base64."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def drawn(data, text="<Figure>"):
    return {"output_type": "display_data", "metadata": {}, "data": {"image/png": data, "text/plain": text}}


def write_notebook(path, *cells, nbformat=4):
    document = {"nbformat": nbformat, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
    path.write_text(json.dumps(document), encoding="utf-8")
