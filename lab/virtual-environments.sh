#!/bin/bash
# virtual-environments.sh DIRECTORY: makes a virtual environment below DIRECTORY, from PyPI, of every line on standard
# input: NAME REQUIREMENT…
set -eu
cd "$1"

# uv takes 3 seconds where pip takes 15. It knows nothing of pip's configuration, so it is told.
/usr/bin/python3 -m venv uv
uv/bin/pip install --quiet uv
index=$(uv/bin/pip config list | sed -n "s/^.*\.index-url='\(.*\)'$/\1/p" | tail -n 1)
[ -z "$index" ] || export UV_DEFAULT_INDEX=$index
export SSL_CERT_FILE=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
export UV_NO_CONFIG=1

while read -r -a line; do
  uv/bin/uv venv --quiet --python /usr/bin/python3 "${line[0]}" </dev/null
  uv/bin/uv pip install --quiet --python "${line[0]}/bin/python" "${line[@]:1}" </dev/null
done
rm -r uv
