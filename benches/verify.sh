#!/usr/bin/env bash
# Verifying large destinations, as whole processes: wall and CPU time, peak memory. Memory must not grow with the objects.
# Usage: benches/verify.sh [FOLDER]   lakes and destinations of empty objects are made there once and kept (a file each).
# Needs GNU time and python3; prints a Markdown table. SIZES="100000 1000000" chooses the sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-${TMPDIR:-/tmp}/millrace-verify}"
sizes="${SIZES:-100000 1000000}"
if [ -z "${BIN:-}" ]; then
  cargo build --release --quiet --bin millrace --package cli
  cargo build --release --quiet --bin generate-lake --package millrace-benches
  BIN="${CARGO_TARGET_DIR:-target}/release"
fi
mkdir -p "$folder"

# measure NAME CODE COMMAND…: a row of the table; the command prints one JSON object and ends with that exit code.
measure() {
  local name="$1" code="$2" out time got=0
  shift 2
  time="$(mktemp)"
  out="$(/usr/bin/time -o "$time" -f '%e %U %S %M' "$@")" || got=$?
  [ "$got" = "$code" ] || { echo "$name ended with $got: $out" >&2; exit 1; }
  python3 - "$name" "$out" "$(tail -n 1 "$time")" <<'PY'
import json, sys
name, out, time = sys.argv[1:]
wall, user, system, peak = (float(x) for x in time.split())
run = json.loads(out)
objects = run.get("objects", run.get("copied", 0))
print(f"| {name} | {objects:,} | {run.get('differences', '')} | {wall:.1f} s | {user + system:.1f} s | {peak / 1024:.0f} MiB |")
PY
  rm -f "$time"
}

echo "| work | objects | differences | wall | CPU | peak memory |"
echo "|---|---|---|---|---|---|"
for n in $sizes; do
  lake="$folder/lake-$n" out="$folder/out-$n"
  source="lake+file://$lake?ref=main"
  [ -e "$lake/_lakefs/refs_manifest.json" ] || "$BIN/generate-lake" "$lake" --entries "$n" --changes 100 --empty >/dev/null
  millrace=("$BIN/millrace" --quiet --output json)
  [ -e "$out/_millrace/HEAD.json" ] || measure "export" 0 "${millrace[@]}" export "$source" "$out" --assume-empty
  measure "verify" 0 "${millrace[@]}" verify "$out"
  measure "verify --deep" 0 "${millrace[@]}" verify "$out" --deep
  measure "verify --against" 0 "${millrace[@]}" verify "$out" --against "$source"
  find "$out/tables" -name 'part-0000*' -delete
  measure "verify, some missing" 1 "${millrace[@]}" verify "$out"
  measure "verify --repair" 0 "${millrace[@]}" verify "$out" --repair
done
