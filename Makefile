# falkorpool: all the ways to build, test, measure and install it. GNU make; `make help` lists them.
#
# Variables to set: CC, CFLAGS, CPPFLAGS, LDFLAGS, PREFIX, DESTDIR, BUILD (the folder for everything made or fetched),
# VARIANT (asan, tsan, clang, hiredis1, werror, tls), THREADS=c11, TLS=1, WERROR=1, TEST, ONLY and CHECK (see test, checks).
# CPPFLAGS may leave parts of the library out (-DFALKOR_WITHOUT_PIPELINES, see pool.h).

BUILD   ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
VERSION := $(shell awk '/^.define FALKOR_VERSION_[MP]/ { v = v (v == "" ? "" : ".") $$3 } END { print v }' pool.h 2>/dev/null)
export BUILD CC CPPFLAGS

# ---- variants: each keeps its objects in a folder of its own --------------------------------------------------------

OUT := $(BUILD)$(VARIANT:%=/%)$(THREADS:%=/threads-%)
HIREDIS1 := $(BUILD)/deps-hiredis1
ifeq ($(VARIANT),asan)
VARIANT_FLAGS = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DFALKOR_DEBUG
else ifeq ($(VARIANT),tsan)
VARIANT_FLAGS = -O1 -fsanitize=thread -fno-omit-frame-pointer -DFALKOR_DEBUG
else ifeq ($(VARIANT),clang)
CC = clang
else ifeq ($(VARIANT),hiredis1)
VARIANT_CPPFLAGS = -isystem $(HIREDIS1)/include
VARIANT_LDFLAGS = -L$(HIREDIS1)/lib -Wl,-rpath,$(abspath $(HIREDIS1))/lib
VARIANT_NEEDS = $(HIREDIS1)
else ifeq ($(VARIANT),tls)
TLS = 1
else ifneq ($(filter-out werror size,$(VARIANT)),)
$(error VARIANT=$(VARIANT): asan, tsan, clang, hiredis1, werror, size and tls are known)
endif
# TLS=1 goes with every variant, in the same folder: VARIANT=tls has one of its own.
ifneq ($(TLS),)
VARIANT_CPPFLAGS += -DFALKOR_TLS
TLS_LIBS = -lssl -lcrypto
endif
ifeq ($(THREADS),c11)
VARIANT_CPPFLAGS += -DFALKOR_C11_THREADS
ifeq ($(shell grep -l FALKOR_C11_THREADS sync.h),)
$(error THREADS=c11: sync.h does not know FALKOR_C11_THREADS yet)
endif
else ifneq ($(THREADS),)
$(error THREADS=$(THREADS): only c11 is known beside the default)
endif

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(if $(WERROR),-Werror)
ALL_CPPFLAGS = -I. -I$(BUILD) $(VARIANT_CPPFLAGS) $(DEPS_CPPFLAGS) $(TLS_CPPFLAGS) $(CPPFLAGS)
ALL_CFLAGS = -std=c11 $(WARNINGS) -pthread -MMD -MP $(CFLAGS) $(VARIANT_FLAGS)
ALL_LDFLAGS = -pthread $(VARIANT_FLAGS) $(VARIANT_LDFLAGS) $(DEPS_LDFLAGS) $(TLS_LDFLAGS) $(LDFLAGS)

# ---- what there is --------------------------------------------------------------------------------------------------

LIB_SRC  := $(sort $(wildcard *.c))
CLI_SRC  := $(wildcard examples/falkor-cli*.c)
HELP_SRC := $(filter-out test/test_% test/check_% test/bench_% test/plot_% test/fuzz_%,$(wildcard test/*.c))
obj       = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
programs  = $(patsubst %.c,$(OUT)/%,$(wildcard $(1)))

LIB      := $(OUT)/libfalkorpool.a
HELP_LIB := $(if $(HELP_SRC),$(OUT)/libtest.a)
EXAMPLES := $(filter-out $(OUT)/examples/falkor-cli% $(OUT)/examples/health_server,$(call programs,examples/*.c))
TOOLS    := $(if $(CLI_SRC),$(OUT)/falkor-cli) $(if $(wildcard examples/health_server.c),$(OUT)/health_server)
PAGES    := $(filter-out $(OUT)/examples/demo $(OUT)/examples/tls $(OUT)/examples/smallest,$(EXAMPLES))
# (test_tls runs examples/tls, on a build with TLS, test/check_parts.sh examples/smallest.)
TESTS    := $(if $(TEST),$(patsubst %,$(OUT)/test/test_%,$(TEST:test_%=%)),$(call programs,test/test_*.c) test/differential.sh)
TESTS    := $(patsubst $(OUT)/test/test_differential,test/differential.sh,$(TESTS))
# The scheduler of test/sched.h runs one thread at a time, on stacks that ThreadSanitizer does not know.
ifeq ($(VARIANT),tsan)
TESTS    := $(filter-out %/test_schedules,$(TESTS))
endif
CHECKS   := $(if $(CHECK),$(OUT)/test/check_$(CHECK:check_%=%),$(call programs,test/check_*.c))
DRIVERS  := $(filter-out %/trial,$(call programs,examples/drivers/*.c))
BENCHES  := $(call programs,test/bench_*.c) $(wildcard test/bench_*.sh)
HEADER   := $(if $(wildcard pool.h),$(BUILD)/falkorpool.h)

.PHONY: all test rows check drivers fuzz bench bench-quick bench-plots demo install clean distclean format help tests checks FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(LIB) $(TOOLS) $(EXAMPLES) $(HEADER)  ## the library, falkor-cli, the examples, the single header (the default)

# ---- building -------------------------------------------------------------------------------------------------------

# Libraries that the system lacks are fetched before anything is built: make reads its own flags from what deps.sh wrote.
ifneq ($(filter-out clean distclean format help,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/deps.mk
ifneq ($(TLS),)
include $(BUILD)/deps-tls.mk
endif
endif
$(BUILD)/deps.mk: test/deps.sh test/versions.lock
	@test/deps.sh get
$(BUILD)/deps-tls.mk: test/deps.sh test/versions.lock
	@test/deps.sh tls
# Peers that a benchmark is held against, where they can be had.
ifneq ($(filter bench bench-quick %/bench_pool,$(MAKECMDGOALS)),)
include $(BUILD)/deps-bench.mk
$(OUT)/obj/test/bench_pool.o: $(BUILD)/deps-bench.mk
endif
$(BUILD)/deps-bench.mk: test/deps.sh test/versions.lock
	@test/deps.sh bench
ifneq ($(filter drivers,$(MAKECMDGOALS)),)
include $(BUILD)/services.mk
endif
$(BUILD)/services.mk: test/services.sh
	@test/services.sh headers

$(HIREDIS1):
	test/deps.sh hiredis1

# Other flags than last time make everything anew.
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)' | cmp -s - $@ || \
	    echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)' >$@

$(OUT)/obj/%.o: %.c $(OUT)/flags | $(VARIANT_NEEDS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c $< -o $@

%.a:
	@rm -f $@
	$(AR) rcs $@ $(filter %.o,$^)
$(LIB): $(call obj,$(LIB_SRC))
$(OUT)/libtest.a: $(call obj,$(HELP_SRC))

LINK = @mkdir -p $(@D); set -x; $(CC) $(filter %.o,$^) $(filter %.a,$^) $(ALL_LDFLAGS) -o $@
$(OUT)/falkor-cli: $(call obj,$(CLI_SRC)) $(LIB)
	$(LINK) -lhiredis $(TLS_LIBS) -lcjson -ledit -lm
$(OUT)/health_server: $(call obj,examples/health_server.c) $(LIB)
	$(LINK) -lmicrohttpd -lhiredis $(TLS_LIBS) -lm
$(OUT)/obj/examples/health_server.o: $(BUILD)/health_page.h
# The page as the numbers of its bytes, for they have no limit on length as strings have.
$(BUILD)/health_page.h: examples/health_page.html
	@mkdir -p $(@D)
	od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g' >$@
$(OUT)/examples/%: $(OUT)/obj/examples/%.o $(LIB)
	$(LINK) -lhiredis $(TLS_LIBS) -lm
# The drivers' libraries are fetched for `make drivers` alone.
$(OUT)/obj/examples/drivers/%.o: ALL_CPPFLAGS += $(DRIVER_CPPFLAGS)
$(OUT)/examples/drivers/%: $(OUT)/obj/examples/drivers/%.o $(OUT)/obj/examples/drivers/trial.o $(LIB)
	$(LINK) $(DRIVER_LDFLAGS) $(DRIVER_LIB_$*) -lhiredis $(TLS_LIBS) -lm
DRIVER_LIB_postgres = -lpq
DRIVER_LIB_mariadb = -lmariadb
DRIVER_LIB_http = -lcurl
$(OUT)/test/%: $(OUT)/obj/test/%.o $(HELP_LIB) $(LIB)
	$(LINK) -lhiredis $(TLS_LIBS) -lcmocka -lcjson -lm

$(OUT)/obj/test/bench_pool.o: ALL_CPPFLAGS += $(BENCH_CPPFLAGS)
# The library once more, without its timing, beside itself.
$(OUT)/obj/untimed.o: $(BUILD)/falkorpool.h $(OUT)/flags
	@mkdir -p $(@D)
	printf '#define FALKORPOOL_IMPLEMENTATION\n#include "$<"\n' | $(CC) $(ALL_CPPFLAGS) -DFALKOR_WITHOUT_TIMES $(ALL_CFLAGS) -MF $(@:.o=.d) -x c -c - -o $@
	nm -g --defined-only $@ | sed -n 's/.* \(.*\)/\1 untimed_\1/p' >$(@:.o=.names)
	objcopy --redefine-syms=$(@:.o=.names) $@
$(OUT)/test/bench_pool: $(OUT)/obj/test/bench_pool.o $(OUT)/obj/untimed.o $(HELP_LIB) $(LIB)
	$(LINK) $(BENCH_LDFLAGS) $(BENCH_LIBS) -lhiredis $(TLS_LIBS) -lm

$(BUILD)/falkorpool.h: test/amalgamate.sh LICENSE $(LIB_SRC) $(wildcard *.h)
	test/amalgamate.sh $(LIB_SRC) >$@

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)

# ---- testing --------------------------------------------------------------------------------------------------------

RUN = test/server.sh run env OUT=$(OUT) VARIANT=$(VARIANT) \
    API_CPPFLAGS='$(VARIANT_CPPFLAGS) $(DEPS_CPPFLAGS) $(TLS_CPPFLAGS)' test/run.sh

# Where OpenSSL's headers are, the default build's test of TLS runs on a build with TLS too.
ifeq ($(filter test,$(MAKECMDGOALS))$(VARIANT)$(THREADS)$(TLS)$(filter-out tls test_tls,$(TEST)),test)
TLS_TEST := $(shell { test -d $(BUILD)/deps-tls || echo '\#include <openssl/ssl.h>' | $(CC) $(CPPFLAGS) -E -x c -; } \
    >/dev/null 2>&1 && echo $(BUILD)/tls/test/test_tls)
endif
.PHONY: $(TLS_TEST)
$(TLS_TEST):
	@$(MAKE) VARIANT=tls TEST=tls tests $(BUILD)/tls/examples/tls

test: all tests $(TLS_TEST)  ## all tests, with a private server; TEST=pool runs test/test_pool.c, ONLY='test_pool_*' some of it
	-@$(if $(filter %differential.sh,$(TESTS)),test/deps.sh node)
	@ONLY='$(ONLY)' $(RUN) $(if $(TEST),,--contract $(PAGES)) $(TESTS) $(TLS_TEST)
tests: $(TESTS)
rows:  ## which tests show which requirement
	@test/rows.sh

check: all  ## sanitizers, clang, hiredis 1.x, C11 threads, mutants, drivers, health_server, test/check_*.c
	@test/check.sh
# CHECK=stress runs test/check_stress.c only.
checks: $(CHECKS)
	@TEST_JOBS=1 TEST_TIMEOUT=600 $(RUN) $(CHECKS)

drivers: $(DRIVERS)  ## examples/drivers against PostgreSQL, PgBouncer, MariaDB, Redis, nginx and Bolt
	@test/services.sh check $(OUT)/examples/drivers
.PHONY: metrics
metrics: $(OUT)/health_server  ## health_server as promtool, Prometheus and Chromium see it; screenshots into $(BUILD)
	@OUT=$(OUT) test/check_metrics.sh
.PHONY: mutants
mutants:  ## small mistakes put into the library one at a time: each must be caught by the test that its patch names
	@test/mutants.sh

.PHONY: cross cross-quick parts parts-quick size
cross:  ## 32-bit ARM, RISC-V, big-endian, musl: compiled by gcc and clang, tested under qemu-user
	@test/check_cross.sh
cross-quick: export CROSS_QUICK = 1
cross-quick: cross
parts:  ## every combination of FALKOR_WITHOUT_... compiles; the smallest passes its tests
	@test/deps.sh get
	@TEST_TIMEOUT=600 test/server.sh run test/check_parts.sh
parts-quick: export PARTS_QUICK = 1
parts-quick: parts
size:  ## bytes of code at -Os: everything, without each part, the smallest; CC=arm-linux-gnueabihf-gcc for another machine
	@CC='$(CC)' test/size.sh

FUZZERS = $(patsubst test/%.c,$(BUILD)/fuzz/%,$(wildcard test/fuzz_*.c))
fuzz: $(FUZZERS)  ## the fuzzers, FUZZ_SECONDS (30) each
	@test/fuzz.sh $(FUZZERS)
$(BUILD)/fuzz/%: test/%.c $(LIB_SRC) $(wildcard *.h)
	@mkdir -p $(@D)
	clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -pthread -I. $(DEPS_CPPFLAGS) \
	    $(DEPS_LDFLAGS) $< $(LIB_SRC) -lhiredis -o $@

bench: all $(BENCHES)  ## test/bench_*.c against their peers: a table, and $(BUILD)/bench.json; RUNS=3 takes medians of runs
	@-test/deps.sh node
	@test/bench_size.sh >/dev/null      # so that what is built for it is
	@OUT=$(OUT) CC='$(CC)' test/bench.sh $(BENCHES)
bench-quick: export BENCH_QUICK = 1
bench-quick: bench  ## the same in a minute
bench-plots: $(OUT)/test/plot_curves  ## three plots of it, docs/*.svg, in two minutes; wants gnuplot
	@test/deps.sh plots
	@-test/deps.sh node
	@CC='$(CC)' test/plots.sh $< docs

demo: all  ## loads a real data set and shows the library at work
	@test/deps.sh data
	test/server.sh run $(OUT)/examples/demo $(BUILD)/data/airports.csv $(BUILD)/data/flights-airport.csv

# ---- housekeeping ---------------------------------------------------------------------------------------------------

install: all  ## into $(DESTDIR)$(PREFIX): library, headers, falkor-cli, falkorpool.pc
	install -d $(DESTDIR)$(PREFIX)/include/falkorpool $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/bin
	install -m 644 pool.h $(DESTDIR)$(PREFIX)/include/falkorpool/
	install -m 644 $(BUILD)/falkorpool.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib/
	$(if $(CLI_SRC),install -m 755 $(OUT)/falkor-cli $(DESTDIR)$(PREFIX)/bin/)
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: falkorpool' 'Description: FalkorDB client with a connection pool' \
	    'Version: $(or $(VERSION),0)' 'Cflags: -I$${prefix}/include -I$${prefix}/include/falkorpool' \
	    'Libs: -L$${prefix}/lib -lfalkorpool $(strip -lhiredis $(TLS_LIBS) -pthread)' >$(DESTDIR)$(PREFIX)/lib/pkgconfig/falkorpool.pc

clean:  ## what was built; what was fetched stays
	find $(BUILD) -mindepth 1 -maxdepth 1 ! -name server ! -name services ! -name 'deps*' ! -name data ! -name node ! -name apt \
	    ! -name '.*' -exec rm -rf {} + 2>/dev/null || :
distclean:  ## all of the build folder
	rm -rf $(BUILD)
format:  ## clang-format over all sources
	clang-format -i $(wildcard *.c *.h examples/*.c test/*.c test/*.h)
help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12
