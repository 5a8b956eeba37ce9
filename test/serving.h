/* What the tests share that talk to servers: private servers started through
   test/server.sh, the proxy of proxy.h, a plain second client, and short words
   for pools and queries.

   Every function here that asserts is for the main thread only. */
#ifndef FALKOR_TEST_SERVING_H
#define FALKOR_TEST_SERVING_H
#include "proxy.h"
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <sys/types.h>

#define SERVING_MS INT64_C(1000000)     /* in nanoseconds */

/* ---- scripts of test/ ------------------------------------------------- */

/* One that runs until its input ends, and says in lines what it has done. */
typedef struct serving_script {
    pid_t pid;                          /* 0: it does not run */
    int input, output;
} serving_script;

/* run takes a list of arguments that ends with NULL, the program first. line
   waits for the next one, though not for ever; "" when there is none. end waits
   for the script's end; a second end does nothing. */
void serving_script_run(serving_script *script, const char *const *argv);
void serving_script_line(const serving_script *script, char *line, size_t size);
void serving_script_end(serving_script *script);

/* ---- servers ---------------------------------------------------------- */

typedef struct serving {
    serving_script script;              /* server.sh */
    pid_t pid;                          /* of the server */
    int port;
    char socket[108], dir[200];
} serving;

/* Starts a server of its own with more arguments (a list that ends with NULL,
   or NULL) and waits until it answers. stop goes on where it was stopped, or
   killed, and waits for its end; a second stop does nothing. */
void serving_start(serving *server, const char *const *arguments);
void serving_stop(serving *server);
void serving_signal(const serving *server, int number);

/* Waits until the process is in /proc's state ('T': stopped) or gone ('X'). */
void serving_await_state(const serving *server, char state);

/* ---- a second client, blocking --------------------------------------- */

redisContext *serving_client(int port);

/* Runs one command, split at spaces; its reply as text ("(nil)", an integer,
   "-ERR ..."), to be freed. Dials for itself. */
char *serving_ask(int port, const char *command);
long long serving_number(int port, const char *command);

/* The number behind name in "INFO section": -1 when it is not there. For
   commandstats: the calls of "cmdstat_name", 0 when there were none. */
long long serving_info(int port, const char *section, const char *name);
long long serving_calls(int port, const char *command);

/* ---- examples --------------------------------------------------------- */

/* Runs one that was built with this program: what it prints, and its exit
   status. before: assignments for its environment, or "". */
int serving_example(const char *before, const char *name, const char *argument,
                    char *text, size_t size);

/* ---- pools and queries ------------------------------------------------ */

/* Options for a server on this machine. */
falkor_options serving_options(int port);

/* A pool that is open, or the test fails. */
falkor_pool *serving_pool(const falkor_options *options);

/* The result of a query that must succeed. */
falkor_result *serving_query(falkor_graph *graph, const char *cypher,
                             const falkor_param *params);

/* A query that must succeed and returns one integer, or nothing. */
void serving_run(falkor_graph *graph, const char *cypher);
int64_t serving_integer(falkor_graph *graph, const char *cypher,
                        const falkor_param *params);

/* Deletes the graph on the server and frees it here. */
void serving_drop(falkor_pool *pool, falkor_graph *graph, const char *name);

/* What a request of a pipeline has brought: an integer, or the test fails. */
#ifndef FALKOR_WITHOUT_PIPELINES
int64_t serving_integer_of(const falkor_request *request);
void serving_free_results(falkor_request *requests, size_t count);
#endif

/* Makes printf write 1,5 for 1.5; the test fails when that cannot be had. back
   ends it. */
void serving_comma(void);
void serving_comma_back(void);

/* TEST_MAIN with something to do before the first test and after the last. */
#define TEST_MAIN_WITH(begin, end, ...)                                        \
    int main(int argc, char **argv) {                                          \
        const struct CMUnitTest tests_[] = {__VA_ARGS__};                      \
        setvbuf(stdout, NULL, _IOLBF, 0);                                      \
        if (argc > 1)                                                          \
            cmocka_set_test_filter(argv[1]);                                   \
        return cmocka_run_group_tests(tests_, begin, end);                     \
    }

#define serving_ok(error) serving_ok_at((error), __FILE__, __LINE__)
void serving_ok_at(const falkor_error *error, const char *file, int line);
#endif
