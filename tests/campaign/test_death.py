"""Death at every step: each system call of each wrapper is the last one its process makes.

Whoever comes next starts at once, on every name of the scenario, and leaves nothing behind; a live
socket keeps its name, a rival's as well as one that a child of the dead process still holds.
"""

import sys

import injection
from injection import harness


def die_everywhere(field, positions, tally):
    for position in positions:
        outcome = field.run(f"{position.name}:signal=SIGKILL:when={position.nth}")
        troubles = list(outcome.troubles)
        if outcome.said or not outcome.injected:
            troubles.append("did not die there")
        troubles += [lost for lost in (field.rival_lost(), field.rival_claim_lost()) if lost]
        troubles += field.next_start()
        troubles += [lost for lost in (field.rival_lost(),) if lost]
        field.end(outcome)
        tally.count("deaths")
        tally.count("with a live rival", bool(field.scenario.rival))
        tally.count("with a child that lives on", field.scenario.forks)
        for trouble in troubles:
            tally.fail(field.scenario, f"death at {position}: {trouble}")


class Death(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.tally = injection.campaign(CHOSEN, die_everywhere)

    @classmethod
    def tearDownClass(cls):
        for what, count in cls.tally.counts.items():
            print(f"# {what}: {count}")


CHOSEN = list(injection.scenarios(forks=True))
injection.add_tests(Death, CHOSEN)

if __name__ == "__main__":
    if not injection.STRACE:
        print("1..0 # SKIP needs strace")
        sys.exit(0)
    sys.exit(harness.main())
