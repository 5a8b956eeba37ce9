/* Five minutes of the proof: see proof.h. */
#include "lab.h"
#include "proof.h"

static void test_proof_long(void **state) {
    (void)state;
    bool hurried = getenv("FALKOR_CI");
    proof_run(hurried ? 120 : 300, hurried ? 8 : 20);
}

static int enter(void **state) {
    (void)state;
    lab_enter();
    return 0;
}

TEST_MAIN_WITH(enter, NULL, cmocka_unit_test(test_proof_long))
