# Every target installs what it needs. PYTHON names the interpreter that creates the environment.
PYTHON ?= python3
BIN := .venv/bin
# The targets must not use the project, config or warehouse that the caller's shell has set.
unexport DBT_PROJECT_DIR DBT_PROFILES_DIR ORCHESTRATE_CONFIG ORCHESTRATE_TARGET DUCKDB_PATH
# Python keeps the bytecode of the checkout, as pip keeps that of an installed package. Images often
# set this variable; every start would then compile the source again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: wheels help setup environment demo check format test oldest faults bench docs site reference pictures lock clean
help: ## List the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 16

setup: .venv/.runtime ## Create the environment in .venv, from the lock

# A missing requirement is reported in one line, before pip prints hundreds. Without python3-venv,
# Debian's Python creates a .venv without pip, with which every later attempt would fail.
environment:
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
			echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: install one, or name it with PYTHON=" >&2; exit 1; }; \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "$(PYTHON) cannot create environments: apt-get install python3-venv" >&2; exit 1; }; \
		rm -rf .venv && $(PYTHON) -m venv .venv; }

# The lock is complete, so pip need not resolve it again (--no-deps); pyproject.toml says what it omits.
.venv/.runtime: requirements.lock pyproject.toml | environment
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	touch $@

demo: .venv/.runtime ## Deliver sample data to a loopback SFTP server, and show what arrived
	$(BIN)/orchestrate demo

check: .venv/.dev ## Format, lint, types, SQL lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --processes 2 dbt_project

format: .venv/.dev ## Format Python and SQL
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 2 dbt_project

# Three processes for two cores, because the tests wait for servers a third of the time. Tests start in
# the order of the files: folders come first, and they contain the tests that take longest.
test: .venv/.dev programs ## Every test, on real servers
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

oldest: .venv/.oldest programs ## The tests of dbt, and of equal files on every engine, with the oldest dbt
	.venv/oldest/bin/python -m pytest --numprocesses 2 --dist loadfile tests/warehouse/test_dbt.py \
		tests/warehouse/test_dbt_project.py tests/warehouse/test_labels.py tests/warehouse/test_same_bytes.py

.venv/.oldest: requirements-oldest.lock pyproject.toml | environment
	test -x .venv/oldest/bin/python || $(BIN)/python -m venv .venv/oldest
	.venv/oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	.venv/oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

faults: .venv/.dev programs ## Hundreds of kills, thousands of random inputs, ten million rows; an hour
	$(BIN)/pytest -m faults
	$(BIN)/python bench --only memory --rows 2000000

bench: .venv/.dev .venv/.peers programs ## Ratios to limits and peers; ROWS=10000000, ROUNDS=5, ONLY=idle,upload,…; two hours
	$(BIN)/python bench $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

.venv/.peers: bench/requirements.lock
	test -x .venv/peers/bin/python || $(PYTHON) -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.lock
	touch $@

# The programs that the tests start, and the Debian packages that contain them.
.PHONY: programs
programs:
	@missing=""; \
	test -x /usr/sbin/sshd || missing="$$missing openssh-server openssh-client"; \
	test -e /usr/lib/proftpd/mod_sftp.so || missing="$$missing proftpd-core proftpd-mod-crypto"; \
	command -v java >/dev/null || test -n "$$JAVA_HOME" || missing="$$missing openjdk-17-jre-headless"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v chromedriver >/dev/null || missing="$$missing chromium chromium-driver"; \
	for each in gpg:gnupg rclone:rclone unzip:unzip zstd:zstd; do \
		command -v "$${each%:*}" >/dev/null || missing="$$missing $${each#*:}"; done; \
	if test -n "$$missing" && test "$$(id -u)" = 0; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	elif test -n "$$missing"; then echo "the tests need: apt-get install$$missing" >&2; exit 1; fi

site: .venv/.site ## The pages of docs/ as a site in target/site; fails if a link is broken
	.venv/site/bin/zensical build --clean --strict

.venv/.site: site/requirements.lock | environment
	test -x .venv/site/bin/python || $(BIN)/python -m venv .venv/site
	.venv/site/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r site/requirements.lock
	touch $@

reference: .venv/.runtime ## Write the pages of docs/ that are generated from the code
	$(BIN)/python site/samples.py
	$(BIN)/python site/reference.py

wheels: .venv/.runtime ## Install the wheel on every supported Python here, run the demo, compare the files
	.ci/wheels

pictures: .venv/.dev programs ## Take the pictures of the status page and the lineage again
	$(BIN)/python site/pictures.py

docs: .venv/.runtime ## The lineage of every column and dbt's own pages, of the demo's warehouse, in target/docs
	test -f demo/warehouse.duckdb || $(MAKE) demo
	DUCKDB_PATH=demo/warehouse.duckdb $(BIN)/orchestrate docs

clean: ## Remove what the other targets wrote
	rm -rf .cache .venv demo target build dist .mypy_cache .pytest_cache .ruff_cache

LOCK = $(BIN)/uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: .venv/.dev ## Resolve the dependencies again, to their newest versions
	$(LOCK) --upgrade pyproject.toml --group build --output-file requirements.lock
	$(LOCK) --upgrade pyproject.toml --group build --group dev --extra spark --constraints requirements.lock --output-file requirements-dev.lock
	$(LOCK) --upgrade pyproject.toml --group build --group dev --group oldest --extra spark --output-file requirements-oldest.lock
	$(LOCK) --upgrade --group pyproject.toml:peers --output-file bench/requirements.lock
	$(LOCK) --upgrade --group pyproject.toml:site --output-file site/requirements.lock
