/* What the fuzz targets share: a tape, which is an input read piece by piece
   for choices (behind its end it gives zeros), random portions, a reader of
   UTF-8 of their own, and the check that ends a target with its place in the
   source. */
#ifndef FALKOR_FUZZ_H
#define FALKOR_FUZZ_H
#include "../internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

#define FUZZ_CHECK(condition)                                                  \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,         \
                    #condition);                                               \
            abort();                                                           \
        }                                                                      \
    } while (0)

typedef struct fuzz_tape { const uint8_t *at, *end; } fuzz_tape;

static inline unsigned fuzz_byte(fuzz_tape *tape) {
    return tape->at < tape->end ? *tape->at++ : 0;
}

/* 0 to limit - 1, limit being 256 at most. */
static inline unsigned fuzz_below(fuzz_tape *tape, unsigned limit) {
    return fuzz_byte(tape) % limit;
}

static inline uint64_t fuzz_number(fuzz_tape *tape, int bytes) {
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | fuzz_byte(tape);
    return number;
}

/* Whether a text is UTF-8: read here a second time, not by the library's own
   reader. */
static inline bool fuzz_is_utf8(const char *text) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        uint32_t code = *at++;
        int more = code < 0x80 ? 0 : code < 0xc0 ? -1 : code < 0xe0 ? 1
            : code < 0xf0 ? 2 : code < 0xf8 ? 3 : -1;
        if (more < 0)
            return false;
        code &= more ? 0x3fu >> more : 0x7fu;
        for (int i = 0; i < more; i++) {
            if ((*at & 0xc0) != 0x80)
                return false;
            code = code << 6 | (*at++ & 0x3fu);
        }
        if (code < least[more] || code > 0x10ffff ||
            (code >= 0xd800 && code < 0xe000))
            return false;
    }
    return true;
}

/* The next number of a generator: 1 to most. */
static inline size_t fuzz_portion(uint64_t *state, size_t most) {
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (size_t)(*state >> 33) % most + 1;
}
#endif
