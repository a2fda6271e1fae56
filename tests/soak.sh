#!/usr/bin/env bash
# The long tests: every cell of the fault matrix, and the export suite on clusters of real processes. Takes an hour or so on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace
MILLRACE_SOAK=1 cargo test --workspace --test e2e copy::matrix
MILLRACE_TEST_CLUSTER=1 MILLRACE_SOAK=1 cargo test --workspace --test e2e -- export:: cluster:: --test-threads 2
