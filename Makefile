# make demo: the main job, on this machine. make test: everything that must hold.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

# A test that types one of these commands would hand on what cargo tells it of its own package; ring, and whatever stands on it, would be
# built anew for that, and anew again by whoever comes next.
unexport CARGO_MANIFEST_DIR CARGO_MANIFEST_PATH CARGO_MANIFEST_LINKS CARGO_PKG_NAME CARGO_PKG_VERSION
unexport CARGO_PKG_VERSION_MAJOR CARGO_PKG_VERSION_MINOR CARGO_PKG_VERSION_PATCH CARGO_PKG_VERSION_PRE

.PHONY: help
help: ## Says what there is to make.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: ## Loses a simulated data centre and fails chat over to the other one, on a real Kubernetes API server.
	@scripts/require.sh
	cargo build --locked --workspace --bins
	$(TARGET)/debug/pcf-lab demo --operator $(TARGET)/debug/pcf-operator --kubectl-pcf $(TARGET)/debug/kubectl-pcf --manifests .

.PHONY: lab
lab: ## The same world to play with: prints the commands to try, stops on Ctrl-C.
	@scripts/require.sh
	cargo build --locked --workspace --bins
	@rm -rf $(TARGET)/lab
	$(TARGET)/debug/pcf-lab serve --dir $(TARGET)/lab --control-plane --manifests . --operator $(TARGET)/debug/pcf-operator --kubectl-pcf $(TARGET)/debug/kubectl-pcf

.PHONY: test
test: ## The gate: formats, lints, licences, every test, samples of the crash matrices. PCF_SAMPLE=n repeats a sample.
	@scripts/require.sh clients engines gitops
	@scripts/test.sh

.PHONY: engines
engines: ## Drives Microsoft's own engines (PCF_ENGINES_RUN, or a pwsh on the PATH), and prints what with.
	@scripts/require.sh engines
	@scripts/engines.sh

.PHONY: gitops
gitops: ## The resource in the hands of GitOps tools: builds them, runs every test of them. Part of `make night`; `make test` does a few.
	@scripts/require.sh gitops argocd
	@scripts/gitops.sh

.PHONY: night
night: ## Everything: whole crash matrices, the long simulation, all planted defects, the demo. Takes hours.
	@scripts/require.sh clients engines gitops argocd
	@scripts/night.sh

SEEDS ?= 2000
FIRST_SEED ?= 1
MINUTES ?= 0
STRIDE ?= 1

.PHONY: soak
soak: ## Simulates SEEDS= bad nights from FIRST_SEED= for at most MINUTES=, each twice, and every STRIDE=-th crash point.
	@scripts/require.sh
	cargo build --locked --release -p simulation
	$(TARGET)/release/pcf-soak --exhaustive --stride $(STRIDE)
	$(TARGET)/release/pcf-soak --twice --seeds $(SEEDS) --first-seed $(FIRST_SEED) --minutes $(MINUTES)

.PHONY: bench
bench: image ## Figures beside what they may be: memory, API writes, how long a switch takes, the image, our PowerShell client. Writes target/bench/summary.json.
	@scripts/require.sh engines
	cargo bench --locked --bench figures

.PHONY: mutants
mutants: ## Plants defects in a copy of the sources; the simulation must find each of them.
	@scripts/require.sh
	cargo build --locked -p simulation
	$(TARGET)/debug/pcf-mutants

.PHONY: mutants-generated
mutants-generated: ## Wakes mutants that cargo-mutants lists, one after the other: a sample, BASE=commit (what changed since), ALL=1 (goes on where it was).
	@scripts/require.sh
	@scripts/mutants-generated.sh

.PHONY: build
build: ## The two programs, for production.
	@scripts/require.sh
	cargo build --locked --profile production --bins

CHART := charts/persistent-chat-failover/files
CRD := crds/persistentchatfailovers.persistentchat.dev.yaml

.PHONY: generated
generated: ## Writes what is generated anew: the definition from the types, the chart's roles from the table of rights.
	cargo build --locked --bin pcf-operator
	$(TARGET)/debug/pcf-operator crd > $(CRD)
	cp $(CRD) $(CHART)/crd.yaml
	$(TARGET)/debug/pcf-operator rights > $(CHART)/rules.yaml
	$(TARGET)/debug/pcf-operator rights --own > $(CHART)/leader-election-rules.yaml

PROFILE ?= production
BINARIES ?=

.PHONY: image
image: ## The container image, its tar and its SBOM, in target/image, without a container engine. PROFILE=debug, BINARIES=dir.
	$(if $(BINARIES),,cargo build --locked --bins $(if $(filter debug,$(PROFILE)),,--profile $(PROFILE)))
	scripts/image.py --profile $(PROFILE) $(if $(BINARIES),--binaries $(BINARIES))

.PHONY: image-test
image-test: ## Checks the image in target/image with foreign tools, runs its programs in it, builds it again and compares.
	@PROFILE=$(PROFILE) BINARIES=$(BINARIES) scripts/image-test.sh

.PHONY: dist
dist: ## What a release consists of, in target/dist: image, SBOM, chart, programs, krew manifest, checksums. After `make image`.
	@scripts/dist.sh

.PHONY: fmt
fmt: ## Formats the sources.
	cargo fmt --all
