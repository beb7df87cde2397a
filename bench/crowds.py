"""What very many watches and leases cost a cluster of three members: memory, and how long other requests wait.

    bench/crowds.py                         everything, with a million leases and a million watches; some minutes
    bench/crowds.py --only leases --leases 100000

leases    so many, each with a key, whose time ends in the same second: how long until all are gone, and how long a Put
          and a linearizable Range take meanwhile
watchers  so many watches on one key: how long until all have been told of a change
idle      so many watches on keys of their own that nobody writes: memory of each, and what a Put costs beside them
"""

import argparse
import base64
import math
import re
import socket
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

import machine
from cluster import Cluster, System, process_memory_bytes
from h2load import Load

ROOT = Path(__file__).resolve().parent.parent
MAX_TXN_OPERATIONS = 128
GRANTED_BEFORE_S = 5  # the last leases, before all expire
WATCHES_OF_A_CONNECTION = 20_000  # what fits into one body
UNBOUNDED = [("grpc.max_receive_message_length", -1)]


class Probe:
    """Puts and Gets one key all the time, one after the other; the latencies of each."""

    def __init__(self, endpoint):
        self.channel = grpc.insecure_channel(endpoint)
        self.kv = rpc_pb2_grpc.KVStub(self.channel)
        self.us = {"Put": [], "Range": []}
        self.stops = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stops.set()
        self.thread.join()
        self.channel.close()

    def _run(self):
        put, get = rpc_pb2.PutRequest(key=b"probe", value=b"x" * 100), rpc_pb2.RangeRequest(key=b"probe")
        while not self.stops.is_set():
            self._time("Put", self.kv.Put, put)
            self._time("Range", self.kv.Range, get)
            time.sleep(0.002)

    def _time(self, name, call, request):
        began = time.monotonic()
        call(request, timeout=60)
        self.us[name].append((time.monotonic() - began) * 1e6)

    def text(self):
        return "; ".join(
            f"{name} median {machine.percentile(us, 0.5) / 1e3:.1f} ms, p99 {machine.percentile(us, 0.99) / 1e3:.1f}, "
            f"longest {max(us) / 1e3:.0f} ({len(us)})" for name, us in self.us.items())


# --- leases ---


def grant_leases(endpoint, count, expire_at):
    """In bursts that begin a whole number of seconds before `expire_at`, so that all end within about a burst's time."""
    url = f"http://{endpoint}/etcdserverpb.Lease/LeaseGrant"
    granted, burst = 0, 10_000
    while granted < count:
        left = expire_at - time.monotonic()
        time.sleep(left - math.floor(left))
        ttl = round(expire_at - time.monotonic())
        if ttl < GRANTED_BEFORE_S:
            raise RuntimeError(f"granted {granted} leases in time, not {count}: give them more with --seconds")
        burst = min(burst, count - granted)
        message = rpc_pb2.LeaseGrantRequest(TTL=ttl).SerializeToString()
        run = Load(url, message, in_flight=512).run(burst)
        granted += burst
        burst = max(1_000, min(int(run.requests_per_s * 0.8), 2 * burst))


def lease_ids(endpoint):
    with grpc.insecure_channel(endpoint, UNBOUNDED) as channel:
        leases = channel.unary_unary("/etcdserverpb.Lease/LeaseLeases",
                                     response_deserializer=rpc_pb2.LeaseLeasesResponse.FromString)(b"", timeout=60)
    return [lease.ID for lease in leases.leases]


def attach_keys(endpoint, ids):
    """A key for each, in the largest transactions there may be."""
    with grpc.insecure_channel(endpoint) as channel:
        kv = rpc_pb2_grpc.KVStub(channel)
        under_way = []
        for first in range(0, len(ids), MAX_TXN_OPERATIONS):
            puts = [
                rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"leased/%016x" % lease, value=b"x", lease=lease))
                for lease in ids[first:first + MAX_TXN_OPERATIONS]
            ]
            under_way.append(kv.Txn.future(rpc_pb2.TxnRequest(success=puts), timeout=60))
            if len(under_way) == 32:
                under_way.pop(0).result()
        for each in under_way:
            each.result()


def count_leased_keys(endpoint):
    with grpc.insecure_channel(endpoint) as channel:
        request = rpc_pb2.RangeRequest(key=b"leased/", range_end=b"leased0", count_only=True)
        return rpc_pb2_grpc.KVStub(channel).Range(request, timeout=60).count


def leases_left(endpoint):
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=60) as page:
        return int(float(re.search(r"^conclave_leases (\S+)$", page.read().decode(), re.M)[1]))


def measure_leases(cluster, parsed):
    leader = cluster.leader()
    pid = cluster.process(leader).pid
    before = process_memory_bytes(pid)
    expire_at = time.monotonic() + parsed.seconds
    grant_leases(leader, parsed.leases, expire_at)
    print(f"  {parsed.leases} leases granted, {expire_at - time.monotonic():.0f} s left; "
          f"{(process_memory_bytes(pid) - before) / parsed.leases:.0f} bytes each (log included)", flush=True)
    attach_keys(leader, lease_ids(leader))
    left = expire_at - time.monotonic()
    print(f"  {count_leased_keys(leader)} keys attached, {left:.0f} s left; "
          f"{(process_memory_bytes(pid) - before) / parsed.leases:.0f} bytes each", flush=True)
    if left < 0:
        raise RuntimeError("the first leases have expired before the last key was attached: --seconds")
    time.sleep(max(0, left - 1))
    cpu_before = cluster.cpu_seconds()
    with Probe(leader) as probe:
        while leases_left(leader) == parsed.leases:
            time.sleep(0.02)
        first = time.monotonic()
        while leases_left(leader) > 0:
            time.sleep(0.02)
        last = time.monotonic()
    cpu = cluster.cpu_seconds() - cpu_before
    keys = count_leased_keys(leader)
    if keys:
        raise RuntimeError(f"{keys} keys are left of leases that are gone")
    print(f"  all gone {last - first:.1f} s after the first; {cpu / 3:.1f} s of CPU in each member")
    print(f"  meanwhile: {probe.text()}")


# --- watches ---


def measure_watchers(cluster, parsed):
    leader = cluster.leader()
    pid = cluster.process(leader).pid
    before = process_memory_bytes(pid)
    with Gateway(leader, parsed.watchers, lambda number: "hot", of_a_connection=1_000) as watches:
        print(f"  {parsed.watchers} watches of one key in {watches.seconds:.1f} s; "
              f"{(process_memory_bytes(pid) - before) / parsed.watchers:.0f} bytes each")
        kv = cluster.kv(leader)
        puts, told = [], []
        for number in range(1, 11):
            began = time.monotonic()
            kv.Put(rpc_pb2.PutRequest(key=b"hot", value=b"%d" % number), timeout=60)
            puts.append(time.monotonic() - began)
            watches.wait_for(b'"events"', parsed.watchers * number)
            told.append(time.monotonic() - began)
    print(f"  of 10 changes: Put answered after {max(puts) * 1e3:.0f} ms at most; "
          f"all {parsed.watchers} told after {machine.percentile(told, 0.5) * 1e3:.0f} ms (median), {max(told) * 1e3:.0f} at most")


def measure_idle(cluster, parsed):
    leader = cluster.leader()
    pid = cluster.process(leader).pid
    before = process_memory_bytes(pid)
    with Probe(leader) as alone:
        time.sleep(5)
    with Gateway(leader, parsed.idle, "idle/{:08d}".format) as watches:
        print(f"  {parsed.idle} watches in {watches.seconds:.1f} s; "
              f"{(process_memory_bytes(pid) - before) / parsed.idle:.0f} bytes each")
        with Probe(leader) as beside:
            time.sleep(5)
        kv = cluster.kv(leader)
        began = time.monotonic()
        kv.Put(rpc_pb2.PutRequest(key=b"idle/%08d" % (parsed.idle // 2), value=b"x"), timeout=60)
        watches.wait_for(b'"events"', 1)
        print(f"  one of them is told of its change after {(time.monotonic() - began) * 1e3:.1f} ms")
    print(f"  without them: {alone.text()}\n  beside them: {beside.text()}")


class Gateway:
    """`count` watches through the JSON gateway, where reading the answers costs the client least: it counts lines."""

    def __init__(self, endpoint, count, key, of_a_connection=WATCHES_OF_A_CONNECTION):
        self.endpoint = endpoint
        self.count = count
        self.key = key
        self.of_a_connection = of_a_connection
        self.sockets, self.threads = [], []
        self.seen = {b'"created"': 0, b'"events"': 0}
        self.changed = threading.Condition()

    def __enter__(self):
        began = time.monotonic()
        for first in range(0, self.count, self.of_a_connection):
            last = min(first + self.of_a_connection, self.count)
            self._open(range(first, last))
            self.wait_for(b'"created"', last)
        self.seconds = time.monotonic() - began
        return self

    def __exit__(self, *_):
        for each in self.sockets:
            each.shutdown(socket.SHUT_RDWR)
        for each in self.threads:
            each.join()
        for each in self.sockets:
            each.close()

    def wait_for(self, what, count):
        with self.changed:
            if not self.changed.wait_for(lambda: self.seen[what] >= count, timeout=300):
                raise RuntimeError(f"{self.seen[what]} lines with {what} after five minutes, not {count}")

    def _open(self, numbers):
        body = "".join('{"create_request":{"key":"%s"}}' % base64.b64encode(self.key(number).encode()).decode()
                       for number in numbers).encode()
        host, port = self.endpoint.split(":")
        connection = socket.create_connection((host, int(port)))
        connection.sendall(b"POST /v3/watch HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.sockets.append(connection)
        self.threads.append(threading.Thread(target=self._read, args=(connection,)))
        self.threads[-1].start()

    def _read(self, connection):
        rest = b""
        while received := connection.recv(1 << 20):
            whole, newline, rest = (rest + received).rpartition(b"\n")
            with self.changed:
                for what in self.seen:
                    self.seen[what] += (whole + newline).count(what)
                self.changed.notify_all()


MEASUREMENTS = {"leases": measure_leases, "watchers": measure_watchers, "idle": measure_idle}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conclave", default=f"{ROOT}/build/conclave serve", help="what starts a member")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append")
    parser.add_argument("--leases", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=180, help="that granting leases and attaching keys may take")
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--idle", type=int, default=1_000_000)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for name in parsed.only or MEASUREMENTS:
            print(f"{name}:", flush=True)
            with Cluster(System("conclave", tuple(parsed.conclave.split())), f"{directory}/{name}", 23_000) as cluster:
                MEASUREMENTS[name](cluster, parsed)


if __name__ == "__main__":
    main()
