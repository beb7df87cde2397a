"""What the rows of scripts/bench all are measured in: clusters of one system, prepared once for all rows that look at
them, and gone with their `with` block.

Small     a fresh cluster with one key
Million   a million keys of 64 bytes with values of 256
Watched   one key with ten thousand watches
Idle      a million watches on keys that nobody writes
Killed    leaders that are killed, in a fresh cluster each
Many      ten thousand keys of 16 bytes with values of 64, then ten million
Secured   the same cluster without and with TLS

Every number is proved to be of work that was done: by the store's revision, by the count of keys, by the count of
events; or the run ends with Unverified.
"""

import contextlib
import json
import math
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import grpc
from etcd3.etcdrpc import rpc_pb2

import load
import tls
from cluster import Cluster, ClusterError, System, process_memory_bytes
from side_by_side import KEY, OPERATIONS, VALUE, Unverified, run_scenario, settled_revision

PUT = "/etcdserverpb.KV/Put"
TXN = "/etcdserverpb.KV/Txn"
WATCH = "/etcdserverpb.Watch/Watch"
WATCH_EVENTS = 11  # the field of a WatchResponse
KEYS_FIRST, KEYS_END = b"keys/", b"keys0"
SETTLE_S = 3
TAIL_SECONDS = (10, 120)  # at least, at most
RATE_HELD = 0.9  # of half the maximum rate, or the latencies mean nothing
COMPACT_EVERY_S = 1
REVISIONS_KEPT = 10_000
WATCH_CONNECTIONS, WATCH_STREAMS = 10, 10
CHANGES_AT_A_TIME = 20
WATCHES_OF_AN_IDLE_STREAM = 20_000
MANY_QUOTA_BYTES = 16 << 30
MANY_BYTES_PER_KEY = 3 * 400  # of memory of all members, about


@dataclass(frozen=True)
class Bench:
    """What one run has in common. `sizes`: keys, watchers, idle, idle_peer, many, few, kills."""
    scratch: Path
    base_port: int
    seconds: float
    sizes: SimpleNamespace
    floor_program: Path
    samples: list = field(default_factory=list)

    def cluster(self, system, *flags):
        return Cluster(System(system.name, (*system.argv, *flags)), self.scratch / system.name, self.base_port)


@dataclass(frozen=True)
class Value:
    """`number` is the row's; `more` is what else was seen, some of which bounds are relative to."""
    number: float
    more: dict = field(default_factory=dict)


class Scene:
    most_rounds = 1_000

    def __init__(self, bench, system, round_number):
        self.bench, self.system, self.round = bench, system, round_number
        self.open = contextlib.ExitStack()

    def __enter__(self):
        self.open.__enter__()
        try:
            self.prepare()
        except BaseException:
            self.open.close()
            raise
        return self

    def __exit__(self, *error):
        return self.open.__exit__(*error)

    def prepare(self):
        """Starts what all rows need."""

    def start(self, *flags):
        return self.open.enter_context(self.bench.cluster(self.system, *flags))

    def scenario(self, cluster, operation, in_flight, follower=False):
        """A Sample of h2load's, see side_by_side.py."""
        options = SimpleNamespace(seconds=self.bench.seconds, follower=follower)
        wanted = next(each for each in OPERATIONS if each.name == operation)
        sample = run_scenario(options, cluster, wanted, in_flight, self.round)
        self.bench.samples.append(sample)
        return sample


class Small(Scene):
    def prepare(self):
        self.cluster = self.start()
        self.cluster.kv(self.cluster.endpoints[0]).Put(rpc_pb2.PutRequest(key=KEY, value=VALUE), timeout=10)
        self.seen = {}

    def sample(self, operation, in_flight, follower=False):
        which = operation, in_flight, follower
        if which not in self.seen:
            self.seen[which] = self.scenario(self.cluster, *which)
        return self.seen[which]

    def rate(self, operation, follower=False):
        sample = self.sample(operation, 256, follower)
        return Value(sample.requests_per_s, {"p50_us": sample.p50_us, "p99_us": sample.p99_us})

    def put_cpu(self):
        return Value(self.sample("Put", 256).cpu_us_per_request)

    def put_alone(self):
        """The floor is measured just before and just after."""
        before = self.floor()
        sample = self.sample("Put", 1)
        after = self.floor()
        both = {key: (before[key] + after[key]) / 2 for key in before}
        return Value(sample.p50_us, {"floor": both["fdatasync_us"] + 2 * both["loopback_us"], **both})

    def floor(self):
        done = subprocess.run([self.bench.floor_program, self.bench.scratch], capture_output=True, text=True)
        if done.returncode != 0:
            raise load.LoadError(f"{self.bench.floor_program}: {done.stderr.strip() or done.returncode}")
        return json.loads(done.stdout)


class Loaded(Scene):
    """Many keys, put in an order that is not theirs. So few in a transaction that etcd has reason to write a snapshot and
    to forget what its log has in memory: else that would count."""
    key_bytes, value_bytes, keys_of_a_txn = 64, 256, 8

    def put_request(self):
        key = KEYS_FIRST.ljust(self.key_bytes - len(load.PLACE), b"k") + load.PLACE
        return rpc_pb2.PutRequest(key=key, value=b"v" * self.value_bytes)

    def fill(self, cluster, first, count):
        leader = cluster.leader()
        puts = [rpc_pb2.RequestOp(request_put=self.put_request())] * self.keys_of_a_txn
        load.run(leader, TXN, rpc_pb2.TxnRequest(success=puts).SerializeToString(), "--each", "--first", first,
                 "--numbers", count, "--requests", count // self.keys_of_a_txn, "--retry",
                 in_flight=64)
        self.check_keys(cluster, leader, first + count)

    def check_keys(self, cluster, endpoint, count):
        request = rpc_pb2.RangeRequest(key=KEYS_FIRST, range_end=KEYS_END, count_only=True)
        there = cluster.kv(endpoint).Range(request, timeout=60).count
        if there != count:
            raise Unverified(f"{self.system.name}: {there} keys are there, not {count}")

    def put(self, cluster, keys, *flags, until=None):
        """Random ones of the first `keys`."""
        leader = cluster.leader()
        kv = cluster.kv(leader)
        revision = settled_revision(kv)
        report = load.run(leader, PUT, self.put_request().SerializeToString(), "--numbers", keys, *flags, until=until)
        growth = settled_revision(kv) - revision
        if growth != report.requests:
            raise Unverified(f"{report.requests} writes were answered, but the store's revision grew by {growth}")
        return report


class Million(Loaded):
    most_rounds = 2

    def prepare(self):
        self.cluster = self.start()
        self.keys = self.bench.sizes.keys
        self.fill(self.cluster, 0, self.keys)
        time.sleep(SETTLE_S)
        self.loaded = max((self.memory_of(endpoint) for endpoint in self.cluster.endpoints),
                          key=lambda memory: memory["resident_mb"])
        self.restarted = self.rate = None

    def memory_of(self, endpoint):
        """`resident_mb` is without a database file that is mapped into memory: that has its own number."""
        database = self.cluster.data_directory(endpoint) / "member/snap/db"
        mapped = database.exists()
        resident = process_memory_bytes(self.cluster.process(endpoint).pid, "RssAnon" if mapped else "VmRSS")
        return {"resident_mb": resident / 1e6, "database_mb": database.stat().st_size / 1e6 if mapped else 0}

    def memory(self):
        """Of the largest member, as loading left it; and beside it of one that was started again."""
        self.restart()
        return Value(sum(self.loaded.values()), {**self.loaded, "restarted": self.restarted.more})

    def restart(self):
        if not self.restarted:
            leader = self.cluster.leader()
            follower = next(endpoint for endpoint in self.cluster.endpoints if endpoint != leader)
            seconds = self.cluster.restart(follower)
            self.check_keys(self.cluster, follower, self.keys)
            self.restarted = Value(seconds, self.memory_of(follower))
        return self.restarted

    def random_put(self):
        self.put(self.cluster, self.keys, "--seconds", 1)
        report = self.put(self.cluster, self.keys, "--seconds", self.bench.seconds)
        self.rate = report.requests_per_s
        return Value(self.rate, {"p50_us": report.p50_us, "p99_us": report.p99_us,
                                 "client_us": report.client_cpu_seconds / report.requests * 1e6})

    def tail(self):
        """p99.9 over p50 at half of the maximum rate, timed from when each request was due."""
        rate = (self.rate or self.random_put().number) / 2
        files, seen = self.files(), set()
        earliest = time.monotonic() + TAIL_SECONDS[0]
        happened = {}

        def all_happened():
            seen.update(self.files() - files)
            happened.update(snapshots=len([name for name in seen if name.endswith(".snap")]),
                            segments=len([name for name in seen if not name.endswith(".snap")]),
                            compactions=compacting.count)
            return time.monotonic() > earliest and all(happened.values())

        with Compacting(self.cluster) as compacting:
            report = self.put(self.cluster, self.keys, "--rate", rate, "--seconds", TAIL_SECONDS[1], until=all_happened)
        if not all(happened.values()):
            raise Unverified(f"{self.system.name}: of what was to happen beside the Puts some did not: {happened}")
        if report.requests_per_s < RATE_HELD * rate:
            raise Unverified(f"{self.system.name}: of {rate:,.0f} Put/s, half of what it had just done, only "
                             f"{report.requests_per_s:,.0f} were answered: the machine does something else")
        return Value(report.p999_us / report.p50_us,
                     {"rate": report.requests_per_s, "p50_ms": report.p50_us / 1e3, "p99_ms": report.p99_us / 1e3,
                      "p999_ms": report.p999_us / 1e3, "longest_ms": report.longest_us / 1e3, **happened})

    def files(self):
        return {str(path) for path in self.cluster.directory.rglob("*") if path.suffix in (".snap", ".wal", ".log")
                and path.parent.name in ("snap", "wal")}


class Compacting:
    """Compacts all the time, up to some revisions before the newest, while its block runs."""

    def __init__(self, cluster):
        self.kv = cluster.kv(cluster.leader())
        self.count = 0
        self.stops = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stops.set()
        self.thread.join()

    def _run(self):
        while not self.stops.wait(COMPACT_EVERY_S):
            # A refused one does not count.
            with contextlib.suppress(grpc.RpcError):
                revision = self.kv.Range(rpc_pb2.RangeRequest(key=KEY), timeout=10).header.revision
                self.kv.Compact(rpc_pb2.CompactionRequest(revision=revision - REVISIONS_KEPT), timeout=10)
                self.count += 1


def watch_requests(key, count):
    create = rpc_pb2.WatchCreateRequest(key=key)
    return [rpc_pb2.WatchRequest(create_request=create).SerializeToString()] * count


class Watched(Scene):
    def prepare(self):
        self.cluster = self.start()

    def events(self):
        leader, watchers = self.cluster.leader(), self.bench.sizes.watchers
        each = watchers // WATCH_CONNECTIONS // WATCH_STREAMS
        put = self.cluster.kv(leader).Put
        with load.Held(leader, WATCH, watch_requests(KEY, each), WATCH_CONNECTIONS, WATCH_STREAMS,
                       "--field", WATCH_EVENTS) as watches:
            watches.wait_for("messages", watchers)
            put(rpc_pb2.PutRequest(key=KEY, value=VALUE), timeout=60)
            watches.wait_for("field", watchers)
            told, puts, began = watchers, 0, time.monotonic()
            # As many changes at a time as make the members work without pause; all are told before the next.
            while (ended := watches.wait_for("field", told)[0]) - began < self.bench.seconds:
                for _ in range(CHANGES_AT_A_TIME):
                    put(rpc_pb2.PutRequest(key=KEY, value=VALUE), timeout=60)
                puts += CHANGES_AT_A_TIME
                told += CHANGES_AT_A_TIME * watchers
            time.sleep(0.2)
            if (counted := watches.wait_for("field", told)[2]) != told:
                raise Unverified(f"{self.system.name}: {counted} events of {told}")
        return Value(puts * watchers / (ended - began), {"changes": puts, "watchers": watchers})


class Idle(Scene):
    most_rounds = 1

    def prepare(self):
        self.cluster = self.start()

    def memory(self):
        leader, sizes = self.cluster.leader(), self.bench.sizes
        count = sizes.idle if self.system.name == "conclave" else sizes.idle_peer
        pid = self.cluster.process(leader).pid
        before = process_memory_bytes(pid)
        on_a_stream = min(count, WATCHES_OF_AN_IDLE_STREAM)
        request = watch_requests(b"idle/" + load.PLACE, on_a_stream)
        began = time.monotonic()
        with load.Held(leader, WATCH, request, count // on_a_stream, 1, "--each", "--numbers", count,
                       "--field", WATCH_EVENTS) as watches:
            created = watches.wait_for("messages", count)[0]
            time.sleep(SETTLE_S)
            resident = process_memory_bytes(pid)
            changed = time.monotonic()
            self.cluster.kv(leader).Put(rpc_pb2.PutRequest(key=b"idle/%08d" % (count // 2), value=b"x"), timeout=60)
            told = watches.wait_for("field", 1)[0]
            peak = self.cluster.peak_memory_bytes()
        return Value((resident - before) / count,
                     {"watches": count, "seconds_to_create": created - began, "peak_mb": peak / 1e6,
                      "told_after_ms": (told - changed) * 1e3})


class Killed(Scene):
    def fail_over(self):
        seconds = []
        for _ in range(self.bench.sizes.kills):
            with self.bench.cluster(self.system) as cluster:
                time.sleep(1)  # all have heard of the leader by now
                leader = cluster.leader()
                seconds.append(cluster.fail_over(rpc_pb2.PutRequest(key=KEY, value=VALUE)))
                for survivor in set(cluster.endpoints) - {leader}:
                    found = cluster.kv(survivor).Range(rpc_pb2.RangeRequest(key=KEY), timeout=10)
                    if not found.kvs or found.kvs[0].value != VALUE:
                        raise Unverified(f"{self.system.name}: a write acknowledged after a kill is not there")
        return Value(sorted(seconds)[len(seconds) // 2] * 1e3, {"seconds": seconds})


class Many(Loaded):
    most_rounds = 1
    key_bytes, value_bytes, keys_of_a_txn = 16, 64, 100

    def prepare(self):
        needed = self.bench.sizes.many * MANY_BYTES_PER_KEY
        free = available_memory_bytes()
        if free < needed:
            raise ClusterError(f"{self.bench.sizes.many:,} keys need {needed / 1e9:.0f} GB of memory for three members; "
                               f"{free / 1e9:.0f} GB are free")

    def put_ratio(self):
        """Few keys are measured before and after, so that a drift of the machine does not count for many."""
        few, many = self.bench.sizes.few, self.bench.sizes.many
        before = self.rate_with(few)
        with_many = self.rate_with(many)
        after = self.rate_with(few)
        with_few = (before["rate"] + after["rate"]) / 2
        return Value(100 * with_many["rate"] / with_few, {"few": [before, after], "many": with_many})

    def rate_with(self, keys):
        with self.bench.cluster(self.system, "--quota-backend-bytes", str(MANY_QUOTA_BYTES)) as cluster:
            began = time.monotonic()
            self.fill(cluster, 0, keys)
            seconds = time.monotonic() - began
            time.sleep(SETTLE_S)
            resident = max(process_memory_bytes(process.pid) for process in cluster.processes)
            self.put(cluster, keys, "--seconds", 1)
            report = self.put(cluster, keys, "--seconds", self.bench.seconds)
            return {"rate": report.requests_per_s, "seconds_to_load": seconds, "resident_mb": resident / 1e6}


def available_memory_bytes():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return math.inf


class Secured(Scene):
    def put_ratio(self):
        rates = {}
        kinds = [("plain", ()), ("tls", tuple(tls.flags("ec").split()))]
        for kind, flags in kinds if self.round % 2 == 0 else kinds[::-1]:
            with self.bench.cluster(self.system, *flags) as cluster:
                rates[kind] = self.scenario(cluster, "Put", 256).requests_per_s
        return Value(100 * rates["tls"] / rates["plain"], rates)
