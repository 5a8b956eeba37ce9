/* falkor-cli stats: shows a pool at work, from its health document: that of a
   program, which serves it at /health, or that of a pool of its own under
   bench's load. Either way the document is the same text, and is drawn by the
   same lines. */
#include "falkor-cli-stats.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char cli_stats_help[] =
"usage: falkor-cli stats [--watch [SECONDS]] [--count N] [--json]\n"
"                        [--timeout SECONDS] http://host:port/health\n"
"       falkor-cli stats [--watch [SECONDS]] [--count N] [--json]\n"
"                        [-u URL | -h HOST -p PORT] [-g GRAPH] [--ro]\n"
"                        [-P name=json | -P name=@rule]... [--threads N]\n"
"                        [--pool N] [--query Q] [--embedded]\n"
"\n"
"Shows a pool: its health and the reasons, how many connections are in use\n"
"and how many threads wait for one, queries, errors by status, latencies.\n"
"With the URL of a /health document, as examples/health_server.c serves it,\n"
"that is the pool of the program there. Without one it is a pool of\n"
"falkor-cli's own, through which it asks the database as falkor-cli bench\n"
"does, for one second or for as long as it watches. Without --query that is\n"
"RETURN 1, read only; a query that writes WRITES TO THE GRAPH, again and\n"
"again.\n"
"\n"
"      --watch [SECONDS]  shows it again each second, or after so many, until\n"
"                       Ctrl-C: on a terminal in place, else one block behind\n"
"                       the other, with an empty line between\n"
"      --count N        watches, and ends behind the Nth\n"
"      --json           prints the document itself: where a pool stands for\n"
"                       several servers an array, the sum and then each node\n"
"      --table          draws it: the default\n"
"      --timeout SECONDS  of a /health document: how long a GET may take; 5\n"
"      --threads N      who ask, 1 to 10000; 50\n"
"      --pool N         connections that they share, 1 to 10000, of several\n"
"                       servers to each of them; else what\n"
"                       the URL or DB_POOL_MAX_SIZE says, or 20\n"
"      --query Q        what they ask; -P sets its parameters, as in bench\n"
"\n"
"and -u, -h, -p, -s, -g, --user, --askpass, --embedded, --data as in\n"
"falkor-cli --help.\n"
"\n"
"A document comes with status 200, or with 503 from a pool in a bad way.\n"
"Redirects are not followed, and https is not spoken. While it watches, a GET\n"
"that fails is told of and tried again the next time, but for the first.\n"
"\n"
"A line of those who wait is full when one waits for each connection. The bar\n"
"of a latency ends at its p99; the longest has full width, and the shades end\n"
"at p50 and p95. Bars are of # where the locale is not of UTF-8. There are\n"
"colours on a terminal only, and none when NO_COLOR is set.\n"
"\n"
"Where the URL is of sentinels or of a cluster, the figures are sums over its\n"
"servers, and a table shows each of them: its role, whether it answers, how\n"
"far a replica is behind, slots of a cluster, connections and health.\n"
"\n"
"Exit status: 0; 1 a query failed, no connection, or no document; 2 wrong\n"
"usage.\n";

/* ---- the command line ------------------------------------------------- */

struct cli_stats {
    const char *url, *query;            /* NULL: not said */
    cli_place place;                    /* the url's */
    bool watch;
    uint64_t count;                     /* 0: without an end */
    double every, timeout;              /* timeout 0: not said */
};

cli_stats *cli_stats_new(void) {
    cli_stats *self = cli_reserve(NULL, 1, sizeof *self);
    self->every = 1;
    return self;
}

void cli_stats_free(cli_stats *self) {
    free(self);
}

bool cli_stats_option(cli_stats *self, int option, const char *value) {
    switch (option) {
    case CLI_STATS_QUERY:
        if (!*value)
            cli_wrong("--query is empty", "");
        self->query = value;
        break;
    case CLI_STATS_WATCH:
        self->watch = true;
        if (value)
            self->every = cli_seconds_of("stats", "--watch", value, false);
        break;
    case CLI_STATS_COUNT:
        self->watch = true;
        self->count = (uint64_t)cli_whole_number("stats", "--count", value,
            INT64_MAX, "a number from 1 on");
        break;
    case CLI_STATS_TIMEOUT:
        self->timeout = cli_seconds_of("stats", "--timeout", value, false);
        break;
    default: return false;
    }
    return true;
}

void cli_stats_check(cli_stats *self, const char *url, bool database) {
    const char *why;
    if (!self->watch)
        self->count = 1;
    if (!url && self->timeout > 0)
        cli_wrong("--timeout goes with the URL of a /health document", "");
    if (!url)
        return;
    if (!cli_http_place(url, &self->place, &why)) {
        cli_say("%s: %s (stats --help shows the usage)", !*url ? "an empty URL"
                : strchr(url, '@') ? "the URL" : url, why);     /* a password */
        exit(CLI_USAGE);
    }
    if (database || self->query)
        cli_wrong("a /health document has its own pool, and goes without the "
                  "options that name a database or its load: ", url);
    self->url = url;
    if (self->timeout <= 0)
        self->timeout = 5;
}

bool cli_stats_remote(const cli_stats *self) {
    return self->url != NULL;
}

/* ---- showing ---------------------------------------------------------- */

typedef struct viewer {
    const cli_stats *said;
    const cli *session;
    bool terminal, failed;
    cli_style style;
    uint64_t shown;
    int64_t next_ns;                    /* when to look again */
    cJSON *before;                      /* the last document */
} viewer;

static viewer viewer_of(const cli_stats *said, const cli *session) {
    const char *terminal = getenv("TERM"), *plain = getenv("NO_COLOR");
    viewer self = {.said = said, .session = session,
        .terminal = isatty(STDOUT_FILENO)
            && !(terminal && strcmp(terminal, "dumb") == 0)};
    self.style = (cli_style){.utf8 = session->utf8,
        .colour = self.terminal && !(plain && *plain)};
    return self;
}

/* The document; NULL: it is none. */
static cJSON *read_document(const char *text) {
    cJSON *document = cJSON_ParseWithOpts(text, NULL, true);
    if (cli_is_health(document))
        return document;
    cJSON_Delete(document);
    return NULL;
}

/* Over what stood there before. What is left of that, behind each line and
   below the last, is wiped, and nothing else, so that it does not flicker. */
static void print_in_place(const char *text, bool first) {
    fputs(first ? "\033[2J\033[H" : "\033[H", stdout);
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\033[K", stdout);
        putchar(*text);
    }
    fputs("\033[J", stdout);
}

static void draw(viewer *self, const cJSON *document) {
    char *block = NULL;
    size_t length;
    FILE *page = open_memstream(&block, &length);
    if (!page)
        cli_no_memory();
    cli_gauges_draw(page, document, self->before, self->style);
    if (fclose(page) != 0)
        cli_no_memory();
    if (self->terminal && self->said->watch) {
        print_in_place(block, self->shown == 0);
    } else {
        if (self->shown > 0)
            putchar('\n');
        fputs(block, stdout);
    }
    free(block);
}

/* Takes the document over. Returns whether it goes on. */
static bool show(viewer *self, const char *text, cJSON *document) {
    size_t length = strlen(text);
    if (self->session->format != CLI_JSON)
        draw(self, document);
    else
        printf("%s%s", text, length > 0 && text[length - 1] == '\n' ? ""
                                                                   : "\n");
    cJSON_Delete(self->before);
    self->before = document;
    self->shown++;
    bool printed = fflush(stdout) == 0 && !ferror(stdout);
    if (cli_check_printed(printed) != CLI_OK)
        self->failed = true;
    return printed && self->shown != self->said->count;
}

/* ---- another program's pool ------------------------------------------- */

/* Returns whether it goes on. */
static bool ask_once(viewer *self) {
    char why[400];
    char *text = cli_http_get(&self->said->place, self->said->timeout, why);
    cJSON *document = text ? read_document(text) : NULL;
    bool goes_on;
    if (document) {
        goes_on = show(self, text, document);
    } else if (cli_interrupted()) {
        goes_on = false;
    } else {
        if (text)
            cli_say("%s: that is no pool's health document: does it serve what "
                    "falkor_snapshot_write writes as JSON?", self->said->url);
        else
            cli_say("%s", why);
        self->failed = true;
        goes_on = self->shown > 0;
    }
    free(text);
    return goes_on;
}

/* Until it is time to look again; false: Ctrl-C. A signal between the question
   and the sleep is not lost: the sleeps are short. */
static bool sleep_on(viewer *self) {
    self->next_ns += (int64_t)(self->said->every * 1e9);
    while (!cli_interrupted()) {
        int64_t left = self->next_ns - falkor_now_ns();
        if (left <= 0)
            return true;
        long ns = left < 50000000 ? (long)left : 50000000;
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
    }
    return false;
}

int cli_stats_ask(cli_stats *self, const cli *session) {
    viewer one = viewer_of(self, session);
    if (self->watch)
        cli_catch_interrupt();
    one.next_ns = falkor_now_ns();
    while (ask_once(&one) && sleep_on(&one))
        continue;
    cJSON_Delete(one.before);
    return one.failed ? CLI_FAILED : CLI_OK;
}

/* ---- a pool of its own ------------------------------------------------ */

static bool add_bytes(void *file, const char *bytes, size_t length) {
    return fwrite(bytes, 1, length, file) == length;
}

/* Of the pool and, where it stands for several servers, of each node behind
   it. */
static size_t take_all(falkor_pool *pool, falkor_snapshot ***all) {
    size_t count = falkor_pool_nodes(pool, NULL, 0);
    falkor_node_info *nodes = cli_reserve(NULL, count, sizeof *nodes);
    if (falkor_pool_nodes(pool, nodes, count) < 2)
        count = 0;
    *all = cli_reserve(NULL, count + 1, sizeof **all);
    falkor_status status = falkor_snapshot_take(pool, *all, NULL);
    for (size_t i = 0; i < count && status == FALKOR_OK; i++)
        status = falkor_snapshot_take_node(&nodes[i], *all + i + 1, NULL);
    if (status != FALKOR_OK)
        cli_no_memory();
    free(nodes);
    return count + 1;
}

static char *own_document(falkor_pool *pool) {
    char *text = NULL;
    size_t length;
    falkor_snapshot **all;
    size_t count = take_all(pool, &all);
    FILE *file = open_memstream(&text, &length);
    if (!file
        || falkor_snapshot_write((const falkor_snapshot *const *)all, count,
                                 FALKOR_FORMAT_JSON, add_bytes,
                                 file) != FALKOR_OK
        || fclose(file) != 0)
        cli_no_memory();
    for (size_t i = 0; i < count; i++)
        falkor_snapshot_free(all[i]);
    free(all);
    return text;
}

/* The first document is not shown: it is what the next one is held against.
   The server is not asked for its part, which would wait behind the load. */
static bool look(void *ctx) {
    viewer *self = ctx;
    int64_t now = falkor_now_ns();
    if (now < self->next_ns)
        return true;
    self->next_ns = now + (int64_t)(self->said->every * 1e9);
    char *text = own_document(self->session->pool);
    cJSON *document = read_document(text);
    bool goes_on = true;
    if (!document)
        cli_no_memory();
    if (self->before)
        goes_on = show(self, text, document);
    else
        self->before = document;
    free(text);
    return goes_on;
}

int cli_stats_run(cli_stats *self, cli_bench *load, cli *session,
                  bool own_server) {
    viewer one = viewer_of(self, session);
    int status = cli_bench_load(load, session, self->query, own_server, look,
                                &one);
    cJSON_Delete(one.before);
    return one.failed ? CLI_FAILED : status;
}
