#!/bin/bash
# A launch as a careful administrator writes it for the users of a cluster: the same steps as start-jupyter's, one after the
# other, with sinfo, sacctmgr, curl, openssl, sbatch, and `jupyter --config-dir` so that users keep their own configuration.
#
#   by-hand.sh ENDPOINT CAFILE [-o] [-n] [-A account] [-p partition] [-t minutes] [-- options of sbatch]
#
#   -o  what depends on nothing else goes on at the same time: jupyter and sacctmgr beside the other steps; and the link is
#       printed before the proxy is told of the job
#   -n  without asking Jupyter, and so without the users' configuration
set -euo pipefail
umask 077

endpoint=$1 ca=$2
shift 2
account='' partition=compute minutes=30 overlap='' own_config=yes
while getopts onA:p:t: option; do
  case $option in
    o) overlap=yes ;;
    n) own_config= ;;
    A) account=$OPTARG ;;
    p) partition=$OPTARG ;;
    t) minutes=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))

die() {
  printf 'by-hand: %s\n' "$1" >&2
  exit 1
}

# ask PATH: tokens go through standard input, not through arguments.
ask() {
  printf 'url = "https://manage.%s%s"\n' "$endpoint" "$1" |
    curl --config - --silent --show-error --fail --noproxy '*' --max-time 15 --cacert "$ca"
}

# Seconds of a limit as sinfo writes it: 30:00, 2-00:00:00, infinite.
limit_in_seconds() {
  local days=0 clock=$1 parts
  [[ $clock != infinite ]] || { echo 999999999 && return; }
  if [[ $clock == *-* ]]; then days=${clock%%-*} clock=${clock#*-}; fi
  IFS=: read -r -a parts <<<"$clock"
  if ((${#parts[@]} == 2)); then parts=(0 "${parts[@]}"); fi
  echo $((days * 86400 + 10#${parts[0]} * 3600 + 10#${parts[1]} * 60 + 10#${parts[2]}))
}

# Where Jupyter would look for what its user has set.
find_config_dir() { jupyter --config-dir; }

# Whom the user may charge.
list_accounts() { sacctmgr --noheader --parsable2 --readonly show associations user="$USER" format=account; }

if [[ $overlap && $own_config ]]; then exec {config_dir}< <(find_config_dir); fi
if [[ $overlap && $account ]]; then exec {accounts}< <(list_accounts); fi

# What the scheduler knows.
limit=$(sinfo --noheader --partition="$partition" --format=%l) || die "Slurm can't be reached"
[[ $limit ]] || die "there is no partition $partition"
(($(limit_in_seconds "${limit%%$'\n'*}") >= minutes * 60)) || die "partition $partition allows $limit at most"
if [[ $account ]]; then
  [[ $overlap ]] || exec {accounts}< <(list_accounts)
  mapfile -t -u "$accounts" own
  [[ " ${own[*]} " == *" $account "* ]] || die "$account is none of your accounts: ${own[*]}"
fi

answer=$(ask /getlink.cgi) || die "the proxy can't be reached"
[[ $answer =~ ^Your\ token\ is[[:space:]]+([a-z0-9-]+)$ ]] || die "the proxy refuses: $answer"
token=${BASH_REMATCH[1]}
trap '[[ -v jobid ]] || ask "/destroytoken.cgi?token=$token" >/dev/null' EXIT
secret=$(openssl rand -hex 24)

# The session: its secrets, Jupyter's configuration, its script and, at last, the record.
session=$HOME/.local/state/by-hand/${token}
mkdir -p "$session/config"
printf %s "$token" >"$session/proxy-token"
cat >"$session/config/jupyter_server_config.py" <<END
c = get_config()
c.ServerApp.token = c.NotebookApp.token = "$secret"
c.IdentityProvider.token = "$secret"
c.ServerApp.trust_xheaders = c.NotebookApp.trust_xheaders = True
c.ServerApp.port_retries = c.NotebookApp.port_retries = 0
END
cp "$session/config/jupyter_server_config.py" "$session/config/jupyter_notebook_config.py"
own_config_dir=
if [[ $own_config ]]; then
  [[ $overlap ]] || exec {config_dir}< <(find_config_dir)
  IFS= read -r -u "$config_dir" own_config_dir || die "there is no Jupyter"
fi
cat >"$session/job.sh" <<END
#!/bin/bash
#SBATCH --job-name=by-hand
#SBATCH --output=$session/job.log
#SBATCH --open-mode=append
#SBATCH --partition=$partition
#SBATCH --time=$minutes
#SBATCH --signal=B:USR1@300
#SBATCH --no-requeue
${account:+#SBATCH --account=$account}
session=$session endpoint=$endpoint ca=$ca
${own_config_dir:+export JUPYTER_CONFIG_PATH=$own_config_dir}
END
cat >>"$session/job.sh" <<'END'
umask 077
unset XDG_RUNTIME_DIR
token=$(<"$session/proxy-token")
ask() {
  printf 'url = "https://manage.%s%s"\n' "$endpoint" "$1" |
    curl --config - --silent --show-error --fail --noproxy '*' --max-time 15 --cacert "$ca"
}
runtime=$(mktemp -d /tmp/by-hand-XXXXXX)
clean_up() {
  trap '' TERM INT
  kill "$jupyter" 2>/dev/null
  ask "/destroytoken.cgi?token=$token"
  rm -rf "$session/config" "$session/proxy-token" "$runtime"
  exit 0
}
trap clean_up TERM INT
export JUPYTER_CONFIG_DIR=$session/config JUPYTER_RUNTIME_DIR=$runtime
address=$(getent ahostsv4 "$(hostname -s)" | sed -n '1s/ .*//p')
port=$((20000 + RANDOM % 12000))
program=$(type -P jupyter-lab || type -P jupyter-notebook)
"$program" --no-browser --ip="$address" --port="$port" &
jupyter=$!
until curl --silent --fail --output /dev/null "http://$address:$port/api"; do
  kill -0 "$jupyter" || clean_up
  sleep 0.1
done
ask "/redeemtoken.cgi?token=$token&port=$port"
wait "$jupyter"
clean_up
END
jobid=$(sbatch --parsable "$@" "$session/job.sh")
jobid=${jobid%%;*}
printf '{"job":"%s","site":"https://%s.%s/","submitted":"%(%FT%T%z)T"}\n' "$jobid" "$token" "$endpoint" -1 >"$session/session.json"
tell_proxy() { ask "/linktoken.cgi?token=$token&jobid=$jobid" >/dev/null || true; }
print_link() { printf 'https://%s.%s/?token=%s\n' "$token" "$endpoint" "$secret"; }
[[ ! $overlap ]] || print_link
tell_proxy
[[ $overlap ]] || print_link
