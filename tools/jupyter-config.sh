#!/usr/bin/env bash
# Settings for Jupyter inside one Python environment (the argument is its folder); nothing in the reader's home is changed.
set -euo pipefail
prefix=$1

# The course's kernel. It unsets PYTEST_CURRENT_TEST: with it, ipykernel leaves the output of child processes out of
# the notebook, and a notebook under test would differ from what its reader sees. A cell finds the commands of this
# environment (kit, docker) wherever it was started from.
mkdir -p "$prefix/share/jupyter/kernels/python3"
cat >"$prefix/share/jupyter/kernels/python3/kernel.json" <<JSON
{
 "argv": ["/usr/bin/env", "-u", "PYTEST_CURRENT_TEST", "$prefix/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
 "display_name": "Python 3 (containers course)",
 "language": "python",
 "env": {"PATH": "$prefix/bin:\${PATH}"},
 "metadata": {"debugger": true}
}
JSON

# No question about news from the Jupyter project on the first start.
mkdir -p "$prefix/etc/jupyter/labconfig"
cat >"$prefix/etc/jupyter/labconfig/page_config.json" <<'JSON'
{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}
JSON
