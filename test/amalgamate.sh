#!/usr/bin/env bash
# Makes the single header: test/amalgamate.sh FILE.c... >falkorpool.h. pool.h is its public part; the rest stands behind
# FALKORPOOL_IMPLEMENTATION, each local header once, where it is first included.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

inline() {
    awk '
        function emit(file,    line, name) {
            if (done[file]++) return
            printf "\n/* ---- %s %s */\n\n", file, substr(dashes, 1, 66 - length(file))
            while ((getline line < file) > 0) {
                if (line ~ /^[ \t]*#[ \t]*include[ \t]*"/) {
                    name = line
                    gsub(/^[^"]*"|".*$/, "", name)
                    emit(name)
                } else print line
            }
            close(file)
        }
        BEGIN {
            dashes = "----------------------------------------------------------------------"
            for (i = 1; i < ARGC; i++)
                if (ARGV[i] ~ /^-/) done[substr(ARGV[i], 2)] = 1; else emit(ARGV[i])
        }' "$@"
}

cat <<'END'
/* falkorpool in one file, made from its sources; do not edit.

   Include it like any header. In exactly one C file write before every other
   include:

       #define FALKORPOOL_IMPLEMENTATION
       #include "falkorpool.h"

   and link with -lhiredis -lpthread. For TLS define FALKOR_TLS there too, and
   link with -lssl -lcrypto besides.

END
sed 's/^/   /; s/ *$//' LICENSE
cat <<'END'
*/

#ifdef FALKORPOOL_IMPLEMENTATION
#ifdef __cplusplus
#error "FALKORPOOL_IMPLEMENTATION belongs in a C file"
#endif
#if defined(_FEATURES_H) && !defined(__USE_MISC)
#error "with FALKORPOOL_IMPLEMENTATION include falkorpool.h first of all"
#endif
#endif

/* The C library decides at the first system header what it shows. */
#if defined(FALKORPOOL_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
END
inline pool.h
cat <<'END'

#if defined(FALKORPOOL_IMPLEMENTATION) && !defined(FALKORPOOL_IMPLEMENTED)
#define FALKORPOOL_IMPLEMENTED
END
inline -pool.h internal.h "$@"
printf '\n#endif\n'
