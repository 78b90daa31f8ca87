# ---- Conda environments: found and activated without a shell's initialisation, or made from a description -------------

use_conda() {
  if [[ -n $conda_yml ]]; then make_conda_environment; else find_conda_environment; fi
  local problem
  problem=$("$conda_prefix/bin/python" -c '' 2>&1) || fail "The conda environment $conda_prefix is broken on $(hostname): its Python does not run (${problem##*: })."
  say "The conda environment is $conda_prefix"
  export CONDA_PREFIX=$conda_prefix CONDA_DEFAULT_ENV=${conda_env:-$conda_prefix} CONDA_SHLVL=1 PATH=$conda_prefix/bin:$PATH
}

find_conda_environment() {
  if [[ $conda_env == /* ]]; then
    conda_prefix=$conda_env
    [[ -d $conda_prefix/conda-meta ]] || fail "$conda_env is no conda environment on $(hostname)."
    return
  fi
  while IFS= read -r conda_prefix; do
    [[ ! -d $conda_prefix/conda-meta ]] || return
  done < <(list_conda_places)
  fail "There is no conda environment \"$conda_env\" on $(hostname). Name it by its path, or say how conda is found there: --conda-init FILE."
}

# Whatever the user's own initialisation does stays in the shell that reads it.
# shellcheck disable=SC1090 # the user's own file
read_conda_init() {
  [[ -z $conda_init ]] || source "$conda_init" >&2
}

# Where an environment of this name can be, nearest first; conda itself, which is slow, is asked last.
list_conda_places() (
  read_conda_init
  for program in "${CONDA_EXE-}" "${MAMBA_EXE-}" "$(type -P conda)" "$(type -P mamba)"; do
    root=${program%/*/*} # without bin/conda or condabin/conda
    [[ -z $root ]] || list_root "$root"
  done
  for root in "${MAMBA_ROOT_PREFIX-}" ~/{miniforge3,miniconda3,anaconda3,mambaforge,micromamba} /opt/{conda,miniforge3,miniconda3}; do
    [[ -z $root ]] || list_root "$root"
  done
  IFS=: read -r -a directories <<<"${CONDA_ENVS_PATH-}:${CONDA_ENVS_DIRS-}:$HOME/.conda/envs"
  for root in "${directories[@]}"; do
    [[ -z $root ]] || printf '%s\n' "$root/$conda_env"
  done
  while IFS= read -r root; do
    [[ ${root##*/} != "$conda_env" ]] || printf '%s\n' "$root"
  done 2>/dev/null <~/.conda/environments.txt
  for program in conda mamba micromamba; do
    type -P "$program" >/dev/null || continue
    "$program" env list 2>/dev/null | sed -n "s|^ *$conda_env *[*+]* *\(/.*\)|\1|p"
    return
  done
)

list_root() {
  if [[ $conda_env == base ]]; then printf '%s\n' "$1"; else printf '%s\n' "$1/envs/$conda_env"; fi
}

# From the description, or from an archive that an earlier job made of the same description.
make_conda_environment() {
  local archive=''
  [[ -r $conda_yml ]] || fail "$conda_yml can't be read on $(hostname)."
  conda_prefix=${scratch:-$runtime}/conda
  if [[ -n $conda_cache ]]; then
    archive=$conda_cache/$(sha256sum <"$conda_yml" | cut -c 1-64)-$(uname -m).tar.gz
    ! unpack_conda_environment "$archive" || return
  fi
  create_conda_environment
  [[ -z $archive ]] || pack_conda_environment "$archive"
}

create_conda_environment() {
  local tool names=(conda mamba micromamba) action=(env create)
  [[ $conda_program != mamba ]] || names=(mamba micromamba)
  tool=$(conda_command "${names[@]}")
  [[ -n $tool ]] || fail "There is no ${names[0]} on $(hostname) to make the environment of $conda_yml with. Load its module, or say how it is found: --conda-init FILE."
  [[ ${tool##*/} != micromamba ]] || action=(create)
  say "Making the conda environment of $conda_yml with $tool; that takes a few minutes."
  CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true attend "$tool" "${action[@]}" --prefix "$conda_prefix" --file "$conda_yml" >"$runtime/conda-output" 2>&1 ||
    fail "The conda environment of $conda_yml could not be made on $(hostname): $(one_line "$(tail -n 3 "$runtime/conda-output")")"
}

# conda_command NAME…: the path of the first of them that is there.
conda_command() (
  read_conda_init
  while (($# > 0)); do
    ! type -P "$1" || return 0
    shift
  done
  # Shells are told where conda is with a function, not with PATH.
  type -P "${CONDA_EXE-}" "${MAMBA_EXE-}"
)

unpack_conda_environment() {
  [[ -r $1 ]] || return
  say "Unpacking the conda environment from $1"
  mkdir -p "$conda_prefix"
  if attend tar -xzf "$1" -C "$conda_prefix" && attend "$conda_prefix/bin/python" "$conda_prefix/bin/conda-unpack"; then return; fi
  say "It could not be unpacked; it is made anew."
  rm -rf "$conda_prefix"
  return 1
}

# The archive appears under its name only when it is whole: of two jobs that make it at once, both may put theirs there.
pack_conda_environment() {
  local packer unfinished=$conda_cache/.$session_id.tar.gz
  packer=$(PATH=$conda_prefix/bin:$PATH type -P conda-pack) || packer=$(conda_command conda-pack)
  if [[ -z $packer ]]; then
    say "WARNING: the environment is not kept for the next time: there is no conda-pack. Add it to $conda_yml."
    return
  fi
  say "Packing the conda environment for the next time"
  if mkdir -p "$conda_cache" && attend "$packer" --quiet --prefix "$conda_prefix" --output "$unfinished" >"$runtime/conda-output" 2>&1; then
    mv -f "$unfinished" "$1"
  else
    rm -f "$unfinished"
    say "WARNING: the environment is not kept for the next time: $(one_line "$(tail -n 3 "$runtime/conda-output")")"
  fi
}

# attend COMMAND…: so that a signal is met at once. A trap waits for what runs in the foreground.
attend() {
  local status
  "$@" &
  attended_pid=$!
  wait "$attended_pid"
  status=$?
  attended_pid=
  return $status
}

# What `conda activate` does beyond PATH: the packages' own scripts, and the variables of `conda env config vars`.
# shellcheck disable=SC1090 # the packages' own files
activate_conda() {
  [[ -n ${conda_prefix-} ]] || return 0
  local script variable
  for script in "$conda_prefix"/etc/conda/activate.d/*.sh; do
    [[ ! -r $script ]] || source "$script"
  done
  [[ -r $conda_prefix/conda-meta/state ]] || return 0
  while IFS= read -r -d '' variable; do
    export "${variable?}"
  done < <("$conda_prefix/bin/python" -I -c 'import json, sys
for name, value in json.load(sys.stdin).get("env_vars", {}).items():
    sys.stdout.write(f"{name}={value}\0")' <"$conda_prefix/conda-meta/state")
}
