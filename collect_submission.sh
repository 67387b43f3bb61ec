#!/bin/sh
# Check the assignment as a grader would, and collect it for submission: a2.zip and a2.pdf.
#
#     ./collect_submission.sh            # check, then write a2.zip and a2.pdf
#     ./collect_submission.sh --check    # check only
#     ./collect_submission.sh --help
#
# On Windows, python -m course.submission does the same.

cd "$(dirname "$0")" || exit 1

for python in .venv/bin/python .venv/Scripts/python.exe python3 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        exec "$python" -m course.submission "$@"
    fi
done
echo "Python 3.10 or newer is needed, in .venv (make test creates it) or as python3." >&2
exit 1
