# ---- Requests to the proxy, with whatever this node has. URLs hold the token: they go through standard input, never
# ---- through arguments, which every user of the node can read.

choose_http_tool() {
  local tool
  [[ -n $manage_url ]] || return
  for tool in curl wget python3; do
    command -v "$tool" >/dev/null 2>&1 || continue
    # Not the wget of BusyBox, which takes hardly any of the options, nor Wget2, which hangs where it reads URLs (1.99.1).
    # It can use no Unix socket either.
    [[ $tool != wget || (-z $manage_socket && $(wget --version 2>/dev/null) == 'GNU Wget '*) ]] || continue
    http_tool=$tool
    return
  done
  http_tool=none
  fail "Neither curl, wget nor python3 is on $(hostname): the link can't be opened from here."
}

# http METHOD PATH [BODY]: answer in $http_answer. Returns 0 for a status below 400, 2 for an error status, 1 for no answer
# (with $http_problem saying why). A proxy for the outside world is bypassed: it would become the redeeming address.
http() {
  local method=$1 url=$manage_url$2 body=${3-} status
  local problem_file=$runtime/http-problem
  : 2>/dev/null >"$problem_file" || problem_file=/dev/null # a full /tmp must not keep the reason from the proxy
  http_answer=$(limited_request 2>/dev/null)
  status=$?
  ((status <= 2)) || status=1
  http_problem=
  [[ ! -s $problem_file ]] || http_problem=$(tail -n 1 "$problem_file" 2>/dev/null)
  http_problem=${http_problem%.}
  return $status
}

# The request, for no longer than $request_limit seconds: what the programs have for that is for a part of the way only
# (wget), or of no use where they never come to it (Wget2 1.99.1). timeout(1) takes no functions, and is not everywhere.
request_limit=20
limited_request() {
  local request watch status
  set -m # gives each of the two a process group, to be ended as a whole
  "http_with_$http_tool" 2>"$problem_file" &
  request=$!
  {
    sleep "$request_limit"
    printf '%s did not end within %s seconds\n' "$http_tool" "$request_limit" >"$problem_file"
    kill -KILL -- "-$request"
  } >/dev/null &
  watch=$!
  wait "$request"
  status=$?
  kill -KILL -- "-$watch"
  return "$status"
}

# Text for between double quotes, in JSON and in curl's configuration.
backslashed() {
  local text=${1//\\/\\\\}
  printf '%s' "${text//\"/\\\"}"
}

# shellcheck disable=SC2317 # called by its name, in limited_request
http_with_curl() {
  {
    printf 'url = "%s"\nrequest = "%s"\nheader = "Host: %s"\n' "$url" "$method" "$manage_host"
    printf 'silent\nshow-error\nfail\nnoproxy = "*"\nconnect-timeout = 5\nmax-time = 15\n'
    [[ -z $manage_socket ]] || printf 'unix-socket = "%s"\n' "$(backslashed "$manage_socket")"
    [[ -z $ca_file ]] || printf 'cacert = "%s"\n' "$(backslashed "$ca_file")"
    [[ -z $body ]] || printf 'header = "Content-Type: application/json"\ndata-binary = "%s"\n' "$(backslashed "$body")"
  } | curl -q --config - # up to 7.50, the long form of -q does not keep curl from the user's own ~/.curlrc
  case $? in
    0) return 0 ;;
    22) return 2 ;;
    *) return 1 ;;
  esac
}

# shellcheck disable=SC2317 # called by its name, in limited_request
http_with_wget() {
  local options=(--quiet --output-document=- --no-proxy --tries=1 --timeout=15 --header="Host: $manage_host")
  [[ -z $ca_file ]] || options+=(--ca-certificate="$ca_file")
  [[ $method == GET ]] || options+=(--method="$method")
  if [[ -n $body ]]; then
    printf '%s' "$body" >"$runtime/http-body"
    options+=(--header='Content-Type: application/json' --body-file="$runtime/http-body")
  fi
  # The user's own settings are not for here; what stands for them must be a file, since a device is refused.
  [[ -f $runtime/wgetrc ]] || : >"$runtime/wgetrc"
  printf '%s\n' "$url" | WGETRC=$runtime/wgetrc wget "${options[@]}" --input-file=-
  case $? in
    0) return 0 ;;
    8) return 2 ;;
    *) return 1 ;;
  esac
}

# shellcheck disable=SC2317 # called by its name, in limited_request
http_with_python3() {
  local program='
import http.client, socket, ssl, sys, urllib.error, urllib.request
method, url, host, ca, through, body = sys.stdin.read().split("\n", 5)
class Connection(http.client.HTTPSConnection):
    def connect(self):
        if not through:
            return super().connect()
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(self.timeout)
        plain.connect(through)
        self.sock = context.wrap_socket(plain, server_hostname=self.host)
class Handler(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(Connection, request, context=context)
context = ssl.create_default_context(cafile=ca or None) if url.startswith("https:") else None
handlers = [urllib.request.ProxyHandler({})] + ([Handler(context=context)] if context else [])
headers = {"Host": host, "Content-Type": "application/json"} if body else {"Host": host}
request = urllib.request.Request(url, data=body.encode() or None, method=method, headers=headers)
try:
    sys.stdout.write(urllib.request.build_opener(*handlers).open(request, timeout=15).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(2)
except OSError as error:
    sys.stderr.write(str(getattr(error, "reason", error)))
    sys.exit(1)
'
  printf '%s\n%s\n%s\n%s\n%s\n%s' "$method" "$url" "$manage_host" "$ca_file" "$manage_socket" "$body" | python3 -I -c "$program"
}

# tell_proxy PHASE [REASON]: an original Satellite has no such report, and a proxy that doesn't answer is met again when
# the token is redeemed: neither is a reason to stop here. How it ends is told whatever became of the others: a proxy that
# was away for a moment is back, and nobody could say it later.
tell_proxy() {
  # Of a link that stays, the page says what is true when nobody says anything.
  [[ -z $manage_url || $kept_link == open ]] && return
  [[ ! ${phases_unwanted-} || $1 == ended || $1 == failed ]] || return
  local reason proof=
  reason=$(backslashed "$(one_line "${2-}")")
  [[ ! -e $secrets/claimed ]] || proof=",\"jupyterToken\":\"$jupyter_token\""
  http PUT "/api/v1/tokens/$proxy_token/phase" "{\"phase\":\"$1\",\"reason\":\"$reason\"$proof}" || phases_unwanted=yes
}
