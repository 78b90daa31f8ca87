# ---- Reports: to the log, to the launcher (a file) and to the proxy (whoever waits in the browser sees them) ----------

say() {
  printf '%(%H:%M:%S)T %s\n' -1 "$*"
}

# Text of any origin as one printable line of at most 600 characters.
one_line() {
  local text=${1//[$'\n\r\t']/ }
  text=${text//[[:cntrl:]]/}
  printf '%s' "${text:0:600}"
}

# A number of seconds for people: `2h`, `90s`.
in_words() {
  if (($1 % 3600 == 0)); then
    printf '%dh' $(($1 / 3600))
  elif (($1 % 60 == 0)); then
    printf '%dm' $(($1 / 60))
  else
    printf '%ds' "$1"
  fi
}

# record PHASE [REASON]: one line for the launcher. A disk that is full must not stop the rest.
record() {
  printf '%(%s)T\t%s\t%s\n' -1 "$1" "$(one_line "${2-}")" 2>/dev/null >>"$session_dir/events"
}

# phase PHASE [REASON]: where the start has come to.
phase() {
  record "$@"
  tell_proxy "$@"
}

# begin WORDS [JOB]: JOB is its id, where the scheduler could not find it by its log for a launch that never heard of it.
begin() {
  # Directives of somebody's own may send the output elsewhere.
  [[ /proc/self/fd/1 -ef $session_dir/job.log ]] || exec >>"$session_dir/job.log" 2>&1
  say "start-jupyter session $session_id: $1"
  [[ -z ${2-} ]] || printf '%s\n' "$2" 2>/dev/null >"$session_dir/job-id"
  local problem
  read_secrets
  choose_http_tool
  # Short, since the kernels' socket paths must stay below 108 bytes, and on this node, since NFS has no sockets.
  runtime=$(mktemp -d /tmp/sj-XXXXXX) || fail "No private directory could be made in /tmp on $(hostname)."
  # For who finds the session dead on this node, with nobody left to remove it.
  printf '%s' "$runtime" 2>/dev/null >"$session_dir/runtime"
  ! problem=$(write_problem "$runtime") || fail "/tmp on $(hostname) can't be written: $problem."
  phase allocated
}

# The tokens are read once and never leave this shell's memory but through standard input or files of mode 0600.
read_secrets() {
  IFS= read -r -d '' jupyter_token <"$secrets/jupyter-token"
  IFS= read -r -d '' proxy_token <"$secrets/proxy-token"
  IFS= read -r -d '' site_host <"$secrets/site-host"
  IFS= read -r -d '' site_path <"$secrets/site-path" # / for a site with a host name of its own, or /words/
  [[ -n $jupyter_token && (-n $proxy_token || -z $manage_url) ]] || fail "The session's tokens can't be read on $(hostname), in $secrets. Is your home directory there?"
}

# Why nothing can be written to a directory, in the system's words.
write_problem() {
  local words
  words=$( { printf '%4096s' '' >"$1/.write-probe"; } 2>&1) && rm -f "$1/.write-probe" && return 1
  rm -f "$1/.write-probe"
  words=${words##*: }
  printf '%s' "${words:-No space left on device}"
}
