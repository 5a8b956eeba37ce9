#!/usr/bin/env bash
# Makes the single header: test/amalgamate.sh >falkorpool.h. pool.h is its public part; the rest, *.c, stands behind
# FALKORPOOL_IMPLEMENTATION, each local header once, where it is first included. What a header declares gets its linkage from
# a macro there, FALKOR_API or FALKOR__PRIVATE. In C a function's definition has the linkage of its declaration; a variable's
# needs the macro as well.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# inline MACRO FILE...: a file with a minus before its name counts as included already.
inline() {
    awk -v macro="$1" '
        function linked(file, line,    name) {
            if (line !~ /^[A-Za-z_]/ || line ~ /^(typedef|static)/ || file == "pool.h" && line ~ /^inline/) return line
            if (line ~ /^extern [^"(]*;/) {
                sub(/^extern /, "", line)
                match(line, /falkor__[a-z0-9_]*;/)
                wanted[substr(line, RSTART, RLENGTH - 1)] = 1
                return macro " " line
            }
            if (file ~ /\.h$/) return line ~ /^[^(]*[ *]falkor_[a-z0-9_]*\(/ ? macro " " line : line
            for (name in wanted)
                if (line ~ "^[^(=]*[ *]" name "( =|;)") {
                    delete wanted[name]
                    return macro " " line
                }
            return line
        }
        function emit(file,    line, name) {
            if (done[file]++) return
            printf "\n/* ---- %s %s */\n\n", file, substr(dashes, 1, 66 - length(file))
            while ((getline line < file) > 0) {
                if (line ~ /^[ \t]*#[ \t]*include[ \t]*"/) {
                    name = line
                    gsub(/^[^"]*"|".*$/, "", name)
                    emit(name)
                } else print linked(file, line)
            }
            close(file)
        }
        BEGIN {
            dashes = "----------------------------------------------------------------------"
            for (i = 2; i < ARGC; i++)
                if (ARGV[i] ~ /^-/) done[substr(ARGV[i], 2)] = 1; else emit(ARGV[i])
            for (name in wanted) {
                print "amalgamate.sh: no definition of " name >"/dev/stderr"
                exit 1
            }
        }' "$@"
}

version=$(awk '/^.define FALKOR_VERSION_/ { printf "%s%s", dot, $3; dot = "." }' pool.h)
echo "/* falkorpool $version in one file, made from its sources; do not edit."
cat <<'END'

   Include it like any header, in C and in C++. In exactly one C file write
   before every other include:

       #define FALKORPOOL_IMPLEMENTATION
       #include "falkorpool.h"

   and link with -lhiredis -lpthread. Macros that may be defined before:

   FALKORPOOL_IMPLEMENTATION  the library itself stands in this C file. It needs
                       what -std=c11 hides, so that it defines _GNU_SOURCE:
                       hence before every other include
   FALKOR_STATIC       beside it: all of the library is this file's own; other
                       files of the program may have theirs
   FALKOR_API          stands before each public function, as declared and as
                       defined: an attribute that exports it, say; or nothing
   FALKOR_TLS          beside FALKORPOOL_IMPLEMENTATION: with TLS; link with
                       -lssl -lcrypto too

END
sed 's/^/   /; s/ *$//' LICENSE
cat <<'END'
*/

#ifdef FALKORPOOL_IMPLEMENTATION
#ifdef __cplusplus
#error "FALKORPOOL_IMPLEMENTATION belongs in a C file; C++ includes falkorpool.h \
without it"
#undef FALKORPOOL_IMPLEMENTATION        /* so that this is the only error */
#endif
/* The C library decides at the first system header what it shows. */
#if defined(__GLIBC__) && !defined(__USE_MISC) ||                              \
    defined(_FEATURES_H) && !defined(__GLIBC__) && !defined(_GNU_SOURCE) &&    \
        !defined(_BSD_SOURCE)
#error "a system header came before falkorpool.h: with FALKORPOOL_IMPLEMENTATION \
include falkorpool.h first of all, or compile this file with -D_GNU_SOURCE"
#undef FALKORPOOL_IMPLEMENTATION
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#elif defined(FALKOR_STATIC)
#error "FALKOR_STATIC makes the library this file's own: define \
FALKORPOOL_IMPLEMENTATION too"
#undef FALKOR_STATIC
#endif
#ifndef FALKOR__STATIC
#ifdef __GNUC__
#define FALKOR__STATIC static __attribute__((unused))
#else
#define FALKOR__STATIC static
#endif
#ifdef FALKOR_STATIC
#ifdef FALKOR_API
#error "define FALKOR_STATIC or FALKOR_API, not both"
#undef FALKOR_API
#endif
#define FALKOR_API FALKOR__STATIC
#define FALKOR__WHOLLY_STATIC
#elif !defined(FALKOR_API)
#define FALKOR_API
#endif
#elif defined(FALKOR_STATIC) && !defined(FALKOR__WHOLLY_STATIC)
#error "define FALKOR_STATIC where this file first includes falkorpool.h"
#undef FALKORPOOL_IMPLEMENTATION
#endif
END
inline FALKOR_API pool.h
cat <<'END'

#if defined(FALKORPOOL_IMPLEMENTATION) && !defined(FALKORPOOL_IMPLEMENTED)
#define FALKORPOOL_IMPLEMENTED
#ifndef FALKOR__PRIVATE                 /* empty: the library's own tests */
#define FALKOR__PRIVATE FALKOR__STATIC
#endif
END
# shellcheck disable=SC2035
inline FALKOR__PRIVATE -pool.h internal.h *.c
printf '\n#endif\n'
