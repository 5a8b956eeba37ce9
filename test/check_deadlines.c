/* A hundred thousand calls in a hurry: see deadlines.h. */
#include "deadlines.h"
#include "serving.h"

static void test_deadlines_are_kept(void **state) {
    (void)state;
    deadlines_run(TEST_SANITIZED ? 20000 : 100000);
}

TEST_MAIN(cmocka_unit_test(test_deadlines_are_kept))
