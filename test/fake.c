/* The driver without a server: see fake.h. */
#include "fake.h"
#include <errno.h>
#include <time.h>
#include <unistd.h>

static struct timespec fake_timespec(int64_t ns) {
    return (struct timespec){(time_t)(ns / 1000000000),
                             (long)(ns % 1000000000)};
}

static int64_t fake_patience_ns(void) {
    return falkor_now_ns() + (int64_t)TEST_PATIENCE_MS * 1000000;
}

/* Counts a call, waits at its gate, and says whether it is to fail. */
static bool fake_pass(fake *f, fake_call call, int64_t deadline_ns) {
    int64_t until_ns = fake_patience_ns();
    bool dial = call == FAKE_OPEN && deadline_ns < until_ns, fails = false;
    struct timespec until = fake_timespec(dial ? deadline_ns : until_ns);
    falkor_stats stats;
    if (f->pool)
        falkor_pool_stats(f->pool, &stats);     /* the lock is free */
    pthread_mutex_lock(&f->mutex);
    f->at[call].begun++;
    f->at[call].inside++;
    pthread_cond_broadcast(&f->changed);
    while (f->at[call].shut && f->at[call].permits == 0 && !fails)
        if (pthread_cond_timedwait(&f->changed, &f->mutex, &until) ==
            ETIMEDOUT) {
            fails = true;
            if (!dial)
                TEST_COMPLAIN("the gate of call %d was never lifted", call);
        }
    f->at[call].inside--;
    if (f->at[call].shut && f->at[call].permits > 0)
        f->at[call].permits--;
    if (f->at[call].failures > 0) {
        f->at[call].failures--;
        fails = true;
    }
    int delay_us = 0;
    if (f->delay_us && test_chance(&f->random, 8))
        delay_us = test_below(&f->random, f->delay_us);
    if (f->chaos && test_chance(&f->random, f->chaos))
        fails = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    if (delay_us)
        nanosleep(&(struct timespec){0, delay_us * 1000L}, NULL);
    return !fails;
}

/* A driver call on a handle begins: nobody else is at it. */
static void fake_enter(fake_handle *handle, fake_call call) {
    if (atomic_fetch_add(&handle->calls, 1) != 0)
        TEST_COMPLAIN("call %d beside another on handle %d", call, handle->id);
    if (atomic_load(&handle->cuts) != 0)
        TEST_COMPLAIN("call %d beside a shutdown on handle %d", call,
                      handle->id);
    if (atomic_load(&handle->owners) != 0)
        TEST_COMPLAIN("call %d on handle %d, which is held", call, handle->id);
    if (atomic_load(&handle->closed))
        TEST_COMPLAIN("call %d on handle %d, which is closed", call,
                      handle->id);
}

static void fake_leave(fake_handle *handle, fake_call call) {
    if (atomic_load(&handle->cuts) != 0)
        TEST_COMPLAIN("a shutdown beside call %d on handle %d", call,
                      handle->id);
    atomic_fetch_add(&handle->done[call], 1);
    atomic_fetch_sub(&handle->calls, 1);
}

static falkor_status fake_open(void *ctx, int64_t deadline_ns, void **out,
                               falkor_error *error) {
    fake *f = ctx;
    pthread_mutex_lock(&f->mutex);
    f->open_deadline_ns = deadline_ns;
    if (++f->present > f->most_present)
        f->most_present = f->present;
    pthread_mutex_unlock(&f->mutex);
    bool works = fake_pass(f, FAKE_OPEN, deadline_ns);
    fake_handle *handle = works ? calloc(1, sizeof *handle) : NULL;
    falkor_status status = FALKOR_OK;
    pthread_mutex_lock(&f->mutex);
    if (handle) {
        handle->of = f;
        handle->id = ++f->opened;
        handle->next = f->handles;
        f->handles = handle;
        *out = handle;
    } else {
        f->present--;
        status = f->open_status ? f->open_status : FALKOR_ERR_CONNECT;
        error->sys_errno = falkor_now_ns() < deadline_ns ? ECONNREFUSED
                                                         : ETIMEDOUT;
        snprintf(error->message, sizeof error->message, "%s",
                 f->open_message ? f->open_message : "refused by the fake");
    }
    pthread_mutex_unlock(&f->mutex);
    return status;
}

static falkor_status fake_check(void *ctx, void *at, falkor_check_level level,
                                int64_t deadline_ns) {
    static const fake_call calls[] = {FAKE_FAST, FAKE_MEDIUM, FAKE_DEEP};
    fake_handle *handle = at;
    fake *f = ctx;
    if (level == FALKOR_CHECK_MEDIUM) {
        pthread_mutex_lock(&f->mutex);
        f->medium_deadline_ns = deadline_ns;
        pthread_mutex_unlock(&f->mutex);
    }
    fake_enter(handle, calls[level]);
    bool works = fake_pass(f, calls[level], deadline_ns) &&
        !atomic_load(&handle->sick);
    fake_leave(handle, calls[level]);
    return works ? FALKOR_OK : FALKOR_ERR_IO;
}

static falkor_status fake_reset(void *ctx, void *at, int64_t deadline_ns) {
    fake_handle *handle = at;
    fake_enter(handle, FAKE_RESET);
    bool works = fake_pass(ctx, FAKE_RESET, deadline_ns) &&
        !atomic_load(&handle->dirty);
    fake_leave(handle, FAKE_RESET);
    return works ? FALKOR_OK : FALKOR_ERR_IO;
}

static void fake_shutdown(void *ctx, void *at) {
    fake_handle *handle = at;
    if (atomic_fetch_add(&handle->cuts, 1) != 0)
        TEST_COMPLAIN("two shutdowns at once on handle %d", handle->id);
    if (atomic_load(&handle->calls) != 0)
        TEST_COMPLAIN("a shutdown beside a call on handle %d", handle->id);
    if (atomic_load(&handle->closed))
        TEST_COMPLAIN("a shutdown of handle %d, which is closed", handle->id);
    fake_pass(ctx, FAKE_SHUTDOWN, INT64_MAX);
    atomic_fetch_add(&handle->done[FAKE_SHUTDOWN], 1);
    atomic_fetch_sub(&handle->cuts, 1);
}

static void fake_close(void *ctx, void *at) {
    fake_handle *handle = at;
    fake *f = ctx;
    fake_enter(handle, FAKE_CLOSE);
    fake_pass(f, FAKE_CLOSE, INT64_MAX);
    fake_leave(handle, FAKE_CLOSE);
    atomic_store(&handle->closed, true);
    pthread_mutex_lock(&f->mutex);
    f->closed++;
    f->present--;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void fake_forget(void *ctx, void *at) {
    fake_handle *handle = at;
    fake *f = ctx;
    handle->done[FAKE_CLOSE]++;
    atomic_store(&handle->closed, true);
    f->forgotten++;
    f->closed++;
    f->present--;
}

#ifndef FALKOR_WITHOUT_EVENTS
static void fake_on_event(void *ctx, const falkor_event *event) {
    fake *f = ctx;
    falkor_stats stats;
    if (f->pool)
        falkor_pool_stats(f->pool, &stats);     /* no lock is held */
    if (strstr(event->message, "SECRET"))
        TEST_COMPLAIN("event %s tells a secret: %s", event->name,
                      event->message);
    pthread_mutex_lock(&f->mutex);
    fake_event *kept = &f->events[f->event_count % FAKE_EVENTS];
    f->event_count++;
    kept->level = event->level;
    kept->status = event->status;
    kept->attempt = event->attempt;
    kept->delay_ms = event->delay_ms;
    snprintf(kept->name, sizeof kept->name, "%s", event->name);
    snprintf(kept->message, sizeof kept->message, "%s", event->message);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}
#endif

/* ---- for tests -------------------------------------------------------- */

static void fake_begin_changed(fake *f) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void fake_begin(fake *f) {
    memset(f, 0, sizeof *f);
    f->driver = (falkor_driver){.open = fake_open, .check = fake_check,
        .reset = fake_reset, .shutdown = fake_shutdown, .close = fake_close,
        .forget = fake_forget};
    pthread_mutex_init(&f->mutex, NULL);
    fake_begin_changed(f);
}

pid_t fake_fork(fake *f) {
    pthread_mutex_lock(&f->mutex);
    pid_t child = test_fork();
    if (child == 0) {
        fake_begin_changed(f);
        memset(f->at, 0, sizeof f->at);
        f->present = f->opened - f->closed;     /* dials are the parent's */
    }
    pthread_mutex_unlock(&f->mutex);
    return child;
}

void fake_end(fake *f) {
    while (f->handles) {
        fake_handle *handle = f->handles;
        f->handles = handle->next;
        if (!atomic_load(&handle->closed) || handle->done[FAKE_CLOSE] != 1)
            TEST_COMPLAIN("handle %d was closed %d times", handle->id,
                          handle->done[FAKE_CLOSE]);
        free(handle);
    }
    if (f->present != 0)
        TEST_COMPLAIN("%d connections are left", f->present);
    f->pool = NULL;                     /* a leak is not to be hidden */
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
}

falkor_options fake_options(fake *f) {
    return (falkor_options){.min_size = 1, .driver = &f->driver,
        .driver_ctx = f, .event_ctx = f,
#ifndef FALKOR_WITHOUT_EVENTS
        .on_event = fake_on_event,
#endif
        .health_check_interval_ms = -1, .idle_timeout_ms = -1,
        .max_lifetime_ms = -1, .validate_after_ms = -1, .max_retries = -1,
        .breaker_failures = -1, .health = {.window_ms = -1}};
}

void fake_shut(fake *f, fake_call call) {
    pthread_mutex_lock(&f->mutex);
    f->at[call].shut = true;
    f->at[call].permits = 0;
    pthread_mutex_unlock(&f->mutex);
}

void fake_lift(fake *f, fake_call call) {
    pthread_mutex_lock(&f->mutex);
    f->at[call].shut = false;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

void fake_permit(fake *f, fake_call call, int count) {
    pthread_mutex_lock(&f->mutex);
    f->at[call].permits += count;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

void fake_fail(fake *f, fake_call call, int count) {
    pthread_mutex_lock(&f->mutex);
    f->at[call].failures = count;
    pthread_mutex_unlock(&f->mutex);
}

static void fake_await(fake *f, fake_call call, int count, bool inside) {
    struct timespec until = fake_timespec(fake_patience_ns());
    bool late = false;
    pthread_mutex_lock(&f->mutex);
    while (!late && (inside ? f->at[call].inside != count
                            : f->at[call].begun < count))
        late = pthread_cond_timedwait(&f->changed, &f->mutex, &until) ==
            ETIMEDOUT;
    int is = inside ? f->at[call].inside : f->at[call].begun;
    pthread_mutex_unlock(&f->mutex);
    if (late)
        fail_msg("call %d: %d %s, not %d", call, is,
                 inside ? "at the gate" : "begun", count);
}

void fake_await_inside(fake *f, fake_call call, int count) {
    fake_await(f, call, count, true);
}

void fake_await_begun(fake *f, fake_call call, int count) {
    fake_await(f, call, count, false);
}

static int fake_number(fake *f, const int *number) {
    pthread_mutex_lock(&f->mutex);
    int value = *number;
    pthread_mutex_unlock(&f->mutex);
    return value;
}

int fake_begun(fake *f, fake_call call) {
    return fake_number(f, &f->at[call].begun);
}

int fake_inside(fake *f, fake_call call) {
    return fake_number(f, &f->at[call].inside);
}

int fake_opened(fake *f) {
    return fake_number(f, &f->opened);
}

int fake_closed(fake *f) {
    return fake_number(f, &f->closed);
}

int fake_live(fake *f) {
    pthread_mutex_lock(&f->mutex);
    int live = f->opened - f->closed;
    pthread_mutex_unlock(&f->mutex);
    return live;
}

int fake_most_present(fake *f) {
    return fake_number(f, &f->most_present);
}

fake_handle *fake_newest(fake *f) {
    pthread_mutex_lock(&f->mutex);
    fake_handle *newest = f->handles;
    pthread_mutex_unlock(&f->mutex);
    return newest;
}

fake_handle *fake_of(falkor_conn *conn) {
    return falkor_conn_handle(conn);
}

void fake_own(falkor_conn *conn) {
    fake_handle *handle = fake_of(conn);
    if (!handle)
        TEST_COMPLAIN("a held connection has no handle");
    else if (atomic_fetch_add(&handle->owners, 1) != 0)
        TEST_COMPLAIN("handle %d has two holders", handle->id);
    else if (atomic_load(&handle->calls) != 0 || atomic_load(&handle->closed))
        TEST_COMPLAIN("handle %d is held while the pool works on it",
                      handle->id);
}

void fake_disown(falkor_conn *conn) {
    fake_handle *handle = fake_of(conn);
    if (!handle)
        TEST_COMPLAIN("a held connection has lost its handle");
    else if (atomic_fetch_sub(&handle->owners, 1) != 1)
        TEST_COMPLAIN("handle %d had two holders", handle->id);
}

bool fake_event_found(fake *f, const char *name, fake_event *event) {
    bool found = false;
    pthread_mutex_lock(&f->mutex);
    int first = f->event_count > FAKE_EVENTS ? f->event_count - FAKE_EVENTS : 0;
    for (int i = f->event_count - 1; i >= first && !found; i--) {
        found = strcmp(f->events[i % FAKE_EVENTS].name, name) == 0;
        if (found && event)
            *event = f->events[i % FAKE_EVENTS];
    }
    pthread_mutex_unlock(&f->mutex);
    return found;
}

bool fake_event_nth(fake *f, const char *name, int nth, fake_event *event) {
    bool found = false;
    pthread_mutex_lock(&f->mutex);
    int kept = f->event_count < FAKE_EVENTS ? f->event_count : FAKE_EVENTS;
    for (int i = 0; i < kept && !found; i++) {
        found = strcmp(f->events[i].name, name) == 0 && nth-- == 0;
        if (found)
            *event = f->events[i];
    }
    pthread_mutex_unlock(&f->mutex);
    return found;
}

int fake_event_count(fake *f, const char *name) {
    int count = 0;
    pthread_mutex_lock(&f->mutex);
    int kept = f->event_count < FAKE_EVENTS ? f->event_count : FAKE_EVENTS;
    for (int i = 0; i < kept; i++)
        count += strcmp(f->events[i].name, name) == 0;
    pthread_mutex_unlock(&f->mutex);
    return count;
}
