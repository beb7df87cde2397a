"""Everything that is to be reached, measured in one run: each row beside the peer it stands against, three members of each
system in turns on this machine, fsync on. See rows.py for the rows and scenes.py for how each is measured and proved."""

import argparse
import contextlib
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import grpc

import load
import machine
import report
from cluster import ClusterError, System
from h2load import H2loadError
from redis_server import RedisError, RedisServer
from report import Measurement, Results
from rows import ROWS, plain
from scenes import Bench, Small
from side_by_side import ROOT, Unverified, print_cautions, progress

FAILURES = (Unverified, ClusterError, H2loadError, RedisError, load.LoadError, grpc.RpcError, OSError)
BUSY = 0.5  # load average
CURVES = (("Put", "put"), ("Range, linearizable", "range"))
CURVE_IN_FLIGHT = (1, 8, 64, 256, 1024)
OTHERS = (RedisServer,)  # peers for single writes: what has `name` and sample(in_flight, seconds); a place for more
FULL = SimpleNamespace(keys=1_000_000, watchers=10_000, idle=1_000_000, idle_peer=200_000, many=10_000_000, few=10_000, kills=3)
QUICK = SimpleNamespace(keys=100_000, watchers=1_000, idle=40_000, idle_peer=40_000, many=200_000, few=10_000, kills=1)


def main():
    options = parse_options()
    scratch = Path(options.directory)
    scratch.mkdir(parents=True, exist_ok=True)
    load.PROGRAM = options.load_program
    bench = Bench(scratch, options.base_port, options.seconds, options.sizes, options.floor_program)
    systems = [System(name, tuple(getattr(options, name).split())) for name in ("conclave", "etcd")]
    facts = {**machine.facts(scratch), "versions": versions(systems)}
    if facts["load_average_before"] > BUSY:
        print(f"caution: the machine does something else (load average {facts['load_average_before']})", file=sys.stderr)
    began = time.monotonic()
    results, fdatasync, ended_early = Results([], {}), [], False
    try:
        for round_number in range(options.rounds):
            fdatasync += machine.fdatasync_us(scratch)
            run_round(options, bench, systems, round_number, results)
    except KeyboardInterrupt:
        ended_early, options.docs = True, False
        print("bench all: ended early; what was measured until then:", file=sys.stderr)
    finally:
        progress("")
        remove_data(scratch)
    facts["fdatasync_us"] = {"p50": machine.percentile(fdatasync, 0.50), "p99": machine.percentile(fdatasync, 0.99)}
    settings = {"seconds": options.seconds, "rounds": options.rounds, "sizes": vars(options.sizes), "note": options.note,
                "took_seconds": round(time.monotonic() - began),
                "commands": {system.name: " ".join(system.argv) for system in systems}}
    hand_over(options, bench, results, {"machine": facts, "settings": settings})
    sys.exit(130 if ended_early else 1 if results.failures else 0)


def remove_data(scratch):
    """What failed clusters leave, but for their logs."""
    for directory in scratch.glob("*/m?"):
        shutil.rmtree(directory, ignore_errors=True)


def parse_options():
    parser = argparse.ArgumentParser(prog="scripts/bench all", description=__doc__)
    parser.add_argument("--only", action="append", metavar="ROW", help=f"one of: {', '.join(row.name for row in ROWS)}; or "
                        "curves; may be repeated. All without it")
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement, about")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system has its turn; some rows have fewer")
    parser.add_argument("--quick", action="store_true", help="a second each, once, of less data: to see that all runs")
    parser.add_argument("--conclave", default=f"{ROOT}/build/conclave serve", help="command that starts a member")
    parser.add_argument("--etcd", default="etcd", help="the same")
    parser.add_argument("--load-program", default=load.PROGRAM)
    parser.add_argument("--floor-program", default=ROOT / "build/bench/bench-floor")
    parser.add_argument("--directory", default=f"{ROOT}/build/bench/data",
                        help="where the clusters keep their data; choose the file system to measure")
    parser.add_argument("--base-port", type=int, default=23790)
    parser.add_argument("--out", type=Path, default=Path(ROOT) / "build/bench/all", metavar="PATH",
                        help="PATH.json and PATH.md are written, and figures beside them")
    parser.add_argument("--docs", action="store_true", help="also into docs/performance.md, docs/plots and README.md")
    parser.add_argument("--note", default="", help="for the description of the machine: what else it did")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 1, 1
    options.sizes = QUICK if options.quick else FULL
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    options.rows = [row for row in ROWS if not options.only or row.name in options.only]
    options.curves = not options.only or "curves" in options.only
    if unknown := set(options.only or ()) - {row.name for row in ROWS} - {"curves"}:
        parser.error(f"--only {unknown.pop()}: no row is called so")
    if options.docs and (options.only or options.quick):
        parser.error("--docs: of a whole run only")
    return options


def versions(systems):
    """What the peers say of themselves."""
    etcd = subprocess.run([systems[1].argv[0], "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.split()
    return [etcd.replace(" Version:", ""), "Redis " + next((w[2:] for w in redis if w.startswith("v=")), "unknown")]


def run_round(options, bench, systems, round_number, results):
    """Each scene of each system; who goes first changes with the round."""
    for scene in dict.fromkeys([Small, *(row.scene for row in options.rows)]):
        rows = [row for row in options.rows if row.scene is scene]
        if round_number >= scene.most_rounds:
            continue
        turns = [lambda system=system: run_scene(options, bench, scene, system, round_number, rows, results)
                 for system in systems]
        if scene is Small:
            turns += [lambda other=other: run_other(options, bench, other, round_number, results) for other in OTHERS]
        first = round_number % len(turns)
        for turn in turns[first:] + turns[:first]:
            turn()


def run_scene(options, bench, scene, system, round_number, rows, results):
    rows = [row for row in rows if system.name in row.systems]
    curves = options.curves and scene is Small
    if not rows and not curves:
        return
    doing = f"round {round_number + 1}/{options.rounds}  {system.name}"
    progress(f"{doing:<24} {scene.__name__}")
    with surviving(results, [row.name for row in rows], system.name), scene(bench, system, round_number) as prepared:
        for row in rows:
            progress(f"{doing:<24} {row.name}")
            with surviving(results, [row.name], system.name):
                value = row.measure(prepared)
                add(results, row.name, system.name, round_number, value.number, value.more, row.show, row.unit)
        for operation, _ in CURVES if curves else ():
            for in_flight in CURVE_IN_FLIGHT:
                progress(f"{doing:<24} {operation}, {in_flight} in flight")
                add_point(results, operation, in_flight, system.name, round_number, prepared.sample(operation, in_flight))


def run_other(options, bench, other, round_number, results):
    """A peer for single writes: the rows `put` and `put-alone`, and the curve of Puts."""
    rows = {"put": 256, "put-alone": 1}
    rows = {name: count for name, count in rows.items() if name in [row.name for row in options.rows]}
    counts = sorted({*rows.values(), *(CURVE_IN_FLIGHT if options.curves else ())})
    if not counts:
        return
    with surviving(results, rows, other.name), other(bench.scratch / other.name, options.base_port) as peer:
        for count in counts:
            progress(f"{f'round {round_number + 1}/{options.rounds}  {other.name}':<24} Put, {count} in flight")
            sample = peer.sample(count, options.seconds)
            add_point(results, "Put", count, other.name, round_number, sample)
            for name in [name for name, wanted in rows.items() if wanted == count]:
                number = sample.requests_per_s if name == "put" else sample.p50_us
                add(results, name, other.name, round_number, number, {})


def add(results, row, system, round_number, number, more, show=plain, unit=""):
    results.measurements.append(Measurement(row, system, round_number, number, more))
    progress("")
    print(f"round {round_number + 1}  {row:<20} {system:<9} {show(number, more)} {unit}", flush=True)


def add_point(results, operation, in_flight, system, round_number, sample):
    results.measurements.append(Measurement(f"{operation} @{in_flight}", system, round_number, sample.requests_per_s,
                                            {"p50_us": sample.p50_us, "p99_us": sample.p99_us}))


@contextlib.contextmanager
def surviving(results, rows, system):
    """A row that fails says so in the table, and the others go on."""
    try:
        yield
    except FAILURES as error:
        text = error.details() if isinstance(error, grpc.RpcError) else str(error).strip()
        progress("")
        print(f"bench all: {', '.join(rows)} of {system}: {text}", file=sys.stderr)
        for row in rows:
            results.failures.setdefault(row, {}).setdefault(system, text.splitlines()[0] if text else repr(error))


def hand_over(options, bench, results, document):
    table = list(report.lines(options.rows, results, options.sizes))
    report.print_table(table)
    print_floor(results)
    print_cautions(bench.samples)
    json_path = options.out.with_suffix(".json")
    report.write_json(json_path, table, results, document)
    write_markdown(options.out.with_suffix(".md"), options.out.parent, "", table, results, document)
    print(f"\nAll of it: {json_path}, {options.out.with_suffix('.md')}; it took {document['settings']['took_seconds']} s")
    if options.docs:
        docs = Path(ROOT) / "docs"
        write_markdown(docs / "performance.md", docs / "plots", "plots/", table, results, document, within=True)
        report.replace_between_marks(Path(ROOT) / "README.md", "\n".join(
            report.markdown_table([line for line in table if line.name in README_ROWS])))
        print(f"and {docs / 'performance.md'}, {docs / 'plots'}, README.md")


README_ROWS = ("put", "put-alone", "range-leader", "range-serializable", "memory", "restart", "fail-over")


def write_markdown(path, figures_in, prefix, table, results, document, within=False):
    figures = [(prefix + figure.name, title) for figure, title in report.draw(figures_in, results, CURVES)]
    text = "\n".join(report.markdown(table, document, figures))
    if within:
        report.replace_between_marks(path, text)
    else:
        path.write_text(text + "\n")


def print_floor(results):
    floors = [m.more for m in results.of("put-alone", "conclave")]
    if floors:
        sync, trip = (statistics.median(m[key] for m in floors) for key in ("fdatasync_us", "loopback_us"))
        print(f"\nFloor of one client's Put: fdatasync {sync:.0f} us + 2 round trips of {trip:.0f} us")


def interrupted(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)  # so that no member outlives its bench
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
