"""One client floods a member, and another one is served all the same; the flood is refused before
memory grows.

How long a request takes depends on the machine, so what is compared are counts: how many of the
flood's writes got into the log between two of the quiet client's. A member without shares of its
own would take the whole flood first.
"""

import os
import re
import shutil
import statistics
import struct
import tempfile
import time
import unittest

import grpc
from etcd3 import etcdrpc as rpc

import harness

CONNECTIONS = 8
STREAMS = 512  # limits::kMaxStreamsPerConnection
IN_FLIGHT = CONNECTIONS * STREAMS
QUIET_REQUESTS = 30
MEGABYTE = 1_000_000
LARGE = 100_000
OVERLOAD_CONNECTIONS = 48  # with all their requests at once: 2.4 GB
# What waits for the log, what is still arriving (256 MiB each), and the rest.
MAX_RESIDENT_BYTES = 1 << 30


def framed(message):
    """gRPC's framing: a flag byte, the length, the bytes."""
    payload = message.SerializeToString()
    return struct.pack('>BI', 0, len(payload)) + payload


def put(size):
    return rpc.PutRequest(key=b'flood', value=b'x' * size)


def transaction():
    puts = [
        rpc.RequestOp(request_put=rpc.PutRequest(key=b'txn/%d' % i, value=b'x' * 64))
        for i in range(128)
    ]
    return rpc.TxnRequest(success=puts)


class Flood:
    """As many requests as a member takes from CONNECTIONS connections, by h2load, until the end of
    the `with` block."""

    def __init__(self, member, path, body, connections=CONNECTIONS):
        self.member = member
        self.connections = connections
        self.path = path
        self.directory = tempfile.mkdtemp()
        self.body = os.path.join(self.directory, 'body')
        with open(self.body, 'wb') as file:
            file.write(body)

    def __enter__(self):
        with open(os.path.join(self.directory, 'output'), 'wb') as output:
            self.process = harness.spawn(
                [
                    'h2load',
                    f'--clients={self.connections}',
                    '--threads=1',
                    f'--max-concurrent-streams={STREAMS}',
                    f'--data={self.body}',
                    '--header=content-type: application/grpc',
                    '--header=te: trailers',
                    '--duration=600',
                    self.member.url + self.path,
                ],
                stdout=output,
                stderr=output,
            )
        return self

    def __exit__(self, *_):
        assert self.process.poll() is None, 'the flood has ended by itself'
        self.process.kill()
        harness.reap(self.process)
        shutil.rmtree(self.directory)


def resident_bytes(member):
    with open(f'/proc/{member.process.pid}/status', encoding='ascii') as status:
        return int(re.search(r'VmRSS:\s+(\d+)', status.read())[1]) * 1024


@unittest.skipUnless(shutil.which('h2load'), 'needs h2load')
class Shares(harness.ClusterTest):
    """Both clients talk to the leader."""

    members = 3

    def writes_between(self, path, body):
        """How many writes of the flood were applied during each of the quiet client's."""
        leader = self.cluster.leader()
        with Flood(leader, path, body):
            leader.put('quiet', 'v', timeout=60)
            began = leader.put('quiet', 'v', timeout=60).header.revision
            harness.wait_until(
                lambda: leader.put('quiet', 'v', timeout=60).header.revision > began + 20,
                60,
                'the flood has begun',
            )
            revisions = [
                leader.put('quiet', 'v', timeout=60).header.revision for _ in range(QUIET_REQUESTS)
            ]
        return statistics.median(b - a for a, b in zip(revisions, revisions[1:]))

    @harness.conclave_only('it serves whoever came first')
    def test_beside_small_puts(self):
        count = self.writes_between('/etcdserverpb.KV/Put', framed(put(256)))
        self.assertLess(count, IN_FLIGHT / 2)

    @harness.conclave_only('it serves whoever came first')
    def test_beside_large_puts(self):
        count = self.writes_between('/etcdserverpb.KV/Put', framed(put(MEGABYTE)))
        self.assertLess(count, 40)

    @harness.conclave_only('it serves whoever came first')
    def test_beside_transactions(self):
        count = self.writes_between('/etcdserverpb.KV/Txn', framed(transaction()))
        self.assertLess(count, 200)

    def test_beside_creations_of_watches(self):
        """They are no writes; but they get no stream of another connection refused."""
        leader = self.cluster.leader()
        create = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b'watched'))
        with Flood(leader, '/etcdserverpb.Watch/Watch', framed(create) * 100):
            time.sleep(1)
            for number in range(5):
                leader.put('watched', str(number), timeout=60)


@unittest.skipUnless(shutil.which('h2load'), 'needs h2load')
class Overload(harness.ClusterTest):
    """Followers that stand still: whatever is written has to wait."""

    members = 3

    @harness.conclave_only('it takes what comes')
    def test_a_flood_is_refused_before_memory_grows(self):
        leader = self.cluster.leader()
        followers = self.cluster.followers()
        for follower in followers:
            follower.pause()
        try:
            with Flood(leader, '/etcdserverpb.KV/Put', framed(put(LARGE)), OVERLOAD_CONNECTIONS):
                largest = 0
                for _ in range(50):
                    largest = max(largest, resident_bytes(leader))
                    time.sleep(0.1)
                self.assertGreater(largest, 150 << 20, 'the flood has not arrived')
                # ASan's own of each allocation and of what was freed is beyond this.
                if not harness.keeps_freed_memory():
                    self.assertLess(largest, MAX_RESIDENT_BYTES)
                # Who has nothing waiting is not.
                channel = harness.new_channel(leader.endpoint)
                with self.assertRaises(grpc.RpcError) as quiet:
                    rpc.KVStub(channel).Put(rpc.PutRequest(key=b'quiet', value=b'v'), timeout=1)
                self.assertEqual(quiet.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
                channel.close()
        finally:
            for follower in followers:
                follower.resume()
        self.cluster.wait_healthy()
        self.cluster.leader().put('after', 'v', timeout=30)

    @harness.conclave_only('it takes what comes')
    def test_it_is_told_too_many_requests(self):
        leader = self.cluster.leader()
        followers = self.cluster.followers()
        for follower in followers:
            follower.pause()
        channel = harness.new_channel(leader.endpoint)
        try:
            kv = rpc.KVStub(channel)
            calls = [kv.Put.future(put(MEGABYTE), timeout=60) for _ in range(150)]
            errors = [call.exception() for call in calls]
        finally:
            for follower in followers:
                follower.resume()
        refused = [
            error
            for error in errors
            if error is not None and error.details() == 'etcdserver: too many requests'
        ]
        self.assertGreater(len(refused), 0)
        for error in refused:
            self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        channel.close()
        self.cluster.wait_healthy()


if __name__ == '__main__':
    harness.main()
