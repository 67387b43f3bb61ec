"""Build script; the metadata is in pyproject.toml. A compiled extension would be declared here."""

from setuptools import setup

setup()
