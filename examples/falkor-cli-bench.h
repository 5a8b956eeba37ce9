/* What the files of falkor-cli bench share. */
#ifndef FALKOR_CLI_BENCH_H
#define FALKOR_CLI_BENCH_H
#include "falkor-cli.h"

/* ---- falkor-cli-rules.c ----------------------------------------------- */

typedef enum cli_rule_kind { CLI_COUNTER, CLI_RANDOM, CLI_THREAD }
    cli_rule_kind;

/* How a parameter gets a value of its own for each query. */
typedef struct cli_rule cli_rule;
struct cli_rule {
    cli_rule *next;
    char *name;
    cli_rule_kind kind;
    int64_t from, to;
    size_t place;                       /* in the array of parameters */
};

/* Takes away the rule of the name that text, "name=...", begins with, and
   where value is a rule sets that: true. A wrong one ends the program. */
bool cli_rule_set(cli_rule **list, const char *text, const char *value);

/* Finds the places of all in the array. */
void cli_rules_place(cli_rule *list, const falkor_param *params);

/* The value for the query of this number, from 0 on. */
int64_t cli_rule_value(const cli_rule *self, uint64_t number, int thread);
void cli_rules_free(cli_rule *list);

/* ---- falkor-cli-report.c ---------------------------------------------- */

/* Nanoseconds in buckets of equal width within each power of two: CLI_STEPS of
   them, so that a bucket's middle is off by 1 / (2 * CLI_STEPS) at most. Times
   from 2^CLI_LONGEST ns on, over half an hour, are in the last one. */
enum { CLI_STEPS = 128, CLI_LONGEST = 41,
       CLI_BUCKETS = (CLI_LONGEST - 8 + 2) * CLI_STEPS };

typedef struct cli_histogram {
    uint64_t buckets[CLI_BUCKETS];
    uint64_t count;
    int64_t sum, least, most;
} cli_histogram;

void cli_record(cli_histogram *self, int64_t ns);

/* What one thread saw, and in the end the sum of them. */
typedef struct cli_tally {
    cli_histogram latency, wait;        /* of calls and of acquires that were
                                           OK */
    uint64_t errors[FALKOR_STATUS_SLOTS], failed, maybe_executed;
    falkor_error first;                 /* the first that failed, and when */
    int64_t first_ns, last_ns;          /* the end of the last call */
} cli_tally;

void cli_tally_add(cli_tally *total, const cli_tally *other);

/* What was seen of the pool from time to time; sums. */
typedef struct cli_samples {
    uint64_t count, in_use, waiting;
    int most_waiting;
} cli_samples;

typedef struct cli_report {
    const char *query, *graph;
    bool read_only, waits, interrupted;
    int threads;
    double warmup, seconds;
    const cli_tally *total;
    cli_samples seen;
    falkor_stats before, after;         /* of the measured run */
} cli_report;

/* Prints it on standard output; false: it could not be written, and errno says
   why. */
bool cli_print_report(const cli_report *self, cli_format format);
#endif
