# make quickstart   install, then build, validate and demo on what the package brings
# make test         install, then run the tests, without those marked slow
# make test-all     the slow ones as well
# make benchmarks   those that need no arguments; which others there are is said at the end
# make lint         ruff, mypy --strict, hadolint, and that imports go one way
#
# PYTHON names the interpreter, VENV the environment. CONSTRAINTS= installs the newest versions
# instead of the tested ones.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BENCHMARKS ?= $(wildcard benchmarks/*.py)

BIN := $(VENV)/bin
PYTHON_PACKAGE := $(if $(filter python3%,$(PYTHON)),$(PYTHON),python3)
STAMP := $(VENV)/installed
TEST_STAMP := $(VENV)/installed-for-tests
CONSTRAINED := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: quickstart test test-all lint format benchmarks run-benchmarks clean check-machine

quickstart: $(STAMP)
	$(BIN)/trtparse build --int8
	$(BIN)/trtparse validate
	$(BIN)/trtparse demo
	@echo
	@echo "The bundle is in build/student, the video is walking-figure-parsed.mp4."
	@echo "Use it on your own: source $(VENV)/bin/activate; trtparse -h"

# A process for each core, at most four of a gigabyte each; in them one thread, where libraries ask how many.
# A file's tests stay together, as they share fixtures, and files go out by their names: by how many tests they have, as
# is usual, those of a few long tests come last and keep one process waiting for the other. A process that dies ends the
# run, and the test that it died in is named: with another in its place pytest-xdist 3.8 waits for ever.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	--max-worker-restart 0 $(PYTEST_OPTIONS)

test: $(TEST_STAMP)
	$(PYTEST) -m "not slow"

test-all: test
	$(PYTEST) -m slow

# A clone may have any name; mypy wants the package under its own.
lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(VENV)/source && ln -sfn "$(CURDIR)" $(VENV)/source/trtparse
	cd $(VENV)/source && MYPYPATH=. "$(abspath $(BIN))/mypy" --config-file "$(CURDIR)/pyproject.toml" \
		--cache-dir "$(abspath $(VENV))/mypy_cache" -p trtparse
	cd $(VENV)/source && PYTHONPATH=. "$(abspath $(BIN))/lint-imports" --no-cache "$(CURDIR)/setup.cfg"
	$(BIN)/hadolint docker/Dockerfile

format: $(TEST_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Some import ONNX Runtime before trtparse, which turns its telemetry off.
benchmarks: export ORT_DISABLE_TELEMETRY ?= 1
benchmarks: $(STAMP)
	@$(MAKE) --no-print-directory run-benchmarks

# Without arguments argparse ends with 2, and says which it wants: such as data, which is nobody's default.
run-benchmarks:
	@skipped=; \
	for script in $(BENCHMARKS); do \
		echo "$$script"; \
		$(BIN)/python $$script; code=$$?; \
		case $$code in 0) ;; 2) echo "Skipped: $$script wants arguments."; skipped="$$skipped $$script";; *) exit 1;; esac; \
	done; \
	[ -z "$$skipped" ] || echo "Skipped, as they want arguments; --help tells which:$$skipped"

# What is missing is named at once, in one line to type. Without Python, ldconfig tells which libraries are there.
check-machine:
	@missing=; wrong=; \
	if command -v $(PYTHON) >/dev/null; then \
		$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 10) <= v[:2] <= (3, 13))' || wrong=yes; \
		$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || missing="$(PYTHON_PACKAGE)-venv"; \
		loads() { $(PYTHON) -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' $$1 2>/dev/null; }; \
	else \
		missing="$(PYTHON_PACKAGE) $(PYTHON_PACKAGE)-venv"; \
		loads() { PATH="$$PATH:/usr/sbin:/sbin" ldconfig -p | grep -q $$1; }; \
	fi; \
	if [ "$$(uname)" = Linux ]; then \
		loads libGL.so.1 || missing="$$missing libgl1"; \
		loads libgthread-2.0.so.0 || missing="$$missing libglib2.0-0"; \
	fi; \
	[ -z "$$wrong" ] || echo "$$($(PYTHON) --version) is not supported: Python 3.10 to 3.13 is. Name one: make PYTHON=python3.11"; \
	[ -z "$$missing" ] || echo "Missing here: sudo apt-get install" $$missing; \
	[ -z "$$wrong$$missing" ] || exit 3

$(STAMP): EXTRAS := train,openvino,rtx
# Ray is 147 MB to fetch: for the tests of `parse --ray`, not for a quick start.
$(TEST_STAMP): EXTRAS := train,openvino,rtx,ray,serve,pose,test

$(STAMP) $(TEST_STAMP): setup.cfg pyproject.toml $(CONSTRAINTS) | check-machine
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINED) -e '.[$(EXTRAS)]'
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV cannot be loaded: apt-get install libgl1 libglib2.0-0"; exit 3; }
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
