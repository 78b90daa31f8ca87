# shellcheck shell=sh
# What this site gives every login shell.
export LANG=C.UTF-8
PATH=$PATH:/opt/start-jupyter/bin
