#!/usr/bin/env bash
# make test: lint, types, every test and notebook, then a second pass as an ordinary user. The exit status tells.
. "$(dirname "$0")/common.sh"
linux_only
python=.venv/bin/python
logs=$(mktemp -d /tmp/kit-test-XXXXXX)
trap 'rm -rf "$logs"' EXIT
failed=()

# step NAME COMMAND...: run it, show it, keep what it said, go on in any case.
step() {
    local name=$1
    shift
    say "$name"
    "$@" 2>&1 | tee "$logs/$name" || failed+=("$name")
}
nothing_left() {
    local found
    found=$($python -m kit clean --dry-run) || return
    [ -z "$found" ] || { echo "$found" && return 1; }
}
closing_line() { tail -n 1 "$logs/$1"; }

step "lint" $python -m ruff check
step "types" $python -m mypy
export PATH=$PROJECT/.venv/bin:$PATH
left_out=()
browser >/dev/null || left_out=(--ignore=tests/browser)
if [ "$(id -u)" = 0 ]; then
    export KIT_REQUIRE_PRIVILEGES=1 # a test that can't have what it needs fails here instead of being skipped
    step "tests as root" $python -m pytest --color=no --ignore=tests/unprivileged "${left_out[@]}"
    unset KIT_REQUIRE_PRIVILEGES
    # The house and the notebooks are the same for every user; all other tests are run again, without privileges.
    step "tests as an ordinary user" tools/unprivileged.sh $python -m pytest --color=no -p no:cacheprovider tests \
        --ignore=tests/house --ignore=tests/browser --ignore=tests/test_notebooks.py
    passes=("tests as an ordinary user" "tests as root")
else
    say "You are not root: tests that need root are skipped with a reason each. 'sudo make test' runs them all."
    step "tests" $python -m pytest --color=no "${left_out[@]}"
    passes=("tests")
fi
step "leftovers" nothing_left

echo
if [ ${#failed[@]} = 0 ]; then
    say "make test: everything passed."
else
    say "make test: FAILED in: $(printf '%s, ' "${failed[@]}" | sed 's/, $//'). The reasons stand above."
fi
[ ${#left_out[@]} = 0 ] || say "Left out: the test in a browser (tests/browser), because there is no Chromium here."
for name in "${passes[@]}"; do
    printf '== %s:\n%s\n' "$name" "$(closing_line "$name")"
done
[ ${#failed[@]} = 0 ]
