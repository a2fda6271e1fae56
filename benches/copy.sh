#!/usr/bin/env bash
# Copies, as whole processes beside other tools: objects a second, CPU, peak memory, requests.
# Usage: benches/copy.sh [FOLDER]   the stores lie there; a folder in memory (/dev/shm) when nothing is said. Needs some
# 12 GiB there, 1 GiB of disk in TMPDIR, Python 3, curl, Go (for the S3 server versitygw) and wrk (the ceiling). s5cmd and
# rclone are measured beside it where they are installed. Prints a Markdown table; takes about ten minutes on two cores.
# COUNT=20000 SIZE=4096 LARGE=4 LARGE_MIB=1024 SECONDS_OF_WRK=5 choose how much. BIN=FOLDER takes programs that are built.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${BIN:-}" ]; then
  cargo build --release --quiet --bin millrace --package cli
  cargo build --release --quiet --bin millrace-s3 --package millrace-tests
  BIN="${CARGO_TARGET_DIR:-target}/release"
fi
tools="${TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace/tools}"
if ! [ -x "$tools/versitygw" ]; then
  mkdir -p "$tools"
  GOBIN="$tools" go install github.com/versity/versitygw/cmd/versitygw@latest
fi
export PATH="$tools:$PATH"
exec python3 benches/copy.py "$BIN" "${1:-/dev/shm/millrace-copy}"
