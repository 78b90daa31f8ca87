#!/bin/bash
# Runs as root in a mount namespace of its own: jupyters.sh DIRECTORY installs JupyterLab 4 and the classic Notebook 6
# into directories below it, which the lab's machines see as /opt/jupyterlab and /opt/notebook6.
set -eu
# An environment can't be moved: its scripts name the path that they were installed at.
mount --bind "$1" /opt
cd /opt

# uv takes 3 seconds where pip takes 15. It knows nothing of pip's configuration, so it is told.
/usr/bin/python3 -m venv uv
uv/bin/pip install --quiet uv
index=$(uv/bin/pip config list | sed -n "s/^.*\.index-url='\(.*\)'$/\1/p" | tail -n 1)
[ -z "$index" ] || export UV_DEFAULT_INDEX=$index
export SSL_CERT_FILE=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
export UV_LINK_MODE=copy UV_NO_CONFIG=1

# install DIRECTORY REQUIREMENT…
install() {
  local directory=$1
  shift
  uv/bin/uv venv --quiet --python /usr/bin/python3 "$directory"
  # Users can't write there: what isn't compiled now would be compiled at every start.
  uv/bin/uv pip install --quiet --compile-bytecode --python "$directory/bin/python" "$@"
}
install jupyterlab 'jupyterlab>=4,<5' voila
# Debian's Notebook 6 has a terminal page that stays empty: its package lacks a script that the page wants.
install notebook6 'notebook>=6,<7'
rm -r uv
