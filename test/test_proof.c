/* Half a minute of the proof: see proof.h. test/check_proof.c is the long
   one. */
#include "lab.h"
#include "proof.h"

/* A24, C3, C4, E11, M1 */
static void test_proof_short(void **state) {
    (void)state;
    proof_run(30, 1);
}

static int enter(void **state) {
    (void)state;
    lab_enter();
    return 0;
}

TEST_MAIN_WITH(enter, NULL, cmocka_unit_test(test_proof_short))
