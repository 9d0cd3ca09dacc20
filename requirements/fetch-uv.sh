#!/bin/sh
# Installs uv from PyPI into .venv/uv, with any Python 3 and pip on the machine.
set -eu
echo "Fetching uv from PyPI"
for python in python3 python3.13 python3.12 python3.11 python3.10 python3.9 python; do
    if "$python" -m pip --version >/dev/null 2>&1; then
        exec "$python" -m pip install -qq --disable-pip-version-check --root-user-action ignore \
            --require-hashes --upgrade --target .venv/uv --requirement requirements/uv.lock
    fi
    if "$python" -m venv .venv/bootstrap >/dev/null 2>&1; then
        exec .venv/bootstrap/bin/python -m pip install -qq --disable-pip-version-check \
            --require-hashes --upgrade --target .venv/uv --requirement requirements/uv.lock
    fi
done
echo "Found no Python 3 with pip or venv. Install one (on Debian: apt-get install python3-pip) or install uv, then try again." >&2
exit 1
