#!/usr/bin/env bash
# Plans of large lakes, as whole processes: wall and CPU time, peak memory, ranges opened, metadata read.
# Usage: benches/plan.sh [FOLDER]   the lakes are generated there once and kept (N up to 50M take some 10 GB).
# Needs GNU time and python3; prints a Markdown table. SIZES="1000000 10000000" chooses the sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-${TMPDIR:-/tmp}/millrace-lakes}"
sizes="${SIZES:-1000000 10000000}"
cargo build --release --quiet --bin millrace --package cli
cargo build --release --quiet --bin generate-lake --package millrace-benches
bin="${CARGO_TARGET_DIR:-target}/release"
mkdir -p "$folder"

# measure NAME ENTRIES COMMAND…: a row of the table; the command prints a run object.
measure() {
  local name="$1" entries="$2" out time
  shift 2
  time="$(mktemp)"
  out="$(/usr/bin/time -o "$time" -f '%e %U %S %M' "$@")"
  python3 - "$name" "$entries" "$out" "$(tail -n 1 "$time")" <<'PY'
import json, sys
name, entries, out, time = sys.argv[1:]
wall, user, system, peak = (float(x) for x in time.split())
run = json.loads(out) if out.startswith("{") else {}
ranges = run.get("ranges", {})
read = ranges.get("bytes", 0) / 1e6
rate = int(entries) / max(wall, 0.01) / 1e6
print(f"| {name} | {int(entries):,} | {wall:.2f} s | {user + system:.2f} s | {peak / 1024:.0f} MiB "
      f"| {ranges.get('opened', '')} of {ranges.get('total', '')} | {ranges.get('looked_up', '')} | {read:.1f} MB | {rate:.2f} M |")
PY
  rm -f "$time"
}

echo "| work | entries | wall | CPU | peak memory | ranges opened | looked up | metadata read | entries/s |"
echo "|---|---|---|---|---|---|---|---|---|"
for n in $sizes; do
  for spread in two-partitions anywhere; do
    lake="$folder/$n-$spread"
    if [ ! -e "$lake/_lakefs/refs_manifest.json" ]; then
      part=(); [ "$spread" = anywhere ] || part=(--partitions 2)
      measure "write two commits" $((2 * n)) "$bin/generate-lake" "$lake" --entries "$n" --changes 100 "${part[@]}"
    fi
    plan="$(mktemp -d)"
    measure "plan 100 changes, $spread" "$n" "$bin/millrace" --quiet --output json plan \
      "lake+file://$lake?ref=main" memory://bench/x --from before --assume-empty -o "$plan/plan"
    rm -rf "$plan"
  done
  plan="$(mktemp -d)"
  measure "full plan" "$n" "$bin/millrace" --quiet --output json plan \
    "lake+file://$lake?ref=main" memory://bench/x --assume-empty -o "$plan/plan"
  rm -rf "$plan"
  measure "count(*)" "$n" "$bin/millrace" --quiet --output json sql "lake+file://$lake" "SELECT count(*) FROM objects('main')"
  measure "sum(size)" "$n" "$bin/millrace" --quiet --output json sql "lake+file://$lake" "SELECT sum(size) FROM objects('main')"
done
