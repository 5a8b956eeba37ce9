/* What the test programs share: seeds, threads that record what is wrong
   while the main thread asserts (an assert of cmocka in any other thread ends
   the process without a word), waiting for a condition with a limit, and main
   itself. */
#ifndef FALKOR_TESTING_H
#define FALKOR_TESTING_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* pthread_timedjoin_np */
#endif
#include "../pool.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <cmocka.h>

#ifdef TEST_COVERAGE                    /* what a child has run counts too */
void __gcov_dump(void);
#define _exit(status) (__gcov_dump(), _exit(status))
#endif

/* Sanitizers make everything slower: loops that prove by number are shorter
   there. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

/* How long anything that must happen may take on a loaded machine. */
#ifndef TEST_PATIENCE_MS
#define TEST_PATIENCE_MS 40000
#endif

/* The seed of this run: FALKOR_TEST_SEED or the clock. The first call prints
   it; later calls return the same. */
uint64_t test_seed(void);

/* The next number of a generator whose state is *state; below: 0 to limit-1;
   chance: true once in so many times. */
uint64_t test_random(uint64_t *state);
int test_below(uint64_t *state, int limit);
bool test_chance(uint64_t *state, int once_in);

int64_t test_now_ms(void);
void test_pause_ms(int ms);

/* In any thread: records the first complaint, and how many there were.
   TEST_CHECK goes on after a failure and is true when the condition holds. */
void test_complain(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define TEST_CHECK(condition)                                                  \
    ((condition) ? true                                                        \
                 : (test_complain(__FILE__, __LINE__, "%s", #condition), false))
#define TEST_COMPLAIN(...) test_complain(__FILE__, __LINE__, __VA_ARGS__)

/* In the main thread: fails the test with the first complaint, if there is
   one, and forgets them all. */
void test_no_complaints(void);

/* Forgets them, and returns how many there were. */
int test_forget_complaints(void);

/* fork(), in a moment when no other thread is in the allocator of a sanitizer:
   gcc's are not kept whole over a fork, and the child would wait for ever. */
pid_t test_fork(void);

/* The first and the last act of a child of fork: it is ended by an alarm, or
   by _exit, with 0 when there is no complaint and no leak (quits: in a child
   that other threads' memory is lost to, leaks are not looked for). status is
   the parent's, which waits; await too, in the main thread, and fails the test
   for a child that ended otherwise than with 0. */
void test_child_begins(void);
void test_child_ends(void);
void test_child_quits(void);
int test_child_status(pid_t child);
void test_await_child(pid_t child);

/* A thread for each of count elements of size bytes of array (NULL: each gets
   NULL), which run gets. join waits TEST_PATIENCE_MS at most and then ends the
   process with a message: a hang is a failure that names itself. */
typedef struct test_threads {
    pthread_t *ids;
    int count;
} test_threads;
test_threads test_start(void *(*run)(void *), void *array, size_t size,
                        int count);
void test_join(test_threads *threads);
void test_join_within(test_threads *threads, int ms);

/* In the main thread: waits until the condition holds, asking each
   millisecond; fails the test when it does not within TEST_PATIENCE_MS. */
#define TEST_EVENTUALLY(condition)                                             \
    do {                                                                       \
        int64_t until_ = test_now_ms() + TEST_PATIENCE_MS;                     \
        while (!(condition)) {                                                 \
            if (test_now_ms() > until_)                                        \
                fail_msg("not within %d ms: %s", TEST_PATIENCE_MS,             \
                         #condition);                                          \
            test_pause_ms(1);                                                  \
        }                                                                      \
    } while (0)

/* In the main thread: that text holds part. */
#define test_assert_has(text, part)                                            \
    test_assert_has_at(text, part, true, __FILE__, __LINE__)
#define test_assert_lacks(text, part)                                          \
    test_assert_has_at(text, part, false, __FILE__, __LINE__)
void test_assert_has_at(const char *text, const char *part, bool wanted,
                        const char *file, int line);

/* main: the first argument is a pattern of test names. */
#define TEST_MAIN(...)                                                         \
    int main(int argc, char **argv) {                                          \
        const struct CMUnitTest tests_[] = {__VA_ARGS__};                      \
        setvbuf(stdout, NULL, _IOLBF, 0);                                      \
        if (argc > 1)                                                          \
            cmocka_set_test_filter(argv[1]);                                   \
        return cmocka_run_group_tests(tests_, NULL, NULL);                     \
    }
#endif
