# shellcheck shell=bash
# Shared by the scripts in this folder: where the project is, how they speak, and apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROJECT=$PWD

say() { printf '== %s\n' "$*"; }

# The last sentence of a script that can't go on.
die() {
    printf '\n== Stopped: %s\n' "$*" >&2
    exit 1
}

linux_only() {
    [ "$(uname -s)" = Linux ] ||
        die "this course runs on a Linux kernel, and this is $(uname -s). Use a virtual machine with Debian or Ubuntu."
}

# The browser for the browser test; .venv/bin may hold one.
browser() { PATH=$PROJECT/.venv/bin:$PATH command -v chromium || command -v chromium-browser || command -v google-chrome; }

# Names of those packages that dpkg doesn't have.
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s ' "$name"
    done
}

# Install what is missing of the named packages; the first argument says what they are for.
apt_install() {
    local purpose=$1 missing root=()
    shift
    if ! command -v apt-get >/dev/null; then
        say "This is not Debian or Ubuntu, so no system package is installed. $purpose needs what Debian calls: $*"
        return 0
    fi
    missing=$(missing_packages "$@")
    missing=${missing% }
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "$purpose needs system packages, and there is no sudo here. As root: apt-get install $missing"
        root=(sudo)
    fi
    say "$purpose needs system packages. Now running: ${root[*]:+sudo }apt-get install $missing"
    # Settings travel as arguments of env, because sudo drops the environment. Nothing is asked, nothing extra comes along.
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -qq)
    "${apt[@]}" update >/dev/null ||
        die "apt-get update failed (its reason stands above). Is there a network? Then run this command again."
    # shellcheck disable=SC2086  # the list is meant to be split
    "${apt[@]}" install --yes --no-install-recommends $missing >/dev/null </dev/null ||
        die "apt could not install: $missing (its reason stands above). Nothing else was changed."
}

# unpack PROGRAM PACKAGE...: take a program out of the first of these packages that there is, into .venv/bin, unless it is
# on PATH. Installed, such a package would start a service on the reader's machine.
unpack() {
    local program=$1 package download found
    ! PATH=$PROJECT/.venv/bin:$PATH command -v "$program" >/dev/null || return 0
    shift
    if ! command -v apt-get >/dev/null; then
        say "This is not Debian or Ubuntu: install the command $program yourself."
        return 0
    fi
    for package in "$@"; do
        [ -z "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ] || break
    done
    say "Unpacking the command $program from the package $package into .venv/bin: installed, the package would start a service"
    download=$(mktemp -d)
    (cd "$download" && apt-get -qq -o APT::Sandbox::User=root download "$package" >/dev/null && dpkg -x "$package"_*.deb .) ||
        die "apt-get could not download $package (its reason stands above). Is there a network? Then run 'apt-get update' and this command again."
    found=$(find "$download/usr" -type f -name "$program" -perm -u+x | head -n 1)
    install -m 755 "$found" "$PROJECT/.venv/bin/"
    rm -r "$download"
}
