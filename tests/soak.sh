#!/usr/bin/env bash
# The long tests: every cell of the fault matrix. Takes an hour or so on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace
MILLRACE_SOAK=1 cargo test --workspace --test e2e copy::matrix
