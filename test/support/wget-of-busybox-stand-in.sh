#!/bin/bash
# The wget of BusyBox, as 1.35 answers to options that it does not know, such as --version and --no-proxy.
echo "wget: unrecognized option '$1'" >&2
exit 1
