/* What fork() does to this library: the child has one thread, and a copy of
   every lock as it was. Rooms that keep locks for the life of a process hang a
   guard here; around a fork all guards hold their locks, so that what they
   guard is whole in the child, where each puts its own in order. */
#include "internal.h"
#include <pthread.h>
#include <stdatomic.h>

static pthread_mutex_t falkor__guards_mutex = PTHREAD_MUTEX_INITIALIZER;
static falkor__guard *falkor__guards;

static void falkor__before_fork(void) {
    pthread_mutex_lock(&falkor__guards_mutex);
    for (falkor__guard *guard = falkor__guards; guard; guard = guard->next)
        guard->lock(guard->object);
}

static void falkor__after_fork(bool child) {
    for (falkor__guard *guard = falkor__guards; guard; guard = guard->next)
        guard->unlock(guard->object, child);
    pthread_mutex_unlock(&falkor__guards_mutex);
}

static void falkor__in_parent(void) {
    falkor__after_fork(false);
}

static void falkor__in_child(void) {
    falkor__after_fork(true);
}

static atomic_bool falkor__watch_tried, falkor__watches_forks;

static void falkor__watch_forks(void) {
    falkor__watches_forks = pthread_atfork(falkor__before_fork,
        falkor__in_parent, falkor__in_child) == 0;
    falkor__watch_tried = true;
}

/* A fork in the middle leaves no lock behind: pthread_once begins anew in the
   child. Only where there was no memory for it the next call tries again. */
bool falkor__guards_begin(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bool again = falkor__watch_tried;
    pthread_once(&once, falkor__watch_forks);
    if (again && !falkor__watches_forks) {
        pthread_mutex_lock(&falkor__guards_mutex);
        if (!falkor__watches_forks)
            falkor__watch_forks();
        pthread_mutex_unlock(&falkor__guards_mutex);
    }
    return falkor__watches_forks;
}

void falkor__guard_add(falkor__guard *guard, void *object,
                       void (*lock)(void *object),
                       void (*unlock)(void *object, bool child)) {
    pthread_mutex_lock(&falkor__guards_mutex);
    *guard = (falkor__guard){lock, unlock, object, .next = falkor__guards};
    if (guard->next)
        guard->next->before = guard;
    falkor__guards = guard;
    pthread_mutex_unlock(&falkor__guards_mutex);
}

void falkor__guard_remove(falkor__guard *guard) {
    pthread_mutex_lock(&falkor__guards_mutex);
    if (guard->before)
        guard->before->next = guard->next;
    else
        falkor__guards = guard->next;
    if (guard->next)
        guard->next->before = guard->before;
    pthread_mutex_unlock(&falkor__guards_mutex);
}
