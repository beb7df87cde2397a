"""Writes with the metadata `conclave-fence: <key>/<token>`: refused once the token is not the
highest of its lock, whichever member they are sent to, while holders are paused and leaders die."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import grpc
from etcd3 import etcdrpc as rpc

import harness
from lock_messages import Services

DIRECTORY = os.path.dirname(os.path.abspath(__file__))

# A holder that keeps its lease alive from a thread and writes whenever it is told to: it does not
# notice that it was paused.
HOLDER = '''
import sys, threading, time
import grpc
from etcd3 import etcdrpc as rpc
import harness
from lock_messages import Services
channel = harness.new_channel(sys.argv[1])
leases = rpc.LeaseStub(channel)
lease = leases.LeaseGrant(rpc.LeaseGrantRequest(TTL=2), timeout=5).ID
def beat():
    while True:
        yield rpc.LeaseKeepAliveRequest(ID=lease)
        time.sleep(0.5)
def keep_alive():
    for _ in leases.LeaseKeepAlive(beat()):
        pass
threading.Thread(target=keep_alive, daemon=True).start()
_, fence = Services(channel).lock_and_fence(name=b'paused', lease=lease)
print(fence, flush=True)
for line in sys.stdin:
    put = rpc.PutRequest(key=b'paused-value', value=line.strip().encode())
    try:
        rpc.KVStub(channel).Put(put, timeout=10, metadata=(('conclave-fence', fence),))
        print('written', flush=True)
    except grpc.RpcError as error:
        print(error.code().name, error.details(), flush=True)
'''


class FenceCase(harness.ClusterTest):
    members = 1

    def setUp(self):
        self.member = self.cluster.members[0]
        self.name = self.id().rsplit('.', 1)[1].encode()
        self.value_key = self.name + b'.value'

    def take(self, member=None, ttl=60, name=None):
        """(key, fence) of the lock, held now."""
        channel = (member or self.member).channel
        granted = rpc.LeaseStub(channel).LeaseGrant(rpc.LeaseGrantRequest(TTL=ttl), timeout=5)
        held, fence = Services(channel).lock_and_fence(name=name or self.name, lease=granted.ID)
        return held.key, fence

    def release(self, key, member=None):
        Services((member or self.member).channel).unlock(key)

    def put(self, value, fence, member=None, key=None, request_id=None):
        metadata = [('conclave-fence', fence)]
        if request_id:
            metadata.append(('conclave-request-id', request_id))
        request = rpc.PutRequest(key=key or self.value_key, value=value)
        return (member or self.member).kv.Put(request, timeout=10, metadata=metadata)

    def refused(self, why, call):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual(
            (raised.exception.code(), raised.exception.details()),
            (grpc.StatusCode.FAILED_PRECONDITION, f'conclave: fenced off: {why}'),
        )

    def text(self):
        return self.name.decode()

    def token(self, fence):
        return int(fence.rsplit('/', 1)[1])


@harness.conclave_only('it knows no fences')
class Fences(FenceCase):
    def test_a_grant_says_its_fence(self):
        key, fence = self.take()
        created = self.member.get(key).kvs[0].create_revision
        self.assertEqual(fence, f'{self.text()}/{created}')
        self.assertEqual(self.take(name=self.name + b'/nested/name')[1].count('/'), 3)
        self.assertIsNone(self.take(name=b'\xc3\xb6')[1])

    def test_the_holder_writes_and_who_held_before_does_not(self):
        key, first = self.take()
        self.put(b'1', first)
        self.release(key)
        nobody = f'{self.text()}: token {self.token(first)} does not hold: nobody has the lock'
        self.refused(nobody, lambda: self.put(b'2', first))
        _, second = self.take()
        self.assertGreater(self.token(second), self.token(first))
        self.put(b'3', second)
        highest = (
            f'{self.text()}: token {self.token(first)} is not the highest, '
            f'which is {self.token(second)}'
        )
        self.refused(highest, lambda: self.put(b'4', first))
        self.assertEqual(self.member.value(self.value_key), b'3')

    def test_who_waits_has_no_token_yet(self):
        _, first = self.take()
        lease = rpc.LeaseStub(self.member.channel).LeaseGrant(rpc.LeaseGrantRequest(TTL=60))
        call = Services(self.member.channel).future('Lock', name=self.name, lease=lease.ID)
        key = b'%s/%x' % (self.name, lease.ID)
        harness.wait_until(lambda: self.member.get(key).kvs, 5, 'a place in the queue')
        token = self.member.get(key).kvs[0].create_revision
        self.refused(
            f'{self.text()}: token {token} was not granted: the highest is {self.token(first)}',
            lambda: self.put(b'1', f'{self.text()}/{token}'),
        )
        call.cancel()

    def test_the_key_of_the_lock_will_do(self):
        key, fence = self.take()
        by_key = f'{key.decode()}/{self.token(fence)}'
        self.put(b'1', by_key)
        self.release(key)
        with self.assertRaises(grpc.RpcError):
            self.put(b'2', by_key)

    def test_etcdctl_knows_its_key(self):
        """The key that etcdctl prints, and the revision that created it, are a fence."""
        script = (
            'echo $ETCD_LOCK_KEY; '
            'etcdctl get $ETCD_LOCK_KEY -w fields | grep CreateRevision'
        )
        environment = dict(
            os.environ, ETCDCTL_API='3', ETCDCTL_ENDPOINTS=self.member.endpoint, LC_ALL='C'
        )
        command = ['etcdctl', 'lock', self.text(), '--', 'sh', '-c', script]
        process = harness.run(command, env=environment)
        key, created = process.stdout.splitlines()
        fence = f'{key}/{created.split()[-1]}'
        self.refused(
            f'{key}: token {self.token(fence)} does not hold: nobody has the lock',
            lambda: self.put(b'1', fence),
        )

    def test_an_election_is_a_lock(self):
        services = Services(self.member.channel)
        lease = rpc.LeaseStub(self.member.channel).LeaseGrant(rpc.LeaseGrantRequest(TTL=60)).ID
        leader = services.campaign(name=self.name, lease=lease, value=b'me').leader
        fence = f'{self.text()}/{leader.rev}'
        self.put(b'1', fence)
        services.call('Resign', leader=leader)
        with self.assertRaises(grpc.RpcError):
            self.put(b'2', fence)

    def test_transactions_with_and_without_writes(self):
        key, fence = self.take()
        metadata = (('conclave-fence', fence),)
        txn = rpc.TxnRequest()
        txn.success.add().request_put.CopyFrom(rpc.PutRequest(key=self.value_key, value=b'1'))
        txn.success.add().request_range.CopyFrom(rpc.RangeRequest(key=self.value_key))
        answer = self.member.kv.Txn(txn, timeout=5, metadata=metadata)
        self.assertEqual(answer.responses[1].response_range.kvs[0].value, b'1')
        read = rpc.TxnRequest()
        read.success.add().request_range.CopyFrom(rpc.RangeRequest(key=self.value_key))
        self.assertTrue(self.member.kv.Txn(read, timeout=5, metadata=metadata).succeeded)
        self.release(key)
        nobody = f'{self.text()}: token {self.token(fence)} does not hold: nobody has the lock'
        for request in (txn, read, rpc.TxnRequest()):
            self.refused(
                nobody, lambda r=request: self.member.kv.Txn(r, timeout=5, metadata=metadata)
            )

    def test_a_retried_write_that_was_applied_answers_as_applied(self):
        key, fence = self.take()
        first = self.put(b'1', fence, request_id='fence-retry/1')
        self.release(key)
        again = self.put(b'1', fence, request_id='fence-retry/1')
        self.assertEqual(again.header.revision, first.header.revision)
        with self.assertRaises(grpc.RpcError):
            self.put(b'2', fence, request_id='fence-retry/2')
        self.take()
        with self.assertRaises(grpc.RpcError):
            self.put(b'2', fence, request_id='fence-retry/2')
        self.assertEqual(self.member.get(self.value_key).kvs[0].version, 1)

    def test_a_lock_that_is_taken_under_another(self):
        key, fence = self.take()
        inner = self.name + b'.inner'
        metadata = (('conclave-fence', fence),)
        services = Services(self.member.channel)
        services.call('Lock', name=inner, metadata=metadata)
        self.release(key)
        with self.assertRaises(grpc.RpcError) as raised:
            services.call('Lock', name=self.name + b'.other', metadata=metadata)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        queue = self.member.get(self.name + b'.other/', range_end=self.name + b'.other0')
        self.assertEqual(queue.count, 0)

    def test_malformed_fences_are_refused_and_reads_ignore_them(self):
        for fence in ('', 'name', '/1', 'name/', 'name/x', 'name/0', 'name/-1', 'n' * 1025 + '/1'):
            with self.subTest(fence), self.assertRaises(grpc.RpcError) as raised:
                self.put(b'1', fence)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn('invalid fence', raised.exception.details())
        request = rpc.RangeRequest(key=self.value_key)
        metadata = (('conclave-fence', 'nonsense'),)
        self.assertEqual(self.member.kv.Range(request, metadata=metadata).count, 0)
        cluster = rpc.ClusterStub(self.member.channel)
        with self.assertRaises(grpc.RpcError) as raised:
            fence = (('conclave-fence', 'a/1'),)
            cluster.MemberRemove(rpc.MemberRemoveRequest(ID=1), metadata=fence)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_the_gateway(self):
        lock = ['/v3/lock/lock', '{"name": "Z2F0ZXdheQ=="}']  # "gateway"
        held = self.curl(*lock)
        fields = dict(line.split(': ', 1) for line in held.splitlines()[1:] if ': ' in line)
        fence = fields['Grpc-Metadata-Conclave-Fence']
        self.assertTrue(fence.startswith('gateway/'))
        put = ['/v3/kv/put', '{"key": "Zw==", "value": "MQ=="}']
        header = f'Conclave-Fence: {fence}'
        self.assertTrue(self.curl(*put, header).startswith('HTTP/1.1 200 '))
        answer = json.loads(held.splitlines()[-1])
        self.curl('/v3/lock/unlock', json.dumps({'key': answer['key']}))
        refused = self.curl(*put, header)
        self.assertTrue(refused.startswith('HTTP/1.1 412 '), refused)
        text = f'conclave: fenced off: gateway: token {self.token(fence)} does not hold'
        self.assertIn(text, json.loads(refused.splitlines()[-1])['message'])
        self.assertTrue(self.curl(*put, 'Conclave-Fence: x').startswith('HTTP/1.1 400 '))
        self.assertEqual(self.member.get('g').kvs[0].version, 1)

    def curl(self, path, body, *headers):
        fields = [word for header in headers for word in ('-H', header)]
        command = ['curl', '-si', '-m', '10', '-d', body, *fields, self.member.url + path]
        return harness.run(command).stdout.replace('\r', '')


@harness.conclave_only('it knows no fences')
class ManyMembers(FenceCase):
    members = 3
    flags = ('--snapshot-count', '300')

    def test_every_member_refuses(self):
        key, first = self.take(self.cluster.members[0])
        for number, member in enumerate(self.cluster.members):
            self.put(b'%d' % number, first, member)
        self.release(key, self.cluster.members[1])
        _, second = self.take(self.cluster.members[2])
        highest = (
            f'{self.text()}: token {self.token(first)} is not the highest, '
            f'which is {self.token(second)}'
        )
        for member in self.cluster.members:
            self.refused(highest, lambda m=member: self.put(b'old', first, m))
            self.put(b'new', second, member)

    def test_across_restarts_and_snapshots(self):
        key, first = self.take()
        self.release(key)
        _, second = self.take(ttl=600)
        for _ in range(3):
            for number in range(400):
                self.member.put('filler', str(number))
            for member in self.cluster.members:
                member.kill()
            for member in self.cluster.members:
                member.start()
            self.cluster.wait_healthy()
            for member in self.cluster.members:
                with self.assertRaises(grpc.RpcError):
                    self.put(b'old', first, member)
                self.put(b'new', second, member)

    def test_a_holder_that_was_paused(self):
        holder = harness.spawn(
            [sys.executable, '-c', HOLDER, self.cluster.followers()[0].endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=dict(os.environ, PYTHONPATH=DIRECTORY),
        )
        try:
            first = holder.stdout.readline().strip()
            self.assertTrue(first.startswith('paused/'), first)
            self.assertEqual(self.tell(holder, 'one'), 'written')
            time.sleep(4)  # twice its lease's time: it is kept alive
            self.assertEqual(self.tell(holder, 'two'), 'written')
            holder.send_signal(signal.SIGSTOP)
            _, second = self.take(name=b'paused')  # once the lease has ended
            self.put(b'three', second, key=b'paused-value')
            holder.send_signal(signal.SIGCONT)
            self.assertEqual(
                self.tell(holder, 'four'),
                f'FAILED_PRECONDITION conclave: fenced off: paused: token {self.token(first)} '
                f'is not the highest, which is {self.token(second)}',
            )
            self.assertEqual(self.member.value('paused-value'), b'three')
        finally:
            holder.kill()
            harness.reap(holder)
            holder.stdin.close()
            holder.stdout.close()

    def tell(self, holder, line):
        holder.stdin.write(line + '\n')
        holder.stdin.flush()
        return holder.stdout.readline().strip()


@harness.conclave_only('it knows no fences')
class LeadersDie(FenceCase):
    members = 3
    processes = 6
    turns = 12

    @harness.takes_long
    def test_no_step_is_undone(self):
        endpoints = [member.endpoint for member in self.cluster.members]
        script = os.path.join(DIRECTORY, 'fence_client.py')
        command = [sys.executable, script, 'counter', str(self.turns), *endpoints]
        clients = [
            harness.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(self.processes)
        ]
        outputs = []
        readers = [
            threading.Thread(target=lambda c=client: outputs.append(c.communicate()[0]))
            for client in clients
        ]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            leader = self.cluster.leader()
            leader.kill()
            time.sleep(1.5)
            leader.start()
            self.cluster.wait_healthy()
            time.sleep(1.5)
        for client in clients:
            self.assertEqual(harness.reap(client), 0, outputs)
        lines = [line.split() for output in outputs for line in output.splitlines()]
        counted = [int(line[1]) for line in lines if line[0] == 'counted']
        fenced = [int(line[1]) for line in lines if line[0] == 'fenced']
        print(f'    {len(counted)} counted, {len(fenced)} fenced off, of {len(lines)} turns')
        self.assertGreater(len(counted), self.processes, outputs)
        self.assertGreater(len(fenced), 0, outputs)
        self.assertEqual(len(set(counted)), len(counted))
        self.assertFalse(set(counted) & set(fenced))
        self.assertEqual(int(self.cluster.leader().value('count')), len(counted))


if __name__ == '__main__':
    harness.main()
