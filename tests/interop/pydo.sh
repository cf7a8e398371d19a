#!/usr/bin/env bash
# DigitalOcean's own Python client (PyPI: pydo) uses `seachange local serve` for everything that it simulates.
# The client is installed below target/, which takes a minute the first time. Needs: python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
home=$(mkdir -p "$target/interop" && cd "$target/interop" && pwd)
pydo=0.44.0

if [ "$("$home/pydo/bin/python" -c 'import pydo; print(pydo.__version__)' 2> /dev/null)" != "$pydo" ]; then
  python3 -m venv --clear "$home/pydo"
  "$home/pydo/bin/pip" install --quiet --disable-pip-version-check "pydo==$pydo"
fi
# As the tests have it: with other features of other crates it would be built once more.
cargo test --workspace --all-features --locked --no-run --test e2e

world=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2> /dev/null || true; wait; rm -rf "$world"' EXIT
serve() { # NAME OPTION...: a world of its own; what it exports is in NAME.env
  local name=$1 && shift
  "$target/debug/seachange" local serve --folder "$world/$name" "$@" > "$world/$name.env" 2> "$world/$name.log" & pids+=($!)
  for _ in {1..300}; do
    if grep -q SSH_KEY_FINGERPRINT "$world/$name.env"; then return; fi
    kill -0 "${pids[-1]}" 2> /dev/null || break
    sleep 0.1
  done
  cat "$world/$name.log" >&2
  echo "the local cloud does not answer" >&2
  return 1
}
serve usual --droplet-limit 500
serve limited --rate-limits
PYTHONDONTWRITEBYTECODE=1 "$home/pydo/bin/python" tests/interop/pydo_scenario.py "$world/usual.env" "$world/limited.env"
