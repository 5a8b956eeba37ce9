/* A password in disguise, and the search for it: see secret.h. A block that was
   freed loses its first bytes to the allocator: so three parts are looked for,
   and found whatever lies around them. */
#include "secret.h"
#include "testing.h"
#include <fcntl.h>
#include <unistd.h>

#define MASK 0x5a
#define MIDDLE 23
#define PART 16
#define LARGEST ((uintptr_t)1 << 27)    /* larger ones are a sanitizer's own */
static unsigned char masked[SECRET_SIZE - 1];
static unsigned char window[64 << 10];  /* what is looked at */

void secret_draw(void) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO";
    uint64_t state = test_seed();
    for (size_t i = 0; i < sizeof masked; i++)
        masked[i] = (unsigned char)(MASK ^ (i == MIDDLE ? '@'
            : letters[test_below(&state, sizeof letters - 1)]));
}

void secret_wipe(void *room, size_t size) {
    explicit_bzero(room, size);
}

/* Byte by byte, so that no wide register has it. */
char *secret_write(char *room, int times) {
    volatile char *out = room;
    for (int i = 0; i < times; i++)
        for (size_t k = 0; k < sizeof masked; k++)
            *out++ = (char)(masked[k] ^ MASK);
    *out = '\0';
    return room;
}

char *secret_write_encoded(char *room) {
    volatile char *out = secret_write(room, 1);
    for (size_t k = SECRET_SIZE - 1; k > MIDDLE; k--)
        out[k + 2] = out[k];
    for (size_t k = 0; k < 3; k++)
        out[MIDDLE + k] = "%40"[k];
    return room;
}

#ifdef __SANITIZE_ADDRESS__
__attribute__((no_sanitize_address))
#endif
static int hits_in(const unsigned char *bytes, size_t size,
                   const unsigned char *part) {
    int hits = 0;
    for (size_t i = 0; i + PART <= size; i++) {
        size_t same = 0;
        while (same < PART && (bytes[i + same] ^ MASK) == part[same])
            same++;
        hits += same == PART;
    }
    return hits;
}

/* One mapping, in windows that overlap. A page that cannot be read is passed
   over. */
static int hits_between(int memory, uintptr_t at, uintptr_t end) {
    int hits = 0;
    while (at < end) {
        size_t size = end - at < sizeof window ? end - at : sizeof window;
        ssize_t got = pread(memory, window, size, (off_t)at);
        if (got <= 0) {
            at += 4096;
            continue;
        }
        hits += hits_in(window, (size_t)got, masked);
        hits += hits_in(window, (size_t)got, masked + MIDDLE + 1);
        hits += hits_in(window, (size_t)got, masked + MIDDLE + 1 - PART - 1);
        at += got > 2 * PART && at + (uintptr_t)got < end
            ? (uintptr_t)got - PART : (uintptr_t)got;
    }
    return hits;
}

/* Without the window itself. */
int secret_hits(void) {
    static char line[512];
    uintptr_t mine = (uintptr_t)window, behind = mine + sizeof window;
    int hits = 0, memory = open("/proc/self/mem", O_RDONLY);
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_true(memory >= 0 && maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long long begin, end;
        char writable;
        if (sscanf(line, "%llx-%llx r%c", &begin, &end, &writable) != 3 ||
            writable != 'w' || end - begin > LARGEST)
            continue;
        uintptr_t from = (uintptr_t)begin, to = (uintptr_t)end;
        if (from <= mine && mine < to) {
            hits += hits_between(memory, from, mine);
            from = behind;
        }
        hits += hits_between(memory, from, to);
    }
    fclose(maps);
    close(memory);
    secret_wipe(window, sizeof window);
    return hits;
}
