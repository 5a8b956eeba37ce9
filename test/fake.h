/* A driver without a server, for tests of the pool. Each of its functions can
   be held at a gate, made to fail, and counted; each proves that the pool's
   lock is free by taking it (falkor_pool_stats), and complains when it meets
   another driver call on the same handle, a holder, or a closed handle. forget
   closes without any of that, for it runs inside fork(). Events are recorded,
   and scanned for "SECRET". */
#ifndef FALKOR_FAKE_H
#define FALKOR_FAKE_H
#include "testing.h"
#include <stdatomic.h>

typedef enum fake_call {
    FAKE_OPEN, FAKE_FAST, FAKE_MEDIUM, FAKE_DEEP, FAKE_RESET, FAKE_SHUTDOWN,
    FAKE_CLOSE, FAKE_CALLS
} fake_call;

typedef struct fake fake;
typedef struct fake_handle fake_handle;
struct fake_handle {
    fake *of;
    fake_handle *next;
    int id;                     /* 1, 2, ... in the order of their dials */
    atomic_int calls;           /* driver calls in progress, not shutdown */
    atomic_int cuts;            /* shutdowns in progress */
    atomic_int owners;          /* holders that marked it as theirs */
    atomic_bool closed;
    atomic_bool sick;           /* every check fails */
    atomic_bool dirty;          /* reset fails */
    atomic_int done[FAKE_CALLS];
};

typedef struct fake_event {
    falkor_event_level level;
    char name[64], message[640];
    falkor_status status;
    int attempt, delay_ms;
} fake_event;
#define FAKE_EVENTS 256         /* more are counted, not kept */

struct fake {
    falkor_driver driver;
    falkor_pool *pool;
    pthread_mutex_t mutex;      /* guards all below but atomics */
    pthread_cond_t changed;
    struct {
        bool shut;
        int permits;            /* may pass all the same */
        int inside;             /* wait at the gate */
        int begun;              /* calls ever begun */
        int failures;           /* so many next calls fail */
    } at[FAKE_CALLS];
    falkor_status open_status;  /* of a failing dial: CONNECT unless set */
    const char *open_message;   /* "refused by the fake"; "" for none */
    int64_t open_deadline_ns, medium_deadline_ns;   /* of the last call */
    int present, most_present;  /* being dialled, open, or being closed */
    int opened, closed, forgotten;
    fake_handle *handles;
    int event_count;
    fake_event events[FAKE_EVENTS];
    int chaos;                  /* a call fails once in so many; 0: never */
    int delay_us;               /* calls take up to so long, now and then */
    uint64_t random;
};

void fake_begin(fake *f);
/* Frees the handles; complains about one that is not closed. */
void fake_end(fake *f);

/* fork(), between two calls of the driver. The child's copy has no gate, no
   failure to come, and nothing that another thread is in the middle of. */
pid_t fake_fork(fake *f);

/* Options for a pool on this driver, with its events. The worker is quiet, and
   no breaker spares the driver a call. */
falkor_options fake_options(fake *f);

/* Shuts a gate: calls wait there, opens and lets all pass, lets so many pass.
   A dial at its gate gives up at its deadline. */
void fake_shut(fake *f, fake_call call);
void fake_lift(fake *f, fake_call call);
void fake_permit(fake *f, fake_call call, int count);

/* So many of the next calls fail. */
void fake_fail(fake *f, fake_call call, int count);

/* In the main thread: waits until exactly count calls stand at the gate, or
   at least count were begun. */
void fake_await_inside(fake *f, fake_call call, int count);
void fake_await_begun(fake *f, fake_call call, int count);
int fake_begun(fake *f, fake_call call);
int fake_inside(fake *f, fake_call call);
int fake_opened(fake *f);
int fake_closed(fake *f);
int fake_live(fake *f);
int fake_most_present(fake *f);

/* The holder of a connection says so; complains when there is another. */
void fake_own(falkor_conn *conn);
void fake_disown(falkor_conn *conn);
fake_handle *fake_of(falkor_conn *conn);

/* The newest handle; the others hang on it. */
fake_handle *fake_newest(fake *f);

/* The last event of that name; the nth, from 0; count of them. */
bool fake_event_found(fake *f, const char *name, fake_event *event);
bool fake_event_nth(fake *f, const char *name, int nth, fake_event *event);
int fake_event_count(fake *f, const char *name);
#endif
