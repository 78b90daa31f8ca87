#!/bin/bash
# The machine's curl with the manners of 7.29 (RHEL 7): `--disable`, which does what `-q` does since 7.50, leaves ~/.curlrc
# in force (curl(1), src/tool_operate.c of 7.29), and of a configuration only what 7.29 knows is taken. An option that is
# not in this list belongs into it if 7.29 has it.
known='url|request|header|silent|show-error|fail|noproxy|connect-timeout|max-time|cacert|data-binary'
[[ $* =~ ^(-q|--disable)\ --config\ -$ ]] || { echo "curl: option $*: is unknown" >&2; exit 2; }
config=$(cat)
while IFS= read -r line; do
  [[ $line =~ ^($known)(\ =\ .*)?$ ]] || { echo "curl: option ${line%% *}: is unknown" >&2; exit 2; }
done <<<"$config"
if [[ $1 == -q ]]; then set -- -q; else set --; fi
exec /usr/bin/curl "$@" --config - <<<"$config"
