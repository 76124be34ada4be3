#!/usr/bin/env bash
# Run a command in this checkout as an ordinary user (nobody), as root can: tools/unprivileged.sh COMMAND ...
# The user gets a home of its own, which is removed afterwards, and only reads the checkout. Where a folder above the
# checkout is closed to other users, a private mount namespace shows the checkout at the same path without that folder.
. "$(dirname "$0")/common.sh"
[ "$(id -u)" = 0 ] || die "tools/unprivileged.sh changes the user, which needs root. You are an ordinary user already."
as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)

if [ "${1:-}" != --inside ]; then
    home=$(mktemp -d /tmp/kit-unprivileged-XXXXXX)
    trap 'rm -rf --one-file-system "$home"' EXIT
    mkdir "$home/home" "$home/tmp" "$home/checkout"
    chmod 755 "$home"
    chown 65534:65534 "$home/home" "$home/tmp"
    unshare --mount --propagation private "$PROJECT/tools/unprivileged.sh" --inside "$home" "$@" && exit 0 || exit $?
fi

home=$2
shift 2
closed=""
folder=""
IFS=/ read -ra parts <<<"${PROJECT#/}"
for part in "${parts[@]}"; do
    folder+=/$part
    if [ -z "$closed" ] && ! "${as_nobody[@]}" test -x "$folder"; then closed=$folder; fi
done
if [ -n "$closed" ] && [ "$closed" != "$PROJECT" ]; then
    mount --bind "$PROJECT" "$home/checkout"
    mount -t tmpfs -o mode=755,size=1M kit-unprivileged "$closed"
    mkdir -p "$PROJECT"
    mount --bind "$home/checkout" "$PROJECT"
    cd "$PROJECT"
fi
"${as_nobody[@]}" test -r "$PROJECT/pyproject.toml" ||
    die "other users may not read the files in $PROJECT, so the tests can't run as one. Run: chmod -R a+rX '$PROJECT'"

exec "${as_nobody[@]}" env -i PATH="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LANG=C.UTF-8 \
    HOME="$home/home" TMPDIR="$home/tmp" XDG_RUNTIME_DIR="$home/home" PYTHONDONTWRITEBYTECODE=1 "$@"
