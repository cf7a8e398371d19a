#!/usr/bin/env bash
# The state on S3 engines of other people, over the wire: moto (PyPI) must lock and fence, s3s-fs (crates.io) must be refused.
# Both are installed below target/, which takes two minutes the first time. Needs: python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
home=$(mkdir -p "$target/interop" && cd "$target/interop" && pwd)
moto=5.2.1 s3s=0.14.1

if ! "$home/moto/bin/moto_server" --help > /dev/null 2>&1; then
  python3 -m venv "$home/moto"
  "$home/moto/bin/pip" install --quiet --disable-pip-version-check "moto[s3,server]==$moto"
fi
if [ ! -x "$home/bin/s3s-fs" ]; then
  CARGO_TARGET_DIR="$home/build" cargo install --quiet --locked --debug --root "$home" --features binary "s3s-fs@$s3s"
  rm -rf "$home/build"
fi

world=$(mktemp -d)
trap 'kill "${pids[@]}" 2> /dev/null || true; rm -rf "$world"' EXIT
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
pids=() moto_port=$(free) s3s_port=$(free)
"$home/moto/bin/moto_server" -H 127.0.0.1 -p "$moto_port" > "$world/moto.log" 2>&1 & pids+=($!)
mkdir -p "$world/s3s/interop"
"$home/bin/s3s-fs" --host 127.0.0.1 --port "$s3s_port" --access-key interop --secret-key interop-key "$world/s3s" \
  > "$world/s3s.log" 2>&1 & pids+=($!)
python3 - "http://127.0.0.1:$moto_port/interop" "http://127.0.0.1:$s3s_port/" << 'WAIT' || { cat "$world"/*.log; exit 1; }
import sys, time, urllib.error, urllib.request
key = {"authorization": "AWS4-HMAC-SHA256 Credential=interop/20260101/us-east-1/s3/aws4_request"}
for url, method in zip(sys.argv[1:], ("PUT", "GET")):
    for attempt in range(600):
        try:
            urllib.request.urlopen(urllib.request.Request(url, method=method, headers=key))
        except urllib.error.HTTPError:
            pass
        except OSError:
            time.sleep(0.1)
            continue
        break
    else:
        sys.exit(f"{url} does not answer")
WAIT

SEACHANGE_INTEROP_MOTO="http://127.0.0.1:$moto_port" SEACHANGE_INTEROP_S3S="http://127.0.0.1:$s3s_port" \
  cargo test --workspace --all-features --locked --test interop
