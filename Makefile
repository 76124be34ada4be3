# The two commands to know: `make lab` opens the course, `make test` checks everything.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup lab test lint clean bench bench-peers fresh

help:          ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

setup:         ## system packages and the Python environment in .venv
	@tools/setup.sh lab

lab: setup     ## open the course in JupyterLab (LAB_ARGS=... is passed on to it)
	@LAB_ARGS="$(LAB_ARGS)" tools/lab.sh

test:          ## everything: lint, types, all tests and notebooks, and a second pass as an ordinary user
	@tools/setup.sh test
	@tools/test.sh

lint:          ## ruff and mypy only
	@tools/setup.sh test
	.venv/bin/python -m ruff check
	.venv/bin/python -m mypy

clean:         ## remove what interrupted notebooks left in the kernel (kit clean), and the tools' caches
	@[ ! -x .venv/bin/python ] || .venv/bin/python -m kit clean
	@rm -rf .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	@find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

bench: setup   ## every benchmark, as tables
	@set -e; for file in $$(grep -l __main__ benchmarks/[a-z]*.py | grep -v report.py); do \
		.venv/bin/python -m benchmarks.$$(basename $$file .py); done

bench-peers:   ## install the programs that the benchmarks compare with
	@. tools/common.sh; linux_only; apt_install "make bench-peers" bubblewrap buildah crun iptables podman runc umoci util-linux
	@echo "== The peers are installed. Compare with: make bench"

fresh:         ## both commands in a new minimal Debian root, removed afterwards (SUITE=trixie for another release)
	@SUITE="$(SUITE)" MIRROR="$(MIRROR)" tools/fresh.sh
