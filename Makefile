GO ?= go
export CGO_ENABLED = 0
PLATFORMS = linux/amd64 linux/arm64 linux/arm linux/riscv64 darwin/arm64 windows/amd64
GUESTS = hello console udpecho cgi

.PHONY: build guests run stop test check bench oracle generate

build: ## the three commands into bin/
	$(GO) build -ldflags '-s -w' -o bin/ ./cmd/wherry ./cmd/wherryd ./cmd/wherry-agent

guests: ## the samples' modules into bin/
	for g in $(GUESTS); do GOOS=wasip1 GOARCH=wasm $(GO) build -ldflags '-s -w' -o bin/$$g.wasm ./samples/$$g || exit 1; done

run: build guests ## a one-machine cluster with samples/hello on it; `make stop` ends it
	samples/run.sh start

stop: ## end what `make run` started
	samples/run.sh stop

test: check ## everything
	CGO_ENABLED=1 $(GO) test -race $$($(GO) list ./... | grep -v '/samples$$')
	$(GO) test ./samples # stories of real processes, alone on the machine
	cd samples/clients && $(GO) test . # Helm, client-go, controller-runtime

check: ## vet, staticcheck, and the builds of every platform
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	for p in $(PLATFORMS); do GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./... || exit 1; done

bench: build guests ## every benchmark, then the cluster as a whole
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./samples/bench

SEED ?= 1
ROUNDS ?= 1

oracle: ## the API compared with kube-apiserver's; takes minutes to compile, once
	cd orchestrator/apiserver/oracle && $(GO) test -count=1 -timeout=3h -v . -args -seed=$(SEED) -rounds=$(ROUNDS)

generate: ## everything that is generated
	$(GO) generate ./...
