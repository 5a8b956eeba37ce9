/* The fibres of fibres.h: those who are ready in a line, those who wait for a
   moment in a heap. */
#define _GNU_SOURCE
#include "fibres.h"
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#define NEVER INT64_MAX
#define LEAST_ROOM 4096                 /* of a stack, where its fibre waits */

struct fibre {
    ucontext_t context;
    char *stack;                /* its lowest byte; NULL: of the process */
    void *(*run)(void *);
    void *argument;
    fibre *before, *behind;     /* in the line, at a condition, or free */
    falkor__cond *at;           /* NULL: at none */
    falkor__cond ended;         /* who joins it */
    bool over, late;
    int64_t due_ns;
    uint64_t order;             /* among those who are due together */
    int place;                  /* in the heap; -1: not there */
};

static fibre *fibres, *current, *unused;
static int count, most_fibres;
static size_t stack_size;
static char *stacks;
static falkor__cond ready;
static fibre **heap;
static int heap_count;
static uint64_t orders;
static int64_t now_ns;

static void fail(const char *what) {
    fflush(stdout);
    fprintf(stderr, "fibres: %s\n", what);
    abort();
}

/* ---- lists ------------------------------------------------------------ */

static void append(falkor__cond *list, fibre *one) {
    one->before = list->last;
    one->behind = NULL;
    if (list->last)
        list->last->behind = one;
    else
        list->first = one;
    list->last = one;
}

static void take_out(falkor__cond *list, fibre *one) {
    if (one->before)
        one->before->behind = one->behind;
    else
        list->first = one->behind;
    if (one->behind)
        one->behind->before = one->before;
    else
        list->last = one->before;
}

/* ---- the heap --------------------------------------------------------- */

static bool sooner(const fibre *a, const fibre *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns
                                  : a->order < b->order;
}

static void put(fibre *one, int place) {
    heap[place] = one;
    one->place = place;
}

static void sift(fibre *one, int place) {
    while (place > 0 && sooner(one, heap[(place - 1) / 2])) {
        put(heap[(place - 1) / 2], place);
        place = (place - 1) / 2;
    }
    for (;;) {
        int child = 2 * place + 1;
        if (child + 1 < heap_count && sooner(heap[child + 1], heap[child]))
            child++;
        if (child >= heap_count || !sooner(heap[child], one))
            break;
        put(heap[child], place);
        place = child;
    }
    put(one, place);
}

static void heap_add(fibre *one, int64_t due_ns) {
    one->due_ns = due_ns;
    one->order = orders++;
    heap_count++;
    sift(one, heap_count - 1);
}

static void heap_remove(fibre *one) {
    int place = one->place;
    one->place = -1;
    fibre *last = heap[--heap_count];
    if (last != one)
        sift(last, place);
}

/* ---- going on --------------------------------------------------------- */

/* The current fibre waits, or is over: the next goes on. */
static void block(void) {
    fibre *from = current, *to = ready.first;
    if (from->stack &&
        (char *)__builtin_frame_address(0) < from->stack + LEAST_ROOM)
        fail("a stack is too small");
    if (to) {
        take_out(&ready, to);
    } else if (heap_count) {
        to = heap[0];
        heap_remove(to);
        if (to->at)
            take_out(to->at, to);
        to->at = NULL;
        to->late = true;
        if (to->due_ns > now_ns)
            now_ns = to->due_ns;
    } else {
        fail("all wait for ever");
    }
    current = to;
    if (to != from)
        swapcontext(&from->context, &to->context);
}

int64_t fibre_now_ns(void) { return now_ns; }
unsigned fibre_number(void) { return (unsigned)(current - fibres); }

void fibre_sleep_until(int64_t until_ns) {
    heap_add(current, until_ns);
    block();
}

bool fibre_wait(falkor__cond *cond, int64_t deadline_ns) {
    fibre *self = current;
    append(cond, self);
    self->at = cond;
    self->late = false;
    if (deadline_ns != NEVER)
        heap_add(self, deadline_ns);
    block();
    return !self->late;
}

void fibre_wake(falkor__cond *cond, bool all) {
    while (cond->first) {
        fibre *one = cond->first;
        take_out(cond, one);
        one->at = NULL;
        if (one->place >= 0)
            heap_remove(one);
        append(&ready, one);
        if (!all)
            return;
    }
}

void fibre_lock(falkor__mutex *mutex) {
    if (mutex->held)
        fail("somebody waits with a lock held");
    mutex->held = true;
}

void fibre_unlock(falkor__mutex *mutex) {
    if (!mutex->held)
        fail("a lock is given back that nobody holds");
    mutex->held = false;
}

/* ---- begin and end ---------------------------------------------------- */

static void fibre_main(void) {
    current->run(current->argument);
    current->over = true;
    fibre_wake(&current->ended, true);
    block();
}

static fibre *take_unused(void) {
    fibre *one = unused;
    if (one)
        unused = one->behind;
    else if (count < most_fibres)
        one = &fibres[count++];
    else
        fail("more than there is room for");
    return one;
}

static void prepare(fibre *one) {
    one->stack = stacks + (size_t)(one - fibres) * stack_size;
    getcontext(&one->context);
    one->context.uc_stack.ss_sp = one->stack;
    one->context.uc_stack.ss_size = stack_size;
    one->context.uc_link = NULL;
    makecontext(&one->context, fibre_main, 0);
}

fibre *fibre_start(void *(*run)(void *), void *argument) {
    fibre *one = take_unused();
    one->run = run;
    one->argument = argument;
    one->over = false;
    one->at = NULL;
    one->ended = (falkor__cond){NULL, NULL};
    one->place = -1;
    prepare(one);
    append(&ready, one);
    return one;
}

void fibre_join(fibre *joined) {
    while (!joined->over)
        fibre_wait(&joined->ended, NEVER);
    joined->behind = unused;
    unused = joined;
}

/* The first is the caller, on the stack of the process. What nobody touches of
   the others' stacks takes no memory. */
void fibres_begin(int most, size_t stack_bytes) {
    most_fibres = most + 1;
    stack_size = stack_bytes;
    fibres = calloc((size_t)most_fibres, sizeof *fibres);
    heap = calloc((size_t)most_fibres, sizeof(fibre *));
    stacks = malloc((size_t)most_fibres * stack_size);
    if (!fibres || !heap || !stacks)
        fail("out of memory");
    unused = NULL;
    ready = (falkor__cond){NULL, NULL};
    heap_count = 0;
    orders = 0;
    now_ns = INT64_C(1000000000);
    count = 1;
    current = fibres;
    current->place = -1;
}

void fibres_end(void) {
    if (heap_count || ready.first)
        fail("the end comes too early");
    free(stacks);
    free(heap);
    free(fibres);
}
