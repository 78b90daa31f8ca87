#!/bin/bash
# A stand-in for `apptainer exec` with a directory as image: its bin/ goes before the machine's programs. It takes the
# options that the launcher uses; its words and statuses are those of Apptainer 1.4.1.
calls=${0%/*}/.calls
printf '%s\n' "$*" >>"$calls"
[[ $1 == exec ]] || { echo "Error: unknown command \"$1\" for \"apptainer\"" >&2; exit 1; }
shift

fatal() {
  echo "FATAL:   $1" >&2
  exit 255
}

# bind SOURCE[:TARGET[:OPTIONS]][,…]
bind() {
  local specs spec source target options option
  printf 'bind %s\n' "$1" >>"$calls"
  IFS=, read -r -a specs <<<"$1"
  for spec in "${specs[@]}"; do
    IFS=: read -r source target options <<<"$spec"
    for option in ${options//,/ }; do
      [[ $option == r[ow] ]] || fatal "While setting bind mount configuration: while parsing bind path: while getting bind path: $option is not a valid bind option"
    done
    [[ -e $source ]] || {
      echo "WARNING: skipping mount of $source: stat $source: no such file or directory" >&2
      missing="$source->${target:-$source} error: while mounting $source: mount source $source doesn't exist"
    }
  done
}

missing='' directory=''
while [[ $1 == -* ]]; do
  case $1 in
    --bind) bind "$2"; shift 2 ;;
    --pwd) directory=$2; shift 2 ;;
    --nv | --rocm) shift ;; # nothing is said where there is no GPU
    *) echo "Error for command \"exec\": unknown flag: $1" >&2; exit 1 ;;
  esac
done

image=$1
shift
case $image in
  *://*) fatal "Unable to handle $image uri: failed to get checksum for $image: pinging container registry ${image#*://}: Get \"https://${image#*://}/v2/\": dial tcp ${image#*://}: connect: connection refused" ;;
esac
[[ -e $image ]] || fatal "While checking container encryption: could not open image $image: failed to retrieve path for $image: lstat $image: no such file or directory"
[[ -d $image ]] || fatal "While checking container encryption: could not open image $image: image format not recognized"
[[ -z $missing ]] || fatal "container creation failed: mount hook function failure: mount $missing"
cd "${directory:-.}" 2>/dev/null || fatal "failed to set working directory: chdir $directory: no such file or directory"
# The rest of the environment is handed on, but these two are the image's.
unset LD_LIBRARY_PATH
export APPTAINER_CONTAINER=$image APPTAINER_NAME=${image##*/} PATH=$image/bin:/usr/sbin:/usr/bin:/sbin:/bin
type -P "$1" >/dev/null || fatal "\"$1\": executable file not found in \$PATH"
exec "$@"
