# ---- Settings of this session, from the launcher -------------------------------------------------------------------
umask 077

session_id={{sessionId}}
session_dir={{sessionDirectory}} # its secrets/ holds the two tokens, readable by you alone
service={{service}} # lab, notebook or voila; empty: lab, or notebook where lab is missing
start_dir={{startDirectory}}
modules=({{modules}})
module_path=({{modulePath}}) # searched for modules after the site's own directories
venv={{venv}}
conda_env={{condaEnv}} # name or path
conda_init={{condaInit}} # a file to source that makes conda known
conda_yml={{condaYml}} # makes the environment
conda_program={{condaProgram}} # conda or mamba, to make it with
conda_cache={{condaCache}} # directory of packed environments; empty: none are kept
image={{image}} # Apptainer or Singularity image to run Jupyter from
binds=({{binds}})
container_flags=({{containerFlags}})
variables=({{variables}}) # NAME=VALUE, for Jupyter and the setup file
setup_file={{setupFile}} # sourced last before Jupyter starts
scratch_dir={{scratchDirectory}} # where temporary files go; user and job in braces are replaced
node_address={{nodeAddress}} # name or interface to bind; empty: the address that the proxy, or the login node, sees
manage_url={{manageUrl}} # the proxy's management address; empty: there is no proxy, people come through ssh tunnels
manage_host={{manageHost}}
ca_file={{caFile}}
login_host={{loginHost}} # where the job was submitted, and where ssh tunnels come from
manage_socket={{manageSocket}} # a Unix socket that leads there, in place of the network
site_port={{sitePort}} # where the site leads at the other end of an ssh connection; empty: Jupyter's own port
jupyter_port={{jupyterPort}} # empty: a free one
kept_link={{keptLink}} # new: the link stays when Jupyter ends; open: it stayed from an earlier session
time_limit={{timeLimitSeconds}} # seconds; empty: none
idle_timeout={{idleTimeoutSeconds}} # seconds without activity after which Jupyter ends; empty: never

secrets=$session_dir/secrets
