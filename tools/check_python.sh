#!/usr/bin/env bash
# Check that Python is new enough and can make virtual environments; say what to type if not.
set -euo pipefail
python=${1:-python3}
if ! command -v "$python" >/dev/null; then
    echo "error: no $python on PATH; expected Python 3.11 or newer; on Debian/Ubuntu: sudo apt-get install python3 python3-venv" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $("$python" --version 2>&1) is too old; expected 3.11 or newer; name another: make PYTHON=python3.12 ..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "error: $python has no venv module; on Debian/Ubuntu: sudo apt-get install python3-venv" >&2
    exit 1
fi
