#!/bin/bash
# A stand-in for `apptainer exec` with a directory as image: its bin/ goes before the machine's programs. It takes the
# options that the launcher uses, as apptainer-exec(1) has them; anything else is an error, as there.
printf '%s\n' "$*" >>"${0%/*}/.calls"
[[ $1 == exec ]] || { echo "Error for command \"$1\": unknown command" >&2; exit 1; }
shift
while [[ $1 == -* ]]; do
  case $1 in
    --bind)
      [[ -e ${2%%:*} ]] || { echo "FATAL: mount source ${2%%:*} doesn't exist" >&2; exit 255; }
      printf 'bind %s\n' "$2" >>"${0%/*}/.calls"
      shift 2
      ;;
    --pwd) cd "$2" || exit; shift 2 ;;
    --nv | --rocm) shift ;;
    *) echo "Error for command \"exec\": unknown flag: $1" >&2; exit 1 ;;
  esac
done
[[ -d $1 ]] || { echo "FATAL: could not open image $1" >&2; exit 255; }
export APPTAINER_CONTAINER=$1 PATH=$1/bin:/usr/sbin:/usr/bin:/bin
shift
exec "$@"
