# The targets of this project. Each one installs the tools that are missing (scripts/setup).

# Debian installs servers in /usr/sbin, which is not on every user's PATH.
export PATH := $(PATH):/usr/sbin

.DEFAULT_GOAL := help

.PHONY: help
help: ## Prints this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: ## Runs Redis, NATS and all functions on http://127.0.0.1:9000 (PORT=9000; COMPOSE=1 runs both in Docker)
	@scripts/run

.PHONY: server
server: ## Runs Redis, NATS and presence-server on http://127.0.0.1:8080 (PRESENCE_BIND=127.0.0.1:8081)
	@scripts/run server

.PHONY: demo
demo: ## Runs the whole system with players and crashes for a minute, and checks the result
	@scripts/setup cc redis nats
	cargo build --package presence-server --package presence-client --bins --example ws_gateway
	cargo run --package presence-tests --example demo

.PHONY: test
test: ## Runs all tests, against Redis and NATS servers that they start themselves
	@scripts/setup cc procps redis valkey nats nextest chromium valgrind moto
	cargo build --workspace --bins
	cargo test --workspace --doc
	cargo nextest run --workspace

.PHONY: rolling-restart
rolling-restart: ## A rolling restart of 20 gateways with 5,000 players each: no event, no state lost; takes about two minutes
	@scripts/setup cc redis nats nextest
	cargo build --package presence-server --bins
	cargo nextest run --package presence-tests --run-ignored only -E 'test(rolling_restart)'

.PHONY: fuzz
fuzz: ## Fuzzes the parsers (SECONDS=10 per parser; TARGETS="body reply": only those)
	@scripts/fuzz $(or $(SECONDS),10) $(TARGETS)

.PHONY: typescript
typescript: ## The client for Node, built and tested against a real server
	@scripts/setup cc redis nats node
	cargo build --package presence-server
	cd clients/typescript && export PATH="$$PATH:$(CURDIR)/target/tools/venv/bin" && \
		npm ci --no-audit --no-fund && npm test

.PHONY: install
install: ## Installs the CLI, `presence`, into ~/.cargo/bin
	@scripts/setup cc
	cargo install --locked --path client/cli

.PHONY: chaos
chaos: ## Runs the chaos test for two minutes (SEED=42; RUNS=20; REDIS=endpoint; HISTORY=file checks a history again)
	@scripts/setup cc redis nats
	cargo build --package presence-server --package presence-client --bins --example ws_gateway
	cargo run --package presence-tests --example chaos -- \
		$(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) $(if $(SHORT),--short) \
		$(if $(REDIS),--redis $(REDIS)) \
		$(if $(HISTORY),--history $(HISTORY))

.PHONY: bench
bench: ## Measures the service against the limits of Redis and HTTP; takes minutes (ROWS="script growth": only those; RUNS=3: into docs/performance.md)
	@scripts/setup cc redis nats $(if $(filter peers,$(ROWS)),node)
	$(if $(filter peers,$(ROWS)),-cd tests/benches/presence/peer && \
		export PATH="$$PATH:$(CURDIR)/target/tools/venv/bin" && npm ci --no-audit --no-fund)
	@# Without the command line, which would enable features of crates that it shares with the functions.
	cargo build --release --workspace --exclude presence-cli --bins
	cargo build --release --package presence-tests --example hello
	@mkdir -p target/bench && rm -f target/bench/*.md
	export PATH="$$PATH:$(CURDIR)/target/tools/venv/bin" PRESENCE_BENCH_OTHER='$(OTHER)'; \
	for run in $$(seq $(or $(RUNS),1)); do \
		cargo bench --package presence-tests --bench presence -- $(ROWS) >target/bench/$$run.md || exit 1; \
	done
	@scripts/bench-tables $(if $(RUNS),--write) target/bench/*.md

.PHONY: bench-million
bench-million: ## Runs the benchmark with a million players for a minute
	@$(MAKE) --no-print-directory bench ROWS=million

.PHONY: bench-ten-million
bench-ten-million: ## Ten million players on gateways that hold leases, for a minute; needs 8 GB of memory
	@$(MAKE) --no-print-directory bench ROWS=ten_million

.PHONY: fmt
fmt: ## Checks the formatting (cargo fmt --all fixes it)
	cargo fmt --all --check

.PHONY: clippy
clippy: ## Lints the code; warnings are errors
	@scripts/setup cc
	cargo clippy --workspace --all-targets -- --deny warnings
	@# Without signatures for AWS: the library as gateways elsewhere use it, and the command line.
	cargo clippy --package presence-client --all-targets -- --deny warnings
	cargo clippy --package presence-cli --no-default-features --all-targets -- --deny warnings

.PHONY: docs
docs: ## Checks the links of all Markdown files, and checks and builds the API documentation, in target/doc
	@scripts/check-links
	@scripts/setup cc
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps

.PHONY: deny
deny: ## Checks the dependencies' licenses, sources and known vulnerabilities, and the license notices
	@scripts/deny
	@scripts/notices --check

.PHONY: notices
notices: ## Updates docs/third-party-notices.txt after a change of the dependencies
	@scripts/notices

.PHONY: package
package: ## Checks that the crates presence-types and presence-client can be published
	@scripts/setup cc
	cargo package --locked --allow-dirty --package presence-types --package presence-client

.PHONY: tutorials
tutorials: ## Executes README.md and docs/tutorials (FILES=docs/tutorials/events.md: only that one)
	@scripts/setup cc
	cargo build --workspace --bins
	cargo build --package presence-server
	cargo build --package presence-client --example ws_gateway
	cargo build --package presence-cli
	scripts/tutorials $(FILES)

.PHONY: api-check
api-check: ## Checks docs/openapi.yaml, docs/asyncapi.yaml and a generated client against a running server
	@scripts/check-api

.PHONY: dist
dist: ## Builds the binaries of a release for this machine, with their bills of materials, into target/dist
	@scripts/dist

.PHONY: console-picture
console-picture: ## Draws docs/console.png, the picture of the console in the documentation, in Chromium
	@scripts/setup cc redis nats nextest chromium
	cargo build --package presence-server --bins
	cargo nextest run --package presence-tests --run-ignored only -E 'test(console_picture)'

.PHONY: deploy-check
deploy-check: ## Checks the Dockerfile, docker-compose.yml, deploy/, and what a release needs
	@scripts/check-deploy

.PHONY: aws-check
aws-check: ## Checks template.yaml for AWS, and builds a function as for deployment
	@scripts/check-aws

.PHONY: aws-cost
aws-cost: ## Estimates the monthly cost in AWS (PLAYERS=1000000 INTERVAL=15 BATCH=1000 …; prices are in scripts/aws-cost)
	@scripts/aws-cost

.PHONY: ci
ci: ## Runs all checks, as CI does
	@.ci/run
