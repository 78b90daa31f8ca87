#!/bin/bash
# The machine's wget with the manners of 1.14 (RHEL 7), which has no --method and --body-file: they came with 1.15.
for option in "$@"; do
  case $option in
    --method=* | --body-file=*) echo "wget: unrecognized option '$option'" >&2; exit 2 ;;
  esac
done
exec /usr/bin/wget "$@"
