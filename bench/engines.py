"""Conclave's two engines side by side. First as processes on this machine (side_by_side.py says what is measured and how),
with the time until a write is acknowledged again after a leader was killed; then simulated, on networks that lose
messages and on a wide-area one (simulated.py). With --simulated only the latter."""

import sys

import simulated
from side_by_side import ROOT, Comparison, run

ABOUT = """Then both are measured in virtual time, on local networks that lose messages and on a wide-area one. With
--simulated only that is done; `scripts/bench engines --simulated --help` lists its options."""


def simulate():
    print()
    simulated.main([])


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--simulated"]
    if len(arguments) < len(sys.argv) - 1:
        simulated.main(arguments)
    else:
        serve = f"{ROOT}/build/conclave serve --consensus"
        run(Comparison("engines", ("raft", f"{serve} raft"), ("paxos", f"{serve} paxos"), ABOUT, fails_over=True),
            then=simulate)
