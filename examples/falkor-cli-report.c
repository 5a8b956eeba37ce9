/* What falkor-cli bench has measured: the histograms, their sums, and the
   result as a table and as JSON. */
#include "falkor-cli-bench.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---- histograms ------------------------------------------------------- */

static size_t bucket_of(int64_t ns) {
    uint64_t value = ns < 0 ? 0 : (uint64_t)ns;
    unsigned shift = 0;
    if (value >> CLI_LONGEST)
        return CLI_BUCKETS - 1;
    while (value >> shift >= 2 * CLI_STEPS)
        shift++;
    return shift * CLI_STEPS + (size_t)(value >> shift);
}

static int64_t bucket_middle(size_t bucket) {
    size_t shift = bucket < 2 * CLI_STEPS ? 0 : bucket / CLI_STEPS - 1;
    int64_t width = (int64_t)1 << shift;
    return (int64_t)(bucket - shift * CLI_STEPS) * width + width / 2;
}

void cli_record(cli_histogram *self, int64_t ns) {
    self->buckets[bucket_of(ns)]++;
    self->sum += ns;
    self->least = self->count == 0 || ns < self->least ? ns : self->least;
    self->most = ns > self->most ? ns : self->most;
    self->count++;
}

static void merge(cli_histogram *self, const cli_histogram *other) {
    if (other->count == 0)
        return;
    for (size_t i = 0; i < CLI_BUCKETS; i++)
        self->buckets[i] += other->buckets[i];
    if (self->count == 0 || other->least < self->least)
        self->least = other->least;
    if (other->most > self->most)
        self->most = other->most;
    self->count += other->count;
    self->sum += other->sum;
}

void cli_tally_add(cli_tally *total, const cli_tally *other) {
    merge(&total->latency, &other->latency);
    merge(&total->wait, &other->wait);
    for (size_t i = 0; i < FALKOR_STATUS_SLOTS; i++)
        total->errors[i] += other->errors[i];
    if (other->failed > 0
        && (total->failed == 0 || other->first_ns < total->first_ns)) {
        total->first = other->first;
        total->first_ns = other->first_ns;
    }
    total->failed += other->failed;
    total->maybe_executed += other->maybe_executed;
    if (other->last_ns > total->last_ns)
        total->last_ns = other->last_ns;
}

static int64_t percentile(const cli_histogram *self, double percent) {
    double rank = ceil(percent / 100 * (double)self->count);
    uint64_t below = 0;
    size_t bucket = 0;
    for (; bucket < CLI_BUCKETS - 1; bucket++) {
        below += self->buckets[bucket];
        if (below > 0 && (double)below >= rank)
            break;
    }
    int64_t ns = bucket_middle(bucket);
    return ns < self->least ? self->least : ns > self->most ? self->most : ns;
}

/* ---- the result ------------------------------------------------------- */

/* Of min, avg and so on: which they are, and the name in JSON. */
static const struct figure { const char *name, *key; double percent; }
figures[] = {{"min", "min", 0}, {"avg", "avg", -1}, {"p50", "p50", 50},
             {"p90", "p90", 90}, {"p95", "p95", 95}, {"p99", "p99", 99},
             {"p99.9", "p99_9", 99.9}, {"max", "max", 100}};
enum { FIGURES = sizeof figures / sizeof *figures };

static double milliseconds(const cli_histogram *self,
                           const struct figure *which) {
    double percent = which->percent;
    double ns = percent < 0 ? (double)self->sum / (double)self->count
        : percent == 0 ? (double)self->least
        : percent == 100 ? (double)self->most
        : (double)percentile(self, percent);
    return ns / 1e6;
}

static double average(uint64_t sum, uint64_t count) {
    return (double)sum / (double)count;
}

/* Queries a second, without those that failed. */
static double rate_of(const cli_report *self) {
    return self->seconds > 0
        ? (double)self->total->latency.count / self->seconds : 0;
}

static void table_row(const char *what, const cli_histogram *self) {
    printf("%-7s", what);
    for (size_t i = 0; i < FIGURES; i++)
        if (self->count > 0)
            printf("%9.3f", milliseconds(self, &figures[i]));
        else
            printf("%9s", "-");
    putchar('\n');
}

static void table_head(const cli_report *self) {
    fputs("query   ", stdout);
    for (const char *at = self->query; *at; at++)
        putchar((unsigned char)*at < ' ' || *at == 0x7f ? ' ' : *at);
    printf("\ngraph   %s%s\n", self->graph,
           self->read_only ? " (read only)" : "");
    printf("load    %d thread%s, pool of %d, warm-up of %g s%s\n",
           self->threads, self->threads == 1 ? "" : "s",
           self->after.max_size, self->warmup,
           self->interrupted ? "; ended by Ctrl-C" : "");
}

static void table_errors(const cli_tally *total) {
    printf("errors  %" PRIu64 "\n", total->failed);
    for (size_t i = 0; i < FALKOR_STATUS_SLOTS; i++)
        if (total->errors[i] > 0)
            printf("        %" PRIu64 " %s\n", total->errors[i],
                   falkor_status_name((falkor_status)i));
    if (total->maybe_executed > 0)
        printf("        %" PRIu64 " of them may have been executed\n",
               total->maybe_executed);
    if (total->failed > 0)
        printf("        the first: %s\n", total->first.message);
}

static void table_samples(const cli_samples *seen, int size) {
    if (seen->count == 0)
        puts("\npool    too short a run to look how many are in use or wait");
    else
        printf("\npool    %.1f of %d in use, %.1f waiting (at most %d), in %"
               PRIu64 " samples\n", average(seen->in_use, seen->count), size,
               average(seen->waiting, seen->count), seen->most_waiting,
               seen->count);
}

static void print_table(const cli_report *self) {
    const cli_tally *total = self->total;
    const falkor_stats *before = &self->before, *after = &self->after;
    table_head(self);
    printf("queries %" PRIu64 " in %.3f s, %.1f a second%s\n",
           total->latency.count + total->failed, self->seconds, rate_of(self),
           total->failed > 0 ? " without those that failed" : "");
    table_errors(total);
    printf("\n%-7s", "ms");
    for (size_t i = 0; i < FIGURES; i++)
        printf("%9s", figures[i].name);
    putchar('\n');
    table_row("latency", &total->latency);
    if (self->waits)
        table_row("wait", &total->wait);
    table_samples(&self->seen, after->max_size);
    printf("        %" PRIu64 " waits timed out, %" PRIu64 " retries; "
           "connections: %" PRIu64 " made, %" PRIu64 " recycled\n",
           after->acquire_timeouts - before->acquire_timeouts,
           after->retries - before->retries,
           after->connections_created - before->connections_created,
           after->connections_recycled - before->connections_recycled);
}

static void json_text(const char *text) {
    falkor_value value = falkor_string(text);
    char *json;
    if (falkor_value_to_json(&value, &json, NULL) != FALKOR_OK)
        cli_no_memory();
    fputs(json, stdout);
    free(json);
}

static void json_figures(const char *name, const cli_histogram *self) {
    printf(",\"%s\":{", name);
    for (size_t i = 0; i < FIGURES; i++) {
        printf("%s\"%s\":", i > 0 ? "," : "", figures[i].key);
        if (self->count > 0)
            printf("%.6f", milliseconds(self, &figures[i]));
        else
            fputs("null", stdout);
    }
    putchar('}');
}

static void json_errors(const cli_tally *total) {
    const char *between = "";
    printf(",\"errors\":%" PRIu64 ",\"errors_by_status\":{", total->failed);
    for (size_t i = 0; i < FALKOR_STATUS_SLOTS; i++)
        if (total->errors[i] > 0) {
            printf("%s\"%s\":%" PRIu64, between,
                   falkor_status_name((falkor_status)i), total->errors[i]);
            between = ",";
        }
    printf("},\"maybe_executed\":%" PRIu64 ",\"first_error\":",
           total->maybe_executed);
    if (total->failed > 0)
        json_text(total->first.message);
    else
        fputs("null", stdout);
}

static void json_pool(const cli_report *self) {
    const falkor_stats *before = &self->before, *after = &self->after;
    const cli_samples *seen = &self->seen;
    printf(",\"pool\":{\"max_size\":%d,\"samples\":%" PRIu64,
           after->max_size, seen->count);
    if (seen->count > 0)
        printf(",\"in_use_avg\":%.2f,\"waiting_avg\":%.2f,"
               "\"waiting_max\":%d", average(seen->in_use, seen->count),
               average(seen->waiting, seen->count), seen->most_waiting);
    else
        fputs(",\"in_use_avg\":null,\"waiting_avg\":null,"
              "\"waiting_max\":null", stdout);
    printf(",\"acquire_timeouts\":%" PRIu64 ",\"retries\":%" PRIu64
           ",\"connections_created\":%" PRIu64
           ",\"connections_recycled\":%" PRIu64
           ",\"connect_failures\":%" PRIu64 "}",
           after->acquire_timeouts - before->acquire_timeouts,
           after->retries - before->retries,
           after->connections_created - before->connections_created,
           after->connections_recycled - before->connections_recycled,
           after->connect_failures - before->connect_failures);
}

static void print_json(const cli_report *self) {
    const cli_tally *total = self->total;
    fputs("{\"query\":", stdout);
    json_text(self->query);
    fputs(",\"graph\":", stdout);
    json_text(self->graph);
    printf(",\"read_only\":%s,\"threads\":%d,\"warmup_seconds\":%g,"
           "\"interrupted\":%s,\"seconds\":%.6f,\"queries\":%" PRIu64
           ",\"queries_per_second\":%.3f",
           self->read_only ? "true" : "false", self->threads,
           self->warmup, self->interrupted ? "true" : "false", self->seconds,
           total->latency.count + total->failed, rate_of(self));
    json_errors(total);
    json_figures("latency_ms", &total->latency);
    if (self->waits)
        json_figures("wait_ms", &total->wait);
    json_pool(self);
    fputs("}\n", stdout);
}

bool cli_print_report(const cli_report *self, cli_format format) {
    errno = 0;
    if (format == CLI_JSON)
        print_json(self);
    else
        print_table(self);
    return fflush(stdout) == 0 && !ferror(stdout);
}
