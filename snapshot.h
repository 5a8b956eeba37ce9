/* One moment of a pool, or of several together: snapshot.c takes it, report.c
   puts it into words. It is the caller's own, and knows no lock. */
#ifndef FALKOR_SNAPSHOT_H
#define FALKOR_SNAPSHOT_H
#include "internal.h"

#ifndef FALKOR_WITHOUT_STATISTICS
typedef enum falkor__conn_state {
    FALKOR__CONN_IDLE, FALKOR__CONN_ACTIVE,
    FALKOR__CONN_CHANGING       /* being dialled, checked, granted or closed */
} falkor__conn_state;

/* A connection; times in milliseconds, -1: not known. */
typedef struct falkor__conn_view {
    falkor__conn_state state;
    int64_t age_ms, idle_ms, held_ms;
    uint64_t uses;
    unsigned long thread;       /* of the holder, where leaks are looked for */
    const char *file;           /* NULL: not known */
    int line;
} falkor__conn_view;

/* What has happened since the begin of the period that health is judged
   over. */
typedef struct falkor__lately {
    int64_t ms;                 /* how long that is */
    uint64_t tries, waited_ns, timeouts;
    uint64_t errors, program_errors, pool_errors;
    double used;                /* connections, on average */
} falkor__lately;

/* What Redis' INFO says, where it was asked. */
typedef struct falkor__server_view {
    bool known;
    char version[32];
    int64_t uptime_s, clients, blocked, memory_bytes, commands;
    int64_t rejected, rejected_lately;  /* since start; in a minute */
} falkor__server_view;

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* What is known of the node that a snapshot is of, where the program took it as
   one; lag above the limits is a warning. */
typedef struct falkor__node_view {
    bool known;
    falkor_role role;
    bool well;
    int64_t lag_bytes, lag_ms;          /* -1: not known */
    int slots;
    int max_lag_bytes, max_lag_ms;      /* -1: none */
} falkor__node_view;
#endif

#define FALKOR__LABEL_SIZE 128
struct falkor_snapshot {
    int pools;
    char pool[FALKOR__LABEL_SIZE], graph[FALKOR__LABEL_SIZE];
    char place[FALKOR__LABEL_SIZE];
    char node[FALKOR__LABEL_SIZE];      /* "": it is no node of several */
    int64_t unix_ms;
    falkor_stats stats;
    falkor__timing times[FALKOR_LATENCIES];
    falkor__lately lately;
    int64_t well_ms;            /* since the server was seen well; -1: never */
    int64_t oldest_ms;          /* how long who is first in line has waited */
    falkor_thresholds limits;
    falkor__server_view server;
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__node_view of_node;
#endif
    size_t pool_bytes, slot_bytes, statistics_bytes, connection_bytes;
    size_t conn_count;
    falkor__conn_view *conns;
};
#endif
#endif
