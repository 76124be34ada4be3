#!/usr/bin/env bash
# make lab: JupyterLab on the start page. LAB_ARGS goes to JupyterLab as it is, for example LAB_ARGS=--no-browser.
. "$(dirname "$0")/common.sh"
start=notebooks/00_how_we_got_here.ipynb
args=(--ServerApp.root_dir="$PROJECT" --LabApp.default_url="/lab/tree/$start")

if [ "$(id -u)" = 0 ]; then
    args+=(--allow-root)
else
    say "You are not root: control groups (chapter 04) need it. Chapter 00 shows what works; 'sudo make lab' gives the rest."
fi
if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && [[ " ${LAB_ARGS:-} " != *" --no-browser "* ]]; then
    args+=(--no-browser)
    say "No screen here: open the URL that JupyterLab prints below in a browser. Ctrl+C ends it."
fi
export PATH="$PROJECT/.venv/bin:$PATH" # so that `kit` is a command in JupyterLab's terminal
# Of a notebook that is not trusted JupyterLab shows the text without the pictures. The reader chose to run these.
.venv/bin/python -m jupyter trust notebooks/*.ipynb exercises/*.ipynb solutions/*.ipynb >/dev/null ||
    say "The notebooks could not be marked as trusted: their tables look plain until their cells are run."
say "Starting JupyterLab on $start"
# shellcheck disable=SC2086  # LAB_ARGS is meant to be split
exec .venv/bin/python -m jupyterlab "${args[@]}" ${LAB_ARGS:-}
