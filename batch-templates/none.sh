#!/bin/bash
# {{> settings.sh}}
# {{> report.sh}}
# {{> http.sh}}
# {{> ending.sh}}
# {{> environment.sh}}
# {{> address.sh}}
# {{> jupyter.sh}}
# {{> site.sh}}

trap 'end_on_signal TERM' TERM
trap 'end_on_signal INT' INT
trap 'end_on_signal HUP' HUP

# The launcher holds the other end of descriptor 3: when it dies, however suddenly, the session ends too.
(
  read -r _ <&3
  stop=$session_dir/stop-requested
  [[ -s $stop ]] || printf %s 'start-jupyter was killed, and the session ended with it.' >"$stop"
  kill -TERM $$
) 2>/dev/null &
launcher_watch=$!
exec 3<&-

begin "This machine, $(hostname)"
prepare_environment
choose_address
start_jupyter
open_site
stay_until_jupyter_ends
