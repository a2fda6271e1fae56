#!/usr/bin/env bash
# The long tests: every cell of the fault matrix, the export suite on clusters of real processes, and runs that are killed, raced and
# cut off. Takes some hours on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace
MILLRACE_SOAK=1 cargo test --workspace --test e2e copy::matrix
MILLRACE_TEST_CLUSTER=1 MILLRACE_SOAK=1 cargo test --workspace --test e2e -- export:: cluster:: --test-threads 2
# Kills at 500 and more requests and instants, histories by the thousand, exporters that race and freeze.
MILLRACE_SOAK=1 cargo test --workspace --test e2e runs::
