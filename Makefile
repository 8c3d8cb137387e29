.DEFAULT_GOAL := help
GO ?= go

.PHONY: help setup demo test race torture boundaries mutations soak bench bench-pooler layer lint vuln compat compat-pooler programs generate

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing on this machine (PostgreSQL)
	@scripts/setup

demo: setup ## kill a writer under load, three ways side by side; a table and out/fairlead-demo.svg
	$(GO) run ./cmd/fairlead demo

test: setup ## every test
	@scripts/setup-languages
	$(GO) test -timeout 30m ./...
	cd examples && $(GO) test ./...

race: setup ## the tests of what runs concurrently, with the race detector
	$(GO) test -race -timeout 30m ./pooler
	$(GO) test -race -short -timeout 15m ./driver ./topology ./credentials/... ./internal/session ./internal/backend ./rdstest/front ./lambda/...

torture: setup ## known operations under random failures, audited; ARGS=long for 1000 failures in each mode, ARGS=-help for more
	scripts/torture $(ARGS)

boundaries: setup ## cut sessions at every message of many kinds of work; renews docs/continuity-boundaries.md
	scripts/boundaries $(ARGS)

mutations: setup ## take each precaution out of a copy, and torture it until that is noticed; renews docs/continuity-mutations.md
	scripts/mutations $(ARGS)

soak: setup ## honest clients and attackers on one pooler at once; ARGS="-duration 10m -picture out/soak.svg", ARGS=-help for more
	$(GO) build -o out/soak ./internal/proof/soak/cmd && out/soak $(ARGS)

bench: setup ## what it costs and how fast it fails over, against pgx in the same run
	scripts/bench

bench-pooler: setup ## select-only pgbench through the pooler and through PgBouncer, in turns; ARGS=-help for more
	scripts/bench-pooler $(ARGS)

layer: ## the Lambda layer, for arm64 and amd64: out/fairlead-lambda-*.zip
	$(GO) run ./lambda/layer -out out

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	cd examples && $(GO) vet ./...

vuln: ## known vulnerabilities in what is called; fails if there is one, and says so if the database is out of reach
	@scripts/vuln

compat: setup ## pgx's own tests, run through the driver
	scripts/compat
	scripts/compat -through pool

compat-pooler: setup ## pgx's own tests, run through the pooler, each alone
	scripts/compat -through pooler

programs: setup ## programs of other languages, run through the pooler
	scripts/programs

generate: ## renew generated files
	$(GO) generate ./...
