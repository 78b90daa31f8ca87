# ---- Containers: Jupyter from an Apptainer or Singularity image -------------------------------------------------------

# The arguments of `apptainer exec` up to the image, in container; none where there is no image.
# shellcheck disable=SC2153 # image comes from the settings
prepare_container() {
  container=()
  [[ -n $image ]] || return 0
  [[ $image != /* || -e $image ]] || fail "The image $image does not exist on $(hostname)."
  local bind
  # A colon or a comma can't be written there; home and the working directory are bound by themselves at most sites.
  for bind in "$runtime" "$start_dir" "${scratch-}" "${session_dir%/*}"; do
    [[ -z $bind || $bind == *[:,]* ]] || container+=(--bind "$bind")
  done
  for bind in "${binds[@]}"; do container+=(--bind "$bind"); done
  container+=("${container_flags[@]}" --pwd "$start_dir" "$image")
}

# exec_in_container RUNTIME SETUP NAMES WHERE ARGUMENT…: takes the shell's place. As in jupyter_shell, no variable of this
# script may be relied on.
exec_in_container() {
  set -- "$1" "$3" "$(type -P apptainer || type -P singularity)" "${@:5}"
  if [[ -z $3 ]]; then
    printf 'Neither apptainer nor singularity was found on %s.' "$(hostname)" >"$1/problem"
    exit 127
  fi
  printf '%s was not found in the image %s.' "${2%% *}" "${!#}" >"$1/not-found"
  # What takes long, fetching an image, comes before Jupyter is said to have been entered.
  # shellcheck disable=SC2016,SC2086 # for the shell in the image; NAMES are words
  exec "$3" exec "${@:4}" /bin/sh -c '
    while [ $# -gt 0 ]; do
      if command -v "$1" >/dev/null 2>&1; then
        [ "$1" != voila ] || set -- jupyter-server
        printf %s "$1" >"$0/entered"
        exec "$1" --config="$0/jupyter_start_config.py"
      fi
      shift
    done
    mv "$0/not-found" "$0/problem"
    exit 127' "$1" $2
}
