#!/usr/bin/env bash
# ./run_local.sh                      make .venv, write demo/ and recover it; the exit code is the recovery's
# ./run_local.sh test [PYTEST ARGS]   make .venv with the tools of development and run the tests
# PYTHON names the interpreter (3.11 to 3.13); without it the first one on PATH is taken.
set -eu
cd "$(dirname "$0")"

usable() { # one that runs (a shim may be there without its Python), of a version that the project takes
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

version() {
    "$1" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null || echo unknown
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" && echo "$PYTHON" && return
        echo "run_local.sh: PYTHON=$PYTHON is no Python 3.11 to 3.13" >&2
        return 2
    fi
    for name in python3.11 python3.12 python3.13 python3; do
        if usable "$name"; then echo "$name" && return; fi
    done
    echo "run_local.sh: no Python 3.11 to 3.13 on PATH: install one, or name it: PYTHON=/path/to/python ./run_local.sh" >&2
    return 2
}

install() { # $1: what pip installs; a stamp with the digest of what decides about it makes the next start quick
    if ! usable .venv/bin/python || { [ -n "${PYTHON:-}" ] && [ "$(version "$PYTHON")" != "$(version .venv/bin/python)" ]; }; then
        rm -rf .venv
    fi
    wanted="$1 $(cat setup.py pyproject.toml | cksum)"
    if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ]; then return; fi
    if [ ! -x .venv/bin/pip ]; then
        python=$(find_python) || exit 2
        if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "run_local.sh: $python lacks venv or ensurepip: install them (Debian: apt install python3-venv)" >&2
            exit 2
        fi
        echo "run_local.sh: making .venv with $("$python" --version)" >&2
        "$python" -m venv --clear .venv || { rm -rf .venv; exit 1; }
    fi
    echo "run_local.sh: installing $1 (the first time takes some minutes)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e "$1"
    echo "$wanted" >.venv/installed
}

if [ "${1:-}" = test ]; then
    shift
    install '.[dev]'
    exec .venv/bin/python -m pytest -n auto --dist loadgroup "$@"
fi
if [ $# -gt 0 ]; then
    echo "run_local.sh: unknown argument $1: it takes none, or: test [pytest arguments]" >&2
    exit 2
fi
# A venv that has the tools of development already has everything that the demo needs.
case "$(cat .venv/installed 2>/dev/null)" in
    '.[dev] '*) install '.[dev]' ;;
    *) install . ;;
esac
[ -e demo/resplice.toml ] || .venv/bin/resplice demo demo
exec .venv/bin/resplice recover --config demo/resplice.toml --run-id demo --yes
