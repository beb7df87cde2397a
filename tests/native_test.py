"""conclave.v1: locks, elections and barriers with fencing tokens, over gRPC and as JSON, also from
processes that die."""

import base64
import json
import os
import subprocess
import tempfile
import threading
import time

import grpc
from etcd3 import etcdrpc as rpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import harness

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'proto')


def load_messages():
    """Classes for the messages of proto/conclave.proto, by name."""
    with tempfile.NamedTemporaryFile(suffix='.pb') as out:
        command = ['protoc', f'--proto_path={PROTO}', f'--descriptor_set_out={out.name}']
        subprocess.run([*command, 'conclave.proto'], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    names = [message.name for message in files.file[0].message_type]
    found = [pool.FindMessageTypeByName(f'conclave.v1.{name}') for name in names]
    return {name: factory.GetPrototype(message) for name, message in zip(names, found)}


MESSAGES = load_messages()
SERVICE_OF = {'Acquire': 'Lock', 'Release': 'Lock', 'Validate': 'Lock', 'Enter': 'Barrier'}
SERVICE_OF |= {'Leave': 'Barrier'}
EXCLUSIVE, SHARED, SEMAPHORE = 0, 1, 2
UNTIL_HELD, NOT_AT_ALL, IN_QUEUE = 0, 1, 2


class Services:
    """The methods on one channel; each takes the request's fields."""

    def __init__(self, channel):
        self.channel = channel

    def _method(self, name):
        service = SERVICE_OF.get(name, 'Election')
        return self.channel.unary_unary(
            f'/conclave.v1.{service}/{name}',
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[name + 'Response'].FromString,
        )

    def call(self, method, /, timeout=10, metadata=None, **fields):
        request = MESSAGES[method + 'Request'](**fields)
        return self._method(method)(request, timeout=timeout, metadata=metadata)

    def future(self, method, /, timeout=None, **fields):
        return self._method(method).future(MESSAGES[method + 'Request'](**fields), timeout=timeout)


class NativeCase(harness.LeaseTest):
    def setUp(self):
        super().setUp()
        self.services = Services(self.member.channel)

    def acquire(self, lease, services=None, **fields):
        services = services or self.services
        return services.call('Acquire', name=self.name, lease=lease, **fields)

    def release(self, held, **fields):
        return self.services.call('Release', key=held.key, token=held.token, **fields)

    def queue(self):
        request = rpc.RangeRequest(key=self.name + b'/', range_end=self.name + b'0')
        return self.member.kv.Range(request, timeout=5).count

    def wait(self, lease, services=None, method='Acquire', **fields):
        """A call that has its place in the queue."""
        before = self.queue()
        call = (services or self.services).future(method, name=self.name, lease=lease, **fields)
        harness.wait_until(lambda: self.queue() > before, 5, 'a place in the queue')
        return call

    def refused(self, code, call):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual(raised.exception.code(), code, raised.exception.details())


@harness.conclave_only('it has no such services')
class Locks(NativeCase):
    def test_one_after_the_other(self):
        first, second, third = (self.grant() for _ in range(3))
        held = self.acquire(first)
        self.assertTrue(held.held)
        self.assertEqual(held.fence, f'{self.name.decode()}/{held.token}')
        waiting = self.wait(second)
        later = self.wait(third)
        self.assertEqual(self.acquire(self.grant(), wait=NOT_AT_ALL).ahead, 3)
        self.release(held)
        now = waiting.result(timeout=5)
        self.assertGreater(now.token, held.token)
        self.assertFalse(later.done())
        self.assertFalse(self.release(held).was_there)
        self.revoke(second)
        self.assertGreater(later.result(timeout=5).token, now.token)

    def test_shared_ones_together(self):
        exclusive = self.acquire(self.grant())
        calls = [self.wait(self.grant(), mode=SHARED) for _ in range(3)]
        last = self.wait(self.grant())
        self.release(exclusive)
        shared = [call.result(timeout=5) for call in calls]
        self.assertFalse(last.done())
        for held in shared:
            self.release(held)
        self.assertTrue(last.result(timeout=5).held)

    def test_a_semaphore(self):
        held = [self.acquire(self.grant(), mode=SEMAPHORE, permits=2) for _ in range(2)]
        calls = [self.wait(self.grant(), mode=SEMAPHORE, permits=2) for _ in range(2)]
        self.release(held[1])
        self.assertTrue(calls[0].result(timeout=5).held)
        self.assertFalse(calls[1].done())
        self.release(held[0])
        self.assertTrue(calls[1].result(timeout=5).held)
        conflict = grpc.StatusCode.FAILED_PRECONDITION
        self.refused(
            conflict, lambda: self.acquire(self.grant(), mode=SEMAPHORE, permits=3, wait=NOT_AT_ALL)
        )

    def test_an_owner_has_it_more_than_once(self):
        lease = self.grant()
        held = self.acquire(lease, owner=b'a')
        again = self.acquire(lease, owner=b'a')
        self.assertEqual((again.token, again.times), (held.token, 2))
        self.assertFalse(self.acquire(lease, owner=b'b', wait=NOT_AT_ALL).held)
        self.assertEqual(self.release(held).times, 1)
        self.assertEqual(self.release(held).times, 0)
        self.assertTrue(self.acquire(lease, owner=b'b', wait=NOT_AT_ALL).held)

    def test_a_deadline(self):
        held = self.acquire(self.grant())
        self.refused(
            grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.acquire(self.grant(), timeout=0.5)
        )
        harness.wait_until(lambda: self.queue() == 1, 5, 'the queue to be left')
        # That was the client's own clock. Here it is the member that answers.
        fields = {'name': base64.b64encode(self.name).decode(), 'lease': self.grant()}
        begin = time.monotonic()
        status, error = self.curl('/v1/lock/acquire', '-H', 'Grpc-Timeout: 500m', **fields)
        took = time.monotonic() - begin
        self.assertEqual((status, error['code']), (504, 4))
        self.assertTrue(0.45 < took < 1.0, took)
        harness.wait_until(lambda: self.queue() == 1, 5, 'the queue to be left')
        self.assertTrue(self.release(held).was_there)

    def test_the_position_in_the_queue_falls(self):
        held = [self.acquire(self.grant())]
        leases = [self.grant() for _ in range(3)]
        for lease in leases:
            held.append(self.acquire(lease, wait=IN_QUEUE))
        self.assertEqual([place.ahead for place in held], [0, 1, 2, 3])
        positions = []
        for place in held[:3]:
            self.release(place)
            last = self.acquire(leases[2], wait=IN_QUEUE)
            positions.append((last.ahead, last.held, last.times))
        self.assertEqual(positions, [(2, False, 1), (1, False, 1), (0, True, 1)])

    def test_who_waits_together_with_others_may_go(self):
        held = self.acquire(self.grant())
        shared = self.wait(self.grant(), mode=SHARED)
        alone = self.wait(self.grant())
        last = self.wait(self.grant(), mode=SHARED)
        self.release(held)
        first = shared.result(timeout=5)
        self.assertFalse(last.done())
        alone.cancel()  # and those who share it hold it together
        second = last.result(timeout=5)
        for fence in (first.fence, second.fence):
            self.assertTrue(self.services.call('Validate', fence=fence).valid)

    def test_validate(self):
        held = self.acquire(self.grant())
        self.assertTrue(self.services.call('Validate', fence=held.fence).valid)
        place = self.acquire(self.grant(), wait=IN_QUEUE)
        fence = f'{self.name.decode()}/{place.token}'
        self.assertFalse(self.services.call('Validate', fence=fence).valid)
        self.release(held)
        self.assertTrue(self.services.call('Validate', fence=fence).valid)
        answer = self.services.call('Validate', fence=held.fence)
        self.assertIn('not the highest', answer.reason)
        self.refused(
            grpc.StatusCode.INVALID_ARGUMENT, lambda: self.services.call('Validate', fence='x')
        )

    def test_a_grant_fences_writes(self):
        held = self.acquire(self.grant())
        put = rpc.PutRequest(key=b'native-fenced', value=b'1')
        metadata = (('conclave-fence', held.fence),)
        self.member.kv.Put(put, metadata=metadata)
        self.release(held)
        self.refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            lambda: self.member.kv.Put(put, metadata=metadata),
        )

    def test_etcds_clients_wait_in_the_same_queue(self):
        held = self.acquire(self.grant())
        environment = dict(os.environ, ETCDCTL_API='3', ETCDCTL_ENDPOINTS=self.member.endpoint)
        process = harness.spawn(
            ['etcdctl', 'lock', self.name.decode(), 'echo', 'locked'],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        harness.wait_until(lambda: self.queue() == 2, 5, 'etcdctl')
        self.release(held)
        self.assertEqual(process.communicate(timeout=10)[0], 'locked\n')
        harness.reap(process)

    def test_json(self):
        def b64(data):
            return base64.b64encode(data).decode()

        lease = self.grant()
        status, held = self.curl('/v1/lock/acquire', name=b64(self.name), lease=lease)
        self.assertEqual((status, held['held']), (200, True))
        self.assertEqual(held['key'], b64(b'%s/%x' % (self.name, lease)))
        status, valid = self.curl('/v1/lock/validate', fence=held['fence'])
        self.assertEqual((status, valid['valid']), (200, True))
        other = self.grant()
        fields = {'name': b64(self.name), 'lease': other, 'mode': 'SHARED', 'wait': 'NOT_AT_ALL'}
        status, place = self.curl('/v1/lock/acquire', **fields)
        self.assertEqual((status, place['ahead']), (200, 1))
        status, released = self.curl('/v1/lock/release', key=held['key'], token=held['token'])
        self.assertEqual((status, released['was_there']), (200, True))
        status, error = self.curl('/v1/lock/acquire', name=b64(self.name), lease=1)
        self.assertEqual((status, error['message']), (404, 'conclave: no such lease'))
        status, entered = self.curl('/v1/barrier/enter', name='Yg==', lease=lease, count=1)
        self.assertEqual((status, entered['present']), (200, 1))
        status, won = self.curl('/v1/election/campaign', name='ZQ==', lease=lease, value='dg==')
        self.assertEqual((status, won['fence']), (200, f'e/{won["term"]["token"]}'))
        status, leader = self.curl('/v1/election/leader', name='ZQ==')
        self.assertEqual((status, leader['value']), (200, 'dg=='))
        self.assertEqual(self.curl('/v1/lock/lock')[0], 404)

    def curl(self, path, *options, **fields):
        command = ['curl', '-s', '-m', '10', '-w', '\n%{http_code}', '-d', json.dumps(fields)]
        url = self.member.url + path
        body, status = harness.run([*command, *options, url]).stdout.rsplit('\n', 1)
        return int(status), json.loads(body) if body.startswith('{') else body


class Holder(threading.Thread):
    """Takes turns at a lock and says to `floor` between which moments it believes to hold it. Goes
    on at another member, with the same lease, when one does not answer. `modes`: by turns."""

    def __init__(self, case, number, name, floor, modes):
        super().__init__()
        self.members = [Services(member.channel) for member in case.cluster.members]
        self.number, self.lock_name, self.floor, self.modes = number, name, floor, modes
        self.lease = case.grant()
        self.turns = 0
        self.failure = None

    def run(self):
        try:
            while not self.floor.is_closed.is_set():
                self.take_turn()
                self.turns += 1
        except Exception as error:  # told to the test
            self.failure = error

    def ask(self, method, **fields):
        for attempt in range(200):
            services = self.members[(self.number + attempt) % len(self.members)]
            try:
                return services.call(method, timeout=20, **fields)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                time.sleep(0.1)
        raise TimeoutError(method)

    def take_turn(self):
        mode = self.modes[self.turns % len(self.modes)]
        permits = self.floor.permits if mode == SEMAPHORE else 0
        held = self.ask(
            'Acquire', name=self.lock_name, lease=self.lease, mode=mode, permits=permits
        )
        assert held.held, held
        self.floor.come(self.number, mode, held.token)
        validated = self.ask('Validate', fence=held.fence)
        assert validated.valid, validated
        time.sleep(0.005)
        self.floor.go(self.number)
        # Altogether: a request whose answer was lost may have counted.
        while self.ask('Release', key=held.key, token=held.token, altogether=True).times:
            pass
        validated = self.ask('Validate', fence=held.fence)
        assert not validated.valid, validated


class Floor:
    """Who believes to hold a lock, and that they may."""

    def __init__(self, permits):
        self.permits = permits
        self.lock = threading.Lock()
        self.is_closed = threading.Event()
        self.present = {}  # mode, by holder
        self.most = 0
        self.highest = 0  # token of a holder that was alone

    def come(self, number, mode, token):
        with self.lock:
            self.present[number] = mode
            modes = list(self.present.values())
            assert len(set(modes)) == 1, modes
            assert mode == SHARED or len(modes) <= (self.permits if mode == SEMAPHORE else 1), modes
            assert token > self.highest, (token, self.highest)
            if mode == EXCLUSIVE:
                self.highest = token
            self.most = max(self.most, len(modes))

    def go(self, number):
        with self.lock:
            del self.present[number]


@harness.conclave_only('it has no such services')
class ManyMembers(NativeCase):
    members = 3

    def test_waiters_at_all_members_in_order(self):
        services = [Services(member.channel) for member in self.cluster.members]
        leases = [self.grant() for _ in range(9)]
        calls = [self.wait(lease, services[n % 3]) for n, lease in enumerate(leases)]
        for number, call in enumerate(calls):
            held = call.result(timeout=10)
            self.assertFalse(any(later.done() for later in calls[number + 1 :]))
            self.release(held)

    def test_a_barrier_of_many(self):
        services = [Services(member.channel) for member in self.cluster.members]
        leases = [self.grant() for _ in range(6)]
        fields = {'name': self.name, 'timeout': 20}
        entering = [
            services[n % 3].future('Enter', lease=lease, count=6, **fields)
            for n, lease in enumerate(leases[:5])
        ]
        harness.wait_until(lambda: self.queue() == 5, 5, 'five to be there')
        self.assertFalse(any(call.done() for call in entering))
        services[2].call('Enter', lease=leases[5], count=6, **fields)
        for call in entering:
            call.result(timeout=5)
        leaving = [
            services[n % 3].future('Leave', lease=lease, **fields)
            for n, lease in enumerate(leases[:5])
        ]
        time.sleep(0.3)
        self.assertFalse(any(call.done() for call in leaving))
        self.revoke(leases[5])  # it died
        for call in leaving:
            call.result(timeout=5)
        self.assertEqual(self.queue(), 1)  # the door, until somebody comes

    def test_a_wait_outlives_its_leader(self):
        leader = self.cluster.leader()
        follower = self.cluster.followers()[0]
        self.member = follower
        self.services = Services(follower.channel)
        held = self.acquire(self.grant())
        call = self.wait(self.grant())
        leader.kill()
        self.cluster.leader()
        self.assertFalse(call.done())
        harness.wait_until(lambda: self.release(held) is not None, 20, 'a leader')
        self.assertTrue(call.result(timeout=10).held)
        leader.start()
        self.cluster.wait_healthy()

    @harness.takes_long
    def test_nobody_holds_what_somebody_else_does(self):
        semaphore, lock = Floor(permits=3), Floor(permits=0)
        holders = [Holder(self, n, b'three', semaphore, [SEMAPHORE]) for n in range(6)]
        modes = [[EXCLUSIVE, SHARED, SHARED], [SHARED, SHARED, EXCLUSIVE]]
        holders += [Holder(self, n, b'mixed', lock, modes[n % 2]) for n in range(6)]
        for holder in holders:
            holder.start()
        for _ in range(2):
            time.sleep(1)
            leader = self.cluster.leader()
            leader.kill()
            self.cluster.leader()
            time.sleep(1)
            leader.start()
            self.cluster.wait_healthy()
        for floor in (semaphore, lock):
            floor.is_closed.set()
        for holder in holders:
            holder.join()
        self.assertEqual([holder.failure for holder in holders], [None] * len(holders))
        turns = sum(holder.turns for holder in holders)
        print(f'    {turns} turns; together {semaphore.most} of 3, shared {lock.most}')
        self.assertEqual(semaphore.most, 3)
        self.assertGreater(lock.most, 1)
        self.assertGreater(min(holder.turns for holder in holders), 2)
        self.member = self.cluster.leader()
        for self.name in (b'three', b'mixed'):
            self.assertEqual(self.queue(), 0)


if __name__ == '__main__':
    harness.main()
