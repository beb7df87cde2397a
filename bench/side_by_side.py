"""Two systems side by side: the same requests, the same machine, the same file system, in turns.

Each round starts a fresh three-member cluster of one system, loads it, stops it, and does the same with the other;
only one cluster exists at a time, and rounds take turns at which goes first. Each scenario is h2load posting one gRPC
request over and over with a fixed number in flight. What is printed is the median over the rounds.

No failed request can count: before a scenario the same request must succeed through stock gRPC; after it the store's
revision must have grown by exactly the number of writes, or the response bodies must add up to exactly the number of
reads times the size of the one that was checked. Otherwise the run ends with an error and without a table.

Durability is each system's default: both fsync before they acknowledge.

What is compared is said by whoever calls run(): bench/etcd.py, bench/engines.py, bench/tls.py.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from etcd3.etcdrpc import rpc_pb2

import machine
import plot
from cluster import Cluster, ClusterError, System
from h2load import H2loadError, Load, grpc_frame

ROOT = Path(__file__).resolve().parent.parent
KEY = b"bench/key"
VALUE = b"v" * 256
IN_FLIGHT = (1, 16, 64, 256)
CALIBRATION_S = 1


@dataclass(frozen=True)
class Operation:
    name: str
    path: str
    request: object
    writes: bool

    def ask(self, kv, timeout_s=10):
        """The request through stock gRPC; raises unless its grpc-status is 0."""
        return (kv.Put if self.writes else kv.Range)(self.request, timeout=timeout_s)


# Reads first: they then run on a small store, whatever the writes leave behind.
OPERATIONS = (
    Operation("Range, serializable", "/etcdserverpb.KV/Range",
              rpc_pb2.RangeRequest(key=KEY, serializable=True), writes=False),
    Operation("Range, linearizable", "/etcdserverpb.KV/Range", rpc_pb2.RangeRequest(key=KEY), writes=False),
    Operation("Put", "/etcdserverpb.KV/Put", rpc_pb2.PutRequest(key=KEY, value=VALUE), writes=True),
)


@dataclass(frozen=True)
class Sample:
    """One scenario of one system in one round."""
    operation: str
    in_flight: int
    system: str
    round: int
    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us_per_request: float
    client_cores: float
    peak_memory_bytes: int
    peer_messages_per_request: float | None  # between members; None: the system does not say
    peer_bytes_per_request: float | None
    leader_changed: bool


class Unverified(Exception):
    """The requests that h2load counted did not all do what they ask for."""


@dataclass(frozen=True)
class Comparison:
    """`name` is the word after scripts/bench; `first` and `second` are (name, default command of a member)."""
    name: str
    first: tuple
    second: tuple
    about: str = ""  # more for --help
    fails_over: bool = False  # kill leaders, too


def run(comparison, then=None):
    """The whole program, and `then` if all went well; exits with its status."""
    with contextlib.suppress(KeyboardInterrupt):
        measure(comparison)
        if then:
            then()
        sys.exit(0)
    sys.exit(130)


def measure(comparison):
    options = parse_options(comparison)
    scratch = Path(options.directory)
    scratch.mkdir(parents=True, exist_ok=True)
    systems = [System(name, tuple(getattr(options, name).split())) for name, _ in (comparison.first, comparison.second)]
    facts = machine.facts(scratch)
    print_preamble(options, systems, facts)
    try:
        samples, fdatasync = run_rounds(options, systems, scratch)
        failovers = run_failovers(options, systems, scratch) if comparison.fails_over else {}
    except (Unverified, ClusterError, H2loadError, grpc.RpcError) as error:
        progress("")
        sys.exit(f"bench {comparison.name}: {error.details() if isinstance(error, grpc.RpcError) else error}")
    facts["fdatasync_us"] = {"p50": machine.percentile(fdatasync, 0.50), "p99": machine.percentile(fdatasync, 0.99)}
    print_report(options, systems, samples, facts)
    print_failovers(failovers)
    print_traffic(options, systems, samples)
    write_json(Path(options.json), options, systems, samples, failovers, facts)
    for figure in draw(Path(options.json), options, systems, samples, failovers):
        print(f"Figure: {figure}")
    print(f"\nEvery sample of every round: {options.json}")


def parse_options(comparison):
    (first, _), (second, _) = comparison.first, comparison.second
    parser = argparse.ArgumentParser(prog=f"scripts/bench {comparison.name}", description=f"{first} and {second} side by side", epilog=comparison.about)
    parser.add_argument("--seconds", type=float, default=10, help="length of one scenario, about")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system runs each scenario")
    parser.add_argument("--in-flight", type=int, nargs="+", default=IN_FLIGHT, metavar="N")
    parser.add_argument("--only", default="", help="only operations whose name contains this, such as 'put'")
    parser.add_argument("--follower", action="store_true", help="send to a follower instead of the leader")
    for name, command in (comparison.first, comparison.second):
        parser.add_argument(f"--{name}", default=command, help=f"command that starts a member of {name}")
    if comparison.fails_over:
        parser.add_argument("--kills", type=int, default=5, help="how many leaders of each system are killed")
    parser.add_argument("--directory", default=f"{ROOT}/build/bench/data",
                        help="where the clusters keep their data; choose the file system to measure")
    parser.add_argument("--base-port", type=int, default=23790)
    parser.add_argument("--json", default=f"{ROOT}/build/bench/{comparison.name}.json")
    options = parser.parse_args()
    options.operations = [o for o in OPERATIONS if options.only.lower() in o.name.lower()]
    if not options.operations:
        parser.error(f"--only {options.only}: no operation is called so")
    if options.rounds < 1 or options.seconds <= 0 or min(options.in_flight) < 1:
        parser.error("--rounds, --seconds and --in-flight must be positive")
    if comparison.fails_over and options.kills < 1:
        parser.error("--kills must be positive")
    for in_flight in options.in_flight:
        if in_flight > 8 and in_flight % 8 != 0:
            parser.error(f"--in-flight {in_flight}: must be at most 8, or a multiple of 8")
    return options


def run_rounds(options, systems, scratch):
    samples, fdatasync = [], []
    for round_number in range(options.rounds):
        turn = systems if round_number % 2 == 0 else systems[::-1]
        for system in turn:
            fdatasync += machine.fdatasync_us(scratch)
            with Cluster(system, scratch / system.name, options.base_port) as cluster:
                samples += run_system(options, cluster, round_number)
    progress("")
    return samples, fdatasync


def run_system(options, cluster, round_number):
    cluster.kv(cluster.endpoints[0]).Put(rpc_pb2.PutRequest(key=KEY, value=VALUE), timeout=10)
    for operation in options.operations:
        for in_flight in options.in_flight:
            progress(f"round {round_number + 1}/{options.rounds}  {cluster.system.name:<9} "
                     f"{operation.name}, {in_flight} in flight")
            yield run_scenario(options, cluster, operation, in_flight, round_number)


def run_scenario(options, cluster, operation, in_flight, round_number):
    leader = cluster.leader()
    target = next(e for e in cluster.endpoints if e != leader) if options.follower else leader
    load = Load(f"{cluster.system.scheme}://{target}{operation.path}", operation.request.SerializeToString(), in_flight)
    kv = cluster.kv(target)
    rate = load.measure_rate(CALIBRATION_S)
    requests = max(in_flight, round(rate * options.seconds))
    revision = settled_revision(kv)
    expected = operation.ask(kv)
    traffic_before = cluster.peer_traffic()
    cpu_before = cluster.cpu_seconds()
    run = load.run(requests)
    cpu_s = cluster.cpu_seconds() - cpu_before
    messages, peer_bytes = traffic_per_request(traffic_before, cluster.peer_traffic(), requests)
    if operation.writes:
        verify_writes(requests, settled_revision(kv) - revision - 1)
    else:
        verify_reads(run, expected)
    return Sample(operation.name, in_flight, cluster.system.name, round_number, requests, run.requests_per_s,
                  run.p50_us, run.p99_us, cpu_s / requests * 1e6, run.client_cpu_seconds / run.seconds,
                  cluster.peak_memory_bytes(), messages, peer_bytes, leader_changed=cluster.leader() != leader)


def traffic_per_request(before, after, requests):
    if before is None or after is None:
        return None, None
    return tuple((now - then) / requests for then, now in zip(before, after))


def run_failovers(options, systems, scratch):
    """For each system: seconds from SIGKILL of the leader until another member has acknowledged a write, of a client
    that asks the others in turn and tries again at once. Each kill has a fresh cluster."""
    seconds = {system.name: [] for system in systems}
    for number in range(options.kills):
        for system in systems:
            progress(f"kill {number + 1}/{options.kills}  {system.name}")
            with Cluster(system, scratch / system.name, options.base_port) as cluster:
                time.sleep(1)  # all have heard of the leader by now
                seconds[system.name].append(cluster.fail_over(rpc_pb2.PutRequest(key=KEY, value=VALUE)))
    progress("")
    return seconds


def print_traffic(options, systems, samples):
    """Nothing if a system does not say."""
    if any(s.peer_messages_per_request is None for s in samples):
        return
    print("\nBetween members, per request: messages and bytes (without TCP's own); median of the rounds")
    for operation in options.operations:
        for in_flight in options.in_flight:
            columns = []
            for system in systems:
                median = median_of(samples, operation, in_flight, system.name)
                columns.append(f"{system.name:>9} {median.peer_messages_per_request:>6.2f} messages "
                               f"{median.peer_bytes_per_request:>7,.0f} bytes")
            print(f"  {operation.name:<20} {in_flight:>4} in flight  {'  '.join(columns)}")


def draw(json_path, options, systems, samples, failovers):
    """Figures beside the numbers; yields their paths."""
    counts = tuple(options.in_flight)

    def over_in_flight(name, title, unit, values):
        panels = []
        for operation in options.operations:
            panels.append(plot.Panel(operation.name, counts, tuple(
                plot.Series(f"{system.name} {word}".strip(),
                            tuple(of(median_of(samples, operation, count, system.name)) for count in counts),
                            number, dashed)
                for number, system in enumerate(systems) for word, of, dashed in values)))
        path = json_path.with_name(f"{json_path.stem}-{name}.svg")
        return plot.figure(path, title, "requests in flight", unit, panels, log=True)

    yield over_in_flight("throughput", "Three members on this machine: throughput", "requests/s",
                         (("", lambda s: s.requests_per_s, False),))
    yield over_in_flight("latency", "Three members on this machine: latency", "ms",
                         (("p50", lambda s: s.p50_us / 1000, False), ("p99", lambda s: s.p99_us / 1000, True)))
    if failovers:
        bars = tuple(plot.Series(name, (statistics.median(seconds),), number, tops=(max(seconds),))
                     for number, (name, seconds) in enumerate(failovers.items()))
        yield plot.figure(json_path.with_name(f"{json_path.stem}-failover.svg"),
                          "SIGKILL of the leader", "", "s",
                          [plot.Panel("to the next write: median, longest", ("",), bars)], bars=True)


def print_failovers(failovers):
    if not failovers:
        return
    print("\nFrom SIGKILL of the leader to the next acknowledged write, seconds:")
    for name, seconds in failovers.items():
        print(f"  {name:<9} median {statistics.median(seconds):.2f}, from {min(seconds):.2f} to {max(seconds):.2f} "
              f"({len(seconds)} kills)")


def settled_revision(kv):
    """The store's revision, once nothing that an earlier run left in flight moves it any more."""
    last = -1
    while True:
        revision = kv.Range(rpc_pb2.RangeRequest(key=KEY), timeout=10).header.revision
        if revision == last:
            return revision
        last = revision
        time.sleep(0.2)


def verify_writes(requests, growth):
    """`growth`: by how much the revision grew, without the one write that was checked through stock gRPC."""
    if growth != requests:
        raise Unverified(f"{requests} writes were answered, but the store's revision grew by {growth}")


def verify_reads(run, expected):
    if len(expected.kvs) != 1 or expected.kvs[0].value != VALUE:
        raise Unverified(f"a read returned something else than was written: {expected}")
    each = len(grpc_frame(expected.SerializeToString()))
    if run.response_body_bytes != run.requests * each:
        raise Unverified(f"{run.requests} reads of {each} bytes each were answered with "
                         f"{run.response_body_bytes} bytes in all")


def progress(text):
    """One line that the next one replaces; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def print_preamble(options, systems, facts):
    pieces = len(options.operations) * len(options.in_flight) * options.rounds * 2
    minutes = (pieces * (options.seconds + CALIBRATION_S + 1.5) + options.rounds * 10) / 60
    names = " and ".join(system.name for system in systems)
    print(f"{names}, three members each, in turns; {options.rounds} rounds of {options.seconds:g} s "
          f"per scenario: about {minutes:.0f} minutes")
    print(f"{facts['cores']} cores, {facts['processor']}, {facts['memory_gib']} GiB, Linux {facts['kernel']}, "
          f"data on {facts['filesystem']}, load average {facts['load_average_before']}")
    if facts["filesystem"] in ("tmpfs", "ramfs"):
        print("note: an fsync on this file system does nothing; --directory chooses another one")
    if facts["load_average_before"] > 0.5 * facts["cores"]:
        print("note: something else is running on this machine; the numbers will show it")


def print_report(options, systems, samples, facts):
    sync = facts["fdatasync_us"]
    print(f"4 KiB write + fdatasync, measured before each cluster: "
          f"p50 {sync['p50'] / 1000:.2f} ms, p99 {sync['p99'] / 1000:.2f} ms")
    names = [system.name for system in systems]
    for operation in options.operations:
        target = "a follower" if options.follower else "the leader"
        print(f"\n{operation.name}, {len(VALUE)}-byte value, sent to {target}; median of {options.rounds}")
        print(f"{'in':>6} {'requests/s':^27}   {'p50 ms':^17}   {'p99 ms':^17}   {'CPU us/request':^23}")
        columns = f"{names[0]:>8} {names[1]:>8}"
        print(f"{'flight':>6} {names[0]:>9} {names[1]:>9} {'ratio':>7}   {columns}   {columns}   {columns} {'ratio':>5}")
        for in_flight in options.in_flight:
            print(report_row(*(median_of(samples, operation, in_flight, name) for name in names)))
    print_cautions(samples)


def report_row(first, second):
    return (f"{first.in_flight:>6} {first.requests_per_s:>9,.0f} {second.requests_per_s:>9,.0f} "
            f"{second.requests_per_s / first.requests_per_s:>6.2f}x   "
            f"{first.p50_us / 1000:>8.2f} {second.p50_us / 1000:>8.2f}   "
            f"{first.p99_us / 1000:>8.2f} {second.p99_us / 1000:>8.2f}   "
            f"{first.cpu_us_per_request:>8.1f} {second.cpu_us_per_request:>8.1f} "
            f"{second.cpu_us_per_request / first.cpu_us_per_request:>5.2f}")


def median_of(samples, operation, in_flight, name):
    mine = [s for s in samples if (s.operation, s.in_flight, s.system) == (operation.name, in_flight, name)]
    fields = {key: statistics.median(getattr(s, key) for s in mine)
              for key in ("requests_per_s", "p50_us", "p99_us", "cpu_us_per_request", "peer_messages_per_request",
                          "peer_bytes_per_request") if getattr(mine[0], key) is not None}
    return Sample(**{**asdict(mine[0]), **fields})


def print_cautions(samples):
    print("\nCPU is user and system time of the three members together; h2load's own is not in it.")
    for s in samples:
        where = f"{s.system}, {s.operation}, {s.in_flight} in flight, round {s.round + 1}"
        if s.leader_changed:
            print(f"caution: the leader changed during {where}")
        if s.client_cores > 0.95:
            print(f"caution: h2load used its one core fully during {where}: the server may be faster than that")


def write_json(path, options, systems, samples, failovers, facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"seconds": options.seconds, "rounds": options.rounds, "follower": options.follower,
                "value_bytes": len(VALUE), "commands": {system.name: " ".join(system.argv) for system in systems}}
    document = {"machine": facts, "settings": settings, "samples": [asdict(s) for s in samples],
                "failover_seconds": failovers}
    path.write_text(json.dumps(document, indent=1) + "\n")
