# Two commands: `make serve` and `make test`. Each sets up what it needs in .venv, once.
PYTHON ?= python3
PIP = .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
export ORT_DISABLE_TELEMETRY = 1

.PHONY: serve test benchmark clean

serve: .venv/serve.installed ## serve the shipped models on http://127.0.0.1:8000
	exec .venv/bin/python -m service

test: .venv/test.installed ## lint, types, and the whole suite
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pytest

benchmark: .venv/test.installed ## every figure of speed and memory, as tables
	for file in tests/benchmarks/bench_*.py; do .venv/bin/python -m tests.benchmarks.$$(basename $$file .py) || exit 1; done

.venv/bin/python:
	$(PYTHON) -m venv .venv

# Whichever extra is installed first stays: GPU users run `make .venv/gpu.installed` and then `make serve`.
.venv/serve.installed: pyproject.toml constraints.txt | .venv/bin/python
	test -e .venv/gpu.installed || $(PIP) ".[cpu]"
	touch $@

.venv/gpu.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) ".[gpu]"
	touch $@

.venv/test.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) ".[cpu,train,test]"
	touch $@ .venv/serve.installed

clean:
	rm -rf .venv build *.egg-info
