# ---- Jupyter: on a port of its own, refusing strangers ------------------------------------------------------------------

start_jupyter() {
  local attempt
  for ((attempt = 1; attempt <= 20; attempt++)); do
    choose_port
    write_jupyter_config
    run_jupyter
    if wait_for_environment && wait_for_jupyter "$attempt"; then
      say "Jupyter answers on $address, port $port."
      return
    fi
    # Somebody else was faster: nothing that the user has to know.
    port_was_taken || fail "$(why_it_did_not_start)"
    [[ -z $jupyter_port ]] || fail "Port $port on $(hostname) was taken by somebody else. Start again."
    say "Port $port was taken by somebody else meanwhile; trying another."
  done
  fail "No port on $address could be had in 20 tries."
}

# Jupyter, and before it whatever the user brings along, in a shell of its own: what is set, changed or ended there stays
# away from this script. Variables of any name may come, also of those used here, so that what is needed after them
# stands in the positional parameters.
# shellcheck disable=SC1090 # the user's own file
jupyter_shell() {
  activate_conda
  set -- "$runtime" "$setup_file" "$(jupyter_names)" "$(hostname)${venv:+ in $venv}${conda_prefix:+ in $conda_prefix}${modules:+ after loading ${modules[*]}}" "${container[@]}"
  set_variables "${variables[@]}"
  if [[ -n $2 ]]; then
    printf 'The setup file %s ended the shell on %s:' "$2" "${4%% *}" >"$1/problem"
    # A file that ends with a command that fails is no failure; one that ends the shell is.
    source "$2" "$2"
    # Nor would it be one for bash that the file holds what is not bash.
    (($? == 0)) || "$BASH" -n "$2" 2>/dev/null || {
      printf 'The setup file %s is broken on %s:' "$2" "${4%% *}" >"$1/problem"
      exit 2
    }
    rm -f "$1/problem"
  fi
  (($# == 4)) || exec_in_container "$@"
  set -- "$1" "$(find_jupyter "$@")"
  [[ -n $2 ]] || exit 127
  printf %s "$2" >"$1/entered"
  exec "$2" --config="$1/jupyter_start_config.py"
}

set_variables() {
  unset modules module_path binds container container_flags variables # a list of this script's would stay one, and lists are not handed on
  while (($# > 0)); do
    # shellcheck disable=SC2163 # NAME=VALUE, not a name
    export "$1"
    shift
  done
}

# The programs that can be the service, in the order in which they are tried.
jupyter_names() {
  case $service in
    '') printf 'jupyter-lab jupyter-notebook' ;;
    voila) printf voila ;;
    *) printf 'jupyter-%s' "$service" ;;
  esac
}

# find_jupyter RUNTIME SETUP NAMES WHERE: the path of the first program that is there, or the reason in RUNTIME/problem.
find_jupyter() {
  local name jupyter line interpreter
  for name in $3; do
    jupyter=$(type -P "$name") || continue
    # Voilà is a guest of Jupyter Server, which knows about tokens.
    [[ $name != voila ]] || jupyter=${jupyter%/*}/jupyter-server
    # A moved or half-removed environment leaves programs behind whose Python is gone; the kernel's own words for that
    # ("required file not found") name neither.
    IFS= read -r line 2>/dev/null <"$jupyter"
    read -r interpreter _ <<<"${line#'#!'}"
    if [[ $line != '#!'* || -x $interpreter ]]; then
      printf %s "$jupyter"
    else
      printf '%s is broken on %s: its Python, %s, does not exist. Make the environment anew.' "$jupyter" "${4%% *}" "$interpreter" >"$1/problem"
    fi
    return
  done
  printf '%s was not found on %s. Name an environment that has it with -e, --venv, --conda-env or --image.' "${3%% *}" "$4" >"$1/problem"
}

# From outside the range that the kernel hands out for connections, so that only listeners compete.
choose_port() {
  local low high from=10240 to=32767
  port=$jupyter_port
  [[ -z $port ]] || return
  if read -r low high 2>/dev/null </proc/sys/net/ipv4/ip_local_port_range; then
    if ((low > 10250)); then to=$((low - 1)); elif ((high < 65000)); then from=$((high + 1)) to=65535; fi
  fi
  port=$((from + (RANDOM * 32768 + RANDOM) % (to - from + 1)))
}

# Its own configuration file is read after the user's jupyter_config and instead of jupyter_server_config, where an
# empty token or a password would open the door. Values that are set here win.
write_jupyter_config() {
  printf %s "$jupyter_token" >"$runtime/jupyter-token"
  printf %s "$site_host" >"$runtime/site-host"
  printf %s "$site_path" >"$runtime/site-path"
  printf 'address = "%s"\nport = %d\nidle_timeout = %d\nservice = "%s"\n' "$address" "$port" "$idle_timeout" "$service" >"$runtime/jupyter_start_config.py"
  printf 'databases_here = "%s"\n' "${databases_here-}" >>"$runtime/jupyter_start_config.py"
  cat >>"$runtime/jupyter_start_config.py" <<'END_OF_CONFIG'
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(here, name)) as file:
        return file.read()


c = get_config()  # noqa: F821
token = read("jupyter-token")
classic = "notebook.notebookapp" in sys.modules  # Notebook 6 and earlier know nothing of ServerApp
app = c.NotebookApp if classic else c.ServerApp

app.ip = address  # noqa: F821
app.port = port  # noqa: F821
app.port_retries = 0  # another port than the one that is redeemed would be somebody else's
app.open_browser = False
app.password = ""
# What a user's jupyter_lab_config may have set for another day would move Jupyter away from where it is looked for.
app.base_url = read("site-path")
app.sock = app.certfile = app.keyfile = app.client_ca = ""
app.allow_origin = app.allow_origin_pat = ""
app.disable_check_xsrf = False
app.allow_root = True
app.trust_xheaders = True  # the proxy sets them itself; cookies become Secure by X-Forwarded-Proto
if address.startswith("127."):  # noqa: F821
    # Bound to loopback, Jupyter answers only to names that it takes for local (DNS rebinding).
    app.local_hostnames = ["localhost", read("site-host")]
if classic:
    app.notebook_dir = os.getcwd()
    app.token = token
else:
    from jupyter_server import version_info

    app.root_dir = os.getcwd()
    if version_info[0] >= 2:
        c.IdentityProvider.token = token
        c.PasswordIdentityProvider.hashed_password = ""
    else:
        app.token = token

if databases_here:  # noqa: F821
    c.NotebookNotary.db_file = ":memory:"

if service == "voila":  # noqa: F821
    app.jpserver_extensions = {"voila.server_extension": True}
    app.default_url = "/voila/tree"

if idle_timeout:  # noqa: F821
    # Kernels and terminals that are idle first: the server stays as long as there is one of them. An open browser tab is
    # no activity, neither its connection to a kernel nor its looking for news every few seconds.
    c.MappingKernelManager.cull_idle_timeout = c.TerminalManager.cull_inactive_timeout = idle_timeout  # noqa: F821
    c.MappingKernelManager.cull_interval = c.TerminalManager.cull_interval = min(60, idle_timeout)  # noqa: F821
    c.MappingKernelManager.cull_connected = True
    app.shutdown_no_activity_timeout = idle_timeout  # noqa: F821 (looked at once a minute)
    if classic:
        from notebook.base.handlers import APIHandler
    else:
        from jupyter_server.base.handlers import APIHandler
    APIHandler._track_activity = property(lambda handler: handler.request.method != "GET")

# Kernels on sockets in a directory of this user alone, not on ports that everybody on the node can connect to.
c.ConnectionFileMixin.transport = "ipc"

if not classic:
    # JupyterLab and Notebook 7 hand on what jupyter_lab_config and, by way of notebook_shim, old settings of NotebookApp
    # say, when this file has been read already. It has the last word all the same.
    from copy import deepcopy

    from jupyter_server.serverapp import ServerApp

    def update_config(app, config, update=ServerApp.update_config):
        update(app, config)
        update(app, deepcopy(c))

    ServerApp.update_config = update_config
END_OF_CONFIG
}

# Jupyter's output goes through relay_output, which keeps its last words and takes secrets out of what is logged.
run_jupyter() {
  rm -f "$runtime/output" "$runtime/last-words"* "$runtime/entered" "$runtime/problem"
  mkfifo "$runtime/output"
  relay_output <"$runtime/output" &
  relay_pid=$!
  jupyter_shell >"$runtime/output" 2>&1 3<&- </dev/null &
  jupyter_pid=$!
}

relay_output() {
  trap '' TERM INT USR1 USR2
  local line count=0
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line//"$jupyter_token"/...}
    line=${line//"$proxy_token"/...}
    printf '%s\n' "$line"
    # What a kernel says when the session is over already has no place to be kept any more.
    printf '%s\n' "$line" 2>/dev/null >>"$runtime/last-words"
    ((++count % 200)) || mv -f "$runtime/last-words" "$runtime/last-words.old"
  done
}

# What Jupyter said last, as one line: three lines, none so long that it would push the others out.
last_words() {
  local tenths lines
  # The relay may still be reading; kernels that outlive Jupyter would keep it open for ever.
  for ((tenths = 0; tenths < 10; tenths++)); do
    kill -0 "$relay_pid" 2>/dev/null || break
    sleep 0.1
  done
  lines=$(cat "$runtime/last-words.old" "$runtime/last-words" 2>/dev/null | sed -e '/^[[:space:]]*$/d' -e "s|^$0: line [0-9]*: ||" | tail -n 3)
  # A container engine tells last what it died of; its warnings before are about other things.
  if [[ $lines == *FATAL:* ]]; then lines=FATAL:${lines##*FATAL:}; else lines=$(sed -e 's/^\(.\{190\}\).*/\1 .../' <<<"$lines"); fi
  [[ -n $lines ]] || lines="it ended with status ${jupyter_status-?} and said nothing"
  one_line "$lines"
}

# What is known beforehand, or what Jupyter (or the setup file) said last.
why_it_did_not_start() {
  local problem
  problem="Jupyter could not be started on $(hostname):"
  [[ ! -s $runtime/problem ]] || problem=$(<"$runtime/problem")
  [[ $problem != *: ]] || problem+=" $(last_words)"
  printf %s "$problem"
}

port_was_taken() {
  [[ -n ${jupyter_status-} ]] && grep -q -i -E "port $port is (already in use|not available)|address already in use|No available port" "$runtime/last-words" 2>/dev/null
}

# Waits until everything that comes before Jupyter is done, however long that takes. Returns 1 when it ended instead.
wait_for_environment() {
  until [[ -s $runtime/entered ]]; do
    # It may have come to an end so fast that it was Jupyter already.
    if jupyter_has_ended; then
      [[ -s $runtime/entered ]] || return 1
      break
    fi
    sleep 0.1
  done
  say "Starting $(<"$runtime/entered")"
}

jupyter_has_ended() {
  [[ -n $jupyter_pid ]] || return 0
  ! kill -0 "$jupyter_pid" 2>/dev/null || return 1
  wait "$jupyter_pid"
  jupyter_status=$?
  jupyter_pid=
}

# wait_for_jupyter ATTEMPT: waits until Jupyter answers, on a port that our own process holds. Returns 1 when it ended instead.
wait_for_jupyter() {
  local deadline=$((SECONDS + 300)) status oddities=0 often=$((SECONDS + 20)) ours='' pause
  (($1 > 1)) || phase jupyter
  while ((SECONDS < deadline)); do
    ! jupyter_has_ended || return 1
    # Somebody waits for the page to open; where it takes long anyway, looking often only takes time from Jupyter.
    if ((SECONDS < often)); then pause=0.03; else pause=0.1; fi
    status=
    if port_listens; then
      # It listens a while before it answers: time to see whose it is. Who took the port from us is not asked.
      if [[ $ours ]] || listener_is_ours; then ours=yes status=$(status_of api 2); else pause=0.5; fi
    fi
    if [[ -n $status ]]; then
      [[ $status != 200 ]] || return 0
      # It listens and will not change its mind: something in the user's own configuration moves it.
      ((++oddities < 90)) || fail "Jupyter answers on $(hostname), but with status $status where it should tell its version. Look through your own configuration in ~/.jupyter."
    fi
    sleep "$pause"
  done
  fail "Jupyter did not answer on $address, port $port, within five minutes: $(last_words)"
}

# Whether anybody takes connections, without a process: it is asked many times a second.
port_listens() {
  { :; } 2>/dev/null 4<>"/dev/tcp/$address/$port"
}

# status_of PATH [SECONDS]: the HTTP status that Jupyter gives somebody without a token at this path below the site's;
# empty where nothing answers.
status_of() {
  local line
  {
    exec 4<>"/dev/tcp/$address/$port" || return
    printf 'GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n' "$site_path$1" "$address" "$port" >&4
    IFS= read -r -t "${2-10}" line <&4
    exec 4>&-
  } 2>/dev/null
  [[ $line =~ ^HTTP/1\.[01]\ ([0-9]{3}) ]] && printf %s "${BASH_REMATCH[1]}"
}

# Whether the listening socket belongs to a process that this script started: on a shared node, what answers on a port
# may be somebody else's. See proc(5), /proc/net/tcp.
listener_is_ours() {
  [[ -r /proc/net/tcp ]] || return 0
  local octets wanted sockets socket inode='' holder pid parent
  IFS=. read -r -a octets <<<"$address"
  # The last two: nobody at the other end, LISTEN.
  printf -v wanted ' %02X%02X%02X%02X:%04X 00000000:0000 0A ' "${octets[3]}" "${octets[2]}" "${octets[1]}" "${octets[0]}" "$port"
  # At once: read, line by line, has the kernel make the table anew for each.
  mapfile -t sockets </proc/net/tcp
  for socket in "${sockets[@]}"; do
    [[ $socket != *"$wanted"* ]] || read -r _ _ _ _ _ _ _ _ _ inode _ <<<"$socket"
  done
  [[ -n $inode ]] || return 1
  # Jupyter itself in most cases; looking through all processes of a busy node takes its time.
  [[ -z $(find "/proc/$jupyter_pid/fd" -maxdepth 1 -lname "socket:\[$inode\]" 2>/dev/null) ]] || return 0
  holder=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "socket:\[$inode\]" 2>/dev/null | head -n 1)
  pid=${holder#/proc/}
  pid=${pid%%/*}
  while [[ -n $pid && $pid -gt 1 ]]; do
    ((pid != $$)) || return 0
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
    pid=$parent
  done
  return 1
}
