"""How long a quiet client waits beside one that floods its member.

    bench/fairness.py                                    every flood, a few seconds each
    bench/fairness.py --only puts,ranges --seconds 8
    bench/fairness.py --binary build/conclave --binary /tmp/old/conclave --rounds 3    two builds by turns

Three members; both clients talk to the leader. The quiet one has one connection with one request at a time: Puts and
linearizable Ranges of a small key by turns. The other has 8 connections with 512 requests each, which is all that a
member lets a connection have. Both are h2load, in processes of their own. Each line compares with the same quiet client alone,
just before; on a machine that does other things, compare ratios within one run.
"""

import argparse
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from etcd3.etcdrpc import rpc_pb2

import machine
from cluster import Cluster, System, process_peak_memory_bytes
from h2load import grpc_frame

ROOT = Path(__file__).resolve().parent.parent
FLOOD_CONNECTIONS = 8
FLOOD_STREAMS = 512
LARGE_RANGE_KEYS = 10
LARGE_VALUE_BYTES = 1_000_000
SETTLE_S = 0.7  # of a flood, before anything is measured beside it


@dataclass(frozen=True)
class Flood:
    """`body` is sent by each request, as it is: framed messages."""
    path: str
    body: bytes


def transaction():
    puts = [rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"txn/%d" % i, value=b"x" * 64)) for i in range(128)]
    return rpc_pb2.TxnRequest(success=puts)


def watches(count):
    create = rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=b"watched"))
    return grpc_frame(create.SerializeToString()) * count


def framed(message):
    return grpc_frame(message.SerializeToString())


FLOODS = {
    "puts": Flood("/etcdserverpb.KV/Put", framed(rpc_pb2.PutRequest(key=b"flood", value=b"x" * 256))),
    "reads": Flood("/etcdserverpb.KV/Range", framed(rpc_pb2.RangeRequest(key=b"quiet"))),
    "ranges": Flood("/etcdserverpb.KV/Range", framed(rpc_pb2.RangeRequest(key=b"large/", range_end=b"large0"))),
    "large-puts": Flood("/etcdserverpb.KV/Put",
                        framed(rpc_pb2.PutRequest(key=b"flood", value=b"x" * LARGE_VALUE_BYTES))),
    "txns": Flood("/etcdserverpb.KV/Txn", framed(transaction())),
    "watches": Flood("/etcdserverpb.Watch/Watch", watches(100)),
    "leases": Flood("/etcdserverpb.Lease/LeaseGrant", framed(rpc_pb2.LeaseGrantRequest(TTL=3600))),
}
QUIET = {
    "Put": Flood("/etcdserverpb.KV/Put", framed(rpc_pb2.PutRequest(key=b"quiet", value=b"x" * 100))),
    "Range": Flood("/etcdserverpb.KV/Range", framed(rpc_pb2.RangeRequest(key=b"quiet"))),
}


def h2load(endpoint, flood, scratch, connections, streams, seconds, log=None):
    body = Path(scratch) / f"body-{connections}"
    body.write_bytes(flood.body)
    timed = [f"--log-file={log}"] if log else []
    return subprocess.Popen(
        ["h2load", f"--clients={connections}", "--threads=1", f"--max-concurrent-streams={streams}",
         f"--data={body}", "--header=content-type: application/grpc", "--header=te: trailers",
         f"--duration={seconds}", *timed, f"http://{endpoint}{flood.path}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def quiet_latencies_us(endpoint, request, scratch, seconds):
    log = Path(scratch) / "quiet.log"
    log.unlink(missing_ok=True)
    client = h2load(endpoint, request, scratch, 1, 1, seconds, log)
    client.communicate()
    return [int(line.split()[2]) for line in log.read_text().splitlines()]


def text(us):
    if not us:
        return "not answered"
    return f"{machine.percentile(us, 0.5) / 1e3:7.2f} {machine.percentile(us, 0.99) / 1e3:8.2f} ms ({len(us):5})"


def measure(cluster, name, scratch, seconds):
    flood, leader = FLOODS[name], cluster.leader()
    process = cluster.process(leader)
    for what, request in QUIET.items():
        alone = quiet_latencies_us(leader, request, scratch, seconds)
        flooder = h2load(leader, flood, scratch, FLOOD_CONNECTIONS, FLOOD_STREAMS, 2 * seconds + 3)
        time.sleep(SETTLE_S)
        beside = quiet_latencies_us(leader, request, scratch, seconds)
        flooder.terminate()
        flooder.communicate()
        ratio = machine.percentile(beside, 0.99) / machine.percentile(alone, 0.99) if beside else float("inf")
        print(f"{name:10} {what:5} alone {text(alone)}   beside {text(beside)}   p99 x {ratio:6.1f}   "
              f"peak {process_peak_memory_bytes(process.pid) >> 20} MiB", flush=True)


def fill(cluster):
    kv = cluster.kv(cluster.leader())
    kv.Put(rpc_pb2.PutRequest(key=b"quiet", value=b"x" * 100), timeout=10)
    for i in range(LARGE_RANGE_KEYS):
        kv.Put(rpc_pb2.PutRequest(key=b"large/%d" % i, value=b"x" * LARGE_VALUE_BYTES), timeout=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", action="append", help="the server; several are measured by turns")
    parser.add_argument("--only", default=",".join(FLOODS), help="floods, with commas between them")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--base-port", type=int, default=24300)
    options = parser.parse_args()
    print("                 p50      p99 (requests)", flush=True)
    for _ in range(options.rounds):
        for name in options.only.split(","):
            for binary in options.binary or [f"{ROOT}/build/conclave"]:
                system = System("conclave", (binary, "serve", "--quota-backend-bytes", str(8 << 30)))
                with tempfile.TemporaryDirectory() as scratch, \
                        Cluster(system, Path(scratch) / "cluster", options.base_port) as cluster:
                    fill(cluster)
                    if options.binary:
                        print(f"{binary}: ", end="")
                    measure(cluster, name, scratch, options.seconds)


if __name__ == "__main__":
    main()
