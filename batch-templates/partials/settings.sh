# ---- Settings of this session, from the launcher -------------------------------------------------------------------
umask 077

session_id={{sessionId}}
session_dir={{sessionDirectory}} # its secrets/ holds the two tokens, readable by you alone
service={{service}} # empty: lab, or notebook where lab is missing
start_dir={{startDirectory}}
modules=({{modules}})
venv={{venv}}
node_address={{nodeAddress}} # name or interface to bind; empty: the address that the proxy sees
manage_url={{manageUrl}} # the proxy's management address
manage_host={{manageHost}}
ca_file={{caFile}}
time_limit={{timeLimitSeconds}} # seconds; empty: none

secrets=$session_dir/secrets
