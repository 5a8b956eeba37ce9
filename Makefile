# falkorpool: all the ways to build, test, measure and install it. GNU make; `make help` lists them.
#
# Variables to set: CC, CFLAGS, CPPFLAGS, LDFLAGS, PREFIX, LIBDIR, MANDIR, DESTDIR, BUILD (the folder for everything made or
# fetched), VARIANT (asan, tsan, coverage, valgrind, clang, hiredis1, werror, tls), THREADS=c11, SINGLE=1 (the library is made
# of the single header), TLS=1, WERROR=1, TEST, ONLY and CHECK (see test, checks).
# CPPFLAGS may leave parts of the library out (-DFALKOR_WITHOUT_PIPELINES, see pool.h).

BUILD   ?= build
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
MANDIR  ?= $(PREFIX)/share/man
CFLAGS  ?= -O2 -g
VERSION := $(shell awk '/^.define FALKOR_VERSION_[MP]/ { v = v (v == "" ? "" : ".") $$3 } END { print v }' pool.h 2>/dev/null)
export BUILD CC CPPFLAGS

# ---- variants: each keeps its objects in a folder of its own --------------------------------------------------------

OUT := $(BUILD)$(VARIANT:%=/%)$(THREADS:%=/threads-%)$(if $(SINGLE),/single)
HIREDIS1 := $(BUILD)/deps-hiredis1
ifeq ($(VARIANT),asan)
VARIANT_FLAGS = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DFALKOR_DEBUG
else ifeq ($(VARIANT),tsan)
VARIANT_FLAGS = -O1 -fsanitize=thread -fno-omit-frame-pointer -DFALKOR_DEBUG
else ifeq ($(VARIANT),coverage)
VARIANT_FLAGS = -O0 --coverage -fprofile-update=atomic
VARIANT_CPPFLAGS = -DTEST_COVERAGE
else ifeq ($(VARIANT),valgrind)
# For helgrind and DRD: what they cannot see is not there, and functions can be named (test/valgrind.supp).
VARIANT_FLAGS = -O1 -fno-inline
VARIANT_CPPFLAGS = -DFALKOR_FOR_VALGRIND
else ifeq ($(VARIANT),clang)
CC = clang
else ifeq ($(VARIANT),hiredis1)
VARIANT_CPPFLAGS = -isystem $(HIREDIS1)/include
VARIANT_LDFLAGS = -L$(HIREDIS1)/lib -Wl,-rpath,$(abspath $(HIREDIS1))/lib
VARIANT_NEEDS = $(HIREDIS1)
else ifeq ($(VARIANT),tls)
TLS = 1
else ifneq ($(filter-out werror size,$(VARIANT)),)
$(error VARIANT=$(VARIANT): asan, tsan, coverage, valgrind, clang, hiredis1, werror, size and tls are known)
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
# Before 1.0 a minor version may let structs grow.
SONAME   := libfalkorpool.so.$(if $(filter 0.%,$(VERSION)),$(basename $(VERSION)),$(firstword $(subst ., ,$(VERSION))))
SHARED   := $(OUT)/libfalkorpool.so.$(VERSION)
HELP_LIB := $(if $(HELP_SRC),$(OUT)/libtest.a)
EXAMPLES := $(filter-out $(OUT)/examples/falkor-cli% $(OUT)/examples/health_server,$(call programs,examples/*.c))
TOOLS    := $(if $(CLI_SRC),$(OUT)/falkor-cli) $(if $(wildcard examples/health_server.c),$(OUT)/health_server)
PAGES    := $(filter-out $(OUT)/examples/demo $(OUT)/examples/tls $(OUT)/examples/smallest,$(EXAMPLES))
# (test_tls runs examples/tls, on a build with TLS, test/check_parts.sh examples/smallest.)
TESTS    := $(if $(TEST),$(patsubst %,$(OUT)/test/test_%,$(TEST:test_%=%)),$(call programs,test/test_*.c) test/differential.sh)
TESTS    := $(patsubst $(OUT)/test/test_differential,test/differential.sh,$(TESTS))
# The longest first, so that the last of two at once does not run alone for long; last those that run alone anyway.
LONGEST := $(patsubst %,$(OUT)/test/test_%,schedules proof faults names)
LONERS  := $(patsubst %.c,$(OUT)/%,$(shell grep -l 'Runs alone:' test/test_*.c))
TESTS   := $(foreach test,$(LONGEST),$(filter $(test),$(TESTS))) $(filter-out $(LONGEST) $(LONERS),$(TESTS)) \
    $(filter $(LONERS),$(TESTS))
# test/sched.h and test/fibres.h run one thread at a time, on stacks that ThreadSanitizer does not know.
ifeq ($(VARIANT),tsan)
TESTS    := $(filter-out %/test_schedules %/test_storm,$(TESTS))
endif
CHECKS   := $(if $(CHECK),$(patsubst %,$(OUT)/test/check_%,$(CHECK:check_%=%)),$(call programs,test/check_*.c))
DRIVERS  := $(filter-out %/trial,$(call programs,examples/drivers/*.c))
BENCHES  := $(call programs,test/bench_*.c) $(wildcard test/bench_*.sh)
HEADER   := $(if $(wildcard pool.h),$(BUILD)/falkorpool.h)

.PHONY: all test rows check drivers fuzz bench bench-quick bench-plots demo clean distclean format help tests checks FORCE
.PHONY: single check-single install uninstall check-install dist
.DELETE_ON_ERROR:
.SECONDARY:

all: $(LIB) $(TOOLS) $(EXAMPLES) $(HEADER)  ## the libraries, falkor-cli, the examples, the single header (the default)
ifeq ($(VARIANT)$(THREADS)$(SINGLE),)
all: $(SHARED)
endif

# ---- building -------------------------------------------------------------------------------------------------------

# Libraries that the system lacks are fetched before anything is built: make reads its own flags from what deps.sh wrote.
ifneq ($(filter-out single uninstall dist clean distclean format help,$(or $(MAKECMDGOALS),all)),)
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
$(LIB): $(if $(SINGLE),$(OUT)/obj/unit-single.o,$(call obj,$(LIB_SRC)))
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
	$(LINK) $(LINK_$*) -lhiredis $(TLS_LIBS) -lcmocka -lcjson -lm
# What can run out there, in the library too (test/scarce.c).
LINK_test_memory = $(SCARCE:%=-Wl,--wrap=%)
LINK_test_secrets = $(SCARCE:%=-Wl,--wrap=%)
LINK_test_tls = $(SCARCE:%=-Wl,--wrap=%)
SCARCE = malloc calloc realloc strdup free pthread_create pthread_mutex_init pthread_cond_init pthread_atfork thrd_create \
    mtx_init cnd_init

$(OUT)/obj/test/bench_pool.o: ALL_CPPFLAGS += $(BENCH_CPPFLAGS)
# The library once more, without its timing, beside itself.
$(OUT)/obj/untimed.o: $(BUILD)/falkorpool.h $(OUT)/flags
	$(call unit,-DFALKOR_WITHOUT_TIMES)
	nm -g --defined-only $@ | sed -n 's/.* \(.*\)/\1 untimed_\1/p' >$(@:.o=.names)
	objcopy --redefine-syms=$(@:.o=.names) $@
$(OUT)/test/bench_pool: $(OUT)/obj/test/bench_pool.o $(OUT)/obj/untimed.o $(HELP_LIB) $(LIB)
	$(LINK) $(BENCH_LDFLAGS) $(BENCH_LIBS) -lhiredis $(TLS_LIBS) -lm

single: $(HEADER)  ## the single header, $(BUILD)/falkorpool.h
$(BUILD)/falkorpool.h: test/amalgamate.sh LICENSE $(LIB_SRC) $(wildcard *.h)
	@mkdir -p $(@D)
	test/amalgamate.sh >$@
# The single header as one object, with these flags.
unit = @mkdir -p $(@D); set -x; printf '\#define FALKORPOOL_IMPLEMENTATION\n\#include "$<"\n' | \
    $(CC) $(ALL_CPPFLAGS) $(1) $(ALL_CFLAGS) -MF $(@:.o=.d) -x c -c - -o $@
# SINGLE=1: all of libfalkorpool.a. Its internal names are not static, for the tests; weak, because a test that has
# files of the library as its own goes before them.
$(OUT)/obj/unit-single.o: $(BUILD)/falkorpool.h $(OUT)/flags
	$(call unit,-DFALKOR__PRIVATE=)
	nm -g --defined-only $@ | sed -n 's/.* //p' >$(@:.o=.names)
	objcopy --weaken-symbols=$(@:.o=.names) $@
# What the shared library exports is what is not static: just pool.h's functions.
$(OUT)/obj/unit-shared.o: $(BUILD)/falkorpool.h $(OUT)/flags
	$(call unit,-fPIC -fno-semantic-interposition -DFALKOR_API='__attribute__((visibility("default")))')
$(SHARED): $(OUT)/obj/unit-shared.o
	$(CC) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs $< $(ALL_LDFLAGS) -lhiredis $(TLS_LIBS) -o $@

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)

# ---- testing --------------------------------------------------------------------------------------------------------

RUN = test/server.sh run env OUT=$(OUT) VARIANT=$(VARIANT) SINGLE=$(SINGLE) \
    API_CPPFLAGS='$(VARIANT_CPPFLAGS) $(DEPS_CPPFLAGS) $(TLS_CPPFLAGS)' test/run.sh

# Where OpenSSL's headers are, the default build's test of TLS runs on a build with TLS too.
ifeq ($(filter test,$(MAKECMDGOALS))$(VARIANT)$(THREADS)$(SINGLE)$(TLS)$(filter-out tls test_tls,$(TEST)),test)
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

check: all  ## sanitizers, clang, hiredis 1.x, C11 threads, static, valgrind, coverage, mutants, drivers, test/check_*.c
	@test/check.sh
# CHECK=stress runs test/check_stress.c only.
checks: $(CHECKS)
	@TEST_JOBS=1 TEST_TIMEOUT=600 $(RUN) $(CHECKS)

# The flags of what is built by hand there.
SCRIPT = test/server.sh run env OUT=$(OUT) TLS=$(TLS) CPPFLAGS='$(VARIANT_CPPFLAGS) $(DEPS_CPPFLAGS) $(TLS_CPPFLAGS) $(CPPFLAGS)' \
    LDFLAGS='$(VARIANT_LDFLAGS) $(DEPS_LDFLAGS) $(TLS_LDFLAGS) $(LDFLAGS)'
check-single: $(HEADER) clang  ## the single header in every way that it can be included
	@$(SCRIPT) test/check_single.sh
check-install: $(LIB) $(SHARED) $(OUT)/falkor-cli $(HEADER)  ## install, uninstall, dist, CMake: a stranger's program each way
	@test/deps.sh packaging
	@$(SCRIPT) test/check_install.sh

drivers: $(DRIVERS)  ## examples/drivers against PostgreSQL, PgBouncer, MariaDB, Redis, nginx and Bolt
	@test/services.sh check $(OUT)/examples/drivers
.PHONY: metrics
metrics: $(OUT)/health_server  ## health_server as promtool, Prometheus and Chromium see it; screenshots into $(BUILD)
	@OUT=$(OUT) test/check_metrics.sh
.PHONY: static valgrind coverage
static:  ## clang-tidy, cppcheck, gcc -fanalyzer and clang -Wthread-safety over the library
	@DEPS_CPPFLAGS='$(DEPS_CPPFLAGS)' TLS_CPPFLAGS='$(TLS_CPPFLAGS)' test/check_static.sh
valgrind:  ## threaded tests under memcheck, helgrind and DRD
	@test/check_valgrind.sh
coverage:  ## what of the library the tests run: 95 % of lines and 85 % of branches at least, and test/uncovered.txt
	@test/check_coverage.sh
.PHONY: mutants mutants-quick
mutants:  ## small mistakes put into the library one at a time: each must be caught by the test that its patch names
	@test/mutants.sh
mutants-quick: export MUTANTS_QUICK = 1
mutants-quick: mutants

.PHONY: cross cross-quick parts parts-quick size
cross:  ## 32-bit ARM, RISC-V, big-endian, musl: compiled by gcc and clang, tested under qemu-user
	@test/check_cross.sh
cross-quick: export CROSS_QUICK = 1
cross-quick: cross
parts:  ## every combination of FALKOR_WITHOUT_... compiles; the smallest passes its tests
	@test/deps.sh get
	@env -u FALKORDB_URL test/server.sh run test/check_parts.sh
parts-quick: export PARTS_QUICK = 1
parts-quick: parts
size:  ## bytes of code at -Os: everything, without each part, the smallest; CC=arm-linux-gnueabihf-gcc for another machine
	@test/deps.sh tls
	@CC='$(CC)' test/size.sh

# clang and libFuzzer, where they are not there yet.
.PHONY: clang
clang:
	@test/deps.sh check
FUZZERS = $(patsubst test/%.c,$(BUILD)/fuzz/%,$(wildcard test/fuzz_*.c))
FUZZ_FLAGS = -std=c11 -g -O1 -fsanitize=fuzzer-no-link,address,undefined,float-cast-overflow -fno-sanitize-recover=all \
    -pthread -MMD -MP
fuzz: $(FUZZERS)  ## the fuzzers, two at a time, FUZZ_SECONDS (60) each; their corpora first
	@test/fuzz.sh $(FUZZERS)
$(BUILD)/fuzz/obj/%.o: %.c | clang
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) -I. $(FUZZ_CPPFLAGS) $(DEPS_CPPFLAGS) -c $< -o $@
$(BUILD)/fuzz/lib.a: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(LIB_SRC) $(filter-out examples/falkor-cli.c,$(CLI_SRC)))
$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/test/%.o $(BUILD)/fuzz/lib.a
	clang $(subst -no-link,,$(FUZZ_FLAGS)) $(filter %.o %.a,$^) $(FUZZ_LDFLAGS) $(DEPS_LDFLAGS) -lhiredis -lcjson -ledit -lm -o $@
# The answer to INFO comes from the target, not from a server.
$(BUILD)/fuzz/fuzz_texts: FUZZ_LDFLAGS = -Wl,--wrap=falkor_command
# The peer of the differential target is hiredis 1.x, whatever the library is built with.
$(BUILD)/fuzz/obj/test/fuzz_hiredis.o: FUZZ_CPPFLAGS = -isystem $(HIREDIS1)/include
$(BUILD)/fuzz/obj/test/fuzz_hiredis.o: | $(HIREDIS1)
$(BUILD)/fuzz/fuzz_hiredis: FUZZ_LDFLAGS = $(HIREDIS1)/lib/libhiredis.a
-include $(shell find $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)

bench: all $(BENCHES)  ## test/bench_*.c against their peers: a table, and $(BUILD)/bench.json; RUNS=3 takes medians of runs
	@-test/deps.sh node
	@test/bench_size.sh >/dev/null      # so that what is built for it is
	@OUT=$(OUT) CC='$(CC)' test/bench.sh $(BENCHES)
bench-quick: export BENCH_QUICK = 1
bench-quick: bench  ## the same in a minute
bench-plots: $(OUT)/test/plot_curves $(OUT)/test/plot_storm  ## three plots of it and a simulation's, docs/*.svg, in three minutes; wants gnuplot
	@test/deps.sh plots
	@-test/deps.sh node
	@CC='$(CC)' test/plots.sh $< docs

demo: all  ## loads a real data set and shows the library at work
	@test/deps.sh data
	test/server.sh run $(OUT)/examples/demo $(BUILD)/data/airports.csv $(BUILD)/data/flights-airport.csv

# ---- housekeeping ---------------------------------------------------------------------------------------------------

# What install puts below $(DESTDIR), and uninstall takes away.
INSTALLED = $(PREFIX)/include/falkorpool/pool.h $(PREFIX)/include/falkorpool.h $(PREFIX)/bin/falkor-cli \
    $(addprefix $(LIBDIR)/,libfalkorpool.a libfalkorpool.so $(SONAME) $(notdir $(SHARED)) pkgconfig/falkorpool.pc) \
    $(MANDIR)/man1/falkor-cli.1 $(MANDIR)/man3/falkorpool.3
INSTALL ?= install
PUT = $(INSTALL) -D -m
# What an install cannot be made with, in words. A run path into the build folder is for the programs there: as root it would let
# whoever owns that folder choose a system program's libraries.
check_folders = $(if $(filter-out /%,$(PREFIX) $(LIBDIR) $(MANDIR))$(word 2,$(DESTDIR)),$(error PREFIX=$(PREFIX) LIBDIR=$(LIBDIR) \
    MANDIR=$(MANDIR) DESTDIR=$(DESTDIR): folders without spaces are wanted, and but for DESTDIR they begin with /))
check_libraries = $(if $(findstring -rpath,$(DEPS_LDFLAGS) $(TLS_LDFLAGS) $(VARIANT_LDFLAGS)),$(if \
    $(filter 0,$(shell id -u)),$(error install as root: hiredis or OpenSSL is in $(BUILD) only. Install it in the system, remove \
    $(BUILD)/deps*.mk, and build again)))

install: $(LIB) $(SHARED) $(OUT)/falkor-cli $(HEADER)  ## into $(DESTDIR)$(PREFIX): libraries, headers, falkor-cli, man
	$(check_folders)$(check_libraries)
	@rm -f $(OUT)/falkorpool.pc
	$(PUT) 644 pool.h $(DESTDIR)$(PREFIX)/include/falkorpool/pool.h
	$(PUT) 644 $(HEADER) $(DESTDIR)$(PREFIX)/include/falkorpool.h
	$(PUT) 755 $(OUT)/falkor-cli $(DESTDIR)$(PREFIX)/bin/falkor-cli
	$(PUT) 644 $(LIB) $(DESTDIR)$(LIBDIR)/libfalkorpool.a
	$(PUT) 644 $(SHARED) $(DESTDIR)$(LIBDIR)/$(notdir $(SHARED))
	ln -sf $(notdir $(SHARED)) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libfalkorpool.so
	$(PUT) 644 man/falkor-cli.1 $(DESTDIR)$(MANDIR)/man1/falkor-cli.1
	$(PUT) 644 man/falkorpool.3 $(DESTDIR)$(MANDIR)/man3/falkorpool.3
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|; s|@VERSION@|$(VERSION)|' \
	    -e 's|@REQUIRES@|$(strip $(PC_REQUIRES))|; s|@LIBS@|$(strip $(PC_LIBS))|' \
	    -e 's| *@PARTS@|$(addprefix $(space),$(filter -DFALKOR_WITHOUT_%,$(CPPFLAGS)))|' falkorpool.pc.in >$(OUT)/falkorpool.pc
	$(PUT) 644 $(OUT)/falkorpool.pc $(DESTDIR)$(LIBDIR)/pkgconfig/falkorpool.pc
# A static program needs what the library needs: by name where pkg-config knows it.
space := $() $()
pc = $(shell pkg-config --exists $(1) 2>/dev/null && echo $(1))
PC_REQUIRES = $(call pc,hiredis) $(if $(TLS),$(call pc,libssl libcrypto))
PC_LIBS = $(if $(call pc,hiredis),,-lhiredis) $(if $(TLS),$(if $(call pc,libssl libcrypto),,$(TLS_LIBS))) -pthread

# Folders that are empty then go with DESTDIR only: elsewhere others may want them.
uninstall:  ## takes away what install, with the same PREFIX and DESTDIR, has put there
	$(check_folders)
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	rmdir $(DESTDIR)$(PREFIX)/include/falkorpool 2>/dev/null || :
	$(if $(DESTDIR),[ ! -d $(DESTDIR) ] || cd $(DESTDIR) && for folder in $(sort $(dir $(INSTALLED:/%=%))); do \
	    [ ! -d $$folder ] || rmdir -p --ignore-fail-on-non-empty $$folder; done)

dist:  ## $(BUILD)/falkorpool-VERSION.tar.gz of the last commit, with the single header in it
	@test/dist.sh

clean:  ## what was built; what was fetched stays
	find $(BUILD) -mindepth 1 -maxdepth 1 ! -name server ! -name services ! -name 'deps*' ! -name data ! -name node ! -name apt \
	    ! -name '.*' -exec rm -rf {} + 2>/dev/null || :
distclean:  ## all of the build folder
	rm -rf $(BUILD)
format:  ## clang-format over all sources
	clang-format -i $(wildcard *.c *.h examples/*.c test/*.c test/*.h)
help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 15
