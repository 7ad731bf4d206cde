# `make` alone lists the commands; each line with two # below is one of them.
# A machine with Rust and make is enough for `make run` and `make test`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build dist run run-ftp lessons test stress check check-portable format lint docs deny tidy fuzz fuzz-smoke bench bench-pairs bench-parsers deps deps-debian deps-npm

# A fresh rustup puts cargo where only new login shells look, Debian puts nginx where only root does.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin

TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO := cargo
LOCKED := --locked

# `demo` is quick to build, `dist` is the fastest and smallest binary. Cargo.toml has both profiles.
BINARY := $(TARGET)/demo/socketserver
DIST := $(TARGET)/dist
# Both packages are named, so that a lesson finds its dependencies as `make run` has built them.
BUILD_DEMO := $(CARGO) build --profile demo $(LOCKED) --package socketserver-handlers --package socketserver-lessons --bin socketserver

HOW_cargo := install Rust from https://rustup.rs
HOW_python3 := install it with 'apt-get install python3', or 'make deps'
HOW_wrk := install it with 'apt-get install wrk', or 'make deps'
HOW_nginx := install it with 'apt-get install nginx-light', or 'make deps'
HOW_cc := install a C compiler with 'apt-get install gcc', or 'make deps'

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub(/%/, "NAME", $$1); printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: need-cargo ## build the binary that the commands below run, in a few minutes
	$(BUILD_DEMO)

dist: need-cargo ## build the binary to install: faster and smaller, in several times that time
	$(CARGO) build --profile dist --package socketserver-handlers --bin socketserver $(LOCKED)

run: run-http ## serve www/ on http://127.0.0.1:8000/ (more options: make run ARGS="--bind :8080")

# The shell gives way to the server, so that Ctrl-C reaches the server itself and it can drain.
run-%: build ## run the service NAME (ARGS="..." hands it options)
	@exec $(BINARY) serve $* $(ARGS)

# The accounts file is a variable of the environment, so that ARGS="--accounts FILE" can name another one.
FTP_DEMO := $(TARGET)/ftp-demo
run-ftp: build ## serve a demo folder by FTP; the user demo has the password demo (ARGS as above)
	@mkdir -p $(FTP_DEMO)/files
	@test -e $(FTP_DEMO)/accounts.db || \
		echo demo | $(BINARY) users add --accounts $(FTP_DEMO)/accounts.db --rights lrwd --password-stdin demo
	@echo 'try: curl -u demo:demo -T FILE ftp://127.0.0.1:2121/' >&2
	@SOCKETSERVER_ACCOUNTS=$(FTP_DEMO)/accounts.db exec $(BINARY) serve ftp $(FTP_DEMO)/files $(ARGS)

LESSONS := $(filter-out player,$(sort $(basename $(notdir $(wildcard lessons/*.sh)))))

lessons: ## list the lessons
	@for lesson in $(LESSONS); do \
		printf '  make lesson-%-14s %s\n' "$$lesson" "$$(sed -n '1s/^# //p' lessons/$$lesson.md)"; \
	done

lesson-%: need-cargo ## play the lesson NAME: its server and its clients, and what crosses the wire
	@test -f lessons/$*.sh || { echo "unknown lesson $*: 'make lessons' lists the lessons" >&2; exit 2; }
	@$(BUILD_DEMO) --bin lesson-$*
	@exec sh lessons/player.sh $* $(TARGET)/demo

# These features use what other systems than Linux have, so that it is tested here.
PORTABLE := --features portable-poller,portable-sockets

test: need-cargo ## run every test, also with what other systems use
	$(CARGO) test --workspace $(LOCKED)
	$(CARGO) test --package socketserver $(PORTABLE) $(LOCKED)

stress: need-cargo ## 100,000 random messages in the clear and over TLS, 100 restarts of each concurrency model, random commands of FTP
	STRESS=1 $(CARGO) test --release --package socketserver --test framework $(LOCKED) -- stress:: --test-threads 1
	STRESS=1 $(CARGO) test --release --package socketserver-handlers --test services $(LOCKED) -- restarts:: ftp::random::

check: format lint docs deny check-portable test fuzz-smoke ## all that CI asks for; complete on its own, tests included
	@echo 'make check: all is well'

format: need-cargo ## check the format
	$(CARGO) fmt --all -- --check

lint: need-cargo ## run clippy on everything, warnings are errors
	$(CARGO) clippy --workspace --all-targets $(LOCKED) -- -D warnings
	$(CARGO) clippy --package socketserver --all-targets $(PORTABLE) $(LOCKED) -- -D warnings
	$(CARGO) clippy --package socketserver --no-default-features $(LOCKED) -- -D warnings

# `cargo check` does not link, so the C code of dependencies is not needed. `true` takes the place of the other system's
# C compiler, which this machine need not have.
PORTABLE_TARGETS := x86_64-apple-darwin x86_64-unknown-freebsd
CHECK_PORTABLE := CC=true CXX=true AR=true $(CARGO) check --workspace --lib --bins --examples $(LOCKED)

check-portable: need-cargo ## check that all of it compiles for macOS and FreeBSD, where rustup has these targets
	@set -e; for target in $(PORTABLE_TARGETS); do \
		if [ -d "$$(rustc --print sysroot)/lib/rustlib/$$target/lib" ]; then \
			echo "$(CHECK_PORTABLE) --target $$target"; \
			$(CHECK_PORTABLE) --target "$$target"; \
		else \
			echo "SKIPPED: $$target is not installed: 'rustup target add $$target'"; \
		fi; \
	done

docs: need-cargo ## build the documentation, warnings are errors
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps $(LOCKED)

# Without the network, all but the advisories can be checked.
deny: need-cargo ## check licences, sources and advisories of all dependencies, if cargo-deny is installed (part of check)
	@if ! command -v cargo-deny >/dev/null; then \
		echo "SKIPPED: cargo-deny is not installed: 'cargo install cargo-deny --locked'"; exit 0; \
	fi; \
	checks='bans licenses sources'; \
	if cargo-deny --workspace --locked fetch db; then checks="$$checks advisories"; \
	else echo 'SKIPPED: the database of advisories cannot be fetched'; fi; \
	cargo-deny --workspace --locked check $$checks

tidy: need-cargo ## check only the invariants of the text: floors, sizes, commands (part of test)
	$(CARGO) test --package socketserver --test tidy $(LOCKED)

# libFuzzer's instrumentation is LLVM's, so a stable compiler has it. `--target` keeps it away from build scripts.
FUZZ_TARGETS := $(sort $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))
FUZZ_FLAGS := --cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_SECONDS := 60

fuzz: need-cargo ## fuzz each target for FUZZ_SECONDS (60); no nightly compiler needed
	@if ! command -v c++ >/dev/null; then \
		echo "SKIPPED: fuzzing needs a C++ compiler: 'apt-get install g++', or 'make deps'"; exit 0; \
	fi; \
	set -e; host=$$(rustc -vV | sed -n 's/^host: //p'); \
	RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) build --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --release --target "$$host"; \
	for target in $(FUZZ_TARGETS); do \
		echo "fuzz $$target, $(FUZZ_SECONDS) s"; \
		mkdir -p "fuzz/corpus/$$target" fuzz/artifacts; \
		log="fuzz/artifacts/$$target.log"; \
		"fuzz/target/$$host/release/$$target" -max_total_time=$(FUZZ_SECONDS) -timeout=10 -artifact_prefix="fuzz/artifacts/$$target-" \
			"fuzz/corpus/$$target" > "$$log" 2>&1 || { tail -n 40 "$$log"; exit 1; }; \
		tail -n 1 "$$log"; \
	done

fuzz-smoke: ## fuzz each target for some seconds (part of check)
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=3

bench: dist need-python3 need-wrk need-nginx need-cc ## measure against nginx, Python, tokio, HAProxy, vsftpd, pyftpdlib and C, and write benches/RESULTS.md
	$(CARGO) build --profile dist --workspace --examples $(LOCKED)
	python3 benches/compare.py --ours $(DIST)/socketserver --update benches/RESULTS.md $(ARGS)
	python3 benches/echo.py --examples $(DIST)/examples --update benches/RESULTS.md
	python3 benches/services.py --ours $(DIST)/socketserver --connects $(DIST)/examples/connects --update benches/RESULTS.md
	python3 benches/files.py --ours $(DIST)/socketserver --update benches/RESULTS.md
	python3 benches/connections.py --examples $(DIST)/examples --update benches/RESULTS.md
	python3 benches/ftp.py --ours $(DIST)/socketserver --update benches/RESULTS.md

bench-pairs: dist need-python3 need-wrk need-cc ## compare with an earlier build: make bench-pairs OLD=its/target/dist
	$(CARGO) build --profile dist --workspace --examples $(LOCKED)
	python3 benches/pairs.py --old $(OLD) --new $(DIST) --update benches/RESULTS.md $(ARGS)

bench-parsers: need-cargo ## measure the parsers and buffers alone
	$(CARGO) bench --workspace --benches $(LOCKED) -- --warm-up-time 1 --measurement-time 2

# COMMAND:PACKAGE for what the tests and benches can use; without them a test skips and says so.
TOOLS := curl:curl wrk:wrk nginx:nginx-light haproxy:haproxy slowhttptest:slowhttptest python3:python3 chromium:chromium cc:gcc c++:g++ rsync:rsync \
	lftp:lftp wget:wget ncftpget:ncftp rclone:rclone \
	openssl:openssl chronyd:chrony ntpdate:ntpsec-ntpdate node:nodejs npm:npm

deps: deps-debian deps-npm ## install what tests and benches use besides Rust (Debian, as root)

deps-debian:
	@missing=; for tool in $(TOOLS); do command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; done; \
	if [ -z "$$missing" ]; then echo 'make deps: every program is there'; exit 0; fi; \
	if ! command -v apt-get >/dev/null || [ "$$(id -u)" -ne 0 ]; then \
		echo "make deps: cannot install without apt-get and root; please install:$$missing" >&2; exit 1; \
	fi; \
	apt-get update -qq; failed=; \
	for package in $$missing; do \
		echo "make deps: installing $$package"; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$package" >/dev/null || failed="$$failed $$package"; \
	done; \
	if [ -n "$$failed" ]; then echo "make deps: could not install:$$failed" >&2; exit 1; fi

# What npm installs stays in the project; nothing but the tests uses it.
deps-npm: deps-debian
	npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund

need-%:
	@command -v $* >/dev/null || { echo 'make: $* is missing: $(HOW_$*)' >&2; exit 1; }
