/* Five minutes of the proof: see proof.h. */
#include "lab.h"
#include "proof.h"

static void test_proof_long(void **state) {
    (void)state;
    proof_run(300, 20);
}

static int enter(void **state) {
    (void)state;
    lab_enter();
    return 0;
}

TEST_MAIN_WITH(enter, NULL, cmocka_unit_test(test_proof_long))
