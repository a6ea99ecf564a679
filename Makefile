GO ?= go
export CGO_ENABLED ?= 0
PLATFORMS = linux/amd64 linux/arm64 linux/arm linux/riscv64 darwin/arm64 windows/amd64

.PHONY: build run test check bench generate

build: ## the three commands into bin/
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ ./cmd/wherry ./cmd/wherryd ./cmd/wherry-agent

run: build ## a one-machine cluster with samples/hello on it
	bin/wherry demo

test: check ## everything
	CGO_ENABLED=1 $(GO) test -race ./...

check: ## vet, staticcheck, and the builds of every platform
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	for p in $(PLATFORMS); do GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null ./... || exit 1; done

bench: build ## every benchmark, medians over runs
	$(GO) test -run '^$$' -bench . -benchmem -count 5 ./...

generate: ## everything that is generated
	$(GO) generate ./...
