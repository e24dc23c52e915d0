PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-lowest lint format

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --constraint constraints.txt --editable ".[test]"
	touch $@

demo: setup
	$(BIN)/comem demo

test: setup
	$(BIN)/pytest

test-lowest: setup $(VENV)/lowest
	PYTHONPATH=$(abspath $(VENV)/lowest) $(BIN)/pytest tests/test_langchain.py tests/test_llama_index.py \
		tests/test_store.py tests/test_vector_store.py tests/test_llama_index_vector_store.py

$(VENV)/lowest: constraints-lowest.txt
	rm -rf $@
	$(BIN)/pip install --no-deps --target $@ --requirement constraints-lowest.txt

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
