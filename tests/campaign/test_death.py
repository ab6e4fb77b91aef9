"""A process is killed at each system call that the library makes for each guarded call.

The next server must start at once on every name of the scenario, and leave no file. The live
sockets of a rival, or of a child of the killed process, must keep their paths.
"""

import sys

import injection
from injection import harness


def kill_at_all_positions(bed, positions, results):
    for position in positions:
        outcome = bed.run(f"{position.name}:signal=SIGKILL:when={position.nth}")
        problems = list(outcome.problems)
        if outcome.answer or not outcome.injected:
            problems.append("the process was not killed at that call")
        problems += [lost for lost in (bed.rival_lost(), bed.rival_claim_lost()) if lost]
        problems += bed.next_start()
        problems += [lost for lost in (bed.rival_lost(),) if lost]
        bed.end(outcome)
        results.count("deaths")
        results.count("with a live rival", bool(bed.scenario.rival))
        results.count("with a child that lives on", bed.scenario.forks)
        for problem in problems:
            results.fail(bed.scenario, f"death at {position}: {problem}")


class Death(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.results = injection.campaign(CHOSEN, kill_at_all_positions)

    @classmethod
    def tearDownClass(cls):
        for what, count in cls.results.counts.items():
            print(f"# {what}: {count}")


CHOSEN = list(injection.scenarios(forks=True))
injection.add_tests(Death, CHOSEN)

if __name__ == "__main__":
    if not injection.STRACE:
        print("1..0 # SKIP needs strace")
        sys.exit(0)
    sys.exit(harness.main())
