"""The engines side by side in virtual time: runs build/bench/simulated-engines, prints tables, draws figures.

The program runs clusters of the shipped code in the simulator (bench/simulation.h says what takes how long; processors
take no time) on a local network, on one that loses or retransmits messages, and on a wide-area one. The same seed gives
the same numbers on every machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import plot

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("raft", "paxos", "paxos 4/2")


def main(arguments):
    options = parse_options(arguments)
    path = Path(options.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [options.program, "--json", str(path), "--seed", str(options.seed), "--seconds", str(options.seconds),
               "--kills", str(options.kills), "--only", options.only, "--in-flight", *map(str, options.in_flight)]
    if subprocess.run(command).returncode != 0:
        sys.exit("bench engines: the simulated part failed")
    results = Results(json.loads(path.read_text()))
    print_report(results, options)
    for figure in draw(results, path.parent):
        print(f"Figure: {figure}")
    print(f"Every sample: {path}")


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench engines --simulated",
                                     description="Raft and Paxos side by side, in virtual time")
    parser.add_argument("--seed", type=int, default=1, help="the same one gives the same numbers, on every machine")
    parser.add_argument("--seconds", type=float, default=1, help="virtual ones, of each load; ten times that over a wide area")
    parser.add_argument("--kills", type=int, default=15, help="leaders lost, of each engine, network and kind of loss")
    parser.add_argument("--in-flight", type=int, nargs="+", default=(1, 16, 64, 256), metavar="N")
    parser.add_argument("--only", default="", help="networks whose name contains this: lan, wide, lost, ...")
    parser.add_argument("--program", default=f"{ROOT}/build/bench/simulated-engines")
    parser.add_argument("--json", default=f"{ROOT}/build/bench/simulated-engines.json",
                        help="the figures are put beside it")
    return parser.parse_args(arguments)


class Results:
    """What the program wrote, by name."""

    def __init__(self, document):
        self.document = document
        self.samples = document["samples"]

    def networks(self, prefix=""):
        return [n["name"] for n in self.document["networks"] if n["name"].startswith(prefix)]

    def engines(self, network):
        return [e for e in ENGINES if any((s["network"], s["engine"]) == (network, e) for s in self.samples)]

    def find(self, **wanted):
        return [s for s in self.samples if all(s[key] == value for key, value in wanted.items())]

    def write(self, network, engine, in_flight):
        """The sample with the leader in the first place; None if it was not measured."""
        found = self.find(network=network, engine=engine, operation="write", in_flight=in_flight, leader_place=0)
        return found[0] if found else None

    def in_flight(self):
        return self.document["in_flight"]

    def failovers_s(self, network, engine, loss):
        return [f["ns"] / 1e9 for f in self.document["failovers"]
                if (f["network"], f["engine"], f["loss"]) == (network, engine, loss)]


def per_second(sample):
    return sample["acknowledged"] / (sample["measured_ns"] / 1e9)


def each(key):
    """Of a sample: `key` for each acknowledged request."""
    return lambda sample: sample[key] / max(1, sample["acknowledged"])


def milliseconds(key):
    return lambda sample: sample[key] / 1e6


# --- tables --------------------------------------------------------------------------------------

def print_report(results, options):
    total_s = results.document["virtual_ns"] / 1e9
    print(f"In virtual time: {options.seconds:g} s of each load ({10 * options.seconds:g} s over a wide area), {options.kills} leaders lost of each kind, "
          f"seed {options.seed}; {total_s:,.0f} virtual seconds in all")
    for network in results.networks():
        print(f"\nWrites, {network}")
        print(f"{'in flight':>9}  {'engine':<10} {'writes/s':>9} {'p50 ms':>8} {'p99 ms':>8} "
              f"{'messages':>9} {'bytes':>7}  per write, between members")
        for in_flight in results.in_flight():
            for engine in results.engines(network):
                print_write(results.write(network, engine, in_flight))
        print_places(results, network)
        print_failovers(results, network)
    for sample in results.samples:
        where = f"{sample['network']}, {sample['engine']}, {sample['operation']}, {sample['in_flight']} in flight"
        if sample["leader_changed"]:
            print(f"caution: the leader changed during {where}")
        if sample["failed"]:
            print(f"caution: {sample['failed']} requests failed during {where}")


def print_write(sample):
    print(f"{sample['in_flight']:>9}  {sample['engine']:<10} {per_second(sample):>9,.0f} "
          f"{sample['p50_ns'] / 1e6:>8.2f} {sample['p99_ns'] / 1e6:>8.2f} "
          f"{each('messages')(sample):>9.2f} {each('bytes')(sample):>7,.0f}")


def print_places(results, network):
    """Nothing where places do not differ."""
    rows = [("write, sent to a leader there", dict(operation="write", in_flight=1), "leader_place"),
            ("linearizable read there, leader in the first", dict(operation="linearizable read"), "asked_place"),
            ("serializable read there", dict(operation="serializable read"), "asked_place")]
    places = next(n["places"] for n in results.document["networks"] if n["name"] == network)
    if not places or not results.find(network=network, operation="linearizable read"):
        return
    print(f"{'p50 ms, one in flight':<45} {'engine':<10} " + " ".join(f"{place:>9}" for place in places))
    for title, wanted, key in rows:
        for engine in results.engines(network):
            samples = sorted(results.find(network=network, engine=engine, **wanted), key=lambda s: s[key])
            print(f"{title:<45} {engine:<10} " + " ".join(f"{s['p50_ns'] / 1e6:>9.1f}" for s in samples))


def print_failovers(results, network):
    for loss in ("process killed", "power cut"):
        for engine in results.engines(network):
            seconds = results.failovers_s(network, engine, loss)
            if seconds:
                print(f"  leader lost ({loss}), {engine:<10} next acknowledged write after "
                      f"{statistics.median(seconds):.3f} s (median), {max(seconds):.3f} s at most")


# --- figures -------------------------------------------------------------------------------------

def draw(results, folder):
    """Writes what there is data for; yields the paths."""
    for prefix, title in (("lan", "Three members, local network"), ("wide area", "Five members, wide area")):
        networks = results.networks(prefix)
        if not networks:
            continue
        name = prefix.replace(" ", "-")
        yield over_in_flight(results, folder / f"{name}-latency.svg", networks, f"{title}: latency of writes",
                             "ms", (("p50", milliseconds("p50_ns"), False), ("p99", milliseconds("p99_ns"), True)),
                             log=prefix == "lan")
        yield over_in_flight(results, folder / f"{name}-throughput.svg", networks, f"{title}: writes",
                             "writes/s", (("", per_second, False),))
        yield over_in_flight(results, folder / f"{name}-messages.svg", networks, f"{title}: messages between members",
                             "messages per write", (("", each("messages"), False),), log=False)
        yield over_in_flight(results, folder / f"{name}-bytes.svg", networks, f"{title}: bytes between members",
                             "bytes per write", (("", each("bytes"), False),), log=False)
    if any(results.document["failovers"]):
        yield draw_failovers(results, folder / "failover.svg")
    if results.find(network="wide area", leader_place=1):
        yield draw_leader_places(results, folder / "wide-area-places.svg")


def over_in_flight(results, path, networks, title, y_label, values, log=True):
    counts = tuple(results.in_flight())
    panels = []
    for network in networks:
        series = [plot.Series(f"{engine} {name}".strip(),
                              tuple(of(results.write(network, engine, count)) for count in counts),
                              ENGINES.index(engine), dashed)
                  for engine in results.engines(network) for name, of, dashed in values]
        panels.append(plot.Panel(network, counts, tuple(series)))
    return plot.figure(path, title, "writes in flight", y_label, panels, log=log)


def draw_failovers(results, path):
    panels = []
    for loss in ("process killed", "power cut"):
        for prefix in ("lan", "wide area"):
            networks = [n for n in results.networks(prefix) if "retransmitted" not in n]
            if networks:
                panels.append(failover_panel(results, networks, prefix, loss))
    panels.sort(key=lambda panel: -len(panel.series))  # the legend is the first one's
    return plot.figure(path, "From the loss of a leader to the next acknowledged write: median, and the longest",
                       "messages lost", "s", panels, bars=True)


def failover_panel(results, networks, prefix, loss):
    series = []
    for engine in results.engines(networks[0]):
        seconds = [results.failovers_s(network, engine, loss) for network in networks]
        series.append(plot.Series(engine, tuple(statistics.median(s) for s in seconds), ENGINES.index(engine),
                                  tops=tuple(max(s) for s in seconds)))
    categories = tuple(n.partition(", ")[2].removesuffix(" lost") or "0 %" for n in networks)
    return plot.Panel(f"{prefix}, {loss}", categories, tuple(series))


def draw_leader_places(results, path):
    places = next(n["places"] for n in results.document["networks"] if n["name"] == "wide area")

    def panel(title, **wanted):
        key = "leader_place" if wanted["operation"] == "write" else "asked_place"
        series = []
        for engine in results.engines("wide area"):
            samples = sorted(results.find(network="wide area", engine=engine, in_flight=1, **wanted),
                             key=lambda s: s[key])
            series.append(plot.Series(engine, tuple(s["p50_ns"] / 1e6 for s in samples), ENGINES.index(engine)))
        return plot.Panel(title, tuple(places), tuple(series))

    return plot.figure(path, "Five members, wide area, one request in flight: where the leader and the client are",
                       "", "p50, ms", [panel("write at the leader, which is in", operation="write"),
                                       panel(f"linearizable read in (leader in {places[0]})",
                                             operation="linearizable read")], bars=True)


if __name__ == "__main__":
    main(sys.argv[1:])
