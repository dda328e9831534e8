# shellcheck shell=bash
# What the scripts beside this file share: where things are, how they speak, and when an installation is still good.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${HVDTRAIN_VENV:-$ROOT/.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
STATE=$VENV/.hvdtrain # what scripts/install remembers of its work
LOG=$STATE/install.log
: "${HVDTRAIN_TORCH:=torch==2.13.0}" "${HVDTRAIN_TORCH_PIP_ARGS:=}"
: "${HVDTRAIN_WITH_MPI:=auto}" "${HVDTRAIN_WITH_CUDA:=auto}" "${HVDTRAIN_SKIP_DATA:=0}"
export HVDTRAIN_VENV=$VENV HVDTRAIN_TORCH HVDTRAIN_TORCH_PIP_ARGS HVDTRAIN_WITH_MPI HVDTRAIN_WITH_CUDA HVDTRAIN_SKIP_DATA
export HVDTRAIN_STARTED=${HVDTRAIN_STARTED:-$(date +%s)} # one clock for a script and those that it calls

say() { printf '[%4d s] %s\n' "$(($(date +%s) - HVDTRAIN_STARTED))" "$*" >&2; }

die() { # MESSAGE [HINT...]: says what is missing, and below it how to get it
    printf '\nscripts/install: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf '  %s\n' "$@" >&2; fi
    exit 1
}

step() { # TITLE COMMAND...: says the title and runs the command with its output in the log; stops where it fails
    local title=$1 from
    shift
    say "$title"
    from=$(($(wc -l < "$LOG") + 1))
    printf '\n==> %s\n' "$*" >> "$LOG"
    if ! "$@" >> "$LOG" 2>&1 < /dev/null; then explain "$title" "$from"; fi
}

explain() { # TITLE LINE: why the step failed, from the log's LINE on
    local output found
    output=$(tail -n "+$2" "$LOG")
    printf '\n--- the end of %s\n' "$LOG" >&2
    found=$(grep -E 'error:|CMake Error' <<< "$output" | head -n 5) || true # the first error of a build is far above its end
    if [ -n "$found" ]; then printf '%s\n...\n' "$found" >&2; fi
    tail -n 20 <<< "$output" >&2
    printf -- '---\n' >&2
    case $output in
        *'No space left on device'*)
            die "failed: $1" "The disk is full. torch and its build need about 4 GB, in $VENV, ${TMPDIR:-/tmp} and pip's cache." ;;
        *'Temporary failure in name resolution'* | *'Name or service not known'* | *NewConnectionError* | *'Network is unreachable'* | \
            *ConnectTimeoutError* | *ProxyError* | *'from versions: none'*)
            die "failed: $1" "The package index cannot be reached: check the network and pip's proxy settings (pip config list)," \
                "or name an index that can be: HVDTRAIN_TORCH_PIP_ARGS='--index-url URL' for torch, PIP_INDEX_URL for all." ;;
        *'THESE PACKAGES DO NOT MATCH THE HASHES'*)
            die "failed: $1" "The index serves another Horovod archive than the one that was checked: use another index." ;;
        *'No matching distribution found for torch'*)
            die "failed: $1" "The index has no $HVDTRAIN_TORCH for this Python and machine." \
                "Name another version: HVDTRAIN_TORCH=torch==X.Y.Z scripts/install" ;;
        *'Killed signal terminated program'*)
            die "failed: $1" "The compiler ran out of memory: HVDTRAIN_BUILD_JOBS=1 scripts/install" ;;
        *'Could NOT find MPI'*)
            die "failed: $1" "mpicxx is there, but CMake cannot use it: mend it, or go without: HVDTRAIN_WITH_MPI=0 scripts/install" ;;
        *)
            die "failed: $1" "The whole output is in $LOG." ;;
    esac
}

fingerprint() { # PURPOSE: of all that decides what an installation holds; cheap, since it is taken at every start
    {
        printf '%s\n' "$VENV" "$HVDTRAIN_TORCH" "$HVDTRAIN_TORCH_PIP_ARGS" "$HVDTRAIN_WITH_MPI" "$HVDTRAIN_WITH_CUDA" \
            "$HVDTRAIN_SKIP_DATA" "$1"
        command -v mpicxx nvcc || true
        cd "$ROOT" || exit
        cat scripts/install scripts/lib.sh scripts/horovod/*
        if [ "$1" != engine ]; then cat pyproject.toml setup.py; fi
    } | sha256sum | cut -c -32
}

is_current() { # FINGERPRINT: whether the last installation was this one, and is still there
    [ -x "$VENV/bin/hvdtrain" ] && [ -x "$VENV/bin/horovodrun" ] && [ "$(cat "$STATE/fingerprint" 2> /dev/null)" = "$1" ]
}

ensure_installed() { # what train, test and lint begin with
    if ! is_current "$(fingerprint development)"; then "$ROOT/scripts/install"; fi
    export PATH="$VENV/bin:$PATH" # horovodrun is looked up there, by us and by the workers
}
