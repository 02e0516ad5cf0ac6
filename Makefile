# make            build/rvc and build/librvc.a            make test     every test, also under ASan+UBSan and valgrind
# make demo       converts samples/, says what took how long   make bench    speed and memory, tables and build/bench/*.json
# make install    PREFIX=/usr/local DESTDIR=              make check-format, uninstall, clean
# make fuzz       the readers against made-up files, FUZZ_SECONDS=300 each (needs clang)
# make check-torch    import against files PyTorch writes (needs python3 with torch)
#
# CC=clang takes another compiler, BUILD=folder another build folder, SANITIZE=1 adds ASan+UBSan, V=1 shows commands.
# Sources are found by folder, kernels by their line in nn/ops.def: a new file needs no change here.

BUILD    ?= build
SANITIZE ?= 0
PREFIX   ?= /usr/local
DESTDIR  ?=
ifeq ($(origin CC),default)
CC := gcc
endif
AR       ?= ar
GLSLC    ?= glslc
SPIRV_OPT ?= spirv-opt

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif
ifeq ($(V),1)
say = @:
else
say = @printf '  %-5s %s\n'
.SILENT:
endif

# ---- libraries ---------------------------------------------------------------------------------------------------
# libraries.mk is made by a rule, so make runs packages.sh, reads the flags and starts over; cleaning needs none of it.
modules := sndfile samplerate fftw3 libzip zlib libcjson libxxhash
ifneq ($(filter-out clean uninstall check-format,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/libraries.mk
endif
$(BUILD)/libraries.mk: Makefile tools/packages.sh
	mkdir -p $(@D)
	CC='$(CC)' sh tools/packages.sh $(firstword $(CC)) headers pkg-config $(modules) vulkan $(firstword $(GLSLC)) $(firstword $(SPIRV_OPT))
	echo "library_cflags := $$(pkg-config --cflags $(modules))" > $@
	echo "library_libs := $$(pkg-config --libs $(modules))" >> $@

# ---- flags -------------------------------------------------------------------------------------------------------
# Results must not depend on the compiler's mood: -ffast-math never; contraction to FMA in kernels only, where the
# instruction set is chosen on purpose.
warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wstrict-prototypes
base     := -std=gnu17 $(warnings) -fPIC -g -D_GNU_SOURCE -pthread
plain    := -O2 -ffp-contract=off
kernel   := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math
ifeq ($(SANITIZE),1)
base     += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif
flags     = $(base) $(library_cflags) $(CPPFLAGS) $(CFLAGS)
link      = $(base) $(LDFLAGS) -Wl,--as-needed
libs      = $(library_libs) -lm -pthread

ifneq ($(filter x86_64 amd64,$(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null || uname -m)))),)
isas := baseline avx2 avx512 avx512bf16
else
isas := baseline
endif
isa_baseline :=
isa_avx2     := -mavx2 -mfma -mf16c
isa_avx512   := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512
isa_avx512bf16 := $(isa_avx512) -mavx512bf16

# ---- sources -----------------------------------------------------------------------------------------------------
ops          := $(shell sed -n 's/^NN_OP(\([a-z0-9_]*\)).*/\1/p' nn/ops.def)
kernels      := $(wildcard $(ops:%=nn/cpu/%.c))
library      := $(filter-out $(kernels),$(wildcard nn/*.c nn/cpu/*.c mel/*.c rmvpe/*.c rvc/*.c))
include nn/vulkan/vulkan.mk
program      := $(wildcard convert/*.c tools/*.c)
test_mains   := $(wildcard tests/test_*.c)
test_parts   := $(filter-out $(test_mains),$(wildcard tests/*.c))
bench_mains  := $(wildcard benchmarks/benchmark_*.c)
bench_parts  := $(filter-out $(bench_mains),$(wildcard benchmarks/*.c))

objects        := $(BUILD)/objects
object         = $(patsubst %.c,$(objects)/%.o,$(1))
kernel_objects := $(foreach isa,$(isas),$(kernels:nn/cpu/%.c=$(objects)/nn/cpu/$(isa)/%.o))
library_objects := $(call object,$(library)) $(kernel_objects)
plain_objects  := $(call object,$(library) $(program) $(test_mains) $(test_parts) $(bench_mains) $(bench_parts))
tests          := $(test_mains:%.c=$(BUILD)/%)
benchmarks     := $(bench_mains:%.c=$(BUILD)/%)
version        := $(shell sed -n 's/^.define RVC_VERSION "\(.*\)"/\1/p' rvc/rvc.h)
soname         := librvc.so.$(firstword $(subst ., ,$(version)))

.PHONY: all fuzz fuzz-programs check-torch demo demo-models test test-programs asan asan-test bench bench-peers benchmarks install uninstall clean check-format force

all: $(BUILD)/rvc $(BUILD)/librvc.a

# ---- compiling ---------------------------------------------------------------------------------------------------
# Objects depend on the compiler and its flags: another CC in the same folder builds anew.
$(BUILD)/flags: force
	mkdir -p $(@D)
	echo '$(CC) $(flags) $(plain) $(kernel)' | cmp -s - $@ || echo '$(CC) $(flags) $(plain) $(kernel)' > $@

$(plain_objects): $(objects)/%.o: %.c $(BUILD)/flags
	$(say) CC $<
	mkdir -p $(@D)
	$(CC) $(flags) $(plain) -MMD -MP -c $< -o $@

define isa_rule
$(objects)/nn/cpu/$(1)/%.o: nn/cpu/%.c $(BUILD)/flags
	$$(say) CC '$$< ($(1))'
	mkdir -p $$(@D)
	$$(CC) $$(flags) $$(kernel) $$(isa_$(1)) -DNN_ISA=$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach isa,$(isas),$(eval $(call isa_rule,$(isa))))

-include $(patsubst %.o,%.d,$(plain_objects) $(kernel_objects))

# ---- linking -----------------------------------------------------------------------------------------------------
$(BUILD)/librvc.a: $(library_objects)
	$(say) AR $@
	rm -f $@
	$(AR) rcs $@ $^

# The shared library shows rvc.h's functions and nothing else.
$(BUILD)/librvc.map: rvc/rvc.h $(BUILD)/flags
	(echo '{ global:'; sed -n '/^typedef/d; s/^[a-z].*[ *]\(rvc_[a-z_]*\)(.*/    \1;/p' $<; echo 'local: *; };') > $@

$(BUILD)/librvc.so: $(library_objects) $(BUILD)/librvc.map
	$(say) LD $@
	$(CC) $(link) -shared -Wl,-soname,$(soname) -Wl,--version-script=$(BUILD)/librvc.map \
	    $(library_objects) $(libs) -o $@

$(BUILD)/rvc: $(call object,$(program)) $(BUILD)/librvc.a
	$(say) LD $@
	$(CC) $(link) $^ $(libs) -o $@

# Tests and benchmarks may use the program's parts, but not its main().
$(BUILD)/program.a: $(filter-out %/main.o,$(call object,$(program) $(test_parts) $(bench_parts)))
	rm -f $@
	$(AR) rcs $@ $^

$(tests): $(BUILD)/%: $(objects)/%.o $(BUILD)/program.a $(BUILD)/librvc.a
	$(say) LD $@
	mkdir -p $(@D)
	$(CC) $(link) $^ $(libs) -lcmocka -o $@

$(benchmarks): $(BUILD)/%: $(objects)/%.o $(BUILD)/program.a $(BUILD)/librvc.a
	$(say) LD $@
	mkdir -p $(@D)
	$(CC) $(link) $^ $(libs) -o $@

# ---- demo --------------------------------------------------------------------------------------------------------
models := $(patsubst samples/models/%.tsv,$(BUILD)/demo/models/%.npz,$(wildcard samples/models/*.tsv))
voice  := $(BUILD)/demo/models/rvc_v2_40k.npz

# Synthesized once; a newer program does not make other numbers of the same manifest.
$(models): $(BUILD)/demo/models/%.npz: samples/models/%.tsv | $(BUILD)/rvc
	mkdir -p $(@D)
	$(BUILD)/rvc synthesize $< -o $@

demo-models: $(models)

demo: all demo-models
	BUILD=$(BUILD) sh samples/demo.sh

# ---- tests -------------------------------------------------------------------------------------------------------
$(BUILD)/test-packages: tools/packages.sh | $(BUILD)/flags
	sh tools/packages.sh cmocka valgrind spirv-val lavapipe validation
	touch $@
$(call object,$(test_mains) $(test_parts)): | $(BUILD)/test-packages

test-programs: $(BUILD)/rvc $(tests)

asan:
	+$(MAKE) BUILD=$(BUILD)-asan SANITIZE=1 test-programs

asan-test: asan
	sh tests/run $(BUILD)-asan

test: test-programs asan fuzz-programs check-shaders
	sh tests/run $(BUILD) $(BUILD)-asan

# Full-size checkpoints written by the real PyTorch. PYTHON3= names the Python that has it.
PYTHON3 ?= python3
check-torch: all demo-models
	$(PYTHON3) tests/check_torch.py $(BUILD)/rvc $(BUILD)/demo/models $(BUILD)/check-torch

# ---- fuzzing -----------------------------------------------------------------------------------------------------
# The readers and nothing else, by clang with libFuzzer and both sanitizers. Without it the short run of `make test` is
# skipped and `make fuzz` says what is missing.
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 300
comma        := ,
fuzz_dir     := $(BUILD)/fuzz
fuzz_mains   := $(wildcard tests/fuzz/fuzz_*.c)
fuzz_sources := $(wildcard nn/*.c rvc/checkpoint*.c) rvc/index.c rvc/retrieval.c \
    convert/audio.c convert/interrupt.c convert/ogg.c convert/text.c
fuzz_objects := $(patsubst %.c,$(fuzz_dir)/%.o,$(fuzz_sources) $(fuzz_mains) tests/fuzz/make_seeds.c)
fuzz_targets := $(fuzz_mains:tests/fuzz/%.c=$(fuzz_dir)/%) $(fuzz_dir)/make_seeds
fuzz_flags    = $(filter-out -fsanitize=%,$(base)) $(library_cflags) -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined
fuzz_probe    = echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return !d && n; }' | \
    $(FUZZ_CC) -fsanitize=fuzzer,address -x c - -o $(fuzz_dir)/probe 2>/dev/null

fuzz-programs:
	mkdir -p $(fuzz_dir)
	+if $(fuzz_probe); then $(MAKE) $(fuzz_targets); fi

fuzz: fuzz-programs
	[ -x $(fuzz_dir)/make_seeds ] || { echo 'make fuzz needs clang with libFuzzer (Debian: clang libclang-rt-dev)'; exit 1; }
	sh tests/fuzz/run $(fuzz_dir) $(FUZZ_SECONDS)

$(fuzz_objects): $(fuzz_dir)/%.o: %.c $(BUILD)/flags
	$(say) CC '$< (fuzz)'
	mkdir -p $(@D)
	$(FUZZ_CC) $(fuzz_flags) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@
-include $(fuzz_objects:.o=.d)

$(fuzz_dir)/readers.a: $(patsubst %.c,$(fuzz_dir)/%.o,$(fuzz_sources))
	rm -f $@
	$(AR) rcs $@ $^

$(fuzz_targets): $(fuzz_dir)/%: $(fuzz_dir)/tests/fuzz/%.o $(fuzz_dir)/readers.a
	$(say) LD $@
	$(FUZZ_CC) -fsanitize=$(if $(findstring make_seeds,$@),,fuzzer$(comma))address,undefined $^ $(libs) -o $@

# ---- benchmarks --------------------------------------------------------------------------------------------------
benchmarks: $(benchmarks)

# BENCH_OPTIONS='--device vulkan --precision f16' measures the pitch and the whole way on a GPU.
BENCH_OPTIONS ?=
bench: all benchmarks demo-models
	mkdir -p $(BUILD)/bench
	$(BUILD)/benchmarks/benchmark_ops --output $(BUILD)/bench/ops.json
	$(BUILD)/benchmarks/benchmark_rmvpe --models $(BUILD)/demo/models --output $(BUILD)/bench/rmvpe.json $(BENCH_OPTIONS)
	$(BUILD)/benchmarks/benchmark_retrieval --output $(BUILD)/bench/retrieval.json
	$(BUILD)/benchmarks/benchmark_pipeline --models $(BUILD)/demo/models --voice $(voice) --batch-sizes 1,4 \
	    --output $(BUILD)/bench/pipeline.json $(BENCH_OPTIONS)

# Against ONNX Runtime and PyTorch. PEERS_OPTIONS='--threads 4 --voice my.npz': see benchmarks/peers/README.md
PEERS_OPTIONS ?=
bench-peers: $(BUILD)/benchmarks/benchmark_networks demo-models
	sh benchmarks/peers/make_env.sh $(BUILD)/peers
	mkdir -p $(BUILD)/bench
	$(BUILD)/peers/bin/python -B benchmarks/peers/bench.py --program $< --models $(BUILD)/demo/models \
	    --output $(BUILD)/bench/peers.json $(PEERS_OPTIONS)
	$(BUILD)/peers/bin/python -B benchmarks/peers/report.py $(wildcard $(BUILD)/bench/*.json) $(BUILD)/bench/peers.json

# ---- installing --------------------------------------------------------------------------------------------------
bin  = $(DESTDIR)$(PREFIX)/bin
lib  = $(DESTDIR)$(PREFIX)/lib
inc  = $(DESTDIR)$(PREFIX)/include
doc  = $(DESTDIR)$(PREFIX)/share/doc/rvc

install: all $(BUILD)/librvc.so
	install -d $(bin) $(lib)/pkgconfig $(inc) $(doc)
	install -m 755 $(BUILD)/rvc $(bin)/rvc
	install -m 644 $(BUILD)/librvc.a $(lib)/librvc.a
	install -m 755 $(BUILD)/librvc.so $(lib)/librvc.so.$(version)
	ln -sf librvc.so.$(version) $(lib)/$(soname)
	ln -sf $(soname) $(lib)/librvc.so
	install -m 644 rvc/rvc.h $(inc)/rvc.h
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(version)|; s|@MODULES@|$(modules)|' rvc/rvc.pc.in > $(lib)/pkgconfig/rvc.pc
	install -m 644 README.md LICENSE docs/* $(doc)
	[ -n '$(DESTDIR)' ] || ldconfig 2>/dev/null || true
	echo "installed in $(DESTDIR)$(PREFIX)"

uninstall:
	rm -f $(bin)/rvc $(lib)/librvc.a $(lib)/librvc.so $(lib)/librvc.so.* $(lib)/pkgconfig/rvc.pc $(inc)/rvc.h
	rm -rf $(doc)

clean:
	rm -rf $(BUILD) $(BUILD)-asan

check-format:
	sh tools/packages.sh clang-format
	clang-format --dry-run -Werror $(wildcard nn/*.c nn/cpu/*.c nn/vulkan/*.c mel/*.c rmvpe/*.c rvc/*.c convert/*.c \
	    tools/*.c tests/*.c benchmarks/*.c)
