#!/usr/bin/env bash
# Runs once, when Gradescope builds the container.
set -euo pipefail
cd /autograder/source
apt-get update
apt-get install --yes --no-install-recommends build-essential python3 python3-dev python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/python -m pip install --upgrade pip
/autograder/venv/bin/python -m pip install --editable ".[grading]"
chmod -R go-rwx /autograder/source # workers run as another user, who must not read the solutions
