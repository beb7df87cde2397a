"""ZooKeeper's clients against three members of Conclave: kazoo and its recipes, raw connections that
see more than a library shows, sessions through failures, four-letter words, and bad input.

What a real ZooKeeper answers to the same requests is compared in zookeeper_differential_test.py.
"""

import concurrent.futures
import contextlib
import logging
import random
import socket
import struct
import subprocess
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    LockTimeout,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    SessionExpiredError,
)
from kazoo.recipe.barrier import DoubleBarrier
from kazoo.retry import KazooRetry
from kazoo.security import make_acl, make_digest_acl

import harness
import zookeeper_cluster
from harness import wait_until
from tls_test import Identity
from zookeeper_wire import (
    ADD_WATCH,
    CHECK_WATCHES,
    CLASSES,
    EXISTS,
    GET_CHILDREN,
    GET_DATA,
    GET_EPHEMERALS,
    WHO_AM_I,
    Client,
    Closed,
    create,
    delete,
    four_letters,
    int32,
    read,
    set_acl,
    set_data,
    set_watches,
    string,
    watches,
)

logging.getLogger('kazoo').setLevel(logging.CRITICAL)

SHORT_MS = 4_000  # the shortest timeout of a session
GONE_SECONDS = 12  # in which a session of that timeout has surely ended, on a busy machine


class KazooTest(zookeeper_cluster.ZooKeeperTest):
    """With kazoo clients that are stopped at the end, and a path of the test's own."""

    def setUp(self):
        super().setUp()
        self.path = '/' + self.id().rsplit('.', 1)[1]

    def kazoo(self, member=None, timeout=10, **options):
        hosts = self.cluster.hosts
        if member is not None:
            hosts = '%s:%s' % self.cluster.members[member].zookeeper
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5)
        client = KazooClient(
            hosts, timeout=timeout, connection_retry=retry, command_retry=retry, **options
        )
        client.start(timeout=20)
        self.opened.callback(client.close)
        self.opened.callback(client.stop)
        return client


class KazooOperations(KazooTest):
    def test_a_node(self):
        client = self.kazoo()
        self.assertEqual(client.create(self.path, b'one'), self.path)
        with self.assertRaises(NodeExistsError):
            client.create(self.path)
        data, stat = client.get(self.path)
        self.assertEqual((data, stat.version, stat.dataLength), (b'one', 0, 3))
        self.assertEqual(stat.czxid, stat.mzxid)
        changed = client.set(self.path, b'two', version=0)
        self.assertEqual(changed.version, 1)
        self.assertGreater(changed.mzxid, changed.czxid)
        with self.assertRaises(BadVersionError):
            client.set(self.path, b'three', version=0)
        client.create(self.path + '/child')
        with self.assertRaises(NotEmptyError):
            client.delete(self.path)
        self.assertEqual(client.get_children(self.path), ['child'])
        client.delete(self.path, recursive=True)
        self.assertIsNone(client.exists(self.path))
        with self.assertRaises(NoNodeError):
            client.get(self.path)

    def test_every_member_serves_everything(self):
        clients = [self.kazoo(member) for member in range(3)]
        clients[0].create(self.path)
        for number, client in enumerate(clients):
            client.create(f'{self.path}/{number}', str(number).encode())
            for other in clients:
                self.assertEqual(other.get(f'{self.path}/{number}')[0], str(number).encode())

    def test_sequences(self):
        client = self.kazoo()
        client.create(self.path)
        names = [client.create(self.path + '/n-', sequence=True) for _ in range(5)]
        self.assertEqual(names, [f'{self.path}/n-{number:010}' for number in range(5)])

    def test_a_transaction(self):
        client = self.kazoo()
        client.create(self.path, b'1')
        done = client.transaction()
        done.check(self.path, 0)
        done.set_data(self.path, b'2')
        done.create(self.path + '/a', b'', sequence=True)
        done.delete(self.path + '/a0000000000')
        results = done.commit()
        self.assertEqual(results[0], True)
        self.assertEqual(results[2], self.path + '/a0000000000')
        failed = client.transaction()
        failed.set_data(self.path, b'3')
        failed.check(self.path, 7)
        failed.create(self.path + '/b')
        results = failed.commit()
        self.assertEqual([type(each) for each in results][:2], [RolledBackError, BadVersionError])
        self.assertEqual(client.get(self.path)[0], b'2')

    def test_rights(self):
        owner, other = self.kazoo(), self.kazoo()
        owner.add_auth('digest', 'ann:secret')
        owner.create(self.path, b'x', acl=[make_digest_acl('ann', 'secret', all=True)])
        with self.assertRaises(NoAuthError):
            other.get(self.path)
        with self.assertRaises(InvalidACLError):
            other.create(self.path + '2', acl=[make_acl('nobody', 'x', all=True)])
        other.add_auth('digest', 'ann:secret')
        self.assertEqual(other.get(self.path)[0], b'x')

    def test_many_requests_at_once(self):
        client = self.kazoo()
        client.create(self.path)
        made = [client.create_async(f'{self.path}/{number:04}') for number in range(1_500)]
        self.assertEqual(len([each.get(30) for each in made]), 1_500)
        self.assertEqual(
            sorted(client.get_children(self.path)), [f'{number:04}' for number in range(1_500)]
        )
        reads = [client.get_async(f'{self.path}/{number:04}') for number in range(1_500)]
        for each in reads:
            self.assertEqual(each.get(30)[0], b'')

    def test_a_megabyte(self):
        client = self.kazoo()
        data = random.Random(1).randbytes(1_000_000)
        client.create(self.path, data)
        self.assertEqual(client.get(self.path)[0], data)

    def test_what_the_server_says_of_itself(self):
        client = self.kazoo()
        self.assertEqual(client.server_version()[:2], (3, 8))
        self.assertEqual(client.command(b'ruok'), 'imok')


class Recipes(KazooTest):
    def test_lock(self):
        inside, most, order = [0], [0], []

        def work(number):
            lock = clients[number].Lock(self.path, f'client {number}')
            for _ in range(3):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    order.append(number)
                    time.sleep(0.01)
                    inside[0] -= 1

        clients = [self.kazoo(number % 3) for number in range(6)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(work, number) for number in range(6)]:
                done.result(60)
        self.assertEqual((most[0], len(order)), (1, 18))

    def test_a_lock_that_is_not_to_be_had(self):
        first, second = self.kazoo(0), self.kazoo(1)
        lock = first.Lock(self.path, 'first')
        lock.acquire()
        waiting = second.Lock(self.path, 'second')
        self.assertEqual(waiting.contenders(), ['first'])
        self.assertFalse(waiting.acquire(blocking=False))
        with self.assertRaises(LockTimeout):
            waiting.acquire(timeout=0.5)
        lock.release()
        self.assertTrue(waiting.acquire(timeout=10))

    def test_read_and_write_locks(self):
        first, second, writer = self.kazoo(0), self.kazoo(1), self.kazoo(2)
        one, two = first.ReadLock(self.path), second.ReadLock(self.path)
        self.assertTrue(one.acquire(timeout=10))
        self.assertTrue(two.acquire(timeout=10))
        write = writer.WriteLock(self.path)
        with self.assertRaises(LockTimeout):
            write.acquire(timeout=0.5)
        one.release()
        two.release()
        self.assertTrue(write.acquire(timeout=10))
        with self.assertRaises(LockTimeout):
            first.ReadLock(self.path).acquire(timeout=0.5)
        write.release()

    def test_semaphore(self):
        clients = [self.kazoo(number) for number in range(3)]
        leases = [client.Semaphore(self.path, max_leases=2) for client in clients]
        self.assertTrue(leases[0].acquire(timeout=10))
        self.assertTrue(leases[1].acquire(timeout=10))
        self.assertFalse(leases[2].acquire(blocking=False))
        leases[0].release()
        self.assertTrue(leases[2].acquire(timeout=10))

    def test_election(self):
        led = []
        enough = threading.Event()

        def lead(number):
            led.append(number)
            if len(led) == 3:
                enough.set()

        clients = [self.kazoo(number) for number in range(3)]
        elections = [client.Election(self.path, str(n)) for n, client in enumerate(clients)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            runs = [pool.submit(each.run, lead, n) for n, each in enumerate(elections)]
            for run in runs:
                run.result(30)
        self.assertTrue(enough.is_set())
        self.assertEqual(sorted(led), [0, 1, 2])

    def test_barrier(self):
        first, second = self.kazoo(0), self.kazoo(1)
        barrier = first.Barrier(self.path)
        barrier.create()
        self.assertFalse(second.Barrier(self.path).wait(0.3))
        waiting = concurrent.futures.ThreadPoolExecutor().submit(
            second.Barrier(self.path).wait, 20
        )
        barrier.remove()
        self.assertTrue(waiting.result(20))

    def test_double_barrier(self):
        clients = [self.kazoo(number) for number in range(3)]
        together = threading.Barrier(3)

        def cross(client):
            barrier = DoubleBarrier(client, self.path, 3)
            barrier.enter()
            together.wait(20)
            barrier.leave()
            return True

        with concurrent.futures.ThreadPoolExecutor() as pool:
            runs = [pool.submit(cross, client) for client in clients]
            self.assertEqual([run.result(30) for run in runs], [True] * 3)

    def test_queues(self):
        maker, taker = self.kazoo(0), self.kazoo(1)
        queue = maker.Queue(self.path)
        for number in range(5):
            queue.put(str(number).encode(), priority=50 - number)
        taken = [taker.Queue(self.path).get() for _ in range(5)]
        self.assertEqual(taken, [b'4', b'3', b'2', b'1', b'0'])

    def test_a_queue_with_locks(self):
        maker, taker = self.kazoo(0), self.kazoo(1)
        maker.LockingQueue(self.path).put_all([b'a', b'b', b'c'])
        taken = []
        queue = taker.LockingQueue(self.path)
        for _ in range(3):
            taken.append(queue.get(10))
            self.assertTrue(queue.consume())
        self.assertEqual(sorted(taken), [b'a', b'b', b'c'])

    def test_party_and_counter(self):
        clients = [self.kazoo(number) for number in range(3)]
        for number, client in enumerate(clients):
            client.Party(self.path, f'p{number}').join()
        wait_until(lambda: len(clients[0].Party(self.path)) == 3, 10, 'all to be at the party')
        counters = [client.Counter(self.path + '-counter') for client in clients]

        def count(counter):
            for _ in range(10):
                counter += 1

        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(count, counter) for counter in counters]:
                done.result(30)
        self.assertEqual(clients[0].Counter(self.path + '-counter').value, 30)

    def test_watchers(self):
        client, other = self.kazoo(0), self.kazoo(1)
        client.create(self.path, b'0')
        data, children = [], []
        client.DataWatch(self.path, lambda value, _stat: data.append(value))
        client.ChildrenWatch(self.path, lambda names: children.append(sorted(names)))
        for number in range(1, 6):
            other.set(self.path, str(number).encode())
            wait_until(lambda: data[-1] == str(number).encode(), 10, 'the watcher of data')
        for number in range(3):
            other.create(f'{self.path}/{number}')
        wait_until(lambda: children[-1] == ['0', '1', '2'], 10, 'the watcher of children')


# Connects, takes a lock and makes an ephemeral node, says so, and waits to be killed.
HOLDER = """
import sys, time
from kazoo.client import KazooClient
hosts, path = sys.argv[1:]
client = KazooClient(hosts, timeout=4)
client.start(timeout=20)
client.create(path + '-alive', ephemeral=True)
client.Lock(path).acquire()
print('held', flush=True)
time.sleep(600)
"""


class Sessions(KazooTest):
    def test_a_killed_clients_lock_and_ephemerals_go(self):
        other = self.kazoo()
        holder = harness.spawn(
            [sys.executable, '-c', HOLDER, self.cluster.hosts, self.path], stdout=subprocess.PIPE
        )
        self.assertEqual(holder.stdout.readline(), b'held\n')
        lock = other.Lock(self.path)
        self.assertFalse(lock.acquire(blocking=False))
        holder.kill()
        harness.reap(holder)
        holder.stdout.close()
        self.assertIsNotNone(other.exists(self.path + '-alive'), 'not before its time is over')
        self.assertTrue(lock.acquire(timeout=GONE_SECONDS))
        self.assertIsNone(other.exists(self.path + '-alive'))

    def test_who_is_quiet_expires_and_who_pings_does_not(self):
        quiet, lively = (self.connect(n, timeout_ms=SHORT_MS) for n in (0, 1))
        watching = self.connect(2)
        for client, name in ((quiet, '-quiet'), (lively, '-lively')):
            client.ask(create(self.path + name, flags=1))
        watching.ask(read(EXISTS, self.path + '-quiet', True))
        deadline = time.monotonic() + GONE_SECONDS
        while not watching.take_events() and time.monotonic() < deadline:
            self.assertEqual([lively.ping().err, watching.ping().err], [0, 0])
            time.sleep(0.5)
        self.assertEqual(watching.ask(read(EXISTS, self.path + '-quiet')).err, -101)
        self.assertEqual(watching.ask(read(EXISTS, self.path + '-lively')).err, 0)
        with self.assertRaises((Closed, ConnectionError)):
            quiet.ask(read(EXISTS, '/'))
        back = self.connect(0, session=quiet.session, password=quiet.password)
        self.assertEqual((back.timeout_ms, back.session), (0, 0))

    def test_a_session_moves(self):
        first = self.connect(0)
        first.ask(create(self.path, flags=1))
        second = self.connect(1, session=first.session, password=first.password, zxid=first.zxid)
        self.assertEqual(second.session, first.session)
        with self.assertRaises((Closed, ConnectionError)):
            first.ask(set_data(self.path, b'late'))
        self.assertEqual(second.ask(read(GET_DATA, self.path)).body[0], b'')
        self.assertEqual(second.ask((GET_EPHEMERALS, string('/'))).body, [self.path])
        self.assertEqual(second.close().err, 0)
        self.assertEqual(self.connect(2).ask(read(EXISTS, self.path)).err, -101)

    def test_a_wrong_password_moves_nothing(self):
        mine = self.connect(0)
        other = self.connect(1, session=mine.session, password=b'0' * 16)
        self.assertEqual((other.timeout_ms, other.session), (0, 0))
        self.assertEqual(mine.ask(create(self.path, flags=1)).err, 0)

    def test_nobody_goes_back_in_time(self):
        """A client that changes members at each step sees at least what it has seen."""
        writer = self.connect(0)
        writer.ask(create(self.path, b'0'))
        client = self.connect(0)
        seen = 0
        for number in range(1, 31):
            writer.ask(set_data(self.path, str(number).encode()))
            moved = self.connect(
                number % 3, session=client.session, password=client.password, zxid=client.zxid
            )
            now = int(moved.ask(read(GET_DATA, self.path)).body[0])
            self.assertEqual(now, number, f'after {seen}')
            seen, client = now, moved


class Order(KazooTest):
    def test_pipelined_requests_see_what_came_before_them_and_nothing_after(self):
        client = self.connect(1)
        client.ask(create(self.path, b'0'))
        chance = random.Random(3)
        expected = {}
        value = 0
        for _ in range(400):
            if chance.random() < 0.4:
                value += 1
                client.send(set_data(self.path, str(value).encode()))
            else:
                expected[client.send(read(GET_DATA, self.path))] = str(value).encode()
        last = client.xid
        xids = []
        while not xids or xids[-1] != last:
            reply = client.receive()
            self.assertEqual(reply.err, 0)
            xids.append(reply.xid)
            if reply.xid in expected:
                self.assertEqual(reply.body[0], expected[reply.xid])
        self.assertEqual(xids, sorted(xids))
        self.assertEqual(len(xids), 400)

    def test_an_event_comes_before_the_new_data(self):
        """On each member: who has a watch and reads in a loop is told of each change before it reads
        it."""
        writer = self.connect(0)
        writer.ask(create(self.path, b'0'))
        stop = threading.Event()
        failures = []

        def look(number):
            client = self.connect(number)
            seen = client.ask(read(GET_DATA, self.path, True)).body[0]
            while not stop.is_set():
                data = client.ask(read(GET_DATA, self.path)).body[0]
                events, client.events = client.events, []
                if data != seen and not events:
                    failures.append((number, seen, data))
                if events:
                    seen = client.ask(read(GET_DATA, self.path, True)).body[0]
                else:
                    seen = data

        with concurrent.futures.ThreadPoolExecutor() as pool:
            looking = [pool.submit(look, number) for number in range(3)]
            try:
                for number in range(150):
                    writer.ask(set_data(self.path, str(number).encode()))
            finally:
                stop.set()
            for each in looking:
                each.result(20)
        self.assertEqual(failures, [])

    def test_watches_are_told_once_armed_again(self):
        client, other = self.connect(0), self.connect(1)
        for name in ('', '/kept', '/gone'):
            client.ask(create(self.path + name))
        zxid = client.ask(read(GET_CHILDREN, self.path)).zxid
        client.drop()
        other.ask(set_data(self.path + '/kept', b'new'))
        other.ask(delete(self.path + '/gone'))
        other.ask(create(self.path + '/made'))
        back = self.connect(2, session=client.session, password=client.password, zxid=zxid)
        request = set_watches(
            zxid,
            data=[self.path, self.path + '/kept', self.path + '/gone'],
            exist=[self.path + '/made', self.path + '/later'],
            child=[self.path],
            persistent=[self.path],
            recursive=[],
        )
        self.assertEqual(back.ask(request, -8).err, 0)
        told = {(event.type, event.path) for event in back.take_events()}
        self.assertEqual(
            told,
            {
                (3, self.path + '/kept'),
                (2, self.path + '/gone'),
                (1, self.path + '/made'),
                (4, self.path),
            },
        )
        other.ask(create(self.path + '/later'))
        other.ask(set_data(self.path, b'x'))
        back.ask(read(EXISTS, '/'))
        told = {(event.type, event.path) for event in back.take_events(0.3)}
        self.assertEqual(told, {(1, self.path + '/later'), (4, self.path), (3, self.path)})

    def test_recursive_watches(self):
        client, other = self.connect(0), self.connect(1)
        client.ask(create(self.path))
        self.assertEqual(client.ask(watches(ADD_WATCH, self.path, 1)).err, 0)
        for number in range(3):
            other.ask(create(f'{self.path}/{number}'))
            other.ask(set_data(f'{self.path}/{number}', b'x'))
        other.ask(delete(self.path + '/1'))
        expected = [(kind, f'{self.path}/{n}') for n in range(3) for kind in (1, 3)]
        expected.append((2, self.path + '/1'))
        told = []
        deadline = time.monotonic() + 10
        while len(told) < len(expected) and time.monotonic() < deadline:
            told += [(event.type, event.path) for event in client.take_events(0.1)]
        self.assertEqual(told, expected)

    def test_who_has_lost_the_right_to_read_is_not_told(self):
        """As in ZooKeeper since 3.8.4; the watch ends all the same."""
        owner, other = self.connect(0), self.connect(1)
        owner.auth('digest', b'ann:pw')
        mine = [(31, 'auth', '')]
        owner.ask(create(self.path))
        for name in ('data', 'deleted', 'parent'):
            owner.ask(create(f'{self.path}/{name}'))
        for name in ('data', 'deleted', 'made'):
            other.ask(read(EXISTS, f'{self.path}/{name}', True))
        other.ask(read(GET_CHILDREN, f'{self.path}/parent', True))
        other.ask(read(GET_DATA, f'{self.path}/parent', True))
        for name in ('data', 'deleted', 'parent'):
            self.assertEqual(owner.ask(set_acl(f'{self.path}/{name}', mine)).err, 0)
        owner.ask(set_data(f'{self.path}/data', b'x'))
        owner.ask(delete(f'{self.path}/deleted'))
        owner.ask(create(f'{self.path}/made', acl=mine))
        owner.ask(create(f'{self.path}/parent/child'))
        other.ask(read(EXISTS, '/'))
        self.assertEqual(other.take_events(0.3), [])
        for name in ('data', 'deleted', 'made'):
            kind = (CHECK_WATCHES, string(f'{self.path}/{name}') + int32(2))
            self.assertEqual(other.ask(kind).err, -121, name)
        # What it proves counts from then on, without a request in between.
        self.assertEqual(other.auth('digest', b'ann:pw').err, 0)
        wait_until(
            lambda: owner.ask(set_data(f'{self.path}/parent', b'x')).err == 0
            and [event.path for event in other.take_events(0.1)] == [f'{self.path}/parent'],
            20,
            'an event',
        )


class BadInput(KazooTest):
    members = 1

    def test_garbage_ends_its_connection_and_no_other(self):
        bystander = self.connect()
        chance = random.Random(7)
        samples = [
            b'\0\0\0\0',
            b'\xff\xff\xff\xff',
            b'\x7f\xff\xff\xff',
            b'\0\x10\0\0' + b'x' * 100,
            b'\x80\0\0\0',
            b'GET / HTTP/1.1\r\n\r\n',
            b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
            b'\x16\x03\x01\x02\0' + b'x' * 300,
            int32(44) + b'\xff' * 44,
        ] + [int32(20) + chance.randbytes(20) for _ in range(20)]
        for sample in samples:
            with socket.create_connection(self.cluster.members[0].zookeeper, timeout=20) as raw:
                raw.sendall(sample)
                self.assertEqual(self.read_to_end(raw)[:4] in (b'', int32(37), int32(36)), True)
        for sample in (int32(-1), int32(1 << 20), int32(4) + b'abcd'):
            client = self.connect()
            client.socket.sendall(sample)
            with self.assertRaises((Closed, ConnectionError)):
                client.receive(5)
        self.assertEqual(bystander.ask(create(self.path)).err, 0)
        self.assertIn('a packet of', self.cluster.members[0].log())

    @staticmethod
    def read_to_end(raw):
        said = b''
        while True:
            try:
                more = raw.recv(1 << 16)
            except ConnectionError:
                return said
            if not more:
                return said
            said += more

    def test_any_body_of_any_request_is_answered_or_ends_the_connection(self):
        chance = random.Random(11)
        member = self.cluster.members[0]
        for opcode in list(range(-12, 25)) + list(range(99, 109)):
            for _ in range(4):
                with Client(member.zookeeper) as client:
                    body = chance.randbytes(chance.choice([0, 1, 4, 20, 60]))
                    client.socket.sendall(struct.pack('>iii', 8 + len(body), 5, opcode) + body)
                    with contextlib.suppress(Closed, ConnectionError):
                        xid = struct.unpack('>i', client.receive_packet(10)[:4])[0]
                        self.assertEqual(xid, 5, opcode)
        self.assertTrue(member.is_running())

    def test_who_sends_without_reading_is_slowed_down(self):
        client = self.connect()
        client.ask(create(self.path, bytes(500_000)))
        client.socket.settimeout(1)
        packet = struct.pack('>iii', 8 + 5 + len(self.path), 1, GET_DATA) + string(self.path) + b'\0'
        with self.assertRaises(TimeoutError):
            for _ in range(5_000):
                client.socket.sendall(packet * 1_000)
        self.assertEqual(self.connect().ask(read(EXISTS, self.path)).err, 0)


class Words(KazooTest):
    def test_the_values_that_dashboards_read(self):
        client = self.connect(0)
        client.ask(create(self.path, flags=1))
        client.ask(read(GET_DATA, self.path, True))
        modes = []
        for number in (1, 2):  # has it too, then
            self.connect(number).ask(read(EXISTS, self.path))
        for member in self.cluster.members:
            lines = four_letters(member.zookeeper, 'mntr').splitlines()
            values = dict(line.split('\t', 1) for line in lines)
            modes.append(values['zk_server_state'])
            self.assertGreaterEqual(int(values['zk_znode_count']), 4)
            self.assertGreaterEqual(int(values['zk_ephemerals_count']), 1)
            self.assertGreaterEqual(int(values['zk_global_sessions']), 1)
            self.assertGreater(int(values['zk_open_file_descriptor_count']), 5)
            self.assertGreater(int(values['zk_approximate_data_size']), 0)
            if modes[-1] == 'leader':
                self.assertIn(values['zk_synced_followers'], ('1', '2'))
        self.assertEqual(sorted(modes), ['follower', 'follower', 'leader'])
        address = self.cluster.members[0].zookeeper
        values = dict(
            line.split('\t', 1) for line in four_letters(address, 'mntr').splitlines()
        )
        self.assertEqual(int(values['zk_watch_count']), 1)
        self.assertGreaterEqual(int(values['zk_packets_received']), 3)

    def test_words(self):
        client = self.connect(0)
        address = self.cluster.members[0].zookeeper
        self.assertEqual(four_letters(address, 'ruok'), 'imok')
        self.assertEqual(four_letters(address, 'isro'), 'rw')
        server = four_letters(address, 'srvr')
        for line in ('Zookeeper version: 3.8.0', '\nMode: ', '\nZxid: 0x', '\nNode count: '):
            self.assertIn(line, server)
        host, port = client.socket.getsockname()
        self.assertIn(f' /{host}:{port}[1](', four_letters(address, 'stat'))
        self.assertIn(f'sid={client.session:#x}', four_letters(address, 'cons'))
        self.assertIn(f'clientPort={address[1]}\n', four_letters(address, 'conf'))
        self.assertIn('Total watches:', four_letters(address, 'wchs'))
        self.assertIn('not in the whitelist', four_letters(address, 'dump'))
        self.assertIn('not in the whitelist', four_letters(address, 'wchc'))
        self.assertEqual(four_letters(address, 'nope'), '')


class FewConnections(zookeeper_cluster.ZooKeeperTest):
    members = 1
    flags = ('--zookeeper-max-connections-per-address', '3')

    def test_an_address_has_so_many_connections(self):
        clients = [self.connect() for _ in range(3)]
        with self.assertRaises((Closed, ConnectionError)):
            self.connect()
        for client in clients:
            self.assertEqual(client.ask(read(EXISTS, '/')).err, 0)
        said = self.cluster.members[0].log()
        self.assertIn('3 connections of its address are open', said)
        clients[0].drop()

        def connects():
            try:
                self.connect()
                return True
            except (Closed, ConnectionError):
                return False

        wait_until(connects, 10, 'the place of the one that has gone')
        clients[1].drop()
        wait_until(
            lambda: 'maxClientCnxns=3\n' in four_letters(self.cluster.members[0].zookeeper, 'conf'),
            10,
            'the answer to a word',
        )


class Configuration(zookeeper_cluster.ZooKeeperTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = zookeeper_cluster.AdvertisingCluster(3).start()

    def members(self):
        """id -> the line's value, and the version."""
        data, stat = self.connect().ask(read(GET_DATA, '/zookeeper/config')).body
        *lines, version = data.decode().split('\n')
        self.assertEqual(version, f'version={stat.mzxid:x}')
        return dict(line.removeprefix('server.').split('=') for line in lines)

    def test_who_the_members_are(self):
        def as_expected():
            expected = sorted(
                f'127.0.0.1:{each.peer_port}:{each.peer_port + 1}:participant;127.0.0.1:{each.zookeeper_port}'
                for each in self.cluster.members
            )
            return sorted(self.members().values()) == expected

        wait_until(as_expected, 20, 'all to have told their addresses')
        hosts = ','.join(sorted('%s:%s' % member.zookeeper for member in self.cluster.members))
        command = ['java', '-cp', CLASSES, 'org.apache.zookeeper.ZooKeeperMain']
        command += ['-server', self.cluster.hosts, 'config', '-c']
        said = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
        self.assertEqual(said.returncode, 0, said.stderr)
        told = said.stdout.strip().split('\n')[-1].split(' ')[-1]
        self.assertEqual(','.join(sorted(told.split(','))), hosts, said.stdout)

    def test_a_change_of_members_is_told(self):
        client = self.connect(1)
        client.ask(read(GET_DATA, '/zookeeper/config', True))
        before = self.members()
        add = ('member', 'add', 'm9', '--learner', '--peer-urls=http://127.0.0.1:9')
        added = harness.etcdctl(self.cluster.endpoints, *add)
        self.assertEqual(added.returncode, 0, added.stderr)
        wait_until(
            lambda: [event.path for event in client.take_events(0.1)] == ['/zookeeper/config'],
            20,
            'the event',
        )
        after = self.members()
        new = set(after) - set(before)
        self.assertEqual([after[each] for each in new], ['127.0.0.1:9:10:observer'])
        member = f'{int(new.pop()) % (1 << 64):x}'
        removed = harness.etcdctl(self.cluster.endpoints, 'member', 'remove', member)
        self.assertEqual(removed.returncode, 0, removed.stderr)
        self.assertEqual(self.members(), before)


class AllWords(zookeeper_cluster.ZooKeeperTest):
    members = 1
    flags = ('--zookeeper-words', '*')

    def test_who_has_what(self):
        client = self.connect()
        client.ask(create('/n', flags=1))
        client.ask(read(GET_DATA, '/n', True))
        address = self.cluster.members[0].zookeeper
        session = f'{client.session:#x}'
        self.assertIn(f'{session}:\n\t/n\n', four_letters(address, 'dump'))
        self.assertIn(f'/n\n\t{session}\n', four_letters(address, 'wchp'))
        self.assertIn(f'{session}\n\t/n\n', four_letters(address, 'wchc'))
        self.assertIn('1 connections watching 1 paths\nTotal watches:1', four_letters(address, 'wchs'))
        self.assertEqual(four_letters(address, 'srst'), 'Server stats reset.\n')
        self.assertEqual(four_letters(address, 'crst'), 'Connection stats reset.\n')
        self.assertIn('\nReceived: 0\n', four_letters(address, 'srvr'))


class Failures(KazooTest):
    def setUp(self):
        super().setUp()
        for member in self.cluster.members:
            if not member.is_running():
                member.start()
        self.cluster.wait_healthy()

    def test_sessions_survive_the_leaders_death(self):
        states = []
        clients = [self.kazoo() for _ in range(6)]
        for number, client in enumerate(clients):
            client.add_listener(states.append)
            client.create(f'{self.path}-{number}', ephemeral=True)
        ids = [client.client_id for client in clients]
        for _ in range(2):
            leader = self.cluster.leader()
            leader.kill()
            for number, client in enumerate(clients):
                self.assertIsNotNone(client.retry(client.exists, f'{self.path}-{number}'))
            leader.start()
            self.cluster.wait_healthy()
        self.assertEqual([client.client_id for client in clients], ids)
        self.assertNotIn(KazooState.LOST, states)

    def test_sessions_survive_a_restart_of_all(self):
        client = self.kazoo(timeout=30)
        client.create(self.path, b'kept', ephemeral=True)
        before = client.client_id
        for member in self.cluster.members:
            member.kill()
        for member in self.cluster.members:
            member.start()
        self.cluster.wait_healthy()
        self.assertEqual(client.retry(client.get, self.path)[0], b'kept')
        self.assertEqual(client.client_id, before)

    def test_locks_exclude_while_leaders_die(self):
        clients = [self.kazoo() for _ in range(4)]
        counter = self.path + '-counter'
        clients[0].create(counter, b'0')
        stop = threading.Event()
        done = [0]

        def work(client):
            lock = client.Lock(self.path)
            while not stop.is_set():
                if not lock.acquire(timeout=60):
                    continue
                data, stat = client.retry(client.get, counter)
                # With the version: a write that had to be sent again may have been done.
                try:
                    client.set(counter, str(int(data) + 1).encode(), stat.version)
                    done[0] += 1
                except (BadVersionError, ConnectionLoss, SessionExpiredError):
                    pass
                client.retry(lock.release)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            working = [pool.submit(work, client) for client in clients]
            try:
                for _ in range(2):
                    time.sleep(1)
                    leader = self.cluster.leader()
                    leader.kill()
                    time.sleep(2)
                    leader.start()
                    self.cluster.wait_healthy()
            finally:
                stop.set()
            for each in working:
                each.result(90)
        self.assertGreater(done[0], 20)
        self.assertGreaterEqual(int(clients[0].get(counter)[0]), done[0])


class Secure(zookeeper_cluster.ZooKeeperTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = zookeeper_cluster.SecureCluster(1).start()

    def test_a_certificate_is_an_identity(self):
        authority, alice = self.cluster.authority, self.cluster.alice
        client = self.connect(tls=alice.context())
        self.assertIn(('x509', 'CN=alice'), client.ask((WHO_AM_I, b'')).body)
        acl = [(31, 'x509', 'CN=alice')]
        self.assertEqual(client.ask(create('/alice', b'x', acl)).err, 0)
        bob = Identity(authority.ca, *authority.issue('bob'))
        other = self.connect(tls=bob.context())
        self.assertEqual(other.ask(read(GET_DATA, '/alice')).err, -102)
        self.assertEqual(client.ask(read(GET_DATA, '/alice')).body[0], b'x')

    def test_kazoo(self):
        alice = self.cluster.alice
        client = KazooClient(
            self.cluster.hosts,
            use_ssl=True,
            ca=alice.ca,
            certfile=alice.certificate,
            keyfile=alice.key,
        )
        client.start(timeout=20)
        self.opened.callback(client.stop)
        client.create('/kazoo', bytes(300_000))
        self.assertEqual(client.get('/kazoo')[0], bytes(300_000))

    def test_who_speaks_no_tls_is_turned_away(self):
        with self.assertRaises((Closed, ConnectionError)):
            self.connect()


class LocalReads(zookeeper_cluster.ZooKeeperTest):
    flags = ('--zookeeper-reads', 'session')

    def test_a_session_sees_its_own_writes(self):
        client = self.connect(1)
        client.ask(create('/n', b'0'))
        for number in range(100):
            data = str(number).encode()
            client.send(set_data('/n', data))
            client.send(read(GET_DATA, '/n'))
            self.assertEqual(client.receive().err, 0)
            self.assertEqual(client.receive().body[0], data)

    def test_a_session_that_moves_does_not_go_back(self):
        client = self.connect(0)
        client.ask(create('/m', b'0'))
        for number in range(60):
            data = str(number).encode()
            self.assertEqual(client.ask(set_data('/m', data)).err, 0)
            client = self.connect(
                number % 3, session=client.session, password=client.password, zxid=client.zxid
            )
            self.assertEqual(client.ask(read(GET_DATA, '/m')).body[0], data)


if __name__ == '__main__':
    harness.main()
