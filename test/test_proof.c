/* Half a minute of the proof, and calls in a hurry: see proof.h, deadlines.h.
   test/check_proof.c and test/check_deadlines.c are the long ones. */
#include "deadlines.h"
#include "lab.h"
#include "proof.h"

/* A24, C3, C4, E11, M1 */
static void test_proof_short(void **state) {
    (void)state;
    proof_run(30, 1);
}

/* A24, C4 */
static void test_proof_deadlines(void **state) {
    (void)state;
    deadlines_run(TEST_SANITIZED ? 3000 : 10000);
}

static int enter(void **state) {
    (void)state;
    lab_enter();
    return 0;
}

TEST_MAIN_WITH(enter, NULL, cmocka_unit_test(test_proof_short),
               cmocka_unit_test(test_proof_deadlines))
