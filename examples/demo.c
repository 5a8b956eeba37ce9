/* The library at work on real data: loads the airports of the United States
   and the flights between them as a graph, by parameters and in batches; then
   lets 50 threads ask different questions through a pool of 20 connections for
   some seconds; shows answers, how long they took, and the pool's statistics.

       demo AIRPORTS.csv FLIGHTS.csv [--seconds N] [--keep]

   FALKORDB_URL names the server. The demo works in a graph of its own, which
   it deletes first, and at the end unless --keep. Read it from the bottom. */
#include "pool.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define GRAPH "falkorpool-demo"
enum { THREADS = 50, CONNECTIONS = 20, BATCH = 500, BAR = 32 };

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "\ndemo: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void *reserve(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        die("memory", "there is not enough");
    return memory;
}

/* ---- progress --------------------------------------------------------- */

/* A bar on a terminal, drawn over itself; elsewhere a line at each quarter. */
static void progress(const char *what, size_t done, size_t all,
                     const char *more) {
    static const char *last_what = "";
    static size_t last_quarter = 0;
    size_t quarter = all ? done * 4 / all : 4;
    if (last_what != what)
        last_quarter = 0;
    if (isatty(2)) {
        char bar[BAR + 1];
        size_t full = all ? done * BAR / all : BAR;
        memset(bar, '.', BAR);
        memset(bar, '#', full);
        bar[BAR] = '\0';
        fprintf(stderr, "\r%-18s [%s] %3zu %%  %s\033[K%s", what, bar,
                all ? done * 100 / all : 100, more, done == all ? "\n" : "");
    } else if (quarter != last_quarter) {
        fprintf(stderr, "%s: %zu %%  %s\n", what, quarter * 25, more);
    }
    last_what = what;
    last_quarter = quarter;
}

/* ---- CSV -------------------------------------------------------------- */

/* A file of comma-separated values, read whole: cells[row * columns + column]
   point into text, where each was ended with a NUL. */
typedef struct csv { char *text, **cells; size_t columns, rows, room; } csv;

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path, "cannot be opened");
    size_t used = 0, room = 1 << 16;
    char *text = reserve(room, 1);
    for (size_t got; (got = fread(text + used, 1, room - used - 1, file)); ) {
        used += got;
        if (used + 1 < room)
            continue;
        text = realloc(text, room *= 2);
        if (!text)
            die(path, "does not fit in memory");
    }
    if (ferror(file))
        die(path, "cannot be read");
    fclose(file);
    text[used] = '\0';
    return text;
}

/* Cuts the next cell off and returns what ended it: a comma, a newline, or
   NUL. A quoted cell may hold all of these, and quotes that are doubled. */
static char next_cell(char **at, char **cell) {
    char *in = *at, *out = *at;
    bool quoted = *in == '"';
    *cell = out;
    for (in += quoted; *in; in++) {
        if (quoted && *in == '"' && in[1] == '"')
            in++;
        else if (quoted && *in == '"') {
            quoted = false;
            continue;
        } else if (!quoted && (*in == ',' || *in == '\n'))
            break;
        else if (!quoted && *in == '\r' && in[1] == '\n')
            continue;
        *out++ = *in;
    }
    char end = *in;
    *at = end ? in + 1 : in;
    *out = '\0';
    return end;
}

static void keep_cell(csv *table, size_t index, char *cell) {
    if (index == table->room) {
        table->room = table->room ? table->room * 2 : 4096;
        table->cells = realloc(table->cells,
                               table->room * sizeof *table->cells);
        if (!table->cells)
            die("memory", "there is not enough");
    }
    table->cells[index] = cell;
}

/* Reads a file whose first line is header. */
static csv read_csv(const char *path, const char *header) {
    csv table = {.text = read_file(path)};
    size_t length = strlen(header), count = 0, row_begin = 0;
    if (strncmp(table.text, header, length) != 0)
        die(path, "its first line is not the one that was expected");
    table.columns = 1;
    for (const char *c = header; *c; c++)
        table.columns += *c == ',';
    char *at = table.text + length, *cell;
    next_cell(&at, &cell);              /* what is left of the header */
    while (*at) {
        char end = next_cell(&at, &cell);
        keep_cell(&table, count++, cell);
        if (end == ',')
            continue;
        if (count - row_begin != table.columns)
            die(path, "a line has more or fewer cells than the first");
        row_begin = count;
    }
    table.rows = count / table.columns;
    return table;
}

static const char *cell_of(const csv *table, size_t row, size_t column) {
    return table->cells[row * table->columns + column];
}

static void free_csv(csv *table) {
    free(table->cells);
    free(table->text);
}

/* ---- loading ---------------------------------------------------------- */

/* Sends all rows, BATCH in one query: UNWIND $rows AS r. A row is a map of the
   CSV's columns; those named in numbers travel as numbers. */
static void load(falkor_graph *graph, const char *what, const csv *table,
                 const char *const *names, const char *numbers,
                 const char *query) {
    falkor_entry *entries = reserve(BATCH * table->columns, sizeof *entries);
    falkor_value *rows = reserve(BATCH, sizeof *rows);
    falkor_error error;
    for (size_t begin = 0; begin < table->rows; begin += BATCH) {
        size_t count = table->rows - begin < BATCH ? table->rows - begin
                                                   : BATCH;
        for (size_t i = 0; i < count; i++) {
            falkor_entry *row = entries + i * table->columns;
            for (size_t c = 0; c < table->columns; c++) {
                const char *text = cell_of(table, begin + i, c);
                row[c].key = names[c];
                row[c].value = strstr(numbers, names[c])
                    ? falkor_double(strtod(text, NULL)) : falkor_string(text);
            }
            rows[i] = falkor_map(row, table->columns);
        }
        if (falkor_query(graph, query, FALKOR_PARAMS({"rows",
                falkor_array(rows, count)}), NULL, &error) != FALKOR_OK)
            die(what, error.message);
        progress(what, begin + count, table->rows, "");
    }
    free(rows);
    free(entries);
}

static void run(falkor_graph *graph, const char *query) {
    falkor_error error;
    if (falkor_query(graph, query, NULL, NULL, &error) != FALKOR_OK)
        die(query, error.message);
}

static void delete_graph(falkor_pool *pool) {
    falkor_error error;
    falkor_command(pool, NULL, 2, (const char *const[]){"GRAPH.DELETE",
                   GRAPH}, NULL, NULL, &error);
    if (error.status != FALKOR_OK && !strstr(error.message, "empty key"))
        die("GRAPH.DELETE", error.message);
}

static void load_all(falkor_graph *graph, const csv *airports,
                     const csv *flights) {
    static const char *const airport[] = {"iata", "name", "city", "state",
        "country", "latitude", "longitude"};
    static const char *const flight[] = {"origin", "destination", "count"};
    run(graph, "CREATE INDEX FOR (a:Airport) ON (a.iata)");
    load(graph, "loading airports", airports, airport, "latitude longitude",
         "UNWIND $rows AS r CREATE (:Airport {iata: r.iata, name: r.name, "
         "city: r.city, state: r.state, country: r.country, place: point("
         "{latitude: r.latitude, longitude: r.longitude})})");
    load(graph, "loading flights", flights, flight, "count",
         "UNWIND $rows AS r MATCH (a:Airport {iata: r.origin}), "
         "(b:Airport {iata: r.destination}) "
         "CREATE (a)-[:FLIES {count: toInteger(r.count)}]->(b)");
}

/* ---- questions -------------------------------------------------------- */

typedef struct question { const char *title, *query; } question;

/* $from and $to are airports that have flights. */
static const question questions[] = {
    {"busiest destinations of an airport",
     "MATCH (:Airport {iata: $from})-[f:FLIES]->(b) "
     "RETURN b.iata AS iata, b.city AS city, f.count AS flights "
     "ORDER BY flights DESC LIMIT 5"},
    {"routes with at most one stop",
     "MATCH p = (:Airport {iata: $from})-[:FLIES*1..2]->"
     "(:Airport {iata: $to}) WITH [n IN nodes(p) | n.iata] AS route, "
     "reduce(least = 999999, f IN relationships(p) | CASE WHEN f.count < "
     "least THEN f.count ELSE least END) AS flights "
     "RETURN route, flights ORDER BY size(route), flights DESC LIMIT 5"},
    {"nearest airports",
     "MATCH (a:Airport {iata: $from}), (b:Airport) WHERE b.iata <> a.iata "
     "RETURN b.iata AS iata, b.name AS name, "
     "toInteger(distance(a.place, b.place) / 1000) AS km "
     "ORDER BY km LIMIT 5"},
    {"airports within one stop",
     "MATCH (:Airport {iata: $from})-[:FLIES*1..2]->(b) "
     "RETURN count(DISTINCT b) AS reachable"},
    {"busiest hubs of its state",
     "MATCH (:Airport {iata: $from}) WITH 1 AS one "
     "MATCH (h:Airport {iata: $from}), (a:Airport {state: h.state})"
     "-[f:FLIES]->() RETURN a.iata AS iata, a.city AS city, "
     "sum(f.count) AS flights ORDER BY flights DESC LIMIT 5"},
};
enum { KINDS = sizeof questions / sizeof *questions };

static falkor_status ask(falkor_graph *graph, size_t kind, const char *from,
                         const char *to, falkor_result **answer,
                         falkor_error *error) {
    return falkor_ro_query(graph, questions[kind].query, FALKOR_PARAMS(
        {"from", falkor_string(from)}, {"to", falkor_string(to)}), answer,
        error);
}

/* ---- fifty threads ---------------------------------------------------- */

typedef struct shared {
    falkor_graph *graph;
    const csv *flights;
    int64_t end_ns;
    atomic_size_t answered;
    atomic_bool failed;
} shared;

typedef struct asker {
    shared *all;
    uint64_t random;
    size_t asked[KINDS];
    int64_t sum_ns[KINDS], most_ns[KINDS];
    falkor_error error;
} asker;

static size_t draw(asker *self, size_t below) {
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(self->random >> 33) % below;
}

static int keep_asking(void *argument) {
    asker *self = argument;
    shared *all = self->all;
    while (falkor_now_ns() < all->end_ns && !atomic_load(&all->failed)) {
        size_t kind = draw(self, KINDS), rows = all->flights->rows;
        const char *from = cell_of(all->flights, draw(self, rows), 0);
        const char *to = cell_of(all->flights, draw(self, rows), 1);
        falkor_result *answer;
        int64_t begin = falkor_now_ns();
        if (ask(all->graph, kind, from, to, &answer, &self->error)
            != FALKOR_OK) {
            atomic_store(&all->failed, true);
            return 1;
        }
        falkor_result_free(answer);
        int64_t took = falkor_now_ns() - begin;
        self->asked[kind]++;
        self->sum_ns[kind] += took;
        if (took > self->most_ns[kind])
            self->most_ns[kind] = took;
        atomic_fetch_add(&all->answered, 1);
    }
    return 0;
}

static void watch(const shared *all, int seconds) {
    int64_t begin = all->end_ns - seconds * INT64_C(1000000000);
    for (;;) {
        int64_t now = falkor_now_ns();
        bool over = now >= all->end_ns || atomic_load(&all->failed);
        char more[40];
        snprintf(more, sizeof more, "%zu answers",
                 atomic_load(&all->answered));
        progress("50 threads ask", over ? 100 : (size_t)((now - begin) * 100
                 / (all->end_ns - begin)), 100, more);
        if (over)
            return;
        thrd_sleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static void print_times(const asker *askers, double seconds) {
    size_t total = 0;
    printf("\n%-36s %8s %10s %10s\n", "question", "asked", "average",
           "slowest");
    for (size_t kind = 0; kind < KINDS; kind++) {
        size_t asked = 0;
        int64_t sum = 0, most = 0;
        for (size_t i = 0; i < THREADS; i++) {
            asked += askers[i].asked[kind];
            sum += askers[i].sum_ns[kind];
            if (askers[i].most_ns[kind] > most)
                most = askers[i].most_ns[kind];
        }
        total += asked;
        printf("%-36s %8zu %7.2f ms %7.2f ms\n", questions[kind].title, asked,
               asked ? (double)sum / 1e6 / (double)asked : 0.0,
               (double)most / 1e6);
    }
    printf("%-36s %8zu, %.0f a second (waiting for one of the %d connections "
           "included)\n", "all", total, (double)total / seconds, CONNECTIONS);
}

static void ask_from_many_threads(falkor_graph *graph, const csv *flights,
                                  int seconds) {
    static asker askers[THREADS];
    thrd_t threads[THREADS];
    int64_t begin = falkor_now_ns();
    shared all = {.graph = graph, .flights = flights,
                  .end_ns = begin + seconds * INT64_C(1000000000)};
    for (size_t i = 0; i < THREADS; i++) {
        askers[i] = (asker){.all = &all, .random = i * 7919 + 1};
        if (thrd_create(&threads[i], keep_asking, &askers[i]) != thrd_success)
            die("threads", "cannot start another");
    }
    watch(&all, seconds);
    for (size_t i = 0; i < THREADS; i++)
        thrd_join(threads[i], NULL);
    double took = (double)(falkor_now_ns() - begin) / 1e9;
    for (size_t i = 0; i < THREADS; i++)
        if (askers[i].error.status != FALKOR_OK)
            die("a question failed", askers[i].error.message);
    print_times(askers, took);
}

/* ---- tables ----------------------------------------------------------- */

/* The text of one cell in room; this demo's answers hold nothing else. */
static const char *cell_text(const falkor_value *value, char *room,
                             size_t size) {
    size_t at = 0;
    room[0] = '\0';
    if (value->type == FALKOR_INTEGER)
        snprintf(room, size, "%" PRId64, value->as.integer);
    else if (value->type == FALKOR_DOUBLE)
        snprintf(room, size, "%.0f", value->as.real);
    else if (value->type == FALKOR_STRING)
        return value->as.string;
    else if (value->type == FALKOR_ARRAY)
        for (uint32_t i = 0; i < value->length && at < size; i++)
            at += (size_t)snprintf(room + at, size - at, "%s%s", i ? " > " : "",
                                   value->as.items[i].as.string);
    return room;
}

static const char *table_text(const falkor_result *result, size_t row,
                              size_t column, char *room, size_t size) {
    return row == 0 ? falkor_result_column(result, column)
        : cell_text(falkor_result_value(result, row - 1, column), room, size);
}

static void print_table(const char *title, const falkor_result *result) {
    size_t rows = falkor_result_rows(result) + 1;       /* and the header */
    size_t columns = falkor_result_columns(result);
    int *widths = reserve(columns, sizeof *widths);
    char room[100];
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < columns; c++) {
            int width = (int)strlen(table_text(result, row, c, room,
                                               sizeof room));
            widths[c] = width > widths[c] ? width : widths[c];
        }
    printf("\n%s\n", title);
    for (size_t row = 0; row < rows; row++, printf("\n"))
        for (size_t c = 0; c < columns; c++)
            printf("  %-*s", widths[c], table_text(result, row, c, room,
                                                   sizeof room));
    free(widths);
}

static void show(falkor_graph *graph, const char *title, size_t kind,
                 const char *from, const char *to) {
    falkor_result *answer;
    falkor_error error;
    if (ask(graph, kind, from, to, &answer, &error) != FALKOR_OK)
        die(title, error.message);
    print_table(title, answer);
    falkor_result_free(answer);
}

static void show_answers(falkor_graph *graph) {
    falkor_result *hubs;
    falkor_error error;
    if (falkor_ro_query(graph, "MATCH (a:Airport)-[f:FLIES]->(b) RETURN "
            "a.iata AS iata, a.city AS city, sum(f.count) AS flights, "
            "count(b) AS destinations ORDER BY flights DESC LIMIT 8", NULL,
            &hubs, &error) != FALKOR_OK)
        die("busiest hubs", error.message);
    print_table("The busiest hubs", hubs);
    falkor_result_free(hubs);
    show(graph, "From Allentown to San Francisco, one stop at most", 1,
         "ABE", "SFO");
    show(graph, "From Boise to Boston, one stop at most", 1, "BOI", "BOS");
    show(graph, "The airports nearest to New York's JFK", 2, "JFK", "JFK");
    show(graph, "The busiest hubs of Texas", 4, "DFW", "DFW");
}

static void print_stats(falkor_pool *pool) {
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    printf("\nThe pool\n");
    printf("  %-24s %d of at most %d\n", "connections", stats.total,
           stats.max_size);
    const struct { const char *name; uint64_t count; } rows[] = {
        {"created", stats.connections_created},
        {"replaced", stats.connections_recycled},
        {"failed to connect", stats.connect_failures},
        {"queries", stats.queries}, {"retries", stats.retries},
        {"acquired", stats.acquires}, {"released", stats.releases},
        {"waited in vain", stats.acquire_timeouts},
        {"failed health checks", stats.health_failures}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf("  %-24s %" PRIu64 "\n", rows[i].name, rows[i].count);
}

/* ---- all of it -------------------------------------------------------- */

typedef struct arguments {
    const char *airports, *flights;
    int seconds;
    bool keep;
} arguments;

static arguments read_arguments(int argc, char **argv) {
    arguments given = {.seconds = 4};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--keep") == 0)
            given.keep = true;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            given.seconds = atoi(argv[++i]);
        else if (argv[i][0] != '-' && !given.airports)
            given.airports = argv[i];
        else if (argv[i][0] != '-' && !given.flights)
            given.flights = argv[i];
        else
            given.seconds = 0;
    }
    if (!given.flights || given.seconds < 1 || given.seconds > 3600) {
        fprintf(stderr, "usage: demo AIRPORTS.csv FLIGHTS.csv [--seconds N] "
                "[--keep]\n");
        exit(2);
    }
    return given;
}

int main(int argc, char **argv) {
    arguments given = read_arguments(argc, argv);
    csv airports = read_csv(given.airports,
        "iata,name,city,state,country,latitude,longitude");
    csv flights = read_csv(given.flights, "origin,destination,count");

    falkor_options options = {.max_size = CONNECTIONS, .graph = GRAPH,
                              .client_name = "falkorpool-demo"};
    falkor_pool *pool;
    falkor_error error;
    if (falkor_options_from_env(&options, &error) != FALKOR_OK
        || falkor_pool_create(&options, &pool, &error) != FALKOR_OK)
        die("options", error.message);
    if (falkor_pool_open(pool, &error) != FALKOR_OK)
        die("connecting", error.message);
    falkor_graph *graph = falkor_select_graph(pool, NULL);
    if (!graph)
        die("memory", "there is not enough");

    int64_t begin = falkor_now_ns();
    delete_graph(pool);
    load_all(graph, &airports, &flights);
    printf("%zu airports and %zu flights loaded in %.2f s\n", airports.rows,
           flights.rows, (double)(falkor_now_ns() - begin) / 1e9);
    show_answers(graph);
    fflush(stdout);
    ask_from_many_threads(graph, &flights, given.seconds);
    print_stats(pool);
    if (!given.keep)
        delete_graph(pool);

    falkor_graph_free(graph);
    falkor_pool_free(pool);
    free_csv(&airports);
    free_csv(&flights);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
