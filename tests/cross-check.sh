#!/usr/bin/env bash
# The S3 cases against servers of others: versitygw (a Go module) and moto (PyPI). Each is installed where it is missing, below
# TOOLS (the user's cache), and started on this machine. Usage: tests/cross-check.sh [versitygw|moto]…
set -euo pipefail
cd "$(dirname "$0")/.."
tools="${TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace/tools}"
mkdir -p "$tools"
work="$(mktemp -d)"
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

# check NAME PORT DIFFERS: waits for the server, then runs the cases.
check() {
  for _ in $(seq 100); do
    if curl -s -o /dev/null "http://127.0.0.1:$2/"; then break; fi
    sleep 0.1
  done
  echo "== $1"
  MILLRACE_CROSS_ENDPOINT="http://127.0.0.1:$2" MILLRACE_CROSS_KEY=cross MILLRACE_CROSS_SECRET=cross-check-secret \
    MILLRACE_CROSS_DIFFERS="$3" cargo test --quiet -p millrace-tests --test e2e -- --ignored cross::
  kill "$server"
  wait "$server" 2>/dev/null || true
  server=
}

[ $# -gt 0 ] || set -- versitygw moto
for name in "$@"; do
  case "$name" in
    versitygw)
      [ -x "$tools/versitygw" ] || GOBIN="$tools" go install github.com/versity/versitygw/cmd/versitygw@latest
      mkdir -p "$work/s3"
      "$tools/versitygw" --quiet --keep-alive --access cross --secret cross-check-secret --port 127.0.0.1:7171 posix "$work/s3" \
        >"$work/log" 2>&1 &
      server=$!
      # What it keeps under `a/../b` is `b`.
      check versitygw 7171 "keys"
      ;;
    moto)
      [ -x "$tools/moto/bin/moto_server" ] || { python3 -m venv "$tools/moto"; "$tools/moto/bin/pip" install -q 'moto[server]'; }
      "$tools/moto/bin/moto_server" -H 127.0.0.1 -p 7172 >"$work/log" 2>&1 &
      server=$!
      # It checks no signatures and no MD5s, ignores the pin of a copy, and cannot hold a key with a line feed.
      MILLRACE_CROSS_UNSIGNED=1 check moto 7172 "checksums,copies,keys"
      ;;
    *) echo "unknown: $name" >&2; exit 2 ;;
  esac
done
