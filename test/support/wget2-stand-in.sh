#!/bin/bash
# Wget2, which some distributions call wget. 1.99.1 waits for ever where it is to read URLs from its standard input.
[[ $1 != --version ]] || { echo 'GNU Wget2 1.99.1 - multithreaded metalink/file/website downloader'; exit; }
exit 1
