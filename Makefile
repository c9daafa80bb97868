# Two commands: `make ask` (a question of a study) and `make test`. Both share .venv, which the first to run creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?=
Q ?= Where are the brightest structures, and how large are they?
ARGS ?=
STRICT ?=
PART ?=
RUN ?= out/tiny

.PHONY: ask test docs install lint format types imports check clean
.PHONY: bench-segment bench-agent bench-verify bench-lidc bench-hallucination calibrate bench-formats bench-load bench-bombs
.PHONY: bench-slide fuzz train-tiny bench-tiny ship-tiny ablation bench-locate bench-statistics bench-kill bench-serve
.PHONY: bench-identity bench-resume bench-ray bench-throughput bench-memory

ask: $(VENV)/ready
	@$(BIN)/medloupe ask "$${STUDY:-$$($(BIN)/python -m medloupe.evals.bundled)}" "$$Q" $(ARGS)
ask: export STUDY := $(STUDY)
ask: export Q := $(Q)

test: $(VENV)/ready
	@STRICT=$(STRICT) $(BIN)/python -m pytest -q

install: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("medloupe needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing medloupe and what it uses into $(VENV); the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	@touch $@

check: lint types imports test

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Type checkers and import-linter cannot follow the editable hook: they are run on a staged tree.
build/types: $(VENV)/ready $(shell find agent apps evals graphs medloupe models prompts tools -name '*.py' -not -path '*/build/*')
	@rm -rf build
	@$(BIN)/python -m pip install --quiet --no-deps --target build/types . 2>/dev/null
	@rm -rf build/lib build/bdist*
	@touch build/types

types: build/types
	$(BIN)/mypy --config-file pyproject.toml -p medloupe

# From inside the staged tree: at the root, the small medloupe/ folder shadows the package.
imports: build/types
	cd build/types && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml --no-cache

bench-segment: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_segment $(ARGS)

bench-load: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_load $(ARGS)

bench-slide: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_slide $(ARGS)

fuzz: $(VENV)/ready
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint constraints.txt 'atheris>=2.3'
	@$(BIN)/python -m medloupe.evals.fuzz $(ARGS)

bench-bombs: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_bombs $(ARGS)

bench-formats: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_formats $(ARGS)

bench-agent: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_agent $(ARGS)

# docs/attributes.md from prompts/knowledge; a test checks that it is up to date.
docs: $(VENV)/ready
	@$(BIN)/python -m medloupe.tools.verify.attributes_doc docs/attributes.md

bench-verify: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_verify $(ARGS)

bench-lidc: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_lidc $(ARGS)

# PART=hallucination|pressure|faults|abstention runs one of its parts.
bench-hallucination: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_hallucination $(if $(PART),--part $(PART)) $(ARGS)

calibrate: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.calibrate $(ARGS)

# From nothing, or on from where a stopped run left off; CPU and GPU alike.
train-tiny: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.tiny.train $(ARGS)

# A finished and scored run's model into the package: make ship-tiny RUN=out/tiny
ship-tiny: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.tiny.ship "$(RUN)" $(ARGS)

bench-tiny: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_tiny $(ARGS)

# loupe-tiny behind transformers' server: 100 questions through the agent, and the same words as in this process.
bench-serve: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_serve $(ARGS)

bench-identity: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_identity $(ARGS)

bench-resume: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_resume $(ARGS)

# The experiment: hours on two cores; stopped and started again, it goes on.
ablation: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_ablation $(ARGS)

bench-locate: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_locate $(ARGS)

bench-statistics: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_statistics $(ARGS)

bench-kill: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_kill $(ARGS)

bench-ray: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_ray $(ARGS)

bench-throughput: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_throughput $(ARGS)

bench-memory: $(VENV)/ready
	@$(BIN)/python -m medloupe.evals.bench_memory $(ARGS)

clean:
	rm -rf build dist *.egg-info
