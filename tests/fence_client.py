"""A process that takes a lock and counts up under it, for tests/fence_test.py. It reads the count,
dawdles, and writes the next number without a comparison: nothing but the fence keeps it from
undoing somebody else's step. A write of unknown fate is repeated with the same request id.

    fence_client.py NAME TURNS ENDPOINT...

Its leases are of the shortest kind and nobody keeps them alive, so that some end in the midst of a
turn. Prints a line for each turn: "counted TOKEN", "fenced TOKEN" or "missed"."""

import random
import sys
import time
import uuid

import grpc
from etcd3 import etcdrpc as rpc

import harness
from lock_messages import Services

LEASE_SECONDS = 2


class Client:
    def __init__(self, name, endpoints):
        self.name = name.encode()
        self.channels = [harness.new_channel(endpoint) for endpoint in endpoints]
        self.rng = random.Random()
        self.identity = uuid.uuid4().hex
        self.sequence = 0

    def channel(self):
        return self.rng.choice(self.channels)

    def turn(self):
        """What came of one turn."""
        try:
            channel = self.channel()
            granted = rpc.LeaseStub(channel).LeaseGrant(
                rpc.LeaseGrantRequest(TTL=LEASE_SECONDS), timeout=3
            )
            held, fence = Services(channel).lock_and_fence(
                name=self.name, lease=granted.ID, timeout=10
            )
            kvs = rpc.KVStub(channel).Range(rpc.RangeRequest(key=b'count'), timeout=3).kvs
        except grpc.RpcError:
            return 'missed'
        number = int(kvs[0].value) if kvs else 0
        time.sleep(self.rng.choice((0, 0, 0.01, 0.1, LEASE_SECONDS + 1.5)))
        outcome = 'counted' if self.write(number + 1, fence) else 'fenced'
        try:
            Services(self.channel()).unlock(held.key, timeout=3)
        except grpc.RpcError:
            pass  # its lease ends soon
        return f'{outcome} {fence.rsplit("/", 1)[1]}'

    def write(self, number, fence):
        self.sequence += 1
        metadata = (
            ('conclave-fence', fence),
            ('conclave-request-id', f'{self.identity}/{self.sequence}'),
        )
        put = rpc.PutRequest(key=b'count', value=str(number).encode())
        while True:
            try:
                rpc.KVStub(self.channel()).Put(put, timeout=3, metadata=metadata)
                return True
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    assert 'fenced off' in error.details(), error.details()
                    return False
                time.sleep(0.1)


def main():
    name, turns, *endpoints = sys.argv[1:]
    client = Client(name, endpoints)
    for _ in range(int(turns)):
        print(client.turn(), flush=True)


if __name__ == '__main__':
    main()
