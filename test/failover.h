/* The proof of failovers: scribes write and read through one pool over a fleet
   of real servers, half of the writes with wait_replicas, while its primary is
   killed, deposed and killed again, or the slot of the graph moves; afterwards
   what is there is compared with what they were told (ledger.h).

   For each failover it is measured how long after the servers' own switch, when
   most of them name the new node, that node has carried out a write of the
   pool: within a second, and what the machine was late by.

   A run has so many rounds of either kind, and prints count: lines. */
#ifndef FALKOR_TEST_FAILOVER_H
#define FALKOR_TEST_FAILOVER_H
#include "fleet.h"
#include "ledger.h"

/* Opens the scribes' pool over the fleet, with more options, and says how many
   of them there are to be. */
void failover_open(ledger *told, const fleet *all, falkor_options options);
int failover_threads(uint64_t *random);

/* FALKOR_FAILOVERS, or fewer where FALKOR_CI is set, or most. */
int failover_rounds(int most);

/* SIGKILL, and the same without a death: SENTINEL FAILOVER, or the slot of the
   graph moves. */
void failover_run(fleet_kind kind, int kills, int handovers);
#endif
