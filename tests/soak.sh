#!/usr/bin/env bash
# The long tests: every cell of the fault matrix, and the export suite on clusters of real processes. Takes an hour or so on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace
MILLRACE_SOAK=1 cargo test --workspace --test e2e copy::matrix
# There a report counts the command's own requests only, and attempts leave marks between what HEAD and the markers say: the four
# checks of just that are for one machine.
MILLRACE_TEST_CLUSTER=1 MILLRACE_SOAK=1 cargo test --workspace --test e2e -- export:: cluster:: --test-threads 2 \
  --skip export::control::a_failed_run_leaves_one --skip export::control::head_names_the_run_first \
  --skip export::report::the_requests_are --skip export::sources::between_buckets_objects_uploaded
