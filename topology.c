/* More servers than one: the map of what each of them is, kept true by a thread
   that asks, and the way that a call goes. Each node has a pool of its own, as
   any; the pool that the program has stands for them (a front). Knows roles,
   slots and lag; what sentinels and cluster nodes say of these is scout.c's. */
#include "topology.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifndef FALKOR_WITHOUT_TOPOLOGY

#define FALKOR__ROUND_MS 1000           /* asking goes on so often, */
#define FALKOR__HURRY_MS 20             /* where there is doubt, at first, */
#define FALKOR__UNHURRIED_MS 160        /* and while nothing comes of it */
#define FALKOR__REDIRECTS 16            /* of one call */

/* ---- slots of a cluster -------------------------------------------------- */

/* CRC-16/XMODEM, as the cluster specification has it. */
static unsigned falkor__crc16(const char *text, size_t length) {
    unsigned crc = 0;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned)(unsigned char)text[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc << 1) ^ (crc & 0x8000 ? 0x1021U : 0);
    }
    return crc & 0xffff;
}

/* Of a key with {tag} only the first tag counts, unless that is empty. */
int falkor__key_slot(const char *key, size_t length) {
    const char *open = memchr(key, '{', length), *close = NULL;
    if (open)
        close = memchr(open + 1, '}', length - (size_t)(open + 1 - key));
    if (close && close > open + 1) {
        length = (size_t)(close - open - 1);
        key = open + 1;
    }
    return (int)(falkor__crc16(key, length) % FALKOR__CLUSTER_SLOTS);
}

/* Which argument is the key, where that is not the first; 0: there is none.
   What is missing here the server's MOVED mends. */
static const struct { const char *command; size_t key; }
falkor__command_keys[] = {
    {"GRAPH.CONSTRAINT", 2}, {"GRAPH.MEMORY", 2},
    {"GRAPH.LIST", 0}, {"GRAPH.INFO", 0}, {"GRAPH.CONFIG", 0},
    {"GRAPH.UDF", 0}, {"GRAPH.PASSWORD", 0}, {"GRAPH.ACL", 0},
    {"PING", 0}, {"ECHO", 0}, {"INFO", 0}, {"CONFIG", 0},
    {"CLIENT", 0}, {"COMMAND", 0}, {"CLUSTER", 0}, {"ACL", 0},
    {"SCRIPT", 0}, {"FUNCTION", 0}, {"MODULE", 0},
    {"LATENCY", 0}, {"SLOWLOG", 0}, {"KEYS", 0}, {"SCAN", 0},
    {"WAIT", 0}, {"SELECT", 0}, {"AUTH", 0}, {"HELLO", 0},
    {"PUBLISH", 0}, {"SWAPDB", 0}, {"FLUSHALL", 0},
    {"FLUSHDB", 0}, {"DEBUG", 2}, {"OBJECT", 2}, {"MEMORY", 2},
    {"XGROUP", 2}, {"XINFO", 2}, {"EVAL", 3}, {"EVALSHA", 3},
    {"FCALL", 3}, {"EVAL_RO", 3}, {"EVALSHA_RO", 3},
    {"FCALL_RO", 3},
};

bool falkor__is_argument(const char *const *argv, const size_t *lengths,
                         size_t index, const char *word) {
    size_t length = lengths ? lengths[index] : strlen(argv[index]);
    return strlen(word) == length &&
           strncasecmp(argv[index], word, length) == 0;
}

int falkor__command_slot(size_t argc, const char *const *argv,
                         const size_t *lengths) {
    size_t rows = sizeof falkor__command_keys / sizeof *falkor__command_keys;
    size_t key = 1;
    for (size_t i = 0; i < rows; i++)
        if (falkor__is_argument(argv, lengths, 0,
                                falkor__command_keys[i].command))
            key = falkor__command_keys[i].key;
    if (key == 3 && argc > 2 && falkor__is_argument(argv, lengths, 2, "0"))
        key = 0;                        /* a script without keys */
    return key == 0 || key >= argc ? -1
        : falkor__key_slot(argv[key], lengths ? lengths[key]
                                              : strlen(argv[key]));
}

/* ---- nodes --------------------------------------------------------------- */

static falkor__node *falkor__find_locked(const falkor__topology *topology,
                                         const char *host, int port)
    FALKOR__HOLDS(topology->mutex) {
    for (size_t i = 0; i < topology->count; i++) {
        const falkor__config *config =
            falkor__pool_config(topology->nodes[i]->pool);
        if (config->port == port && strcmp(config->host, host) == 0)
            return topology->nodes[i];
    }
    return NULL;
}

/* Puts a node on the map, or finds that it is there by now. false: no room. */
static bool falkor__add_locked(falkor__topology *topology, falkor__node **node)
    FALKOR__HOLDS(topology->mutex) {
    const falkor__config *config = falkor__pool_config((*node)->pool);
    falkor__node *known = falkor__find_locked(topology, config->host,
                                              config->port);
    if (known) {
        *node = known;
        return true;
    }
    if (topology->count == topology->room) {
        size_t room = topology->room ? 2 * topology->room : 8;
        void *more = room > FALKOR__MOST_NODES ? NULL
            : falkor__take_more(config->heap, topology->nodes,
                                room * sizeof(falkor__node *));
        if (!more)
            return false;
        topology->nodes = more;
        topology->room = room;
    }
    (*node)->index = topology->count;
    topology->nodes[topology->count++] = *node;
    return true;
}

static void falkor__node_free(falkor__node *node,
                              const falkor_allocator *heap) {
    falkor__wire_end(&node->wire);
    falkor__give(heap, node);
}

/* NULL: it cannot be made. */
static falkor__node *falkor__node_make(falkor__topology *topology,
                                       const char *host, int port,
                                       falkor_error *error) {
    const falkor__config *whole = falkor__pool_config(topology->whole);
    falkor__config config;
    falkor__node *node = falkor__take_zero(whole->heap, 1, sizeof *node);
    if (!node) {
        falkor__no_memory(error, "out of memory for a node");
        return NULL;
    }
    falkor_status status = falkor__config_node(whole, host, port, &config,
                                               error);
    if (!status)
        status = topology->make(&config, &node->pool, error);
    if (status) {
        falkor__give(whole->heap, node);
        return NULL;
    }
    node->wire.config = falkor__pool_config(node->pool);
    node->wire.whole = topology->whole;
    node->lag_bytes = node->lag_ms = -1;
    node->primary = FALKOR__NO_NODE;
    return node;
}

falkor__node *falkor__node_at(falkor__topology *topology, const char *host,
                              int port, falkor_error *error) {
    const falkor_allocator *heap =
        falkor__pool_config(topology->whole)->heap;
    falkor__mutex_lock(&topology->mutex);
    falkor__node *node = falkor__find_locked(topology, host, port);
    bool full = topology->count == FALKOR__MOST_NODES;
    falkor__mutex_unlock(&topology->mutex);
    if (!node && full) {
        falkor__fail(error, FALKOR_ERR_CONNECT, 0, "%s:%d is one address more "
            "than the %d that a pool keeps in its life: make a new pool", host,
            port, FALKOR__MOST_NODES);
        return NULL;
    }
    falkor__node *made = node ? NULL : falkor__node_make(topology, host, port,
                                                         error);
    if (!made)
        return node;
    node = made;
    falkor__mutex_lock(&topology->mutex);
    bool added = falkor__add_locked(topology, &node);
    falkor__mutex_unlock(&topology->mutex);
    if (!added || node != made) {
        topology->unmake(made->pool);
        falkor__node_free(made, heap);
    }
    if (!added)
        falkor__no_memory(error, "out of memory for a node");
    return added ? node : NULL;
}

falkor__node *falkor__node_number(falkor__topology *topology, size_t index) {
    falkor__mutex_lock(&topology->mutex);
    falkor__node *node = index < topology->count ? topology->nodes[index]
                                                 : NULL;
    falkor__mutex_unlock(&topology->mutex);
    return node;
}

/* Is paused where the whole is, which may change meanwhile. */
static void falkor__pause_alike(falkor_pool *node, falkor_pool *whole) {
    bool paused;
    do {
        paused = falkor__pool_is_paused(whole);
        (paused ? falkor_pool_pause : falkor_pool_resume)(node);
    } while (paused != falkor__pool_is_paused(whole));
}

/* What the levers have made of the whole is true of a node that comes later. */
falkor_status falkor__node_begin(falkor__topology *topology,
                                 falkor__node *node, falkor_error *error) {
    bool opens;
    falkor__mutex_lock(&topology->mutex);
    bool closed = topology->closed, begun = node->begun;
    falkor__mutex_unlock(&topology->mutex);
    if (!closed && !begun)
        falkor__pause_alike(node->pool, topology->whole);
    if (closed)
        return falkor__fail(error, FALKOR_ERR_CLOSED, 0, "the pool is closed");
    falkor_status status = falkor__pool_begin(node->pool, FALKOR__NEVER,
                                              &opens, error);
    if (!status && opens)
        status = falkor__pool_finish(node->pool, NULL, FALKOR_OK, error);
    if (status)
        return status;
    falkor__pool_rest(node->pool, false);
    falkor__mutex_lock(&topology->mutex);
    node->begun = true;
    falkor__mutex_unlock(&topology->mutex);
    return FALKOR_OK;
}

void falkor__topology_changed_locked(falkor__topology *topology) {
    topology->version++;
    falkor__cond_broadcast(&topology->changed);
}

/* ---- asking, in rounds --------------------------------------------------- */

static void falkor__doubt_locked(falkor__topology *topology)
    FALKOR__HOLDS(topology->mutex) {
    topology->doubted = true;
    falkor__cond_signal(&topology->wanted);
}

uint64_t falkor__topology_doubt(falkor__topology *topology) {
    falkor__mutex_lock(&topology->mutex);
    falkor__doubt_locked(topology);
    uint64_t version = topology->version;
    falkor__mutex_unlock(&topology->mutex);
    return version;
}

/* Becomes the one who asks. */
static bool falkor__round_begin(falkor__topology *topology,
                                int64_t deadline_ns) {
    falkor__mutex_lock(&topology->mutex);
    while (topology->scouting && !topology->closed &&
           falkor__cond_wait(&topology->changed, &topology->mutex,
                             deadline_ns))
        continue;
    bool begins = !topology->scouting && !topology->closed;
    if (begins) {
        topology->scouting = true;
        topology->scout_thread = falkor__thread_number();
        topology->doubted = false;
        topology->begun_rounds++;
    }
    falkor__mutex_unlock(&topology->mutex);
    return begins;
}

static falkor_status falkor__scout_round(falkor__topology *topology,
                                   int64_t deadline_ns, falkor_error *error) {
    if (!falkor__round_begin(topology, deadline_ns))
        return falkor__fail(error, FALKOR_ERR_CONNECT, ETIMEDOUT,
            "another thread has not finished looking for the primary in time");
    falkor__error_clear(error);
    falkor_status status = falkor__scout(topology, deadline_ns, error);
    falkor__mutex_lock(&topology->mutex);
    bool tells = status && !topology->why.status && !topology->closed;
    topology->scouting = false;
    topology->rounds = topology->begun_rounds;
    topology->why = *error;
    falkor__cond_broadcast(&topology->changed);
    falkor__mutex_unlock(&topology->mutex);
    if (tells)
        falkor__event(falkor__pool_config(topology->whole),
            &(falkor__event_head){.level = FALKOR_EVENT_ERROR,
                .name = "topology_unknown", .error = error}, "%s", "");
    return status;
}

/* The thread's life: a round a second, or soon where somebody doubts. */
static void *falkor__watch(void *argument) {
    falkor__topology *topology = argument;
    falkor_error error;
    int hurry_ms = FALKOR__HURRY_MS;
    falkor__mutex_lock(&topology->mutex);
    while (!topology->closed) {
        uint64_t version = topology->version;
        falkor__mutex_unlock(&topology->mutex);
        falkor__scout_round(topology, FALKOR__NEVER, &error);
        int64_t soon_ns = falkor__deadline(hurry_ms);
        int64_t next_ns = falkor__deadline(FALKOR__ROUND_MS);
        falkor__mutex_lock(&topology->mutex);
        while (!topology->closed &&
               falkor__cond_wait(&topology->wanted, &topology->mutex,
                                 topology->doubted ? soon_ns : next_ns))
            continue;
        hurry_ms = !topology->doubted || topology->version != version
            ? FALKOR__HURRY_MS : hurry_ms < FALKOR__UNHURRIED_MS ? 2 * hurry_ms
                                                                 : hurry_ms;
    }
    falkor__mutex_unlock(&topology->mutex);
    return NULL;
}

static falkor_status falkor__watch_begin(falkor__topology *topology,
                                         falkor_error *error) {
    bool started = falkor__thread_start(&topology->thread, falkor__watch,
                                        topology);
    falkor__mutex_lock(&topology->mutex);
    topology->has_thread = started;
    topology->wants_thread = !started;
    falkor__mutex_unlock(&topology->mutex);
    return started ? FALKOR_OK : falkor__no_memory(error,
        "cannot start the thread that watches the servers");
}

/* ---- the way ------------------------------------------------------------- */

/* The primary for a slot, or for what has none. NULL: not known. */
static falkor__node *falkor__primary_locked(const falkor__topology *topology,
                                            int slot)
    FALKOR__HOLDS(topology->mutex) {
    uint16_t index = topology->primary;
    falkor__node *any = NULL;
    if (topology->is_cluster && slot >= 0)
        index = topology->owners[slot];
    for (size_t i = 0; topology->is_cluster && slot < 0 &&
                       i < topology->count; i++) {
        falkor__node *node = topology->nodes[i];
        if (node->role == FALKOR_ROLE_PRIMARY && node->begun &&
            (!any || (node->well && !any->well)))
            any = node;
    }
    return any ? any : index != FALKOR__NO_NODE && index < topology->count
        ? topology->nodes[index] : NULL;
}

static bool falkor__lags(const falkor__node *node,
                         const falkor__config *config) {
    return (config->max_lag_bytes >= 0 &&
            node->lag_bytes > config->max_lag_bytes) ||
           (config->max_lag_ms >= 0 && node->lag_ms > config->max_lag_ms);
}

/* Whether a node may serve reads of this primary's graphs. */
static bool falkor__may_read_locked(const falkor__topology *topology,
                                    const falkor__node *node,
                                    const falkor__node *primary)
    FALKOR__HOLDS(topology->mutex) {
    const falkor__config *config = falkor__pool_config(topology->whole);
    if (node == primary)
        return config->read_from == FALKOR_READ_NEAREST && node->begun;
    return node->role == FALKOR_ROLE_REPLICA && node->begun && node->well &&
           node->primary == primary->index && !falkor__lags(node, config);
}

/* Answers about as soon as the nearest: within twice its time, or a
   millisecond. */
static bool falkor__is_near(const falkor__node *node, int64_t nearest_ns) {
    int64_t slack_ns = nearest_ns > FALKOR__NS_PER_MS ? nearest_ns
                                                      : FALKOR__NS_PER_MS;
    return node->near_ns <= nearest_ns + slack_ns;
}

/* Of those that may: the one with the fewest calls under way, each in its turn
   where several have as few. NULL: there is none. */
static falkor__node *falkor__reader_locked(falkor__topology *topology,
                                           const falkor__node *primary)
    FALKOR__HOLDS(topology->mutex) {
    bool nearest = falkor__pool_config(topology->whole)->read_from ==
        FALKOR_READ_NEAREST;
    int64_t least_ns = FALKOR__NEVER;
    falkor__node *best = NULL;
    int best_calls = 0;
    for (size_t i = 0; nearest && i < topology->count; i++)
        if (falkor__may_read_locked(topology, topology->nodes[i], primary) &&
            topology->nodes[i]->near_ns < least_ns)
            least_ns = topology->nodes[i]->near_ns;
    unsigned turn = topology->turn++;
    for (size_t i = 0; i < topology->count; i++) {
        falkor__node *node = topology->nodes[(i + turn) % topology->count];
        int calls = atomic_load_explicit(&node->in_flight,
                                         memory_order_relaxed);
        if (!falkor__may_read_locked(topology, node, primary) ||
            (nearest && !falkor__is_near(node, least_ns)) ||
            (best && calls >= best_calls))
            continue;
        best = node;
        best_calls = calls;
    }
    return best;
}

/* Says why there is nobody to go to. */
static falkor_status falkor__lost_locked(falkor__topology *topology,
                                         const falkor__node *primary,
                                         bool reads, falkor_error *error)
    FALKOR__HOLDS(topology->mutex) {
    const falkor__config *config = falkor__pool_config(topology->whole);
    char place[128];
    falkor__place(config, place, sizeof place);
    if (topology->closed)
        return falkor__fail(error, FALKOR_ERR_CLOSED, 0, "the pool is closed");
    if (!topology->open)
        return falkor__fail(error, FALKOR_ERR_NOT_OPEN, 0,
            "the pool is not open: call falkor_pool_open first");
    falkor__doubt_locked(topology);
    if (primary && primary->begun && reads)
        return falkor__fail(error, FALKOR_ERR_CONNECT, 0, primary->well
            ? "%s: no replica is fit to be read from (down, or lagging more "
              "than max_lag_bytes or max_lag_ms allow)"
            : "%s: no replica can be reached", place);
    return falkor__fail(error, FALKOR_ERR_CONNECT, 0, "%s has no primary at "
        "the moment%s%s", place, topology->why.status ? ": " : "",
        topology->why.status ? topology->why.message : "");
}

/* The sentinels name a node that says it is a replica: it is not to be asked
   to write. */
static bool falkor__denies(const falkor__topology *topology,
                           const falkor__node *node) {
    return !topology->is_cluster && node->says == FALKOR_ROLE_REPLICA;
}

static falkor__node *falkor__way_locked(falkor__topology *topology,
                                        const falkor__route *route,
                                        falkor_error *error)
    FALKOR__HOLDS(topology->mutex) {
    int read_from = falkor__pool_config(topology->whole)->read_from;
    falkor__node *primary = falkor__primary_locked(topology, route->slot);
    falkor__node *node = NULL;
    if (topology->closed || !topology->open)
        return falkor__lost_locked(topology, primary, route->reads, error),
               NULL;
    if (route->asked)
        return route->asked;
    if (primary && route->reads && read_from != FALKOR_READ_PRIMARY)
        node = falkor__reader_locked(topology, primary);
    if (!node && primary && primary->begun &&
        !(route->reads && read_from == FALKOR_READ_REPLICA) &&
        (route->reads || !falkor__denies(topology, primary)))
        node = primary;
    if (!node)
        falkor__lost_locked(topology, primary, route->reads, error);
    return node;
}

falkor_status falkor__topology_route(falkor__topology *topology,
                                     falkor__route *route,
                                     falkor_pool **pool, falkor_error *error) {
    falkor_error own;
    if (!error)
        error = &own;
    falkor__topology_leave(route);
    falkor__mutex_lock(&topology->mutex);
    bool wants_thread = topology->wants_thread;
    topology->wants_thread = false;
    falkor__node *node = falkor__way_locked(topology, route, error);
    route->version = topology->version;
    falkor__mutex_unlock(&topology->mutex);
    if (wants_thread)
        falkor__watch_begin(topology, NULL);
    if (!node)
        return error->status;
    atomic_fetch_add_explicit(&node->in_flight, 1, memory_order_relaxed);
    route->node = node;
    route->counted = true;
    *pool = node->pool;
    return FALKOR_OK;
}

bool falkor__topology_holds(falkor__topology *topology,
                            const falkor_conn *conn, falkor__route *route,
                            falkor_pool **pool) {
    falkor__node *node;
    for (size_t i = 0; (node = falkor__node_number(topology, i)); i++)
        if (falkor__conn_link(node->pool, conn)) {
            route->node = node;
            *pool = node->pool;
            return true;
        }
    return false;
}

void falkor__topology_pause(falkor__route *route) {
    if (route->counted)
        atomic_fetch_sub_explicit(&route->node->in_flight, 1,
                                  memory_order_relaxed);
    route->counted = false;
}

void falkor__topology_leave(falkor__route *route) {
    falkor__topology_pause(route);
    route->node = NULL;
}

/* ---- what failures say --------------------------------------------------- */

/* "MOVED 3999 127.0.0.1:6381", and the same with ASK, where it stands in text.
   Without a host it is that of who says so. */
static bool falkor__read_redirect(const char *text, const char *word,
                                  const char *own_host, int *slot,
                                  char host[FALKOR__HOST_SIZE], int *port) {
    const char *at = strstr(text, word);
    char *end;
    if (!at)
        return false;
    long number = strtol(at + strlen(word), &end, 10);
    const char *last = end + strcspn(end, "\r\n )"), *colon;
    if (*end == ' ')
        last = end + 1 + strcspn(end + 1, "\r\n )");
    for (colon = last; colon > end && *colon != ':'; colon--)
        continue;
    if (number < 0 || number >= FALKOR__CLUSTER_SLOTS || colon <= end)
        return false;
    size_t length = (size_t)(colon - end - 1);
    long port_number = strtol(colon + 1, NULL, 10);
    if (length >= FALKOR__HOST_SIZE || port_number < 1 || port_number > 65535)
        return false;
    memcpy(host, end + 1, length);
    host[length] = '\0';
    if ((length == 0 || strcmp(host, "?") == 0) &&
        strlen(own_host) < FALKOR__HOST_SIZE)
        memcpy(host, own_host, strlen(own_host) + 1);
    *slot = (int)number;
    *port = (int)port_number;
    return true;
}

/* Sends the call where the server's error reply does. */
static bool falkor__redirect(falkor__topology *topology, falkor__route *route,
                             const char *text) {
    char host[FALKOR__HOST_SIZE];
    int slot, port;
    const char *own = falkor__pool_config(route->node->pool)->host;
    bool moved = falkor__read_redirect(text, "MOVED ", own, &slot, host, &port);
    if (!topology->is_cluster ||
        (!moved && !falkor__read_redirect(text, "ASK ", own, &slot, host,
                                          &port)))
        return false;
    falkor__node *node = falkor__node_at(topology, host, port, NULL);
    if (!node || falkor__node_begin(topology, node, NULL))
        return false;
    falkor__mutex_lock(&topology->mutex);
    if (moved) {
        topology->owners[slot] = (uint16_t)node->index;
        falkor__topology_changed_locked(topology);
        falkor__doubt_locked(topology);
    }
    falkor__mutex_unlock(&topology->mutex);
    route->slot = slot;
    route->asked = moved ? NULL : node;
    return true;
}

/* Failures that may come from a map that is not true any more. */
static bool falkor__casts_doubt(falkor_status status) {
    return status == FALKOR_ERR_CONNECT || status == FALKOR_ERR_IO ||
           status == FALKOR_ERR_TIMEOUT || status == FALKOR_ERR_CIRCUIT_OPEN ||
           status == FALKOR_ERR_READONLY || status == FALKOR_ERR_MOVED ||
           status == FALKOR_ERR_BUSY;
}

/* A replica that cannot be reached serves no reads until it has been seen
   well. */
static bool falkor__drop_reader_locked(falkor__topology *topology,
                                       const falkor__route *route,
                                       falkor_status status)
    FALKOR__HOLDS(topology->mutex) {
    falkor__node *node = route->node;
    if (node->role != FALKOR_ROLE_REPLICA || !route->reads ||
        (status != FALKOR_ERR_CONNECT && status != FALKOR_ERR_CIRCUIT_OPEN))
        return false;
    if (node->well) {
        node->well = false;
        falkor__topology_changed_locked(topology);
    }
    return true;
}

bool falkor__topology_failed(falkor__topology *topology, falkor__route *route,
                             falkor_status status, bool refused,
                             const char *text) {
    bool again = false;
    route->asked = NULL;
    if (!route->node || !falkor__casts_doubt(status))
        return false;
    if (refused && status == FALKOR_ERR_MOVED)
        again = falkor__redirect(topology, route, text);
    falkor__mutex_lock(&topology->mutex);
    if (!again) {
        falkor__doubt_locked(topology);
        again = falkor__drop_reader_locked(topology, route, status) ||
            (refused && status == FALKOR_ERR_READONLY &&
             topology->version != route->version);
    }
    falkor__mutex_unlock(&topology->mutex);
    again = again && ++route->redirects <= FALKOR__REDIRECTS;
    if (!again)
        route->asked = NULL;
    return again;
}

/* Whether the map has changed for a call that was routed so: one that writes
   goes to its primary, whatever else has. */
static bool falkor__leads_elsewhere_locked(const falkor__topology *topology,
                                           const falkor__route *route)
    FALKOR__HOLDS(topology->mutex) {
    return topology->version != route->version &&
        (!route->node || route->reads ||
         falkor__primary_locked(topology, route->slot) != route->node);
}

bool falkor__topology_sleep(falkor__topology *topology,
                            const falkor__route *route, int64_t deadline_ns) {
    falkor__mutex_lock(&topology->mutex);
    while (!topology->closed && !falkor__leads_elsewhere_locked(topology,
                                                                route) &&
           falkor__cond_wait(&topology->changed, &topology->mutex,
                             deadline_ns))
        continue;
    bool open = !topology->closed;
    falkor__mutex_unlock(&topology->mutex);
    return open;
}

/* ---- whether a write's node is the primary still ------------------------- */

/* Whether a primary's own list of its replicas, [[host, port, offset], ...]
   with the port in digits, has this node. */
static bool falkor__lists(const falkor_value *list, const falkor__node *node) {
    const falkor__config *config = falkor__pool_config(node->pool);
    for (uint32_t i = 0; list && i < list->length; i++) {
        const falkor_value *one = &list->as.items[i];
        if (one->type == FALKOR_ARRAY && one->length >= 2 &&
            one->as.items[0].type == FALKOR_STRING &&
            one->as.items[1].type == FALKOR_STRING &&
            strcmp(one->as.items[0].as.string, config->host) == 0 &&
            strtol(one->as.items[1].as.string, NULL, 10) == config->port)
            return true;
    }
    return false;
}

/* Whether all replicas that are known to be there follow their primary: then
   none of them has taken its place. */
static bool falkor__all_follow_locked(const falkor__topology *topology,
                                      const falkor__node *primary,
                                      const falkor_value *list)
    FALKOR__HOLDS(topology->mutex) {
    for (size_t i = 0; i < topology->count; i++)
        if (topology->nodes[i]->role == FALKOR_ROLE_REPLICA &&
            topology->nodes[i]->primary == primary->index &&
            !falkor__lists(list, topology->nodes[i]))
            return false;
    return true;
}

/* Whether the map has the node as the primary. */
static bool falkor__leads_locked(const falkor__topology *topology,
                                 const falkor__node *node, int slot)
    FALKOR__HOLDS(topology->mutex) {
    if (!topology->is_cluster)
        return topology->primary == node->index;
    return node->role == FALKOR_ROLE_PRIMARY &&
           (slot < 0 || topology->owners[slot] == node->index);
}

/* Whether it is that as far as the last round knows: nobody else leads, or
   may. */
static bool falkor__stands_locked(const falkor__topology *topology,
                                  const falkor__node *node, int slot)
    FALKOR__HOLDS(topology->mutex) {
    if (topology->why.status || topology->closed ||
        !falkor__leads_locked(topology, node, slot))
        return false;
    for (size_t i = 0; i < topology->count; i++) {
        const falkor__node *other = topology->nodes[i];
        bool follows = other->role == FALKOR_ROLE_REPLICA &&
                       other->primary == node->index;
        if (other == node || other->deposed ||
            (topology->is_cluster && !follows))
            continue;
        if (other->says == FALKOR_ROLE_PRIMARY ||
            (follows && other->says == FALKOR_ROLE_UNKNOWN))
            return false;
    }
    return true;
}

int falkor__topology_replicas(falkor__topology *topology,
                              const falkor__route *route, bool *well) {
    int count = 0;
    *well = true;
    falkor__mutex_lock(&topology->mutex);
    for (size_t i = 0; i < topology->count; i++)
        if (topology->nodes[i]->role == FALKOR_ROLE_REPLICA &&
            topology->nodes[i]->primary == route->node->index) {
            count++;
            *well = *well && topology->nodes[i]->well;
        }
    falkor__mutex_unlock(&topology->mutex);
    return count;
}

bool falkor__topology_leads(falkor__topology *topology,
                            const falkor__route *route) {
    falkor__mutex_lock(&topology->mutex);
    bool leads = falkor__leads_locked(topology, route->node, route->asked ? -1
                                                           : route->slot);
    falkor__mutex_unlock(&topology->mutex);
    return leads;
}

bool falkor__topology_stands(falkor__topology *topology,
                             const falkor__route *route,
                             const falkor_value *replicas, int64_t copies,
                             int64_t deadline_ns) {
    const falkor__node *node = route->node;
    int slot = route->asked ? -1 : route->slot;
    falkor__mutex_lock(&topology->mutex);
    bool known = replicas && copies >= replicas->length &&
                 falkor__leads_locked(topology, node, slot) &&
                 falkor__all_follow_locked(topology, node, replicas);
    uint64_t round = topology->begun_rounds + 1;
    if (!known)
        falkor__doubt_locked(topology);
    bool waits = !known && (!topology->scouting || topology->scout_thread !=
                            falkor__thread_number());
    while (waits && topology->rounds < round && !topology->closed &&
           falkor__cond_wait(&topology->changed, &topology->mutex,
                             deadline_ns))
        continue;
    bool stands = known || (topology->rounds >= round &&
        falkor__stands_locked(topology, node, slot));
    falkor__mutex_unlock(&topology->mutex);
    return stands;
}

/* ---- the front ----------------------------------------------------------- */

static int falkor__home_slot(const falkor__topology *topology) {
    const char *graph = falkor__pool_config(topology->whole)->graph;
    return topology->is_cluster && graph
        ? falkor__key_slot(graph, strlen(graph)) : -1;
}

bool falkor__topology_state(falkor__topology *topology, size_t index,
                             falkor__node_state *state) {
    falkor__mutex_lock(&topology->mutex);
    falkor__node *node = index < topology->count ? topology->nodes[index]
                                                 : NULL;
    if (node)
        *state = (falkor__node_state){.node = node, .pool = node->pool,
            .begun = node->begun, .well = node->well,
            .primary = node->role == FALKOR_ROLE_PRIMARY,
            .version = topology->version,
            .home = falkor__primary_locked(topology,
                falkor__home_slot(topology)) == node};
    falkor__mutex_unlock(&topology->mutex);
    return node != NULL;
}

/* Its pool is open by now. */
falkor_status falkor__topology_begin(falkor__topology *topology, size_t index,
                                     falkor_error *error) {
    falkor__node *node = falkor__node_number(topology, index);
    return node ? falkor__node_begin(topology, node, error)
        : falkor__refuse(error, "there is no node number %zu", index);
}

bool falkor__topology_is_cluster(const falkor__topology *topology) {
    return topology->is_cluster;
}

static falkor_pool *falkor__front_member(void *self, size_t index,
                                         bool *spare) {
    falkor__topology *topology = self;
    falkor__mutex_lock(&topology->mutex);
    falkor__node *node = index < topology->count ? topology->nodes[index]
                                                 : NULL;
    if (spare)
        *spare = node && node->role != FALKOR_ROLE_PRIMARY;
    falkor__mutex_unlock(&topology->mutex);
    return node ? node->pool : NULL;
}

/* A held connection comes from where options.graph is written. */
static falkor_pool *falkor__front_home(void *self, falkor_error *error) {
    falkor__topology *topology = self;
    falkor__route route = {.slot = falkor__home_slot(topology)};
    falkor_pool *pool = NULL;
    if (falkor__topology_route(topology, &route, &pool, error))
        return NULL;
    falkor__topology_leave(&route);
    return pool;
}

static void falkor__front_close(void *self) {
    falkor__topology *topology = self;
    falkor__mutex_lock(&topology->mutex);
    topology->closed = true;
    falkor__cond_broadcast(&topology->changed);
    falkor__cond_signal(&topology->wanted);
    falkor__mutex_unlock(&topology->mutex);
}

/* ---- life ---------------------------------------------------------------- */

static void falkor__before_topology_forks(void *object)
    FALKOR__UNCHECKED {                 /* gives it back after the fork */
    falkor__mutex_lock(&((falkor__topology *)object)->mutex);
}

/* In a child nobody asks or waits, and no call is under way. */
static void falkor__topology_has_forked(void *object, bool child)
    FALKOR__UNCHECKED {                 /* took it before the fork */
    falkor__topology *topology = object;
    if (child) {
        falkor__cond_init(&topology->changed);
        falkor__cond_init(&topology->wanted);
        topology->scouting = topology->has_thread = false;
        topology->wants_thread = topology->open;
        for (size_t i = 0; i < topology->host_count; i++)
            falkor__wire_forget(&topology->wires[i]);
        for (size_t i = 0; i < topology->count; i++) {
            falkor__wire_forget(&topology->nodes[i]->wire);
            atomic_store(&topology->nodes[i]->in_flight, 0);
        }
    }
    falkor__mutex_unlock(&topology->mutex);
}

/* Configs and wires for the hosts to ask first; the sentinels' login is their
   own. */
static falkor_status falkor__topology_hosts(falkor__topology *topology,
                                            falkor_error *error) {
    falkor__config whole = *falkor__pool_config(topology->whole);
    const char *list = whole.sentinels ? whole.sentinels : whole.cluster;
    char host[FALKOR__HOST_SIZE];
    size_t count = 1;
    for (const char *at = list; *at; at++)
        count += *at == ',';
    if (whole.sentinels) {
        whole.username = whole.sentinel_username;
        whole.password = whole.sentinel_password;
        whole.database = 0;
    }
    topology->hosts = falkor__take_zero(whole.heap, count,
                                        sizeof *topology->hosts);
    topology->wires = falkor__take_zero(whole.heap, count,
                                        sizeof *topology->wires);
    if (!topology->hosts || !topology->wires)
        return falkor__no_memory(error, "out of memory for the hosts");
    falkor_status status = FALKOR_OK;
    int port = topology->is_cluster ? 6379 : 26379;
    for (int at = port; !status && falkor__next_host(&list, host, &at);
         at = port) {
        size_t i = topology->host_count;
        status = falkor__config_node(&whole, host, at, &topology->hosts[i],
                                     error);
        topology->wires[i].config = &topology->hosts[i];
        topology->wires[i].whole = topology->whole;
        topology->host_count += !status;
    }
    return status;
}

static void falkor__topology_destroy(falkor__topology *topology)
    FALKOR__UNCHECKED {                 /* nobody else knows it any more */
    const falkor_allocator *heap =
        falkor__pool_config(topology->whole)->heap;
    for (size_t i = 0; i < topology->host_count; i++) {
        falkor__wire_end(&topology->wires[i]);
        falkor__config_free(&topology->hosts[i]);
    }
    for (size_t i = 0; i < topology->count; i++)
        falkor__node_free(topology->nodes[i], heap);
    falkor__give(heap, topology->nodes);
    falkor__give(heap, topology->owners);
    falkor__give(heap, topology->hosts);
    falkor__give(heap, topology->wires);
    falkor__give(heap, topology);
}

static falkor_status falkor__topology_fill(falkor__topology *topology,
                                           falkor_error *error)
    FALKOR__UNCHECKED {                 /* nobody else knows it yet */
    const falkor__config *config = falkor__pool_config(topology->whole);
    topology->is_cluster = config->cluster != NULL;
    topology->first_asked = (unsigned)(falkor_now_ns() >> 10);
    topology->primary = FALKOR__NO_NODE;
    if (topology->is_cluster) {
        topology->owners = falkor__take(config->heap, FALKOR__CLUSTER_SLOTS *
                                        sizeof *topology->owners);
        if (!topology->owners)
            return falkor__no_memory(error, "out of memory for the slots");
        memset(topology->owners, 0xff,
               FALKOR__CLUSTER_SLOTS * sizeof *topology->owners);
    }
    return falkor__topology_hosts(topology, error);
}

falkor_status falkor__topology_new(falkor_pool *pool, falkor__make make,
                                   void (*unmake)(falkor_pool *pool),
                                   falkor_error *error) {
    static const falkor__front front = {.member = falkor__front_member,
        .home = falkor__front_home, .close = falkor__front_close};
    falkor__topology *topology = falkor__take_zero(
        falkor__pool_config(pool)->heap, 1, sizeof *topology);
    if (!topology)
        return falkor__no_memory(error, "out of memory for the servers");
    topology->whole = pool;
    topology->make = make;
    topology->unmake = unmake;
    falkor_status status = falkor__topology_fill(topology, error);
    if (status)
        goto failed;
    status = falkor__no_memory(error, "out of memory for the servers");
    if (!falkor__mutex_init(&topology->mutex))
        goto failed;
    if (!falkor__cond_init(&topology->changed))
        goto no_changed;
    if (!falkor__cond_init(&topology->wanted))
        goto no_wanted;
    falkor__error_clear(error);
    falkor__guard_add(&topology->guard, topology,
                      falkor__before_topology_forks,
                      falkor__topology_has_forked);
    falkor__pool_stand_for(pool, &front, topology);
    return FALKOR_OK;
no_wanted:
    falkor__cond_destroy(&topology->changed);
no_changed:
    falkor__mutex_destroy(&topology->mutex);
failed:
    falkor__topology_destroy(topology);
    return status;
}

falkor_status falkor__topology_find(falkor__topology *topology,
                                    int64_t deadline_ns, falkor_error *error) {
    falkor_status status = falkor__scout_round(topology, deadline_ns, error);
    if (status)
        return status;
    falkor__mutex_lock(&topology->mutex);
    const falkor__node *primary = falkor__primary_locked(topology, -1);
    if (!topology->is_cluster && primary && falkor__denies(topology, primary))
        primary = NULL;
    for (size_t i = 0; !primary && topology->is_cluster &&
                       i < topology->count; i++)
        if (topology->nodes[i]->role == FALKOR_ROLE_PRIMARY)
            primary = topology->nodes[i];
    if (!primary) {
        topology->open = true;          /* for the words */
        status = falkor__lost_locked(topology, NULL, false, error);
        topology->open = false;
    }
    falkor__mutex_unlock(&topology->mutex);
    return status;
}

/* Replicas that are to be read from are open then, too. */
falkor_status falkor__topology_open(falkor__topology *topology,
                                    int64_t deadline_ns, falkor_error *error) {
    falkor_error own;
    falkor__mutex_lock(&topology->mutex);
    topology->open = true;
    bool has_thread = topology->has_thread;
    falkor__mutex_unlock(&topology->mutex);
    if (falkor__pool_config(topology->whole)->read_from != FALKOR_READ_PRIMARY)
        falkor__scout_round(topology, deadline_ns, &own);
    falkor_status status = has_thread ? FALKOR_OK
        : falkor__watch_begin(topology, error);
    falkor__mutex_lock(&topology->mutex);
    topology->open = !status;
    falkor__mutex_unlock(&topology->mutex);
    return status;
}

void falkor__topology_stop(falkor__topology *topology) {
    falkor__front_close(topology);
    falkor__mutex_lock(&topology->mutex);
    bool has_thread = topology->has_thread;
    topology->has_thread = topology->wants_thread = false;
    falkor__mutex_unlock(&topology->mutex);
    if (has_thread)
        falkor__thread_join(&topology->thread);
    falkor__node *node;                 /* nobody scouts any more */
    for (size_t i = 0; (node = falkor__node_number(topology, i)); i++)
        falkor__wire_end(&node->wire);
    for (size_t i = 0; i < topology->host_count; i++)
        falkor__wire_end(&topology->wires[i]);
}

void falkor__topology_free(falkor__topology *topology) {
    falkor__guard_remove(&topology->guard);
    falkor__cond_destroy(&topology->wanted);
    falkor__cond_destroy(&topology->changed);
    falkor__mutex_destroy(&topology->mutex);
    falkor__topology_destroy(topology);
}

/* ---- for the program ----------------------------------------------------- */

const char *falkor_role_name(falkor_role role) {
    return role == FALKOR_ROLE_PRIMARY ? "primary"
        : role == FALKOR_ROLE_REPLICA ? "replica" : "unknown";
}

static void falkor__node_tell_locked(const falkor__node *node,
                                     falkor_node_info *info) {
    info->role = node->role;
    info->well = node->well && node->role != FALKOR_ROLE_UNKNOWN;
    info->lag_bytes = node->role == FALKOR_ROLE_REPLICA ? node->lag_bytes : -1;
    info->lag_ms = node->role == FALKOR_ROLE_REPLICA ? node->lag_ms : -1;
    info->slots = node->slots;
    info->pool = node->pool;
}

size_t falkor_pool_nodes(falkor_pool *pool, falkor_node_info *nodes,
                         size_t room) {
    falkor__topology *topology = pool ? falkor__pool_front(pool) : NULL;
    size_t count = pool != NULL;
    if (!nodes)
        room = 0;
    if (topology) {
        falkor__mutex_lock(&topology->mutex);
        count = topology->count;
        for (size_t i = 0; i < count && i < room; i++)
            falkor__node_tell_locked(topology->nodes[i], &nodes[i]);
        falkor__mutex_unlock(&topology->mutex);
    } else if (pool && room) {
        falkor_stats stats;
        falkor_pool_stats(pool, &stats);
        nodes[0] = (falkor_node_info){.lag_bytes = -1, .lag_ms = -1,
            .well = stats.initialized &&
                    stats.circuit == FALKOR_CIRCUIT_CLOSED, .pool = pool};
    }
    for (size_t i = 0; i < count && i < room; i++)
        falkor__place(falkor__pool_config(nodes[i].pool), nodes[i].address,
                      sizeof nodes[i].address);
    return count;
}
#endif
