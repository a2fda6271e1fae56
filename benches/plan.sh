#!/usr/bin/env bash
# Plans of large lakes, as whole processes: wall and CPU time, peak memory, ranges opened, metadata read, and the CPU time
# against what decompressing the same ranges takes on one core.
# Usage: benches/plan.sh [FOLDER]   the lakes are generated there once and kept (1.5 GB for N = 10M, 7 GB for 50M).
# SIZES="1000000 10000000 50000000" chooses the sizes; FORGET=1 removes each lake when it was measured.
# Needs GNU time, taskset and python3; prints a Markdown table. Nothing else should run meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-${TMPDIR:-/tmp}/millrace-lakes}"
sizes="${SIZES:-1000000 10000000 50000000}"
cargo build --release --quiet --bin millrace --package cli
cargo build --release --quiet --bins --package millrace-benches
bin="${CARGO_TARGET_DIR:-target}/release"
mkdir -p "$folder"

# raw LAKE [BRANCH]: seconds that decompressing takes, the best of three.
raw() {
  for _ in 1 2 3; do "$bin/raw-decompress" "$@"; done | sort -n | head -n 1 | cut -d ' ' -f 1
}

# measure NAME ENTRIES RAW COMMAND…: a row of the table, the fastest of RUNS; the command prints a run object.
measure() {
  local name="$1" entries="$2" raw="$3" times outs run
  shift 3
  times="$(mktemp)" outs="$(mktemp)"
  for run in $(seq "${RUNS:-3}"); do
    [ -z "${PLAN:-}" ] || rm -rf "$PLAN"
    /usr/bin/time -a -o "$times" -f '%e %U %S %M' "$@" | tail -n 1 >>"$outs"
  done
  python3 - "$name" "$entries" "$raw" "$times" "$outs" <<'PY'
import json, sys
name, entries, raw, times, outs = sys.argv[1:]
times = [[float(x) for x in line.split()] for line in open(times)]
wall, user, system, _ = min(times)
peak = max(t[3] for t in times)
out = open(outs).read().splitlines()[-1]
run = json.loads(out) if out.startswith("{") else {}
ranges = run.get("ranges", {})
read = f"{ranges['bytes'] / 1e6:.1f} MB" if "bytes" in ranges else ""
opened = f"{ranges['opened']} of {ranges['total']}" if ranges else ""
against = f"{(user + system) / float(raw):.1f}" if float(raw or 0) > 0 else ""
print(f"| {name} | {int(entries):,} | {wall:.2f} s | {user + system:.2f} s | {against} | {peak / 1024:.0f} MiB "
      f"| {opened} | {ranges.get('looked_up', '')} | {read} | {int(entries) / max(wall, 0.01) / 1e6:.2f} M |", flush=True)
PY
  rm -f "$times" "$outs"
}

echo "| work | entries | wall | CPU | CPU against raw decompression | peak memory | ranges opened | looked up | metadata read | entries/s |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for n in $sizes; do
  for spread in two-partitions anywhere; do
    lake="$folder/$n-$spread"
    if [ ! -e "$lake/_lakefs/refs_manifest.json" ]; then
      part=(); [ "$spread" = anywhere ] || part=(--partitions 2)
      RUNS=1 measure "write two commits" $((2 * n)) "" "$bin/generate-lake" "$lake" --entries "$n" --changes 100 "${part[@]}"
    fi
    PLAN="$(mktemp -d)/plan"
    measure "plan 100 changes, $spread" "$n" "$(raw "$lake" before)" "$bin/millrace" --quiet --output json plan \
      "lake+file://$lake?ref=main" memory://bench/x --from before --assume-empty -o "$PLAN"
    rm -rf "$PLAN"; PLAN=
    [ "$spread" = anywhere ] || [ -z "${FORGET:-}" ] || rm -rf "$lake"
  done
  all="$(raw "$lake")"
  PLAN="$(mktemp -d)/plan"
  measure "full plan" "$n" "$all" "$bin/millrace" --quiet --output json plan \
    "lake+file://$lake?ref=main" memory://bench/x --assume-empty -o "$PLAN"
  rm -rf "$PLAN"; PLAN=
  query() { measure "$1" "$n" "$2" "${@:4}" "$bin/millrace" --quiet --output json sql "lake+file://$lake" "SELECT $3 FROM objects('main')"; }
  query "\`count(*)\`" "" "count(*)"
  query "\`sum(size)\`" "$all" "sum(size)"
  query "scan of keys, one core" "$all" "max(path)" taskset -c 0
  query "scan of all columns, one core" "$all" \
    "max(path), sum(size), max(etag), max(mtime), max(content_type), count(metadata), max(address)" taskset -c 0
  [ -z "${FORGET:-}" ] || rm -rf "$lake"
done
