# ---- The environment that Jupyter runs in -----------------------------------------------------------------------------

prepare_environment() {
  local problem
  phase environment
  forget_login_session
  export JUPYTER_RUNTIME_DIR=$runtime

  locks_work || keep_databases_here
  [[ -z $scratch_dir ]] || make_scratch
  ((${#modules[@]} + ${#module_path[@]} == 0)) || load_modules
  [[ -z $venv ]] || use_venv
  [[ -z $conda_env$conda_yml ]] || use_conda
  prepare_container
  [[ -z $setup_file || -r $setup_file ]] || fail "The setup file $setup_file can't be read on $(hostname)."

  problem=$(cd -- "$start_dir" 2>&1) || fail "The start directory can't be entered on $(hostname): ${problem##*cd: }."
  cd -- "$start_dir" || fail "The start directory can't be entered on $(hostname)."
  ! problem=$(write_problem "$session_dir") || fail "Your home directory can't be written on $(hostname): $problem."
}

# Leftovers of the login session, or of a Jupyter that the launch was typed in, would point this one elsewhere. Where
# somebody's search paths (PATH, JUPYTER_PATH, and PYTHONPATH for the Python that was there) lead is meant so.
forget_login_session() {
  unset XDG_RUNTIME_DIR JUPYTER_TOKEN JUPYTER_TOKEN_FILE JUPYTER_PORT JUPYTER_IP JUPYTER_RUNTIME_DIR
  unset JUPYTER_SERVER_ROOT JUPYTER_SERVER_URL "${!JPY_@}" "${!JUPYTERHUB_@}" "${!START_JUPYTER_@}"
  # Another Python than theirs is asked for.
  [[ -z $venv$conda_env$conda_yml$image ]] || unset PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
}

# A home on NFS without a lock service makes every lock wait for ever, or fail.
locks_work() {
  local probe=$session_dir/.lock-probe status
  : 2>/dev/null >"$probe" || return 0 # a home that can't be written is told below
  timeout -s KILL 5 flock --nonblock "$probe" true 2>/dev/null
  status=$?
  rm -f "$probe"
  ((status == 0 || status == 127))
}

# Jupyter's and IPython's databases (trusted notebooks, history of cells) would hang with them: for this session they are
# on this node, beside links to everything else that IPython has in home.
keep_databases_here() {
  local own=${IPYTHONDIR:-$HOME/.ipython} file
  say "WARNING: files in your home directory can't be locked on $(hostname): the history of cells is not kept."
  databases_here=yes
  export IPYTHONDIR=$runtime/ipython
  mkdir -p "$IPYTHONDIR/profile_default"
  for file in "$own"/* "$own"/profile_default/*; do
    case ${file#"$own/"} in
      profile_default | profile_default/history.sqlite* | profile_default/db | profile_default/security | profile_default/pid) ;;
      *) [[ ! -e $file ]] || ln -s "$file" "$IPYTHONDIR/${file#"$own/"}" ;;
    esac
  done
}

# A private directory where there is room: it becomes TMPDIR, and goes when the session ends.
make_scratch() {
  local parent=$scratch_dir problem
  parent=${parent//'{user}'/$(id -un)}
  parent=${parent//'{job}'/${SLURM_JOB_ID:-${PBS_JOBID:-${JOB_ID:-${LSB_JOBID:-$session_id}}}}}
  local place=$parent
  # What is not there yet is made for this user alone, so that it may not stay: others may mean the same place.
  while [[ $place == */* && ! -e $place ]]; do
    scratch_parents+=("$place")
    place=${place%/*}
  done
  problem=$(mkdir -p -- "$parent" 2>&1) || fail "The scratch directory can't be made on $(hostname): ${problem#mkdir: }."
  scratch=$(mktemp -d "$parent/sj-XXXXXX" 2>"$runtime/scratch-problem") || fail "The scratch directory can't be written on $(hostname): $(one_line "$(<"$runtime/scratch-problem")")."
  export TMPDIR=$scratch
}

# A batch shell is no login shell: where the site's module command isn't there yet, its own start-up file brings it: that of
# the login, where the scheduler hands on which it was.
load_modules() {
  local file module
  if ! type module >/dev/null 2>&1; then
    for file in "${MODULESHOME-}/init/bash" /etc/profile.d/{modules,lmod,z00_lmod}.sh /usr/share/{modules,lmod/lmod}/init/bash; do
      # shellcheck disable=SC1090 # the site's own file
      if [[ -r $file ]]; then source "$file" && type module >/dev/null 2>&1 && break; fi
    done
  fi
  type module >/dev/null 2>&1 || fail "There is no module command on $(hostname), so \"${modules[*]-${module_path[*]}}\" can't be loaded."

  for module in "${module_path[@]}"; do
    [[ -d $module ]] || fail "The module path $module does not exist on $(hostname)."
    module use --append "$module"
  done
  for module in "${modules[@]}"; do
    say "module load $module"
    # Old versions return 0 whatever happens: what they write tells.
    if ! module load "$module" 2>"$runtime/module-problem" || grep -q -E 'ERROR|Unable to locate|following module' "$runtime/module-problem"; then
      cat "$runtime/module-problem"
      fail "The module \"$module\" could not be loaded on $(hostname): $(module_problem)"
    fi
    cat "$runtime/module-problem"
  done
}

# The first line that says something, without the frame around it.
module_problem() {
  grep -v -E '^(Loading |[[:space:]]*$)' "$runtime/module-problem" | sed -e 's/^[[:space:]]*\(ERROR:\)\{0,1\}[[:space:]]*//' | head -n 1
}

use_venv() {
  [[ -d $venv ]] || fail "The virtual environment $venv does not exist on $(hostname)."
  local problem
  problem=$("$venv/bin/python" -c '' 2>&1) || fail "The virtual environment $venv is broken on $(hostname): its Python does not run (${problem##*: })."
  export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}

# {{> conda.sh}}
# {{> container.sh}}
