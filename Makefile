# What people type. Each target is a script in scripts/, so that it can be read and run by hand.
.DEFAULT_GOAL := help
.PHONY: help run test demo network-demo bench fuzz network-chaos conformance fmt lint doc deny clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: ## build, then start a server and one worker here; Ctrl-C stops both
	@scripts/run.sh

test: ## everything that must pass: format, lints, docs, licences, tests
	@scripts/test.sh

demo: ## the main job offline, start to end, against a fake language model
	@scripts/demo.sh

network-demo: ## three servers that find each other and work together, offline, start to end
	@scripts/network-demo.sh

bench: ## measures speed and memory beside the limits of this machine; ONLY=creates,held COMPARE=FILE.json
	@scripts/bench.sh

fuzz: ## two minutes a target: what anybody may send over A2A; SECONDS_A_TARGET=600
	@scripts/fuzz.sh

network-chaos: ## fifty random schedules of what happens to servers of a network; SEEDS=200 FIRST=51
	@scripts/network-chaos.sh

conformance: ## the official conformance kit of A2A against this build; TCK=/path/to/a2a-tck
	@scripts/conformance.sh

fmt: ## format the code
	cargo fmt --all

lint: ## rustfmt and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny: ## licences, banned and duplicate crates, sources
	@scripts/deny.sh

clean: ## remove everything that was built
	cargo clean
	rm -rf build
