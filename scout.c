/* The scout: asks sentinels who the primary is, or cluster nodes who has which
   slots, and each node how it stands, over connections of its own; and puts it
   on the map (topology.c). One thread scouts at a time. */
#include "topology.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_TOPOLOGY

#define FALKOR__ASK_MS 500              /* for one answer, or one dial */
#define FALKOR__FAR_MS 2000             /* for a dial to who is far away */
#define FALKOR__AVOID_MS 500            /* who has failed is not asked again */
#define FALKOR__NAMED_MS 5000           /* a primary that no sentinel names any
                                           more, nor replaces */

/* ---- a wire -------------------------------------------------------------- */

/* A fork in the middle shall not find a link that is closed. */
void falkor__wire_end(falkor__wire *wire) {
    falkor__link *link = wire->link;
    wire->link = NULL;
    if (link)
        falkor__link_driver.close((void *)(uintptr_t)wire->config, link);
}

void falkor__wire_forget(falkor__wire *wire) {
    if (wire->link)
        falkor__link_driver.forget((void *)(uintptr_t)wire->config,
                                   wire->link);
    wire->link = NULL;
}

static int64_t falkor__ask_deadline(int64_t deadline_ns) {
    int64_t own_ns = falkor__deadline(FALKOR__ASK_MS);
    return own_ns < deadline_ns ? own_ns : deadline_ns;
}

/* A host that swallows packets costs each dial all of its patience: where it is
   not needed it is left alone four times as long, so that asking the others
   goes on. One that is far away is waited for longer and longer. */
static void falkor__wire_dialled(falkor__wire *wire, int64_t began_ns,
                                 bool late) {
    int64_t now = falkor_now_ns();
    int took_ms = (int)((now - began_ns) / FALKOR__NS_PER_MS);
    int most_ms = wire->config->connect_timeout_ms;
    if (most_ms < 0 || most_ms > FALKOR__FAR_MS)
        most_ms = FALKOR__FAR_MS;
    wire->not_before_ns = now + FALKOR__AVOID_MS * FALKOR__NS_PER_MS;
    wire->rests_until_ns = wire->not_before_ns + 4 * (now - began_ns);
    if (wire->link) {
        wire->not_before_ns = wire->rests_until_ns = 0;
        wire->patience_ms = 4 * took_ms;
    } else if (late) {
        wire->patience_ms *= 2;
    }
    if (wire->patience_ms > most_ms)
        wire->patience_ms = most_ms;
}

static bool falkor__wire_rests(const falkor__wire *wire) {
    return !wire->link && wire->rests_until_ns > falkor_now_ns();
}

static falkor_status falkor__wire_dial(falkor__wire *wire, int64_t deadline_ns,
                                       falkor_error *error) {
    void *handle = NULL;
    if (wire->not_before_ns > falkor_now_ns())
        return falkor__fail(error, FALKOR_ERR_CONNECT, 0,
                            "it has failed a moment ago");
    if (falkor__pool_is_closed(wire->whole))
        return falkor__fail(error, FALKOR_ERR_CLOSED, 0, "the pool is closed");
    if (wire->patience_ms < FALKOR__ASK_MS)
        wire->patience_ms = FALKOR__ASK_MS;
    int64_t began_ns = falkor_now_ns();
    int64_t own_ns = falkor__deadline(wire->patience_ms);
    falkor_status status = falkor__link_driver.open(
        (void *)(uintptr_t)wire->config,
        own_ns < deadline_ns ? own_ns : deadline_ns, &handle, error);
    wire->link = handle;
    falkor__wire_dialled(wire, began_ns,
                         status && error->sys_errno == ETIMEDOUT);
    return status;
}

/* Asks on a link that is there. An error reply is a failure, and *reply NULL
   then. */
static falkor_status falkor__wire_try(falkor__wire *wire, size_t argc,
                                      const char *const *argv,
                                      int64_t deadline_ns,
                                      falkor_result **reply,
                                      falkor_error *error) {
    size_t length;
    *reply = NULL;
    if (falkor__pool_is_closed(wire->whole))
        return falkor__fail(error, FALKOR_ERR_CLOSED, 0, "the pool is closed");
    falkor_status status = falkor__link_ask(wire->link, FALKOR__REPLY_PLAIN,
        argc, argv, falkor__ask_deadline(deadline_ns), reply, error);
    const char *refused = status ? NULL : falkor__reply_error(*reply, &length);
    if (refused)
        status = falkor__fail_text(error, falkor__classify(refused, length) ==
            FALKOR_ERR_AUTH ? FALKOR_ERR_AUTH : FALKOR_ERR_CONNECT, 0, refused);
    else if (status)
        falkor__wire_end(wire);
    if (status) {
        falkor_result_free(*reply);
        *reply = NULL;
    }
    return status;
}

/* Asks, on a new link where there is none or the old one turns out to be dead.
   NULL: a failure. */
static falkor_result *falkor__wire_ask(falkor__wire *wire, size_t argc,
                                       const char *const *argv,
                                       int64_t deadline_ns,
                                       falkor_error *error) {
    falkor_result *reply = NULL;
    bool old = wire->link != NULL;
    if (old && !falkor__wire_try(wire, argc, argv, deadline_ns, &reply, error))
        return reply;
    if (wire->link ||                   /* it has answered: no */
        falkor__wire_dial(wire, deadline_ns, error))
        return NULL;
    if (falkor__wire_try(wire, argc, argv, deadline_ns, &reply, error) &&
        !wire->link)
        wire->not_before_ns = falkor__deadline(FALKOR__AVOID_MS);
    return reply;
}

/* ---- reading answers ----------------------------------------------------- */

static const char *falkor__text_at(const falkor_value *list, uint32_t index) {
    return list && list->type == FALKOR_ARRAY && index < list->length &&
        list->as.items[index].type == FALKOR_STRING
        ? list->as.items[index].as.string : NULL;
}

/* What stands behind a key in a list of keys and values. */
static const char *falkor__value_for(const falkor_value *list,
                                     const char *key) {
    for (uint32_t i = 0; list && list->type == FALKOR_ARRAY &&
                         i + 1 < list->length; i += 2) {
        const char *name = falkor__text_at(list, i);
        if (name && strcmp(name, key) == 0)
            return falkor__text_at(list, i + 1);
    }
    return NULL;
}

/* What stands behind "key:" in INFO's text; NULL: there is no such line. */
static const char *falkor__told_of(const char *info, const char *key) {
    const char *at = info;
    size_t length = strlen(key);
    while ((at = strstr(at, key)) != NULL) {
        if ((at == info || at[-1] == '\n') && at[length] == ':')
            return at + length + 1;
        at += length;
    }
    return NULL;
}

static int64_t falkor__told_number(const char *info, const char *key) {
    const char *at = falkor__told_of(info, key);
    return at ? strtoll(at, NULL, 10) : -1;
}

static bool falkor__told_is(const char *info, const char *key,
                            const char *word) {
    const char *at = falkor__told_of(info, key);
    size_t length = strlen(word);
    return at && strncmp(at, word, length) == 0 &&
           (at[length] == '\r' || at[length] == '\n' || !at[length]);
}

/* A host and a port in digits. */
static bool falkor__found_at(const char *host, const char *port,
                             falkor__finding *found) {
    long number = port ? strtol(port, NULL, 10) : 0;
    if (!host || !*host || strlen(host) >= sizeof found->host || number < 1 ||
        number > 65535)
        return false;
    memcpy(found->host, host, strlen(host) + 1);
    found->port = (int)number;
    return true;
}

/* ---- how a node stands --------------------------------------------------- */

static void falkor__note_offset(falkor__node *node, int64_t offset,
                                int64_t now) {
    size_t room = sizeof node->marks / sizeof *node->marks;
    node->marks[node->mark_count % room].at_ns = now;
    node->marks[node->mark_count++ % room].offset = offset;
}

/* How long ago the primary's stream was where the replica is now. */
static int64_t falkor__lag_ms(const falkor__node *primary, int64_t offset,
                              int64_t now) {
    unsigned room = sizeof primary->marks / sizeof *primary->marks;
    int64_t at_ns = now;
    for (unsigned i = 1; i <= room && i <= primary->mark_count; i++) {
        unsigned place = (primary->mark_count - i) % room;
        if (primary->marks[place].offset <= offset)
            return i == 1 ? 0 : (now - at_ns) / FALKOR__NS_PER_MS;
        at_ns = primary->marks[place].at_ns;
    }
    return primary->mark_count ? (now - at_ns) / FALKOR__NS_PER_MS : -1;
}

static int64_t falkor__last_offset(const falkor__node *primary) {
    size_t room = sizeof primary->marks / sizeof *primary->marks;
    return primary->mark_count
        ? primary->marks[(primary->mark_count - 1) % room].offset : -1;
}

typedef struct falkor__standing {
    bool well;
    falkor_role says;
    int64_t lag_bytes, lag_ms;
} falkor__standing;

/* What INFO says of a node that is to be a primary's replica, or (NULL) a
   primary. A replica that has lost its primary serves what it has, until it has
   been alone for too long, or begins to load all anew. */
static falkor__standing falkor__standing_of(falkor__node *node,
                                            const falkor__node *primary,
                                            const char *info, int64_t now) {
    bool leads = falkor__told_is(info, "role", "master");
    falkor__standing standing = {.lag_bytes = -1, .lag_ms = -1,
        .says = leads ? FALKOR_ROLE_PRIMARY : FALKOR_ROLE_REPLICA,
        .well = leads || falkor__told_is(info, "master_link_status", "up") ||
            falkor__told_number(info, "master_sync_in_progress") == 0};
    int64_t offset = falkor__told_number(info, leads ? "master_repl_offset"
                                                     : "slave_repl_offset");
    if (leads) {
        falkor__note_offset(node, offset, now);
    } else if (primary && falkor__last_offset(primary) >= 0 && offset >= 0) {
        standing.lag_bytes = falkor__last_offset(primary) - offset;
        if (standing.lag_bytes < 0)
            standing.lag_bytes = 0;
        standing.lag_ms = falkor__lag_ms(primary, offset, now);
    }
    int64_t alone_s = falkor__told_number(info,
                                          "master_link_down_since_seconds");
    if (alone_s > INT_MAX)
        alone_s = INT_MAX;
    if (!leads && alone_s * 1000 > standing.lag_ms)
        standing.lag_ms = alone_s * 1000;
    return standing;
}

static void falkor__note_standing_locked(falkor__topology *topology,
                                         falkor__node *node,
                                         const falkor__standing *standing)
    FALKOR__HOLDS(topology->mutex) {
    if (node->well != standing->well || node->says != standing->says)
        falkor__topology_changed_locked(topology);
    node->well = standing->well;
    node->says = standing->says;
    node->deposed = node->deposed && standing->says != FALKOR_ROLE_REPLICA;
    node->lag_bytes = standing->lag_bytes;
    node->lag_ms = standing->lag_ms;
}

/* Asks a node how it stands and puts that on the map. */
static void falkor__look_at(falkor__topology *topology, falkor__node *node,
                            const falkor__node *primary, int64_t deadline_ns,
                            falkor_error *error) {
    const char *argv[] = {"INFO", "replication"};
    falkor__standing standing = {.lag_bytes = -1, .lag_ms = -1};
    bool old = node->wire.link != NULL;
    int64_t begin_ns = falkor_now_ns();
    falkor_result *reply = falkor__wire_rests(&node->wire) ? NULL
        : falkor__wire_ask(&node->wire, 2, argv, deadline_ns, error);
    int64_t now = falkor_now_ns();
    const falkor_value *info = falkor_result_value(reply, 0, 0);
    bool answered = info && info->type == FALKOR_STRING;
    if (answered)
        standing = falkor__standing_of(node, primary, info->as.string, now);
    falkor_result_free(reply);
    falkor__mutex_lock(&topology->mutex);
    falkor__note_standing_locked(topology, node, &standing);
    if (answered && old)                /* an average of about eight */
        node->near_ns += (now - begin_ns - node->near_ns) /
                         (node->near_ns ? 8 : 1);
    falkor__mutex_unlock(&topology->mutex);
}

/* A node that is gone says nothing. */
static void falkor__look_away(falkor__topology *topology,
                              falkor__node *node) {
    falkor__wire_end(&node->wire);
    falkor__mutex_lock(&topology->mutex);
    node->well = false;
    node->says = FALKOR_ROLE_UNKNOWN;
    falkor__mutex_unlock(&topology->mutex);
}

/* Pools of nodes that calls go to are open; the others rest. */
static falkor_status falkor__set_going(falkor__topology *topology,
                                       falkor__node *node,
                                       falkor_error *error) {
    int read_from = falkor__pool_config(topology->whole)->read_from;
    falkor__mutex_lock(&topology->mutex);
    bool open = topology->open;
    bool wanted = node->role == FALKOR_ROLE_PRIMARY ||
        (node->role == FALKOR_ROLE_REPLICA &&
         read_from != FALKOR_READ_PRIMARY);
    falkor__mutex_unlock(&topology->mutex);
    if (wanted)
        return open ? falkor__node_begin(topology, node, error) : FALKOR_OK;
    falkor__pool_rest(node->pool, true);
    return FALKOR_OK;
}

/* All nodes: primaries first, for a replica's lag is what it lacks of what they
   have. */
static void falkor__look_around(falkor__topology *topology,
                                int64_t deadline_ns) {
    falkor_error own;
    falkor__node *node;
    for (int replicas = 0; replicas < 2; replicas++)
        for (size_t i = 0; (node = falkor__node_number(topology, i)); i++) {
            falkor__mutex_lock(&topology->mutex);
            bool is_primary = node->role == FALKOR_ROLE_PRIMARY;
            bool gone = node->role == FALKOR_ROLE_UNKNOWN;
            uint16_t index = node->primary;
            falkor__mutex_unlock(&topology->mutex);
            if (is_primary == (replicas == 1))
                continue;
            if (gone)
                falkor__look_away(topology, node);
            else
                falkor__look_at(topology, node, is_primary ? NULL
                    : falkor__node_number(topology, index), deadline_ns, &own);
            falkor__set_going(topology, node, &own);
        }
}

/* ---- sentinels ----------------------------------------------------------- */

/* What a sentinel says of the primary. */
typedef struct falkor__named {
    falkor__finding at;
    int64_t epoch;              /* of the configuration: the newest counts */
    falkor__wire *by;           /* NULL: nobody has said anything */
    bool leads;                 /* a failover: it knows before the others */
} falkor__named;

static bool falkor__same_place(const falkor__finding *found,
                               const falkor__node *node) {
    const falkor__config *config = node ? falkor__pool_config(node->pool)
                                        : NULL;
    return config && config->port == found->port &&
           strcmp(config->host, found->host) == 0;
}

/* During a failover only the sentinel that leads it names the new primary yet,
   under the epoch of the others. */
static bool falkor__names_primary(falkor__topology *topology,
                                  falkor__wire *wire, int64_t deadline_ns,
                                  falkor__named *named, falkor_error *error) {
    const char *name = falkor__pool_config(topology->whole)->master_name;
    falkor_result *about = falkor__wire_ask(wire, 3,
        (const char *[]){"SENTINEL", "MASTER", name}, deadline_ns, error);
    falkor_result *place = !about ? NULL : falkor__wire_ask(wire, 3,
        (const char *[]){"SENTINEL", "GET-MASTER-ADDR-BY-NAME", name},
        deadline_ns, error);
    const falkor_value *at = falkor_result_value(place, 0, 0);
    const char *epoch = falkor__value_for(falkor_result_value(about, 0, 0),
                                          "config-epoch");
    const char *flags = falkor__value_for(falkor_result_value(about, 0, 0),
                                          "flags");
    named->leads = flags && strstr(flags, "failover_in_progress");
    if (named->leads)
        falkor__topology_doubt(topology);       /* there is news soon */
    named->by = wire;
    named->epoch = epoch ? strtoll(epoch, NULL, 10) : 0;
    bool found = falkor__found_at(falkor__text_at(at, 0),
                                  falkor__text_at(at, 1), &named->at);
    falkor_result_free(about);
    falkor_result_free(place);
    return found;
}

static bool falkor__outvotes(const falkor__named *a, const falkor__named *b) {
    return !b->by || a->epoch > b->epoch ||
           (a->epoch == b->epoch && a->leads && !b->leads);
}

/* What all that answer say: the best of those that name the primary we have
   (same), and of those that name another. Who rests is asked where nobody else
   answers. */
static void falkor__ask_sentinels(falkor__topology *topology,
                                  const falkor__node *before,
                                  int64_t deadline_ns, falkor__named *same,
                                  falkor__named *other, falkor_error *last) {
    falkor_error own;
    falkor__named one;
    for (int resting = 0; resting < 2 && !same->by && !other->by; resting++)
        for (size_t i = 0; i < topology->host_count; i++) {
            falkor__wire *wire = &topology->wires[i];
            falkor__error_clear(&own);
            if (falkor__wire_rests(wire) != (resting == 1))
                continue;
            if (!falkor__names_primary(topology, wire, deadline_ns, &one,
                                       &own)) {
                if (!resting || !last->status)
                    *last = own;
                continue;
            }
            falkor__named *best = falkor__same_place(&one.at, before) ? same
                                                                      : other;
            if (falkor__outvotes(&one, best))
                *best = one;
        }
}

/* Whether the primary that we have is replaced: by a newer configuration, or by
   who leads a failover; by any if it says itself that it is none, or nothing.
   Sentinels that are behind, or call it by another name, do not count as long
   as one names it, or did a moment ago. */
static bool falkor__is_replaced(const falkor__topology *topology,
                                falkor_role says, const falkor__named *same,
                                const falkor__named *other, int64_t now) {
    if (!other->by)
        return false;
    if (same->by)
        return falkor__outvotes(other, same) ||
               (other->epoch == same->epoch && !same->leads &&
                says != FALKOR_ROLE_PRIMARY);
    return other->leads || other->epoch > topology->epoch ||
           says != FALKOR_ROLE_PRIMARY ||
           now - topology->named_ns > FALKOR__NAMED_MS * FALKOR__NS_PER_MS;
}

/* Puts the replicas that a sentinel knows of on the map: a node that is not
   among them, or down, is gone, though it is still shown. One that is only
   disconnected from that sentinel may just have been promoted, which ends all
   its connections. */
static falkor_status falkor__note_replicas(falkor__topology *topology,
                                           const falkor_value *list,
                                           const falkor__node *primary,
                                           falkor_error *error) {
    falkor__finding found;
    size_t count = list && list->type == FALKOR_ARRAY ? list->length : 0;
    const falkor_allocator *heap = falkor__pool_config(topology->whole)->heap;
    falkor__node **nodes = falkor__take_zero(heap, count + 1,
                                             sizeof(falkor__node *));
    if (!nodes)
        return falkor__no_memory(error, "out of memory for replicas");
    size_t known = 0;
    falkor_status status = FALKOR_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const falkor_value *one = &list->as.items[i];
        const char *flags = falkor__value_for(one, "flags");
        if (!falkor__found_at(falkor__value_for(one, "ip"),
                              falkor__value_for(one, "port"), &found))
            continue;
        nodes[known] = falkor__node_at(topology, found.host, found.port,
                                       error);
        if (!nodes[known])
            status = error->status;
        known += !flags || !strstr(flags, "s_down");
    }
    falkor__mutex_lock(&topology->mutex);
    for (size_t i = 0; i < topology->count && !status; i++) {
        falkor__node *node = topology->nodes[i];
        falkor_role role = node == primary ? FALKOR_ROLE_PRIMARY
                                           : FALKOR_ROLE_UNKNOWN;
        for (size_t k = 0; k < known && node != primary; k++)
            if (nodes[k] == node)
                role = FALKOR_ROLE_REPLICA;
        if (node->role != role)
            falkor__topology_changed_locked(topology);
        node->role = role;
        node->primary = (uint16_t)primary->index;
    }
    falkor__mutex_unlock(&topology->mutex);
    falkor__give(heap, nodes);
    return status;
}

/* What is connected to a former primary is of the time before; who waits for
   its answer, and it gives none, waits in vain. */
static void falkor__succeed(falkor__topology *topology,
                            const falkor__node *before,
                            const falkor__node *now) {
    char from[128], to[128];
    falkor__mutex_lock(&topology->mutex);
    bool silent = before->says == FALKOR_ROLE_UNKNOWN;
    falkor__mutex_unlock(&topology->mutex);
    falkor_pool_flush(before->pool);
    if (silent)
        falkor__pool_cut(before->pool);
    falkor__event(falkor__pool_config(topology->whole), &(falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "primary_changed"},
        "from=%s to=%s", falkor__place(falkor__pool_config(before->pool), from,
                                       sizeof from),
        falkor__place(falkor__pool_config(now->pool), to, sizeof to));
}

/* A new primary is on the map once its pool is open. newer: by what is behind
   the configuration so far, so that the former one is deposed. */
static falkor_status falkor__note_primary(falkor__topology *topology,
                                          falkor__node *node,
                                          falkor__node *before, bool newer,
                                          falkor_error *error) {
    falkor__mutex_lock(&topology->mutex);
    bool open = topology->open;
    falkor__mutex_unlock(&topology->mutex);
    falkor_status status = open ? falkor__node_begin(topology, node, error)
                                : FALKOR_OK;
    if (status || node == before)
        return status;
    falkor__mutex_lock(&topology->mutex);
    topology->primary = (uint16_t)node->index;
    node->role = FALKOR_ROLE_PRIMARY;
    node->deposed = false;
    if (before) {
        before->role = FALKOR_ROLE_UNKNOWN;
        before->deposed = newer;
    }
    falkor__topology_changed_locked(topology);
    falkor__mutex_unlock(&topology->mutex);
    if (before)
        falkor__succeed(topology, before, node);
    return FALKOR_OK;
}

/* last: what the last of them answered, if any did. */
static falkor_status falkor__no_sentinel(const falkor__topology *topology,
                                         const falkor_error *last,
                                         falkor_error *error) {
    const falkor__config *config = falkor__pool_config(topology->whole);
    bool login = last->status == FALKOR_ERR_AUTH;
    return falkor__fail(error, login ? FALKOR_ERR_AUTH : FALKOR_ERR_CONNECT,
        last->sys_errno, "no sentinel of %.200s knows where %s is: %s%s",
        config->sentinels, config->master_name,
        last->status ? last->message : "they name none", login
            ? " (their login is sentinel_username and sentinel_password)"
        : strstr(last->message, "unknown command")
            ? " (it is no sentinel: a sentinel's port is 26379 mostly)" : "");
}

static falkor_status falkor__scout_sentinels(falkor__topology *topology,
                                             int64_t deadline_ns,
                                             falkor_error *error) {
    falkor__mutex_lock(&topology->mutex);
    falkor__node *before = topology->primary == FALKOR__NO_NODE ? NULL
        : topology->nodes[topology->primary];
    falkor_role says = before ? before->says : FALKOR_ROLE_UNKNOWN;
    falkor__mutex_unlock(&topology->mutex);
    falkor__named same = {.by = NULL}, other = {.by = NULL};
    falkor_error own, last = {.status = FALKOR_OK};
    falkor__ask_sentinels(topology, before, deadline_ns, &same, &other, &last);
    if (!same.by && !other.by)
        return falkor__no_sentinel(topology, &last, error);
    int64_t now = falkor_now_ns();
    bool replaced = falkor__is_replaced(topology, says, &same, &other, now);
    const falkor__named *best = replaced || !same.by ? &other : &same;
    falkor__node *primary = !replaced ? before
        : falkor__node_at(topology, best->at.host, best->at.port, error);
    if (!primary)
        return error->status;
    if (replaced)
        falkor__look_at(topology, primary, NULL, deadline_ns, &own);
    falkor_status status = falkor__note_primary(topology, primary, before,
        other.leads || other.epoch > topology->epoch, error);
    if (!status && (replaced || same.by)) {
        topology->epoch = best->epoch;
        topology->named_ns = now;
    }
    falkor_result *replicas = status ? NULL : falkor__wire_ask(best->by, 3,
        (const char *[]){"SENTINEL", "REPLICAS",
            falkor__pool_config(topology->whole)->master_name}, deadline_ns,
        &own);
    if (!status && replicas)
        status = falkor__note_replicas(topology, falkor_result_value(replicas,
            0, 0), primary, error);
    falkor_result_free(replicas);
    return status;
}

/* ---- a cluster ----------------------------------------------------------- */

/* A map in the making. */
typedef struct falkor__chart {
    uint16_t owners[FALKOR__CLUSTER_SLOTS];
    uint16_t primaries[FALKOR__MOST_NODES];     /* of replicas, by index */
} falkor__chart;

/* The node that a list of CLUSTER SLOTS begins with: [host, port, ...]. A host
   that is not known is that of who was asked. */
static falkor__node *falkor__chart_node(falkor__topology *topology,
                                        const falkor_value *one,
                                        const falkor__wire *asked,
                                        falkor_error *error) {
    const char *host = falkor__text_at(one, 0);
    const falkor_value *port = one->type == FALKOR_ARRAY && one->length > 1
        ? &one->as.items[1] : NULL;
    if (!port || port->type != FALKOR_INTEGER || port->as.integer < 1 ||
        port->as.integer > 65535) {
        falkor__fail(error, FALKOR_ERR_CONNECT, 0,
                     "CLUSTER SLOTS: a node without a port");
        return NULL;
    }
    if (!host || !*host || strcmp(host, "?") == 0)
        host = asked->config->host;
    return falkor__node_at(topology, host, (int)port->as.integer, error);
}

/* [from, to, primary, replica, ...] */
static falkor_status falkor__chart_range(falkor__topology *topology,
                                         const falkor_value *range,
                                         const falkor__wire *asked,
                                         falkor__chart *chart,
                                         falkor_error *error) {
    const falkor_value *items = range->as.items;
    if (range->type != FALKOR_ARRAY || range->length < 3 ||
        items[0].type != FALKOR_INTEGER || items[1].type != FALKOR_INTEGER ||
        items[0].as.integer < 0 ||
        items[1].as.integer >= FALKOR__CLUSTER_SLOTS)
        return falkor__fail(error, FALKOR_ERR_CONNECT, 0,
            "CLUSTER SLOTS: a range that makes no sense");
    falkor__node *primary = falkor__chart_node(topology, &items[2], asked,
                                               error);
    if (!primary)
        return error->status;
    for (int64_t slot = items[0].as.integer; slot <= items[1].as.integer;
         slot++)
        chart->owners[slot] = (uint16_t)primary->index;
    for (uint32_t i = 3; i < range->length; i++) {
        falkor__node *replica = falkor__chart_node(topology, &items[i], asked,
                                                   error);
        if (!replica)
            return error->status;
        chart->primaries[replica->index] = (uint16_t)primary->index;
    }
    return FALKOR_OK;
}

static falkor_status falkor__chart_fill(falkor__topology *topology,
                                        const falkor_value *list,
                                        const falkor__wire *asked,
                                        falkor__chart *chart,
                                        falkor_error *error) {
    memset(chart, 0xff, sizeof *chart);
    if (!list || list->type != FALKOR_ARRAY || list->length == 0)
        return falkor__fail(error, FALKOR_ERR_CONNECT, 0,
            "%s:%d serves no slot and knows nobody who does",
            asked->config->host, asked->config->port);
    falkor_status status = FALKOR_OK;
    for (uint32_t i = 0; i < list->length && !status; i++)
        status = falkor__chart_range(topology, &list->as.items[i], asked,
                                     chart, error);
    return status;
}

/* The first of those that serve no slot any more, and who serves its first one
   now. NULL: there is none. */
static falkor__node *falkor__chart_retired(falkor__topology *topology,
                                           const falkor__chart *chart,
                                           size_t *at, falkor__node **heir)
    FALKOR__HOLDS(topology->mutex) {
    for (; *at < topology->count; ++*at) {
        falkor__node *node = topology->nodes[*at];
        size_t slot = 0;
        if (node->role != FALKOR_ROLE_PRIMARY || node->slots)
            continue;
        while (slot < FALKOR__CLUSTER_SLOTS &&
               (topology->owners[slot] != node->index ||
                chart->owners[slot] == FALKOR__NO_NODE))
            slot++;
        if (slot == FALKOR__CLUSTER_SLOTS)
            continue;
        *heir = topology->nodes[chart->owners[slot]];
        ++*at;
        return node;
    }
    return NULL;
}

/* Tells of those that have lost all their slots, before that is on the map. */
static void falkor__chart_tell(falkor__topology *topology,
                               const falkor__chart *chart) {
    falkor__node *retired, *heir;
    size_t at = 0;
    do {
        falkor__mutex_lock(&topology->mutex);
        retired = falkor__chart_retired(topology, chart, &at, &heir);
        falkor__mutex_unlock(&topology->mutex);
        if (retired)
            falkor__succeed(topology, retired, heir);
    } while (retired);
}

/* Who is what by the chart. Those that serve slots are open before that is
   known. */
static falkor_status falkor__chart_apply(falkor__topology *topology,
                                         const falkor__chart *chart,
                                         falkor_error *error) {
    falkor_status status = FALKOR_OK;
    falkor__node *node;
    falkor__mutex_lock(&topology->mutex);
    bool open = topology->open;
    for (size_t i = 0; i < topology->count; i++)
        topology->nodes[i]->slots = 0;
    for (size_t slot = 0; slot < FALKOR__CLUSTER_SLOTS; slot++)
        if (chart->owners[slot] != FALKOR__NO_NODE)
            topology->nodes[chart->owners[slot]]->slots++;
    falkor__mutex_unlock(&topology->mutex);
    for (size_t i = 0; !status && open &&
                       (node = falkor__node_number(topology, i)); i++)
        if (node->slots)                /* the scout's own writing */
            status = falkor__node_begin(topology, node, error);
    if (status)
        return status;
    falkor__chart_tell(topology, chart);
    falkor__mutex_lock(&topology->mutex);
    bool changed = memcmp(topology->owners, chart->owners,
                          sizeof chart->owners) != 0;
    memcpy(topology->owners, chart->owners, sizeof chart->owners);
    for (size_t i = 0; i < topology->count; i++) {
        falkor__node *at = topology->nodes[i];
        falkor_role role = at->slots ? FALKOR_ROLE_PRIMARY
            : chart->primaries[i] != FALKOR__NO_NODE ? FALKOR_ROLE_REPLICA
            : FALKOR_ROLE_UNKNOWN;
        changed = changed || at->role != role ||
                  at->primary != chart->primaries[i];
        at->role = role;
        at->primary = chart->primaries[i];
    }
    if (changed)
        falkor__topology_changed_locked(topology);
    falkor__mutex_unlock(&topology->mutex);
    return FALKOR_OK;
}

/* A node's chart, and whether it holds the cluster to be whole: one that is cut
   off from the others' majority does not. */
static falkor_status falkor__chart_ask(falkor__topology *topology,
                                       falkor__wire *wire, bool *whole,
                                       falkor__chart *chart,
                                       int64_t deadline_ns,
                                       falkor_error *error) {
    falkor_status status = FALKOR_ERR_CONNECT;
    falkor_result *info = falkor__wire_ask(wire, 2,
        (const char *[]){"CLUSTER", "INFO"}, deadline_ns, error);
    falkor_result *slots = !info ? NULL : falkor__wire_ask(wire, 2,
        (const char *[]){"CLUSTER", "SLOTS"}, deadline_ns, error);
    const falkor_value *text = falkor_result_value(info, 0, 0);
    *whole = text && text->type == FALKOR_STRING &&
        falkor__told_is(text->as.string, "cluster_state", "ok");
    if (slots)
        status = falkor__chart_fill(topology, falkor_result_value(slots, 0, 0),
                                    wire, chart, error);
    else if (error->status == FALKOR_ERR_AUTH)
        status = FALKOR_ERR_AUTH;
    falkor_result_free(info);
    falkor_result_free(slots);
    return status;
}

/* The index-th of all who can be asked: nodes that are well, all other nodes,
   then the hosts that were given. NULL: that is all. skip: not its turn. */
static falkor__wire *falkor__cluster_wire(falkor__topology *topology,
                                          size_t index, bool *skip) {
    falkor__mutex_lock(&topology->mutex);
    size_t count = topology->count;
    falkor__node *node = index >= 2 * count ? NULL
        : topology->nodes[(index + topology->first_asked) % count];
    *skip = node && node->well != (index < count);
    falkor__mutex_unlock(&topology->mutex);
    if (node)
        return &node->wire;
    return index - 2 * count < topology->host_count
        ? &topology->wires[index - 2 * count] : NULL;
}

/* The first answer of a node for which the cluster is whole, or else the
   first. */
static falkor_status falkor__scout_cluster(falkor__topology *topology,
                                           int64_t deadline_ns,
                                           falkor_error *error) {
    const falkor_allocator *heap = falkor__pool_config(topology->whole)->heap;
    falkor__chart *chart = falkor__take(heap, sizeof *chart);
    falkor__chart *first = falkor__take(heap, sizeof *first);
    falkor_error own, last = {.status = FALKOR_OK};
    bool found = false, whole = false, skip;
    falkor__wire *wire;
    if (!chart || !first) {
        falkor__give(heap, chart);
        falkor__give(heap, first);
        return falkor__no_memory(error, "out of memory for the slots");
    }
    for (size_t i = 0; !whole &&
                       (wire = falkor__cluster_wire(topology, i, &skip)); i++) {
        falkor__error_clear(&own);
        if (skip)
            continue;
        if (falkor__chart_ask(topology, wire, &whole, chart, deadline_ns,
                              &own)) {
            last = own;
            whole = false;
        } else if (!found || whole) {
            memcpy(first, chart, sizeof *first);
            found = true;
        }
    }
    falkor_status status = found
        ? falkor__chart_apply(topology, first, error)
        : falkor__fail(error, last.status == FALKOR_ERR_AUTH ? FALKOR_ERR_AUTH
              : FALKOR_ERR_CONNECT, last.sys_errno,
              "no node of the cluster %.200s answers: %s%s",
              falkor__pool_config(topology->whole)->cluster, last.message,
              strstr(last.message, "unknown command") ||
              strstr(last.message, "cluster support disabled")
                  ? " (it is no cluster: use falkor:// for a single server)"
                  : "");
    falkor__give(heap, chart);
    falkor__give(heap, first);
    return status;
}

/* ---- a round ------------------------------------------------------------- */

falkor_status falkor__scout(falkor__topology *topology, int64_t deadline_ns,
                            falkor_error *error) {
    falkor_status status = topology->is_cluster
        ? falkor__scout_cluster(topology, deadline_ns, error)
        : falkor__scout_sentinels(topology, deadline_ns, error);
    falkor__look_around(topology, deadline_ns);
    return status;
}
#endif
