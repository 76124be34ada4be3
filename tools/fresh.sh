#!/usr/bin/env bash
# make fresh: does the course install and pass on a machine with nothing but a base system? Makes a minimal Debian root
# (only apt on top of the essential packages), enters it with namespaces of its own, clones the last commit into it and
# runs the README's commands there. All of it is removed afterwards, however it ends. SUITE and MIRROR choose another release.
. "$(dirname "$0")/common.sh"
linux_only
[ "$(id -u)" = 0 ] || die "make fresh makes a root directory with device nodes and mounts, which needs root: sudo make fresh"
suite=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}

# --- inside: a mount, PID, IPC and UTS namespace of its own; the network and the cgroups are the machine's ---
if [ "${1:-}" = --inside ]; then
    root=$2
    hostname fresh
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    for directory in dev sys; do
        mount --rbind "/$directory" "$root/$directory"
        mount --make-rprivate "$root/$directory"
    done
    # The root becomes the top of its mount namespace (as switch_root(8) does it): in a mere chroot a process may not
    # make user namespaces (user_namespaces(7)).
    cd "$root"
    mount --move . /
    # shellcheck disable=SC2046  # one setting per word
    exec chroot . env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        $(cat root/environment) bash /root/steps.sh
fi

apt_install "make fresh" mmdebstrap git
work=$(mktemp -d /var/tmp/kit-fresh-XXXXXX)
root=$work/root
finish() {
    local status=$?
    # The mounts ended with their namespace. --one-file-system: should one be left, it is not emptied.
    rm -rf --one-file-system "$work"
    if [ -e "$work" ] || grep -q " $work" /proc/self/mountinfo; then say "Left behind: $work"; fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

say "1. A minimal Debian root of release $suite in $root"
if [ -n "${MIRROR:-}" ]; then
    sources=("$MIRROR")
elif [ -z "${SUITE:-}" ] && [ -s /etc/apt/sources.list.d/debian.sources ]; then
    sources=(/etc/apt/sources.list.d/debian.sources) # what this machine uses
else
    sources=() # Debian's own
fi
mmdebstrap --quiet --variant=apt "$suite" "$root" "${sources[@]}" ||
    die "mmdebstrap could not make a root for $suite (its reason stands above). Is there a network?"

say "2. The network settings, proxies and certificates of this machine, copied from the host"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
: >"$root/root/environment"
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL; do
    [ -z "${!name:-}" ] || echo "$name=${!name}" >>"$root/root/environment"
done
certificates=${PIP_CERT:-${REQUESTS_CA_BUNDLE:-${SSL_CERT_FILE:-}}}
if [ -n "$certificates" ]; then
    cp -L "$certificates" "$root/root/host-certificates.crt"
    for name in PIP_CERT REQUESTS_CA_BUNDLE SSL_CERT_FILE; do
        echo "$name=/root/host-certificates.crt" >>"$root/root/environment"
    done
fi

say "3. The last commit, as a clone will find it"
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PROJECT
git bundle create --quiet "$root/root/course.bundle" HEAD
[ -z "$(git status --porcelain)" ] || say "Note: there are changes here that are not committed; they are not tested."

cat >"$root/root/steps.sh" <<'STEPS'
set -euo pipefail
say() { printf '== %s\n' "$*"; }
cd /root
say "4. In the new root: apt-get install git make, the only things that the README asks for, and git clone"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends git make >/dev/null </dev/null
git -c advice.detachedHead=false clone --quiet course.bundle course
cd course

say "5. make lab LAB_ARGS=--no-browser, until its URL answers"
make lab LAB_ARGS=--no-browser >/root/lab.log 2>&1 &
lab=$!
url=""
for _ in $(seq 600); do
    url=$(grep -o 'http://127.0.0.1[^ ]*' /root/lab.log | head -n 1 || true)
    [ -n "$url" ] || { kill -0 $lab 2>/dev/null && sleep 1 && continue; }
    break
done
[ -n "$url" ] || { cat /root/lab.log; say "make lab printed no URL."; exit 1; }
grep '^== ' /root/lab.log
.venv/bin/python - "$url" <<'PYTHON'
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as answer:
    assert answer.status == 200 and b"JupyterLab" in answer.read(), "the URL does not show JupyterLab"
PYTHON
say "The URL answers with JupyterLab: ${url%%\?*}"
kill $lab
wait $lab || true

say "6. make test"
make test
STEPS

say "Entering the new root"
status=0
unshare --mount --pid --ipc --uts --fork --kill-child --propagation private "$PROJECT/tools/fresh.sh" --inside "$root" 2>&1 |
    tee "$work/log" || status=$?
closing=$(grep -E '^=+ .*(passed|failed|error).* in .*=+$' "$work/log" | tail -n 1 || true)
if [ $status = 0 ]; then
    say "make fresh: both commands work on a fresh $suite. $closing"
else
    say "make fresh: FAILED on a fresh $suite, in the last step that stands above. $closing"
fi
exit $status
