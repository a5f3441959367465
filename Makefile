# What a change must pass: `make check`. Each target says what it does in its
# first comment; `make help` lists them.
GO      ?= go
PYTHON  ?= python3
FUZZTIME ?= 20s
ROWS    := generic avx2 avxvnni avx512 avx512bf16 amx
RECORD  := $(GO) run ./internal/docs record
export CGO_ENABLED = 0

.PHONY: help build check fmt vet test noasm rows race cross arch gen gen-check golden fuzz bench bench-infer bench-train bench-language bench-smollm2 size docs-check clean

help:         ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

build:        ## the program, static, as ./lowbit
	$(GO) build -trimpath -ldflags '-s -w' -o lowbit ./cmd/lowbit

check: fmt vet test noasm rows cross gen-check docs-check  ## everything

fmt:          ## gofmt changes nothing
	@files=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$files" ] || { echo "gofmt would change: $$files"; exit 1; }

vet:          ## go vet, assembly declarations included
	$(GO) vet ./...

test:         ## all tests
	$(GO) test ./...

noasm:        ## the build without assembly
	$(GO) vet -tags noasm ./internal/kernel ./engine
	$(GO) test -short -tags noasm ./internal/kernel ./engine

rows:         ## kernels and engine with each kernel row of this CPU forced
	for row in $(ROWS); do LOWBIT_KERNEL=$$row $(GO) test -count=1 -short ./internal/kernel ./engine || exit 1; done

race:         ## the runtime under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short ./internal/pool ./infer

cross:        ## builds for other machines
	GOARCH=arm64 $(GO) vet ./internal/kernel ./engine
	GOARCH=386 $(GO) build ./...
	for os in linux darwin windows; do GOOS=$$os GOARCH=arm64 $(GO) build -o /dev/null ./cmd/lowbit || exit 1; done

arch:         ## who imports whom, and the limits of size
	$(GO) test ./internal/archtest

gen:          ## regenerate the assembly
	$(GO) generate ./internal/kernel

gen-check: gen  ## regenerating changes nothing
	git diff --exit-code -- internal/kernel

golden:       ## remake all goldens (needs Python with torch, numpy and others: see each generator)
	for f in peer/golden_*.py; do echo $$f; $(PYTHON) $$f || exit 1; done
	cp method/lsq/testdata/step.safetensors app/selftest/testdata/step.safetensors

fuzz:         ## every fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

bench:        ## kernel benchmarks, and training steps of the program
	$(GO) test -run '^$$' -bench . -benchtime 0.2s ./internal/kernel
	$(GO) run ./cmd/lowbit bench train --model resnet20
	$(GO) run ./cmd/lowbit bench train --model resnet20 --bits w4a4

bench-infer: build  ## records of the integer runtime beside ONNX Runtime and OpenVINO, in turn, and the tables (Python with torch, onnxruntime, openvino)
	for net in resnet18 resnet50; do \
	  for bits in w8a8 w4a8 w3a8 w2a8; do $(RECORD) speed/bench-infer-$$net-$$bits -- ./lowbit bench infer --model $$net --bits $$bits --table --steps 30 --json --quiet || exit 1; done; \
	  for peer in onnxruntime openvino; do $(RECORD) speed/peer-infer-$$net-$$peer -- $(PYTHON) peer/bench_infer.py --net $$net --runtime $$peer || exit 1; done; \
	done
	$(RECORD) speed/bench-infer-efficientnet-lite0-w8a8 -- ./lowbit bench infer --model efficientnet-lite0 --bits w8a8 --table --steps 30 --json --quiet
	for bits in w8a8 w4a4 w2a2; do $(RECORD) speed/bench-infer-resnet20-$$bits -- ./lowbit bench infer --model resnet20 --bits $$bits --table --steps 200 --json --quiet || exit 1; done
	$(RECORD) speed/bench-clients-resnet18 -- ./lowbit bench infer --model resnet18 --bits w8a8 --clients 16 --json --quiet
	$(GO) run ./internal/docs tables

bench-train: build  ## records of training steps of a ResNet-20 beside PyTorch, and the tables (Python with torch; ../shared)
	for threads in 1 2; do for kind in "fp32" "bf16 --bf16" "w4a4 --bits w4a4"; do set -- $$kind; name=$$1; shift; \
	  $(RECORD) speed/bench-train-resnet20-$$name-t$$threads -- ./lowbit bench train --model resnet20 "$$@" --threads $$threads --json --quiet || exit 1; \
	done; done
	$(RECORD) speed/peer-torch-resnet20 -- env $(TORCH_ENV) $(PYTHON) ../shared/bench/bench_torch_resnet20.py --threads 1,2 --layouts nhwc --modes fp32,lsq --iters 15
	$(RECORD) speed/peer-torch-resnet20-bf16 -- env $(TORCH_ENV) $(PYTHON) ../shared/bench/bench_torch_resnet20.py --amp --threads 1,2 --layouts nhwc --modes fp32,lsq --iters 15
	$(RECORD) speed/peer-torch-compiled-resnet20 -- env $(TORCH_ENV) $(PYTHON) ../shared/bench/bench_torch_resnet20.py --compile --threads 2 --layouts nhwc --modes fp32,lsq --iters 15
	$(GO) run ./internal/docs tables

bench-language: build  ## records of a language model's training step beside PyTorch, and the tables (Python with torch; ../shared)
	for threads in 1 2; do for kind in "fp32" "bf16 --bf16" "w4a8kv8 --bits w4a8kv8 --static"; do set -- $$kind; name=$$1; shift; \
	  $(RECORD) speed/bench-train-llama-288-$$name-t$$threads -- ./lowbit bench train --model peer/llama-288 "$$@" --batch 8 --threads $$threads --steps 10 --json --quiet || exit 1; \
	done; done
	$(RECORD) speed/peer-torch-llama-288 -- env $(TORCH_ENV) $(PYTHON) ../shared/bench/bench_torch_llama.py --threads 1,2 --modes fp32,silq --iters 6
	$(RECORD) speed/peer-torch-llama-288-bf16 -- env $(TORCH_ENV) $(PYTHON) ../shared/bench/bench_torch_llama.py --amp --threads 1,2 --modes fp32,silq --iters 6
	$(GO) run ./internal/docs tables

# PyTorch with a malloc that keeps its pages and asks for large ones.
TORCH_ENV = GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=17179869184

SMOLLM2 ?= smollm2.gguf
SMOLLM2_FLAGS ?=
bench-smollm2: build  ## records of SmolLM2's training, reading and loading beside PyTorch, in the same minutes (SMOLLM2=FILE.gguf; Python with torch; ../shared)
	for threads in 1 2; do \
	  ./lowbit quantize --model $(SMOLLM2) --data wikitext2:../shared/data/text --method silq --bits w4a8kv8 --init max --batches 1 --batch 4 --tokens 10240 \
	    --windows 1 --threads $$threads $(SMOLLM2_FLAGS) --out runs/bench-smollm2-t$$threads --force --json --quiet >/dev/null || exit 1; \
	  $(GO) run ./internal/docs keep speed/bench-smollm2-train-t$$threads runs/bench-smollm2-t$$threads || exit 1; \
	  $(RECORD) speed/bench-smollm2-read-t$$threads -- ./lowbit eval --model $(SMOLLM2) --data wikitext2:../shared/data/text --windows 16 --threads $$threads --json --quiet || exit 1; \
	  $(RECORD) speed/bench-smollm2-read-w4a8kv8-t$$threads -- ./lowbit eval --model runs/bench-smollm2-t$$threads --data wikitext2:../shared/data/text --windows 16 --threads $$threads --json --quiet || exit 1; \
	  $(RECORD) speed/peer-torch-smollm2-t$$threads -- $(PYTHON) peer/bench_smollm2.py --gguf $(SMOLLM2) --threads $$threads --steps 10 || exit 1; \
	done
	$(RECORD) speed/bench-smollm2-load -- ./lowbit run --model $(SMOLLM2) --prompt "The sky is" --tokens 1 --temperature 0 --json --quiet
	$(GO) run ./internal/docs tables

size: build   ## the program, the largest packages and files, long functions
	@ls -l lowbit | awk '{print $$5, "bytes: the program"}'
	@find . -name '*.go' -not -path './internal/kernel/_gen/*' | xargs wc -l | sort -rn | head -12
	@LOWBIT_SIZE=1 $(GO) test -count=1 -v -run 'LongFunctions|FilesAreShort' ./internal/archtest

docs-check:   ## tables in the documentation equal their records
	$(GO) run ./internal/docs tables -check

clean:        ## remove what was built
	rm -rf lowbit dist
