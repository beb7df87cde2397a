"""Conclave's two engines side by side; see side_by_side.py for what is measured and how. And how long each needs
until a write is acknowledged again after its leader was killed."""

from side_by_side import ROOT, Comparison, run

if __name__ == "__main__":
    serve = f"{ROOT}/build/conclave serve --consensus"
    run(Comparison("engines", ("raft", f"{serve} raft"), ("paxos", f"{serve} paxos"), fails_over=True))
