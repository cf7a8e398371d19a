#!/usr/bin/env bash
# Measures what docs/performance.md says, with the release binary against the local cloud over real sockets.
# Usage: tests/bench/run.sh [WORKERS…]     needs: cargo build --release, GNU time (Debian: time), curl
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bin="$root/target/release/seachange"
folder=$(mktemp -d)
trap 'kill "${serve:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

echo "binary: $(stat -c %s "$bin") bytes"
best() { # best of ten, in ms
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    local begin end
    begin=$(date +%s%N); "$@" > /dev/null; end=$(date +%s%N)
    echo $(((end - begin) / 10000))
  done | sort -n | head -1 | awk '{ printf "%.2f ms\n", $1 / 100 }'
}
echo "start-up (--version), best of 10: $(best "$bin" --version)"

for workers in "${@:-2 1000}"; do
  for count in $workers; do
    mkdir "w$count"; cd "w$count"
    "$bin" local serve --folder world > env 2> /dev/null &
    serve=$!
    until grep -q SSH_KEY_FINGERPRINT env; do read -rt 0.1 <> <(:) || true; done
    # shellcheck disable=SC1091
    . ./env
    sed "s/count: 2/count: $count/" "$root/specs/infrastructure.yaml" > stack.yaml
    /usr/bin/time -o first -f '%e s wall, %U s user, %S s system, %M KB' \
      "$bin" apply -f stack.yaml --auto-approve > out 2> log || { tail -5 log; exit 1; }
    echo "$count workers, first apply: $(cat first); $(tail -1 out | grep -oE '[0-9]+ requests, [0-9]+ commits')"
    /usr/bin/time -o noop -f '%e s wall, %U s user, %S s system, %M KB' "$bin" plan -f stack.yaml > out 2> log
    echo "$count workers, no-op plan: $(cat noop); $(grep -oE '[0-9]+ requests' log)"
    kill "$serve"; wait "$serve" 2>/dev/null || true
    cd ..
  done
done
