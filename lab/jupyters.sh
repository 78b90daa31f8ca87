#!/bin/bash
# Runs as root in a mount namespace of its own: jupyters.sh DIRECTORY installs JupyterLab 4 and the classic Notebook 6
# into directories below it, which the lab's machines see as /opt/jupyterlab and /opt/notebook6.
set -eu
# An environment can't be moved: its scripts name the path that they were installed at.
mount --bind "$1" /opt

# Users can't write there: what isn't compiled now would be compiled at every start.
export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# Debian's Notebook 6 has a terminal page that stays empty: its package lacks a script that the page wants.
bash "${0%/*}/virtual-environments.sh" /opt <<'END'
jupyterlab jupyterlab>=4,<5 voila
notebook6 notebook>=6,<7
END
