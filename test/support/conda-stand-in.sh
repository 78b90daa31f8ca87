#!/bin/bash
# A stand-in for conda, mamba and micromamba, by the name it is called: makes prefixes that have the shape of a conda
# environment (conda-meta, a Python of their own, activation scripts) around the machine's Jupyter. What the real ones
# would not take, or what nobody told it of, is an error.
echo "${0##*/} $*" >>"${0%/*}/.calls"

if [[ $* == 'env list' ]]; then
  printf '# conda environments:\n#\nbase                 * %s\n' "${0%/*/*}"
  [[ ! -r ${0%/*}/listed ]] || cat "${0%/*}/listed"
  exit
fi

case ${0##*/} in
  micromamba) expected='create --prefix' ;;
  *) expected='env create --prefix' ;;
esac
[[ $* == "$expected "* ]] || { echo "unrecognized arguments: $*" >&2; exit 2; }
while [[ $1 != --prefix ]]; do shift; done
prefix=$2
[[ $# == 4 && $3 == --file && -r $4 ]] || { echo "unrecognized arguments: $*" >&2; exit 2; }
[[ $CONDA_ALWAYS_YES$MAMBA_ALWAYS_YES == truetrue ]] || { echo 'it would ask, and nobody answers' >&2; exit 1; }
if grep -q unsatisfiable "$4"; then
  echo 'LibMambaUnsatisfiableError: Encountered problems while solving' >&2
  exit 1
fi
if [[ -p ${0%/*}/wait ]]; then cat "${0%/*}/wait"; fi

/usr/bin/python3 -m venv --system-site-packages --without-pip "$prefix" || exit
mkdir -p "$prefix/conda-meta" "$prefix/etc/conda/activate.d" "$prefix/share/jupyter/kernels/python3"
version=$(sed -n 's/^ *- lecture=//p' "$4")
site=$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf 'version = "%s"\n' "$version" >"$site/lecture.py"
printf '{"argv": ["%s/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python", "language": "python"}' \
  "$prefix" >"$prefix/share/jupyter/kernels/python3/kernel.json"
printf 'export LECTURE_DATA="$CONDA_PREFIX/share/lecture"\n' >"$prefix/etc/conda/activate.d/lecture.sh"
printf '{"env_vars": {"LECTURE_MODE": "it is \\"quoted\\""}}' >"$prefix/conda-meta/state"
printf '#!%s/bin/python\nfrom notebook.notebookapp import main\nmain()\n' "$prefix" >"$prefix/bin/jupyter-notebook"
chmod +x "$prefix/bin/jupyter-notebook"
