#!/bin/bash
# rounds.sh ROUNDS COMMAND...: runs the commands (each one word, split at spaces) in turns, forwards and backwards, as in
# ABBA. Prints, for each run, the command's place and the microseconds until its first line was there. The next run begins
# when the one before has ended.
set -euo pipefail
rounds=$1
shift
for ((round = 0; round < rounds; round++)); do
  for ((turn = 1; turn <= $#; turn++)); do
    place=$((round % 2 ? $# + 1 - turn : turn))
    read -r -a words <<<"${!place}"
    began=$EPOCHREALTIME
    exec {output}< <(exec "${words[@]}")
    child=$!
    IFS= read -r line <&"$output"
    ended=$EPOCHREALTIME
    wait "$child"
    exec {output}<&-
    [[ $line == https://* || ${UNTIL_ANY_LINE-} ]]
    printf '%d %d\n' "$((place - 1))" "$((${ended/./} - ${began/./}))"
  done
done
