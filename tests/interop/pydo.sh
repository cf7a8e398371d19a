#!/usr/bin/env bash
# DigitalOcean's own Python client (PyPI) against `seachange local serve`. Installs it below target/. Needs: python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
home=$(mkdir -p "$target/interop" && cd "$target/interop" && pwd)
pydo=0.44.0

if [ "$("$home/pydo/bin/pip" list --format freeze 2> /dev/null | grep '^pydo==')" != "pydo==$pydo" ]; then
  python3 -m venv --clear "$home/pydo"
  "$home/pydo/bin/pip" install --quiet --disable-pip-version-check "pydo==$pydo"
fi
cargo build --quiet --locked -p seachange

world=$(mktemp -d)
trap 'kill "$server" 2> /dev/null || true; wait "$server" 2> /dev/null || true; rm -rf "$world"' EXIT
"$target/debug/seachange" local serve --folder "$world/served" --droplet-limit 500 > "$world/env" 2> "$world/log" & server=$!
until grep -q SSH_KEY_FINGERPRINT "$world/env"; do
  kill -0 "$server" 2> /dev/null || { cat "$world/log" >&2; exit 1; }
  sleep 0.1
done
. "$world/env"
"$home/pydo/bin/python" tests/interop/pydo_scenario.py "$DIGITALOCEAN_API_URL" "$DIGITALOCEAN_TOKEN"
