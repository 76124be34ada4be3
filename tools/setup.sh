#!/usr/bin/env bash
# make setup: the system packages and the Python environment in .venv. `tools/setup.sh test` adds what the tests need.
# Repeatable: what is there already is left as it is.
. "$(dirname "$0")/common.sh"
umask 022 # other users may read the environment: the tests' second pass runs as one
linux_only
purpose=${1:-lab}
case $purpose in
lab) extra="" command="make lab" ;;
test) extra="[dev]" command="make test" ;;
*) die "tools/setup.sh knows 'lab' and 'test', not '$purpose'." ;;
esac

os_release() { (. /etc/os-release 2>/dev/null && eval "printf %s \"\${$1:-}\""); }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The system's own Python comes first: every user of the machine can run it, and one test pass is another user's.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 /usr/bin/python3.1{4,3,2,1} $(command -v python3 || true); do
        if [ -x "$candidate" ] && new_enough "$candidate"; then
            printf %s "$candidate"
            return
        fi
    done
}

packages=(busybox-static iproute2 iputils-ping util-linux)
if [ "$purpose" = test ]; then
    packages+=(gcc git libatomic1 libc6-dev mount openssl qemu-system-x86 qemu-user) # libatomic1: Playwright's driver links to it
    packages+=(buildah crun podman runc skopeo umoci) # they read the kit's images and bundles, and it reads theirs
    packages+=(curl iptables)                         # networks
    # Ubuntu's chromium package only points to a snap, which a container or a root session can't use: see below.
    # Its docker-compose is too old for its Python; Debian's brings no engine along.
    [ "$(os_release ID)" = ubuntu ] || packages+=(chromium docker-compose)
fi

python=$(find_python)
if [ -z "$python" ] && [ "$(os_release ID) $(os_release VERSION_ID)" = "ubuntu 22.04" ]; then
    packages+=(python3.11 python3.11-venv) # its python3 is 3.10
elif [ -z "$python" ] || [ "$python" = /usr/bin/python3 ]; then
    packages+=(python3 python3-venv)
elif [[ $python == /usr/bin/python3.* ]]; then
    packages+=("$(basename "$python")-venv")
fi
apt_install "$command" "${packages[@]}"

python=$(find_python)
[ -n "$python" ] || die "Python 3.11 or newer is needed, and none was found. Debian 12 and Ubuntu 22.04 or newer have one."

# One stamp per purpose says what the environment was made from; when that is unchanged there is nothing to do.
stamp=.venv/kit-$purpose.stamp
state=$({ cat pyproject.toml tools/setup.sh tools/jupyter-config.sh && echo "$PROJECT $python"; } | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && .venv/bin/python -c "" 2>/dev/null; then
    say "Everything that $command needs is in place."
    exit 0
fi

if ! { new_enough .venv/bin/python && .venv/bin/python -m pip --version; } >/dev/null 2>&1; then
    say "Making a Python environment in .venv with $python"
    "$python" -m venv --clear .venv ||
        die "Python could not make the environment in $PROJECT/.venv (its reason stands above)."
fi
say "Installing the course and the Python packages that it needs into .venv (from PyPI)"
.venv/bin/python -m pip install -qq --disable-pip-version-check --editable ".$extra" ||
    die "pip could not install the Python packages (its reason stands above). Is there a network? Then run this command again."
tools/jupyter-config.sh "$PROJECT/.venv"
if [ "$purpose" = test ] && ! browser >/dev/null; then
    say "No Chromium here, and Ubuntu has it as a snap only: Playwright now downloads one into .venv, and its libraries by apt"
    export PLAYWRIGHT_BROWSERS_PATH=$PROJECT/.venv/browsers
    if .venv/bin/python -m playwright install --with-deps chromium >/dev/null; then
        ln -sf "$(find "$PLAYWRIGHT_BROWSERS_PATH" -path '*/chrome-linux*/chrome' | head -n 1)" .venv/bin/chromium
    else
        say "Playwright could not get a Chromium (its reason stands above). All but the browser test will run."
    fi
fi
unpack docker docker-cli docker.io # Debian 12's docker.io has the command and the engine in one
if [ "$purpose" = test ]; then
    unpack docker-registry docker-registry
    unpack docker-compose docker-compose-v2 # Ubuntu's: see above
fi
printf %s "$state" >"$stamp"
# After `sudo make lab` the environment belongs to whom the project belongs.
[ "$(id -u)" != 0 ] || chown -R --reference=. .venv
say "Everything that $command needs is in place."
