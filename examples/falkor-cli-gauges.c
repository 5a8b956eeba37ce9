/* falkor-cli stats: a pool's health document as lines with bars. Members that
   are not there count as nothing, for the document may come from another
   version; its texts are printed without what would move a terminal's
   cursor. */
#include "falkor-cli-stats.h"
#include <math.h>
#include <string.h>
#include <time.h>

enum { BAR = 20, LATENCY_BAR = 12 };

/* ---- reading ---------------------------------------------------------- */

static const cJSON *member(const cJSON *json, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(json, name);
}

/* A figure of a document that may be anybody's: none of ours is as large, and
   what no double holds is none. */
static double number_of(const cJSON *json) {
    double figure = cJSON_IsNumber(json) && isfinite(json->valuedouble)
        ? json->valuedouble : 0;
    return figure > 1e15 ? 1e15 : figure > -1e15 ? figure : -1e15;
}

static double number(const cJSON *json, const char *name) {
    return number_of(member(json, name));
}

static const char *text(const cJSON *json, const char *name) {
    const cJSON *found = member(json, name);
    return cJSON_IsString(found) ? found->valuestring : "";
}

static bool is_one(const cJSON *document) {
    return cJSON_IsObject(member(document, "pool"));
}

bool cli_is_health(const cJSON *document) {
    const cJSON *one;
    if (!cJSON_IsArray(document))
        return is_one(document);
    cJSON_ArrayForEach(one, document)
        if (!is_one(one))
            return false;
    return document->child != NULL;
}

/* ---- printing --------------------------------------------------------- */

typedef struct page { FILE *out; cli_style style; } page;

static void print_text(const page *self, const char *words) {
    for (const unsigned char *at = (const unsigned char *)words; *at; at++) {
        bool control = *at < ' ' || *at == 0x7f;
        if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) {
            at++;                       /* U+0080 to U+009F are controls too */
            control = true;
        }
        if (control || (*at >= 0x80 && !self->style.utf8))
            fputc(control ? ' ' : '?', self->out);
        else
            fputc(*at, self->out);
    }
}

/* The head of a line. */
static void label(const page *self, const char *name) {
    fprintf(self->out, "%-13s", name);
}

static void print_verdict(const page *self, const char *verdict) {
    const char *colour = strcmp(verdict, "OK") == 0 ? "\033[32m"
        : strcmp(verdict, "WARNING") == 0 ? "\033[33m" : "\033[31m";
    if (self->style.colour)
        fputs(colour, self->out);
    print_text(self, *verdict ? verdict : "unknown");
    if (self->style.colour)
        fputs("\033[0m", self->out);
}

/* So much of a whole, in cells; something is never drawn as nothing. */
static int cells_of(double share, double whole, int width) {
    double cells = whole > 0 ? share / whole * width : 0;
    if (!(cells > 0) || cells >= width)
        return cells > 0 ? width : 0;
    return cells < 1 ? 1 : (int)(cells + 0.5);
}

static void bar(const page *self, double share, double whole) {
    int full = cells_of(share, whole, BAR);
    for (int i = 0; i < BAR; i++)
        fputs(self->style.utf8 ? i < full ? "\xe2\x96\x88" : "\xe2\x96\x91"
                               : i < full ? "#" : ".", self->out);
    fputs("  ", self->out);
}

/* A percentile after the other, each in a shade of its own. */
static void latency_bar(const page *self, const cJSON *times, double longest) {
    static const char *const names[] = {"p50_ms", "p95_ms", "p99_ms"};
    static const char *const shades[] = {"\xe2\x96\x88", "\xe2\x96\x93",
                                         "\xe2\x96\x91"};
    int drawn = 0;
    for (int i = 0; i < 3; i++) {
        int end = cells_of(number(times, names[i]), longest, LATENCY_BAR);
        if (drawn == 0 && end > 0)
            fputc(' ', self->out);
        for (; drawn < end; drawn++)
            fputs(self->style.utf8 ? shades[i] : i == 0 ? "#" : i == 1 ? "="
                                                                     : "-",
                  self->out);
    }
}

/* ---- the block -------------------------------------------------------- */

static void draw_head(const page *self, const cJSON *document) {
    const cJSON *pool = member(document, "pool");
    double seconds = number(document, "taken_unix_ms") / 1000;
    time_t taken = seconds > 0 && seconds < 1e12 ? (time_t)seconds : 0;
    struct tm local;
    char clock[20] = "";
    if (taken > 0 && localtime_r(&taken, &local))
        strftime(clock, sizeof clock, "  %H:%M:%S", &local);
    label(self, "pool");
    print_text(self, text(pool, "name"));
    if (*text(pool, "graph")) {
        fputs("  graph ", self->out);
        print_text(self, text(pool, "graph"));
    }
    if (*text(pool, "server")) {
        fputs("  at ", self->out);
        print_text(self, text(pool, "server"));
    }
    fprintf(self->out, "%s\n", clock);
}

static void draw_reasons(const page *self, const cJSON *health) {
    const cJSON *reason;
    cJSON_ArrayForEach(reason, member(health, "reasons")) {
        label(self, "");
        print_verdict(self, text(reason, "verdict"));
        fputs("  ", self->out);
        print_text(self, text(reason, "fault"));
        fputs(": ", self->out);
        print_text(self, text(reason, "text"));
        fputc('\n', self->out);
    }
}

static void draw_health(const page *self, const cJSON *health) {
    label(self, "health");
    print_verdict(self, text(health, "verdict"));
    fprintf(self->out, "  in %.0f s: %.1f %% in use, %.3f ms average wait, "
            "%.0f errors\n", number(health, "window_ms") / 1e3,
            number(health, "utilization_percent"),
            number(health, "avg_wait_ms"), number(health, "errors"));
    draw_reasons(self, health);
}

/* A line of who waits is full when there is one for each connection. */
static void draw_connections(const page *self, const cJSON *pool) {
    double most = number(pool, "max_connections");
    double waiting = number(pool, "waiting");
    label(self, "connections");
    bar(self, number(pool, "utilization_percent"), 100);
    fprintf(self->out, "%.0f of %.0f in use, %.0f idle, %.0f connecting\n",
            number(pool, "active_connections"), most,
            number(pool, "idle_connections"), number(pool, "connecting"));
    label(self, "waiting");
    bar(self, waiting, most);
    fprintf(self->out, "%.0f thread%s, %.0f timed out\n", waiting,
            waiting == 1 ? "" : "s", number(pool, "total_timeouts"));
    label(self, "ever");
    fprintf(self->out, "%.0f connections made, %.0f recycled, %.0f failed, "
            "%.0f checks failed\n", number(pool, "connections_created"),
            number(pool, "connections_recycled"),
            number(pool, "connections_failed"),
            number(pool, "total_health_failures"));
}

static void draw_queries(const page *self, const cJSON *document,
                         const cJSON *before) {
    const cJSON *queries = member(document, "queries");
    double total = number(queries, "total");
    label(self, "queries");
    fprintf(self->out, "%.0f", total);
    if (before) {
        double seconds = (number(document, "taken_unix_ms")
                          - number(before, "taken_unix_ms")) / 1e3;
        double more = total - number(member(before, "queries"), "total");
        if (seconds > 0 && more >= 0)
            fprintf(self->out, ", %.1f a second", more / seconds);
    }
    fprintf(self->out, ", %.0f retries\n", number(queries, "retries"));
}

static void draw_errors(const page *self, const cJSON *queries) {
    const cJSON *one, *errors = member(queries, "errors");
    double most = 0;
    if (!cJSON_IsObject(errors))        /* an array's elements have no names */
        errors = NULL;
    cJSON_ArrayForEach(one, errors)
        if (number_of(one) > most)
            most = number_of(one);
    label(self, "errors");
    if (most <= 0)
        fputs("0\n", self->out);
    cJSON_ArrayForEach(one, errors) {
        if (number_of(one) <= 0)
            continue;
        if (one != errors->child)
            label(self, "");
        bar(self, number_of(one), most);
        fprintf(self->out, "%.0f ", number_of(one));
        print_text(self, one->string);
        fputc('\n', self->out);
    }
}

static void draw_latencies(const page *self, const cJSON *latency) {
    static const char *const figures[] = {"avg_ms", "p50_ms", "p95_ms",
                                          "p99_ms", "max_ms"};
    const cJSON *one;
    double longest = 0;
    if (!cJSON_IsObject(latency))
        latency = NULL;
    cJSON_ArrayForEach(one, latency)
        if (number(one, "p99_ms") > longest)
            longest = number(one, "p99_ms");
    fprintf(self->out, "%-12s%9s%9s%9s%9s%9s%9s\n", "ms", "count", "avg",
            "p50", "p95", "p99", "max");
    cJSON_ArrayForEach(one, latency) {
        int width = 12 - (int)strlen(one->string);
        print_text(self, one->string);
        fprintf(self->out, "%*s%9.0f", width > 0 ? width : 0, "",
                number(one, "count"));
        for (int i = 0; i < 5; i++)
            if (number(one, "count") > 0)
                fprintf(self->out, "%9.3f", number(one, figures[i]));
            else
                fprintf(self->out, "%9s", "-");
        latency_bar(self, one, longest);
        fputc('\n', self->out);
    }
}

static void draw_server(const page *self, const cJSON *server) {
    if (!server)
        return;
    label(self, "server");
    print_text(self, text(server, "version"));
    fprintf(self->out, "  %.0f clients, %.0f blocked, %.1f MB\n",
            number(server, "connected_clients"),
            number(server, "blocked_clients"),
            number(server, "used_memory_bytes") / 1e6);
}

static void draw_one(const page *self, const cJSON *document,
                     const cJSON *before) {
    draw_head(self, document);
    draw_health(self, member(document, "health"));
    draw_connections(self, member(document, "pool"));
    draw_server(self, member(document, "server"));
    draw_queries(self, document, before);
    draw_errors(self, member(document, "queries"));
    draw_latencies(self, member(document, "latency"));
}

/* ---- nodes ------------------------------------------------------------ */

static bool is_node(const cJSON *document) {
    return cJSON_IsObject(member(document, "node"));
}

/* A column of figures; what is null, or not there, is not known. */
static void draw_lag(const page *self, const cJSON *lag) {
    if (cJSON_IsNumber(lag))
        fprintf(self->out, "%11.0f", number_of(lag));
    else
        fprintf(self->out, "%11s", "-");
}

static void draw_node(const page *self, const cJSON *document, int width) {
    const cJSON *node = member(document, "node");
    const cJSON *pool = member(document, "pool");
    const cJSON *health = member(document, "health");
    const char *address = text(node, "address");
    int pad = width - (int)strlen(address);
    print_text(self, address);
    fprintf(self->out, "%*s  ", pad, "");
    pad = 9 - (int)strlen(text(node, "role"));
    print_text(self, text(node, "role"));
    fprintf(self->out, "%*s%-4s", pad > 0 ? pad : 0, "",
            cJSON_IsTrue(member(node, "well")) ? "yes" : "no");
    draw_lag(self, member(node, "lag_bytes"));
    draw_lag(self, member(node, "lag_ms"));
    fprintf(self->out, "%7.0f%8.0f%6.0f%6.0f  ", number(node, "slots"),
            number(pool, "active_connections"), number(pool, "pool_size"),
            number(pool, "max_connections"));
    print_verdict(self, text(health, "verdict"));
    fputc('\n', self->out);
    draw_reasons(self, health);
}

/* Those that stand in a row from the first on; returns the one behind them. */
static const cJSON *draw_nodes(const page *self, const cJSON *first) {
    const cJSON *one;
    size_t width = strlen("node");
    for (one = first; one && is_node(one); one = one->next) {
        size_t length = strlen(text(member(one, "node"), "address"));
        if (length > width && length < 256)
            width = length;
    }
    if (one == first)
        return first;
    fprintf(self->out, "%-*s  %-9s%-4s%11s%11s%7s%8s%6s%6s  %s\n", (int)width,
            "node", "role", "well", "lag bytes", "lag ms", "slots", "in use",
            "open", "most", "health");
    for (one = first; one && is_node(one); one = one->next)
        draw_node(self, one, (int)width);
    return one;
}

/* The pool of that name in what was there before. */
static const cJSON *same_pool(const cJSON *before, const cJSON *document) {
    const char *name = text(member(document, "pool"), "name");
    const cJSON *one = cJSON_IsArray(before) ? before->child : before;
    while (one && (is_node(one)
                   || strcmp(text(member(one, "pool"), "name"), name) != 0))
        one = one->next;
    return one;
}

void cli_gauges_draw(FILE *out, const cJSON *document, const cJSON *before,
                     cli_style style) {
    const page self = {out, style};
    const cJSON *one = cJSON_IsArray(document) ? document->child : document;
    while (one) {
        if (!is_node(one)) {
            draw_one(&self, one, same_pool(before, one));
            one = one->next;
        }
        one = draw_nodes(&self, one);
        if (one)
            fputc('\n', out);
    }
}
