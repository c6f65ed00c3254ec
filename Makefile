# The two main commands are `make serve` and `make test`. Each installs what it needs in .venv, once.
PYTHON ?= python3
# cpu, or gpu in a fresh .venv: the CPU and GPU wheels of ONNX Runtime share one module folder.
RUNTIME ?= cpu
export ORT_DISABLE_TELEMETRY = 1

.PHONY: serve test train benchmark clean

serve: .venv/$(RUNTIME).installed ## serve the shipped models on http://127.0.0.1:8000
	exec env GLIBC_TUNABLES=glibc.malloc.hugetlb=1 .venv/bin/python -m service # huge pages: docs/serving.md

test: .venv/cpu,train,test.installed ## lint, types, and the whole suite
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pytest

train: .venv/$(RUNTIME),train.installed ## set up `.venv/bin/python -m training`

benchmark: .venv/cpu,train,test.installed ## the figures of docs/performance.md, as one table
	exec .venv/bin/python -m tests.benchmarks

.venv-bench/installed: pyproject.toml constraints.txt tests/benchmarks/competitors/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check \
		--editable ".[cpu,train,test]" --requirement tests/benchmarks/competitors/requirements.txt
	touch $@

.venv/%.installed: pyproject.toml constraints.txt | .venv/bin/python
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; } # without python3-venv, Debian leaves half of it

clean:
	rm -rf .venv .venv-bench build *.egg-info
