#!/usr/bin/env bash
# How a cluster grows: 1, 2 and 4 executors as processes, against the test bed's S3 server with 20 ms latency.
#
#   benches/cluster.sh [OBJECTS]        100,000 objects unless said; needs Python 3 and curl
#
# LATENCY_MS (20), CONCURRENCY (64, objects at once in each executor) and PROFILE (release, or dev) may be set.
#
# Prints a row a size: objects a second, the scheduler's CPU time, and the wall time of the same export without a cluster. With
# a store that answers after 20 ms, an executor with 64 objects at once does at most 3,200 a second: two should do twice that,
# as long as the cores that all processes share here suffice.
set -euo pipefail
cd "$(dirname "$0")/.."

objects="${1:-100000}"
latency="${LATENCY_MS:-20}"
at_once="${CONCURRENCY:-64}"
profile="${PROFILE:-release}"
target="${CARGO_TARGET_DIR:-target}/${profile/dev/debug}"
cargo build --workspace --profile "$profile" --quiet

work=$(mktemp -d "${TMPDIR:-/tmp}/millrace-cluster-XXXXXX")
processes=()
finish() {
  for id in "${processes[@]}"; do kill -9 "$id" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

# A folder of small objects, committed to a lake without a server: what an export copies must be there.
python3 - "$work/data" "$objects" <<'PY'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
for i in range(count):
    folder = f"{root}/p={i // 1000:05d}"
    if i % 1000 == 0:
        os.makedirs(folder)
    with open(f"{folder}/part-{i % 1000:05d}", "w") as f:
        f.write(f"object {i}\n" * 20)
PY

"$target/millrace-s3" --port 21900 --bucket lake --bucket mirror --latency-ms "$latency" >"$work/env" &
processes+=($!)
until [ -s "$work/env" ]; do sleep 0.1; done
# shellcheck disable=SC1091
source "$work/env"
"$target/millrace" lake init lake+s3://lake/bench >/dev/null
"$target/millrace" lake commit 'lake+s3://lake/bench?ref=main' "$work/data" -m load --no-progress >/dev/null

cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ print int(($14 + $15) * 1000 / hz) }' "/proc/$1/stat"; }
export_to() { # place, options of the cluster…
  local place=$1
  shift
  "$target/millrace" export 'lake+s3://lake/bench?ref=main' "s3://mirror/$place" --assume-empty -q --output json \
    --concurrency "$at_once" "$@" >"$work/report.json"
  python3 - "$work/report.json" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
seconds = (report["elapsed_ms"] - report["plan_ms"]) / 1000
print(f"{report['copied']} {seconds:.2f} {report['copied'] / seconds:.0f}")
PY
}

printf '%-22s %10s %9s %12s %18s\n' "what" "objects" "s" "objects/s" "scheduler CPU ms"
read -r copied seconds rate < <(export_to local)
printf '%-22s %10s %9s %12s %18s\n' "no cluster" "$copied" "$seconds" "$rate" "-"
for count in 1 2 4; do
  "$target/millrace" scheduler -q --port 21910 &
  scheduler=$!
  executors=()
  for n in $(seq "$count"); do
    "$target/millrace" executor -q --scheduler df://127.0.0.1:21910 --port $((21910 + 10 * n)) --work-dir "$work/executors" &
    executors+=($!)
  done
  processes+=("$scheduler" "${executors[@]}")
  for n in $(seq "$count"); do
    until curl -sf "http://127.0.0.1:$((21912 + 10 * n))/readyz" >/dev/null; do sleep 0.1; done
  done
  before=$(cpu_ms "$scheduler")
  read -r copied seconds rate < <(export_to "cluster-$count" --cluster df://127.0.0.1:21910)
  used=$(($(cpu_ms "$scheduler") - before))
  printf '%-22s %10s %9s %12s %18s\n' "$count executor(s)" "$copied" "$seconds" "$rate" "$used"
  kill "${executors[@]}" "$scheduler" 2>/dev/null || true
  wait "${executors[@]}" "$scheduler" 2>/dev/null || true
done
