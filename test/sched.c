/* The scheduler of sched.h. */
#include "sched.h"
#include "testing.h"
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define THREADS 12
#define STACK ((size_t)256 << 10)
#define CHOICES 4096                    /* of one run: more is a livelock */
#define NEVER INT64_MAX

typedef enum state { FREE, READY, LOCKING, WAITING, JOINING, DONE } state;

static struct fiber {
    ucontext_t context;
    char *stack;
    void *(*run)(void *);
    void *argument;
    state state;
    const void *on;             /* mutex, condition, or number joined */
    int joined;
    int64_t deadline_ns;
    bool late;
} fibers[THREADS + 1];          /* 1 is the one that a run begins with */

bool sched_hints = true;
static int current;
static int64_t now_ns;
static const sched_scenario *running;
static bool choosing;           /* bodies run: there are choices */

/* The choices of this run: how many there were, which was taken; while
   following, those that are given. */
static struct choice { int options, taken; } choices[CHOICES];
static int choice_count, follow_count;
static bool at_random;
static uint64_t random_state;
static int preemptions, preemptions_left;

/* ---- failing ---------------------------------------------------------- */

static void print_schedule(void) {
    fprintf(stderr, "schedule of %s: %d:", running ? running->name : "?",
            preemptions);
    for (int i = 0; i < choice_count; i++)
        fprintf(stderr, "%s%d", i ? "." : "", choices[i].taken);
    fprintf(stderr, "\n(repeated with ONLY=its test and "
            "FALKOR_TEST_SCHEDULE=the numbers behind the name)\n");
}

void sched_fail(const char *format, ...) {
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "thread %d: ", current);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    print_schedule();
    _Exit(1);
}

/* An assertion of the library's own. */
static void on_abort(int number) {
    (void)number;
    print_schedule();
    _Exit(1);
}

/* ---- choosing --------------------------------------------------------- */

static bool lock_free(const struct fiber *f) {
    return ((const falkor__mutex *)f->on)->owner == 0;
}

static bool can_run(const struct fiber *f) {
    return f->state == READY ||
        (f->state == LOCKING && lock_free(f)) ||
        (f->state == WAITING && f->deadline_ns <= now_ns) ||
        (f->state == JOINING && fibers[f->joined].state == DONE);
}

/* Takes one of options: the given one, a random one, or the first. */
static int choose(int options) {
    int taken = 0;
    if (!choosing || options == 1)
        return 0;
    if (choice_count == CHOICES)
        sched_fail("no end after %d choices: a livelock", CHOICES);
    if (choice_count < follow_count)
        taken = choices[choice_count].taken;
    else if (at_random)
        taken = test_chance(&random_state, 3)
            ? test_below(&random_state, options) : 0;
    if (taken >= options)
        sched_fail("the schedule does not fit: %d of %d", taken, options);
    choices[choice_count++] = (struct choice){options, taken};
    return taken;
}

/* Who is the next to time out. */
static int next_to_be_late(void) {
    int soonest = 0;
    for (int i = 1; i <= THREADS; i++)
        if (fibers[i].state == WAITING && fibers[i].deadline_ns != NEVER &&
            fibers[i].deadline_ns > now_ns &&
            (!soonest ||
             fibers[i].deadline_ns < fibers[soonest].deadline_ns))
            soonest = i;
    return soonest;
}

/* The threads that may go on, the current one first; last, that time passes
   until the next deadline. */
static int options_of(int *options, bool *stays) {
    int count = 0, late = next_to_be_late();
    *stays = can_run(&fibers[current]);
    if (*stays)
        options[count++] = current;
    for (int i = 1; i <= THREADS; i++)
        if (i != current && can_run(&fibers[i]))
            options[count++] = i;
    if (late)
        options[count++] = late;
    return count;
}

static void switch_to(int number) {
    int from = current;
    struct fiber *to = &fibers[number];
    if (to->state == WAITING) {
        if (to->deadline_ns > now_ns)
            now_ns = to->deadline_ns;
        to->late = true;
    }
    to->state = READY;
    current = number;
    if (from != number)
        swapcontext(&fibers[from].context, &to->context);
}

/* The current thread has come to a point where another may go on. */
static void reschedule(void) {
    int options[THREADS + 2];
    bool stays;
    int count = options_of(options, &stays);
    if (count == 0)
        sched_fail("everybody waits for ever");
    if (stays && preemptions_left == 0)
        count = 1;
    int taken = choose(count);
    if (stays && taken > 0)
        preemptions_left--;
    switch_to(options[taken]);
}

void sched_point(void) {
    if (choosing)
        reschedule();
}

/* ---- the layer -------------------------------------------------------- */

int64_t sched_now_ns(void) { return now_ns; }
int sched_self(void) { return current; }

static void block(state why, const void *on) {
    fibers[current].state = why;
    fibers[current].on = on;
    reschedule();
}

static void take(falkor__mutex *mutex) {
    while (mutex->owner)
        block(LOCKING, mutex);
    mutex->owner = current;
}

void sched_lock(falkor__mutex *mutex) {
    sched_point();
    if (mutex->owner == current)
        sched_fail("locks what it holds");
    take(mutex);
}

static void give(falkor__mutex *mutex) {
    if (mutex->owner != current)
        sched_fail("unlocks what it does not hold");
    if (running->check)
        running->check();
    mutex->owner = 0;
}

/* No point of its own: what comes before the next lock is seen by nobody. */
void sched_unlock(falkor__mutex *mutex) {
    give(mutex);
}

bool sched_wait(falkor__cond *cond, falkor__mutex *mutex,
                int64_t deadline_ns) {
    struct fiber *self = &fibers[current];
    give(mutex);
    self->deadline_ns = deadline_ns;
    self->late = false;
    block(WAITING, cond);
    bool late = self->late;
    self->deadline_ns = NEVER;
    take(mutex);
    return !late;
}

void sched_wake(falkor__cond *cond, bool all) {
    for (int i = 1; i <= THREADS; i++)
        if (fibers[i].state == WAITING && fibers[i].on == cond) {
            fibers[i].state = READY;
            if (!all)
                return;
        }
}

/* ---- threads ---------------------------------------------------------- */

static void fiber_main(void) {
    struct fiber *self = &fibers[current];
    self->run(self->argument);
    self->state = DONE;
    if (current != 1)
        reschedule();
}

int sched_spawn(void *(*run)(void *), void *argument) {
    int number = 2;
    while (number <= THREADS && fibers[number].state != FREE)
        number++;
    if (number > THREADS)
        sched_fail("more than %d threads", THREADS);
    struct fiber *f = &fibers[number];
    if (!f->stack)
        f->stack = malloc(STACK);
    f->run = run;
    f->argument = argument;
    f->state = READY;
    f->deadline_ns = NEVER;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    f->context.uc_link = NULL;
    makecontext(&f->context, fiber_main, 0);
    return number;
}

void sched_join(int number) {
    fibers[current].joined = number;
    while (fibers[number].state != DONE)
        block(JOINING, NULL);
    fibers[number].state = FREE;
}

/* ---- runs ------------------------------------------------------------- */

static void *body_main(void *argument) {
    running->bodies[(uintptr_t)argument]();
    return NULL;
}

static void run_once(const sched_scenario *scenario) {
    int numbers[SCHED_BODIES], count = 0;
    running = scenario;
    for (int i = 2; i <= THREADS; i++)
        fibers[i].state = FREE;
    current = 1;
    fibers[1].state = READY;
    fibers[1].deadline_ns = NEVER;
    now_ns = INT64_C(1000000000);
    choice_count = 0;
    choosing = false;
    scenario->setup();
    for (; count < SCHED_BODIES && scenario->bodies[count]; count++)
        numbers[count] = sched_spawn(body_main, (void *)(uintptr_t)count);
    choosing = true;
    for (int i = 0; i < count; i++)
        sched_join(numbers[i]);
    choosing = false;
    scenario->teardown();
    signal(SIGABRT, SIG_DFL);
}

static void begin_run(int most) {
    fflush(stdout);
    preemptions = preemptions_left = most;
    signal(SIGABRT, on_abort);
}

long sched_explore(const sched_scenario *scenario, int most, long limit,
                   bool *whole) {
    long runs = 0;
    follow_count = 0;
    at_random = false;
    *whole = false;
    while (runs < limit) {
        begin_run(most);
        run_once(scenario);
        runs++;
        /* The last choice that has another option: what comes before it is
           followed next time. */
        int last = choice_count - 1;
        while (last >= 0 && choices[last].taken + 1 >= choices[last].options)
            last--;
        if (last < 0) {
            *whole = true;
            break;
        }
        choices[last].taken++;
        follow_count = last + 1;
    }
    follow_count = 0;
    return runs;
}

void sched_random(const sched_scenario *scenario, uint64_t seed, long runs) {
    at_random = true;
    follow_count = 0;
    random_state = seed;
    for (long i = 0; i < runs; i++) {
        begin_run(CHOICES);
        run_once(scenario);
    }
    at_random = false;
}

void sched_replay(const sched_scenario *scenario, const char *schedule) {
    char *end;
    int most = (int)strtol(schedule, &end, 10);
    at_random = false;
    follow_count = 0;
    for (const char *at = end + (*end == ':'); *at;
         at = *end == '.' ? end + 1 : end) {
        choices[follow_count++].taken = (int)strtol(at, &end, 10);
        if (end == at)
            break;
    }
    begin_run(most);
    run_once(scenario);
    follow_count = 0;
}
