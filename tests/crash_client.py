"""One process of clients for tests/crash_test.py: concurrent threads that write, read and
compare-and-swap, and note what they asked and what they were told (docs/formats/history.md). Ends
when its standard input is closed.

    crash_client.py PROCESS THREADS SEED HISTORY IDEMPOTENT ENDPOINT...

The last IDEMPOTENT of its threads name each write with conclave-request-id and repeat it until it
is acknowledged: the answers tell them whether it was applied exactly once."""

import json
import random
import sys
import threading
import time

import grpc
from etcd3 import etcdrpc as rpc

import harness

REGISTERS = [f'r{number:02}' for number in range(12)]
REQUEST_SECONDS = 3
BACKOFF_SECONDS = 0.1


class Client(threading.Thread):
    """One client: at most one request at a time, on one connection at a time."""

    def __init__(self, number, seed, endpoints, log, stop):
        super().__init__(name=f'client-{number}')
        self.number = number
        self.rng = random.Random(f'{seed}/{number}')
        self.endpoints = endpoints
        self.turn = number
        self.log = log
        self.stop = stop
        self.writes = 0
        self.seen = {}  # key -> what it last held, as far as this client knows
        self.error = None
        self.stub = None
        self.channel = None
        self.connect()

    def connect(self):
        if self.channel is not None:
            self.channel.close()
        self.turn += 1
        self.channel = harness.new_channel(
            self.endpoints[self.turn % len(self.endpoints)], **{'grpc.enable_retries': 0}
        )
        self.stub = rpc.KVStub(self.channel)

    def run(self):
        try:
            while not self.stop.is_set():
                self.one_operation()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
            raise
        finally:
            self.channel.close()

    def one_operation(self):
        self.rng.choices(
            [self.put, self.get, self.cas, self.append, self.delete], [34, 36, 17, 10, 3]
        )[0]()

    # --- operations

    def fresh_value(self):
        self.writes += 1
        return f'{self.number}-{self.writes}'

    def put(self):
        key, value = self.rng.choice(REGISTERS), self.fresh_value()
        entry = {'op': 'put', 'key': key, 'value': value}
        answer = self.ask(
            entry,
            lambda: self.stub.Put(
                rpc.PutRequest(key=key.encode(), value=value.encode()), timeout=REQUEST_SECONDS
            ),
        )
        if answer:
            entry['rev'] = answer.header.revision
            self.seen[key] = value
        self.note(entry, answer)

    def append(self):
        """A write to a key of its own, which must be there for ever once acknowledged."""
        value = self.fresh_value()
        key = f'log/{value}'
        entry = {'op': 'put', 'key': key, 'value': value}
        answer = self.ask(
            entry,
            lambda: self.stub.Put(
                rpc.PutRequest(key=key.encode(), value=value.encode()), timeout=REQUEST_SECONDS
            ),
        )
        if answer:
            entry['rev'] = answer.header.revision
        self.note(entry, answer)

    def get(self):
        key = self.rng.choice(REGISTERS)
        entry = {'op': 'get', 'key': key}
        answer = self.ask(
            entry,
            lambda: self.stub.Range(rpc.RangeRequest(key=key.encode()), timeout=REQUEST_SECONDS),
        )
        if answer:
            entry['value'], entry['rev'] = self.read(key, answer.kvs)
            self.note(entry, answer)

    def delete(self):
        key = self.rng.choice(REGISTERS)
        entry = {'op': 'delete', 'key': key}
        answer = self.ask(
            entry,
            lambda: self.stub.DeleteRange(
                rpc.DeleteRangeRequest(key=key.encode()), timeout=REQUEST_SECONDS
            ),
        )
        if answer:
            self.seen[key] = None
            if answer.deleted:
                entry['rev'] = answer.header.revision
        self.note(entry, answer)

    def cas(self):
        key, value = self.rng.choice(REGISTERS), self.fresh_value()
        expect = self.seen.get(key)
        entry = {'op': 'cas', 'key': key, 'value': value, 'expect': expect}
        compare = rpc.Compare(key=key.encode(), result=rpc.Compare.EQUAL)
        if expect is None:
            compare.target, compare.version = rpc.Compare.VERSION, 0
        else:
            compare.target, compare.value = rpc.Compare.VALUE, expect.encode()
        txn = rpc.TxnRequest(compare=[compare])
        txn.success.add().request_put.CopyFrom(
            rpc.PutRequest(key=key.encode(), value=value.encode())
        )
        txn.failure.add().request_range.CopyFrom(rpc.RangeRequest(key=key.encode()))
        answer = self.ask(entry, lambda: self.stub.Txn(txn, timeout=REQUEST_SECONDS))
        if answer:
            entry['ok'] = answer.succeeded
            if answer.succeeded:
                entry['rev'] = answer.header.revision
                self.seen[key] = value
            else:
                entry['actual'], entry['rev'] = self.read(
                    key, answer.responses[0].response_range.kvs
                )
        self.note(entry, answer)

    # --- what they share

    def read(self, key, kvs):
        self.seen[key] = kvs[0].value.decode() if kvs else None
        return self.seen[key], kvs[0].mod_revision if kvs else 0

    def ask(self, entry, request):
        """The answer, or None if the fate of the request is unknown."""
        entry['client'] = self.number
        entry['call'] = time.monotonic_ns()
        try:
            answer = request()
        except grpc.RpcError as error:
            self.check_excusable(error)
            self.connect()
            self.stop.wait(BACKOFF_SECONDS)
            return None
        entry['return'] = time.monotonic_ns()
        entry['at'] = answer.header.revision
        return answer

    @staticmethod
    def check_excusable(error):
        """A crash excuses that a request could not be served, and nothing else."""
        excusable = (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.CANCELLED,
        )
        # gRPC's own word for a connection that broke while the answer was on its way.
        if error.code() == grpc.StatusCode.UNKNOWN and 'etcdserver' not in (error.details() or ''):
            return
        if error.code() not in excusable:
            raise error

    def note(self, entry, answer):
        if answer is None and entry['op'] == 'get':
            return
        self.log(entry)


class IdempotentClient(Client):
    """Writes 1, 2, 3, ... to its key, each until acknowledged. Each must replace the one before."""

    def one_operation(self):
        self.writes += 1
        key = f'once/{self.number}'
        metadata = (('conclave-request-id', f'crash-{self.number}/{self.writes}'),)
        request = rpc.PutRequest(key=key.encode(), value=str(self.writes).encode(), prev_kv=True)
        entry = {'op': 'put', 'key': key, 'value': str(self.writes)}
        called, answer = None, None
        while answer is None:
            answer = self.ask(
                entry, lambda: self.stub.Put(request, timeout=REQUEST_SECONDS, metadata=metadata)
            )
            called = called or entry['call']
            if answer is None and self.stop.is_set():
                break
        entry['call'] = called
        if answer is not None:
            entry['rev'] = answer.header.revision
            # A retry is answered late: the store may be further than the answer says.
            del entry['at']
            before, version = answer.prev_kv.value.decode(), answer.prev_kv.version
            expected = ('' if self.writes == 1 else str(self.writes - 1), self.writes - 1)
            if (before, version) != expected:
                raise AssertionError(
                    f'{key}: write {self.writes} replaced "{before}" of version '
                    f'{version}: it was not applied exactly once'
                )
        self.note(entry, answer)


def main():
    process, threads, seed, path, idempotent = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        sys.argv[4],
        int(sys.argv[5]),
    )
    endpoints = sys.argv[6:]
    stop = threading.Event()
    lock = threading.Lock()
    with open(path, 'w', encoding='utf-8') as history:

        def log(entry):
            line = json.dumps(entry, separators=(',', ':'))
            with lock:
                history.write(line + '\n')

        clients = []
        for index in range(threads):
            kind = IdempotentClient if index >= threads - idempotent else Client
            clients.append(kind(process * 100 + index, seed, endpoints, log, stop))
        for client in clients:
            client.start()
        while sys.stdin.buffer.read(1):
            pass
        stop.set()
        for client in clients:
            client.join()
    sys.exit(1 if any(client.error for client in clients) else 0)


if __name__ == '__main__':
    main()
