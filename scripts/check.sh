#!/usr/bin/env bash
# Everything that can be judged without running Fanwire: format, lints, sizes of files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LINE_COLUMNS_MAX=100
FILE_LINES_MAX=400

say() { printf '%s\n' "-- $*"; }

say "format"
cargo fmt --all --check

say "lints"
cargo clippy --quiet --workspace --all-targets --locked -- -D warnings

# Rust's own files are measured by a test of the workspace; these are the others.
say "sizes of scripts and tests"
sources() {
    find .ci scripts broker/server/tests bench/tests \
        -path '*/node_modules' -prune -o -path '*/.venv' -prune -o \
        -type f \( -name '*.sh' -o -name '*.mjs' -o -name '*.py' -o -name run \) -print0 \
        2>/dev/null
}
# shellcheck disable=SC2016  # The dollars are awk's.
sources | xargs -0 awk -v columns="$LINE_COLUMNS_MAX" -v lines="$FILE_LINES_MAX" '
    length($0) > columns { printf "%s:%d: %d columns\n", FILENAME, FNR, length($0); bad = 1 }
    FNR == lines + 1 { printf "%s: more than %d lines\n", FILENAME, lines; bad = 1 }
    END { exit bad }
'

if command -v shellcheck >/dev/null; then
    say "shell scripts"
    shellcheck -x .ci/run scripts/*.sh scripts/compare/*.sh
fi
