#!/bin/bash
# Runs pytest --leakguard for the action beside this file. Inputs come as LEAKGUARD_ACTION_*; none is ever evaluated.
# Whatever stops it before the verdict leaves result=error and a failing step: silence is never green.
set -euo pipefail

output=${GITHUB_OUTPUT:-/dev/null}
scratch=$(mktemp -d)
has_answered=no
reason='the gate ended before it had an answer; the log above says why'

# shellcheck disable=SC2329  # the trap calls it
finish() {
    local status=$?
    rm -rf "$scratch"
    if [ "$has_answered" = no ]; then
        [ "$status" -ne 0 ] || status=3
        echo 'result=error' >> "$output"
        echo '::error title=leakguard gate::inconclusive: '"$reason. Nothing was measured."
    fi
    exit "$status"
}
trap finish EXIT

stop() { # a reason in our own words: one of the user's could command GitHub
    reason=$1
    echo "leakguard gate: $1" >&2
    exit 3
}

absolute() { case "$1" in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$PWD" "$1" ;; esac; }

is_true() { # name of the input, value
    case "$2" in
        true) return 0 ;;
        false | '') return 1 ;;
        *) stop "input $1 must be true or false" ;;
    esac
}

words_of() { # variable, array to fill; the text is split like a shell would, and nothing in it is run
    "$python" -m pytest_leakguard ci words "$1" > "$scratch/words" || stop "the quotes in an input do not match: $1"
    mapfile -d '' -t "$2" < "$scratch/words"
}

install_packages() {
    [ -n "${LEAKGUARD_ACTION_INSTALL:-}" ] || return 0
    local words
    read -r -d '' -a words <<< "$LEAKGUARD_ACTION_INSTALL" || true
    for word in "${words[@]}"; do
        case "$word" in -*) stop 'input install takes requirements, no options of pip; use a step of your own for those' ;; esac
    done
    if "$python" -m pip --version > /dev/null 2>&1; then
        "$python" -m pip install --quiet --disable-pip-version-check -- "${words[@]}" || stop 'pip could not install what input install names'
    elif command -v uv > /dev/null; then # environments of uv have no pip
        uv pip install --quiet --python "$python" -- "${words[@]}" || stop 'uv could not install what input install names'
    else
        stop 'this interpreter has no pip and there is no uv, so nothing can be installed; leave input install empty and install pytest-leakguard in a step before'
    fi
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_valgrind() {
    local answer=no
    case "${LEAKGUARD_ACTION_VALGRIND:-auto}" in
        never) ;;
        always) command -v valgrind > /dev/null || answer=yes ;;
        auto) answer=$("$python" -m pytest_leakguard ci needs-valgrind) || stop 'could not read what the project declares' ;;
        *) stop 'input valgrind must be auto, always or never' ;;
    esac
    [ "$answer" = yes ] || return 0
    echo 'leakguard gate: installing valgrind'
    as_root apt-get update -qq || stop 'apt-get update failed'
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind libc6-dbg > /dev/null ||
        stop 'valgrind could not be installed by apt-get'
}

directory=${LEAKGUARD_ACTION_WORKING_DIRECTORY:-.}
[ -d "$directory" ] || stop 'input working-directory is no directory'
cd -- "$directory"
python=$(type -P -- "${LEAKGUARD_ACTION_PYTHON:-python}") || stop 'input python names no program'
report=$(absolute "${LEAKGUARD_ACTION_REPORT:-leakguard-report}") # pytest would read it relative to its ini file

install_packages
"$python" -c 'import pytest_leakguard' || stop 'pytest-leakguard is not installed in this interpreter; see the inputs python and install'
install_valgrind

options=(--leakguard "--leakguard-report=$report")
if [ -n "${LEAKGUARD_ACTION_BASELINE:-}" ]; then
    [ -f "$LEAKGUARD_ACTION_BASELINE" ] || stop 'input baseline names no file'
    options+=("--leakguard-baseline=$(absolute "$LEAKGUARD_ACTION_BASELINE")")
fi
if is_true strict "${LEAKGUARD_ACTION_STRICT:-}"; then options+=(--leakguard-strict); fi
arguments=()
words_of LEAKGUARD_ACTION_ARGS arguments

"$python" -m pytest_leakguard ci clear -- "$report" || stop 'the reports of an earlier run cannot be removed'
pytest_exit=0
# the programs under test get none of the files by which a step speaks to later ones
env -u GITHUB_OUTPUT -u GITHUB_ENV -u GITHUB_PATH -u GITHUB_STATE \
    "$python" -m pytest "${options[@]}" "${arguments[@]}" || pytest_exit=$?

status=0
GITHUB_OUTPUT="$scratch/outputs" "$python" -m pytest_leakguard ci result --pytest-exit "$pytest_exit" -- "$report" || status=$?
if grep -q '^result<<' "$scratch/outputs"; then
    cat "$scratch/outputs" >> "$output"
    has_answered=yes
fi
exit "$status"
