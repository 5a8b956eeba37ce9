/* Seeds, recording threads, bounded waits: see testing.h. */
#include "testing.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t test_seed(void) {
    static uint64_t seed;
    static bool known;
    const char *given = getenv("FALKOR_TEST_SEED");
    if (known)
        return seed;
    known = true;
    seed = given && *given ? strtoull(given, NULL, 0)
                           : (uint64_t)falkor_now_ns();
    printf("seed: FALKOR_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* xorshift64*, by Sebastiano Vigna; not the library's own generator. */
uint64_t test_random(uint64_t *state) {
    uint64_t x = *state ? *state : UINT64_C(88172645463325252);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

int test_below(uint64_t *state, int limit) {
    return (int)((test_random(state) >> 33) % (uint64_t)limit);
}

bool test_chance(uint64_t *state, int once_in) {
    return test_below(state, once_in) == 0;
}

int64_t test_now_ms(void) {
    return falkor_now_ns() / 1000000;
}

void test_pause_ms(int ms) {
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

/* ---- complaints ------------------------------------------------------- */

static pthread_mutex_t complaints_mutex = PTHREAD_MUTEX_INITIALIZER;
static char first_complaint[1024];
static int complaints;

void test_complain(const char *file, int line, const char *format, ...) {
    pthread_mutex_lock(&complaints_mutex);
    if (complaints++ == 0) {
        int at = snprintf(first_complaint, sizeof first_complaint, "%s:%d: ",
                          file, line);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(first_complaint + at, sizeof first_complaint - (size_t)at,
                  format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&complaints_mutex);
}

void test_no_complaints(void) {
    char text[sizeof first_complaint];
    pthread_mutex_lock(&complaints_mutex);
    int count = complaints;
    memcpy(text, first_complaint, sizeof text);
    complaints = 0;
    pthread_mutex_unlock(&complaints_mutex);
    if (count)
        fail_msg("%s (%d complaints)", text, count);
}

int test_forget_complaints(void) {
    pthread_mutex_lock(&complaints_mutex);
    int count = complaints;
    complaints = 0;
    pthread_mutex_unlock(&complaints_mutex);
    return count;
}

/* ---- children --------------------------------------------------------- */

/* Whether all threads but the calling one sleep. */
static bool others_sleep(void) {
    DIR *tasks = opendir("/proc/self/task");
    bool sleep = tasks != NULL;
    for (struct dirent *entry; sleep && (entry = readdir(tasks)) != NULL;) {
        char path[64], state = 'S';
        long tid = strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/self/task/%ld/stat", tid);
        FILE *file = tid && tid != syscall(SYS_gettid) ? fopen(path, "r")
                                                       : NULL;
        if (file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1)
            sleep = state == 'S';
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return sleep;
}

pid_t test_fork(void) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (TEST_SANITIZED && !others_sleep() && test_now_ms() < until)
        test_pause_ms(1);
    return fork();
}

#define CHILD_SECONDS (TEST_PATIENCE_MS / 1000)

/* AddressSanitizer's; absent in other builds. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

void test_child_begins(void) {
    alarm(CHILD_SECONDS);
}

void test_child_quits(void) {
    if (complaints)
        fprintf(stderr, "in a child: %s\n", first_complaint);
    _exit(complaints ? 1 : 0);
}

void test_child_ends(void) {
    if (!complaints && __lsan_do_recoverable_leak_check &&
        __lsan_do_recoverable_leak_check())
        _exit(2);
    test_child_quits();
}

int test_child_status(pid_t child) {
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

void test_await_child(pid_t child) {
    int status = test_child_status(child);
    assert_true(child > 0);
    if (WIFSIGNALED(status))
        fail_msg("a child ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status))
        fail_msg("a child ended with %d: 1 is a complaint, 2 a leak",
                 WEXITSTATUS(status));
}

/* ---- threads ---------------------------------------------------------- */

test_threads test_start(void *(*run)(void *), void *array, size_t size,
                        int count) {
    test_threads threads = {calloc((size_t)count, sizeof *threads.ids), count};
    for (int i = 0; i < count; i++) {
        void *argument = array ? (char *)array + (size_t)i * size : NULL;
        if (!threads.ids ||
            pthread_create(&threads.ids[i], NULL, run, argument) != 0) {
            fprintf(stderr, "cannot start thread %d of %d\n", i, count);
            abort();
        }
    }
    return threads;
}

void test_join_within(test_threads *threads, int ms) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    for (int i = 0; i < threads->count; i++) {
#ifdef FALKOR_FOR_VALGRIND              /* it does not see the other */
        (void)until;
        if (pthread_join(threads->ids[i], NULL) != 0) {
#else
        if (pthread_timedjoin_np(threads->ids[i], NULL, &until) != 0) {
#endif
            fprintf(stderr, "thread %d of %d hangs: first complaint: %s\n", i,
                    threads->count, complaints ? first_complaint : "none");
            abort();
        }
    }
    free(threads->ids);
    threads->ids = NULL;
    threads->count = 0;
}

void test_join(test_threads *threads) {
    test_join_within(threads, TEST_PATIENCE_MS);
}

/* ---- texts ------------------------------------------------------------ */

void test_assert_has_at(const char *text, const char *part, bool wanted,
                        const char *file, int line) {
    if (!text || (strstr(text, part) != NULL) != wanted) {
        print_error("%s:%d: \"%s\" %s \"%s\"\n", file, line,
                    text ? text : "(null)", wanted ? "lacks" : "has", part);
        _fail(file, line);
    }
}
