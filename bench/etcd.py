"""Real etcd and Conclave side by side; see side_by_side.py for what is measured and how."""

from side_by_side import ROOT, Comparison, run

if __name__ == "__main__":
    run(Comparison("etcd", ("etcd", "etcd"), ("conclave", f"{ROOT}/build/conclave serve")))
