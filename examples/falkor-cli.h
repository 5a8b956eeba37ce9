/* What the files of falkor-cli share. It is one program, and an example of the
   library's use: every call it makes is in pool.h. */
#ifndef FALKOR_CLI_H
#define FALKOR_CLI_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* getopt_long, wcwidth */
#endif
#include "pool.h"
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };     /* exit statuses */

typedef enum cli_format { CLI_TABLE, CLI_JSON, CLI_CSV } cli_format;
typedef struct cli_param cli_param;

typedef struct cli {
    falkor_pool *pool;
    falkor_graph *graph;
    cli_param *params;                  /* a list */
    cli_format format;
    bool read_only, utf8;               /* the locale is of UTF-8 */
    bool keep_going, failed;            /* some failed, and it went on */
} cli;

/* ---- falkor-cli.c ----------------------------------------------------- */

/* Prints "falkor-cli: " and a line on standard error. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong with the command line, and ends the program. */
_Noreturn void cli_wrong(const char *what, const char *which);

/* The number, from 1 to most, or the seconds that an option of bench or stats
   takes; or says what it takes, and ends the program. */
int64_t cli_whole_number(const char *command, const char *name,
                         const char *value, int64_t most, const char *takes);
double cli_seconds_of(const char *command, const char *name,
                      const char *value, bool zero);

/* Says that there is no memory, and ends the program. */
_Noreturn void cli_no_memory(void);
void *cli_reserve(void *old, size_t count, size_t size);

/* Asks another graph from now on; false: no memory. */
bool cli_select(cli *self, const char *name);

/* Runs one statement and prints its result, or what went wrong: line is where
   it began, 0 for none. Returns an exit status: with keep_going a statement
   that failed is none to stop at. */
int cli_run(cli *self, const char *statement, size_t line);

/* An exit status; says what errno does where the output was not written. */
int cli_check_printed(bool printed);

/* The format called name; false: there is none such. */
bool cli_format_named(const char *name, cli_format *format);

/* ---- falkor-cli-params.c ---------------------------------------------- */

/* Sets a parameter from JSON, or replaces it. false: *why says what is wrong
   with it (static text). */
bool cli_param_set(cli_param **list, const char *name, size_t name_length,
                   const char *json, const char **why);

/* The list as a query takes it: an array that ends with {0}. The caller frees
   the array. */
falkor_param *cli_params_array(const cli_param *list);
void cli_params_free(cli_param *list);

/* ---- falkor-cli-output.c ---------------------------------------------- */

/* Prints a result on standard output; false: it could not be written, and
   errno says why. */
bool cli_print(const falkor_result *result, cli_format format);

/* Prints an error as one line of JSON in a result's place; false: likewise. */
bool cli_print_error(const falkor_error *error, size_t line);

/* ---- falkor-cli-input.c ----------------------------------------------- */

/* These run the statements of a text, of a file, or of whoever sits at the
   terminal. The first two stop at the first that fails, or keep going. */
int cli_run_text(cli *self, const char *text);
int cli_run_file(cli *self, FILE *file);
int cli_run_prompt(cli *self);

/* ---- falkor-cli-server.c ---------------------------------------------- */

/* A private server, which ends with this program however that ends. */
typedef struct cli_server { int pid, lifeline, port; } cli_server;

/* Starts it; its data stay in folder data, or nowhere when that is NULL.
   false: the message was printed. */
bool cli_server_start(cli_server *server, const char *data);

/* Stops it and waits until it has saved; false: it did not end well. */
bool cli_server_stop(cli_server *server);

/* ---- falkor-cli-bench.c ----------------------------------------------- */

typedef struct cli_bench cli_bench;     /* what the command line said */
extern const char cli_bench_help[];

enum { CLI_BENCH_THREADS = 512, CLI_BENCH_POOL, CLI_BENCH_DURATION,
       CLI_BENCH_COUNT, CLI_BENCH_WARMUP, CLI_BENCH_WAITS,
       CLI_BENCH_PROGRESS };
#define CLI_BENCH_OPTIONS                                                      \
    {"threads", 1, NULL, CLI_BENCH_THREADS},                                   \
    {"pool", 1, NULL, CLI_BENCH_POOL},                                         \
    {"duration", 1, NULL, CLI_BENCH_DURATION},                                 \
    {"count", 1, NULL, CLI_BENCH_COUNT},                                       \
    {"warmup", 1, NULL, CLI_BENCH_WARMUP},                                     \
    {"waits", 0, NULL, CLI_BENCH_WAITS},                                       \
    {"progress", 0, NULL, CLI_BENCH_PROGRESS}

/* command: whose options they are, "bench" or "stats". */
cli_bench *cli_bench_new(const char *command);
void cli_bench_free(cli_bench *self);

/* Takes one of the options above; false: it is none of them. A value that will
   not do ends the program. */
bool cli_bench_option(cli_bench *self, int option, const char *value);

/* Looks whether the options go together, or ends the program, and sets those
   that were not given. */
void cli_bench_check(cli_bench *self);

/* Takes value, of -P text, where it is a rule such as @counter, and returns
   the JSON that stands for it; else value itself. A wrong rule ends the
   program. */
const char *cli_bench_param(cli_bench *self, const char *text,
                            const char *value);

/* How many connections --pool asks for; 0: it was not said. */
int cli_bench_pool_size(const cli_bench *self);

/* Measures and prints. query NULL: RETURN 1. own_server: the graph may be made
   where there is none. Returns an exit status. */
int cli_bench_run(cli_bench *self, cli *session, const char *query,
                  bool own_server);

/* The same load without an end and a result, until look, which is asked every
   10 ms, says false, or Ctrl-C. */
int cli_bench_load(cli_bench *self, cli *session, const char *query,
                   bool own_server, bool (*look)(void *ctx), void *ctx);

/* From now on the first Ctrl-C is only noted, the second ends the program;
   where Ctrl-C is ignored, as behind nohup, it stays so. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

/* ---- falkor-cli-stats.c ----------------------------------------------- */

typedef struct cli_stats cli_stats;     /* what the command line said */
extern const char cli_stats_help[];

enum { CLI_STATS_QUERY = 768, CLI_STATS_WATCH, CLI_STATS_COUNT,
       CLI_STATS_TIMEOUT };
#define CLI_STATS_OPTIONS                                                      \
    {"threads", 1, NULL, CLI_BENCH_THREADS},                                   \
    {"pool", 1, NULL, CLI_BENCH_POOL},                                         \
    {"query", 1, NULL, CLI_STATS_QUERY},                                       \
    {"watch", 2, NULL, CLI_STATS_WATCH},                                       \
    {"count", 1, NULL, CLI_STATS_COUNT},                                       \
    {"timeout", 1, NULL, CLI_STATS_TIMEOUT}

cli_stats *cli_stats_new(void);
void cli_stats_free(cli_stats *self);

/* Takes one of the options above that is not bench's; false: it is none. */
bool cli_stats_option(cli_stats *self, int option, const char *value);

/* Looks whether the options go together, or ends the program. url: what stands
   on the command line without an option's name, or NULL; database: something
   was said that is for a pool of its own. */
void cli_stats_check(cli_stats *self, const char *url, bool database);

/* Whether it is a document's URL that is asked, and no database. */
bool cli_stats_remote(const cli_stats *self);

/* Shows the pool; return exit statuses. */
int cli_stats_ask(cli_stats *self, const cli *session);
int cli_stats_run(cli_stats *self, cli_bench *load, cli *session,
                  bool own_server);
#endif
