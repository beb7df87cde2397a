"""What bad input gets: a clear error, and nothing lost. Connections that misbehave, starts that
cannot work."""

import os
import random
import re
import shutil
import socket
import threading
import time
import unittest

import grpc
from etcd3 import etcdrpc as rpc

import harness
import wire_abuse
from wire_abuse import Connection

CLOSE_SECONDS = 8
SLOW_CLIENT_SECONDS = 50  # limits::kClientIdleHeaderMs is 30 s


class Connections(harness.ClusterTest):
    """One client that misbehaves must not disturb another, nor the member."""

    members = 1

    def setUp(self):
        self.member = self.cluster.members[0]
        self.member.put('before', self.id())

    def tearDown(self):
        self.assertTrue(self.member.is_running(), 'the member died')
        self.assertEqual(self.member.value('before'), self.id().encode())

    def assert_closed(self, name, data, seconds=CLOSE_SECONDS):
        with self.subTest(name), Connection(self.member.client_port) as connection:
            connection.send(data)
            self.assertIsNotNone(connection.until_closed(seconds), f'still open after {seconds} s')

    @harness.conclave_only('it forgives some of them')
    def test_http2_against_the_rules(self):
        for name, data in wire_abuse.HTTP2.items():
            with self.subTest(name), Connection(self.member.client_port) as connection:
                connection.send(data)
                self.assertIn(
                    connection.outcome(CLOSE_SECONDS), (wire_abuse.GOAWAY, wire_abuse.RST, 'closed')
                )

    @harness.conclave_only('it waits for the rest of the message')
    def test_http2_that_is_not_grpc(self):
        for name, data in wire_abuse.GRPC.items():
            with self.subTest(name), Connection(self.member.client_port) as connection:
                connection.send(data)
                self.assertIsNotNone(connection.outcome(CLOSE_SECONDS), 'no answer')

    @harness.conclave_only('it waits for more')
    def test_http1_against_the_rules(self):
        for name, data in wire_abuse.HTTP1.items():
            self.assert_closed(name, data)

    def test_half_a_request_then_gone(self):
        for data in (
            wire_abuse.OPEN,
            wire_abuse.PREFACE[:5],
            b'POST /v3/kv/put HTTP/1.1\r\n',
            wire_abuse.OPEN + wire_abuse.frame(wire_abuse.DATA, 0, 1, b'\0\0\0\1\0half'),
        ):
            for _ in range(20):
                with Connection(self.member.client_port) as connection:
                    connection.send(data)

    def test_streams_opened_and_reset_without_end(self):
        headers = wire_abuse.POST_HEADERS
        with Connection(self.member.client_port) as connection:
            connection.send(wire_abuse.START)
            for stream in range(1, 40001, 2):
                if not connection.send(
                    wire_abuse.frame(wire_abuse.HEADERS, wire_abuse.END_HEADERS, stream, headers)
                    + wire_abuse.frame(wire_abuse.RST, 0, stream, b'\0\0\0\x08')
                ):
                    break
        self.member.get('before')

    @harness.conclave_only('it takes them')
    def test_continuation_without_end(self):
        with Connection(self.member.client_port) as connection:
            connection.send(
                wire_abuse.START
                + wire_abuse.frame(wire_abuse.HEADERS, 0, 1, wire_abuse.POST_HEADERS)
            )
            more = wire_abuse.frame(
                wire_abuse.CONTINUATION, 0, 1, wire_abuse.literal(b'x', b'y' * 120) * 100
            )
            for _ in range(2000):
                if not connection.send(more):
                    break
            else:
                self.fail('24 MB of headers were accepted')

    def test_random_messages(self):
        rng = random.Random(1)
        codes = set()
        for method in ('Put', 'Range', 'DeleteRange', 'Txn', 'Compact'):
            ask = self.member.channel.unary_unary(f'/etcdserverpb.KV/{method}')
            for _ in range(60):
                # The high bit makes the first tag a field that no message has.
                payload = bytes([rng.randrange(256) | 0x80]) + rng.randbytes(rng.randrange(60))
                try:
                    ask(payload, timeout=5)
                except grpc.RpcError as error:
                    codes.add(error.code())
        self.assertIn(grpc.StatusCode.INTERNAL, codes)
        self.assertFalse(
            codes & {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}, codes
        )

    def test_many_idle_connections(self):
        idle = [Connection(self.member.client_port) for _ in range(500)]
        try:
            start = time.monotonic()
            self.member.put('among', 'idle ones')
            self.assertLess(time.monotonic() - start, 2)
        finally:
            for connection in idle:
                connection.socket.close()

    def test_pipelined_requests_without_end(self):
        """More requests than a stack has room for, sent ahead of the first answer."""
        body = b'{"key":"YQ==","value":"Yg=="}'
        put = b'POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n' % len(body) + body
        with Connection(self.member.client_port) as connection:
            connection.send(put + b'GET /health HTTP/1.1\r\nHost: a\r\n\r\n' * 60_000)
            connection.until_closed(2)
        self.member.put('after', 'the flood')

    @harness.conclave_only('others wait while it makes the answers')
    def test_a_reader_that_never_reads(self):
        """Asks for a large value again and again and takes nothing of it; others are served as
        before."""
        self.member.put('large', 'x' * 1_000_000)
        resident_before = self.resident()
        message = rpc.RangeRequest(key=b'large').SerializeToString()
        body = b'\0' + len(message).to_bytes(4, 'big') + message
        path = wire_abuse.POST_HEADERS.replace(
            wire_abuse.literal(b':path', b'/etcdserverpb.KV/Put'),
            wire_abuse.literal(b':path', b'/etcdserverpb.KV/Range'),
        )
        with Connection(self.member.client_port) as connection:
            connection.send(
                wire_abuse.START
                + wire_abuse.frame(wire_abuse.WINDOW, 0, 0, (0x7FFFFFFF - 65535).to_bytes(4, 'big'))
            )
            connection.socket.settimeout(0.5)
            for stream in range(1, 2001, 2):
                if not connection.send(
                    wire_abuse.frame(wire_abuse.HEADERS, wire_abuse.END_HEADERS, stream, path)
                    + wire_abuse.frame(wire_abuse.DATA, wire_abuse.END_STREAM, stream, body)
                ):
                    break
            start = time.monotonic()
            for _ in range(10):
                self.member.get('before')
            waited = time.monotonic() - start
        held = self.resident() - resident_before
        self.assertLess(held, 150_000, 'kilobytes are held for answers that nobody takes')
        self.assertLess(waited, 5, 'seconds for ten small reads of another client')

    def resident(self):
        """Kilobytes of the member's memory."""
        with open(f'/proc/{self.member.process.pid}/status', encoding='ascii') as status:
            return next(int(line.split()[1]) for line in status if line.startswith('VmRSS'))


class FewFiles(unittest.TestCase):
    """A member that may open few files keeps enough of them for its log."""

    def test_idle_connections_leave_room_for_the_log(self):
        cluster = harness.Cluster(1)
        self.addCleanup(cluster.stop)
        member = cluster.members[0]
        command = member.command
        member.command = lambda: ['prlimit', '--nofile=256:256', *command()]
        cluster.start()
        member.put('before', 'the crowd')  # this connection stays
        idle = [Connection(member.client_port) for _ in range(300)]
        self.addCleanup(lambda: [connection.socket.close() for connection in idle])
        for number in range(140):  # more than one segment of the log
            member.put(f'k{number % 5}', 'x' * 1_000_000)
        self.assertTrue(member.is_running(), 'the member died')


class SlowClients(harness.ClusterTest):
    """A byte a second holds a connection only so long."""

    members = 1

    @staticmethod
    def drip(port, data, outcome):
        """Sends a byte a second until the server has had enough."""
        start = time.monotonic()
        with Connection(port) as connection:
            connection.socket.settimeout(1)
            for byte in data * 100:
                try:
                    connection.socket.sendall(bytes([byte]))
                    if not connection.socket.recv(1 << 16):
                        break
                except TimeoutError:
                    pass
                except OSError:
                    break
                if time.monotonic() - start > SLOW_CLIENT_SECONDS:
                    return
                time.sleep(max(0, 1 - (time.monotonic() - start) % 1))
        outcome.append(time.monotonic() - start)

    @harness.conclave_only('it sets no limit')
    @harness.takes_long
    def test_a_byte_a_second(self):
        member = self.cluster.members[0]
        slow = {
            'HTTP/2 preface': wire_abuse.PREFACE,
            'HTTP/1 header': b'GET /health HTTP/1.1\r\nX-Slow: yes',
            'nothing': b'',
        }
        outcomes = {name: [] for name in slow}
        threads = [
            threading.Thread(target=self.drip, args=(member.client_port, data, outcomes[name]))
            for name, data in slow.items()
            if data
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            member.put('meanwhile', 'served')
            time.sleep(0.5)
        for name, outcome in outcomes.items():
            if slow[name]:
                self.assertTrue(outcome, f'{name}: open after {SLOW_CLIENT_SECONDS} s')


class StartTest(harness.ClusterTest):
    """A start that cannot work ends at once, with a message that says what is wrong."""

    members = 1

    def refused(self, cluster, *words, member=None):
        """The member must end with an error that has all the words."""
        member = (member or cluster.members[0]).start()
        code = member.wait_exit(10)
        log = member.log()
        if code is None:
            member.kill()
        self.assertNotIn(code, (None, 0), log[-2000:])
        for word in words:
            self.assertIn(word, log)
        return log

    def new_cluster(self, **options):
        cluster = harness.Cluster(1, **options)
        self.addCleanup(cluster.stop)
        return cluster


class Starts(StartTest):
    """Flags, ports and directories."""

    def test_unknown_flag(self):
        self.refused(self.new_cluster(flags=['--no-such-flag=1']), 'no-such-flag')

    def test_unparsable_urls(self):
        for flag in (
            '--listen-client-urls',
            '--listen-peer-urls',
            '--advertise-client-urls',
            '--initial-advertise-peer-urls',
        ):
            for url in (
                'http://127.0.0.1',
                'nonsense',
                'http://127.0.0.1:notaport',
                'ftp://127.0.0.1:1',
            ):
                with self.subTest(f'{flag} {url}'):
                    words = [] if harness.is_etcd() else [flag, url]
                    self.refused(self.new_cluster(flags=[flag, url]), *words)

    def test_unparsable_numbers(self):
        for flag in (
            '--heartbeat-interval',
            '--election-timeout',
            '--snapshot-count',
            '--max-request-bytes',
            '--quota-backend-bytes',
        ):
            with self.subTest(flag):
                self.refused(self.new_cluster(flags=[flag, '12monkeys']), flag.lstrip('-'))

    def test_not_in_the_initial_cluster(self):
        cluster = self.new_cluster()
        cluster.flags = ['--initial-cluster', f'somebody={cluster.members[0].peer_url}']
        self.refused(cluster, 'm1')

    def test_ports_in_use_are_named(self):
        for port_of in ('client_port', 'peer_port'):
            with self.subTest(port_of), socket.socket() as holder:
                cluster = self.new_cluster()
                port = getattr(cluster.members[0], port_of)
                holder.bind(('127.0.0.1', port))
                holder.listen()
                self.refused(
                    cluster, str(port), 'address already in use' if harness.is_etcd() else 'in use'
                )

    def test_data_directory_that_cannot_be_made(self):
        cluster = self.new_cluster()
        path = os.path.join(cluster.directory, 'file')
        with open(path, 'w', encoding='ascii') as plain:
            plain.write('not a directory')
        cluster.members[0].data_dir = os.path.join(path, 'inside')
        self.refused(cluster, path)

    @harness.conclave_only('it waits for the lock, for ever')
    def test_second_process_on_the_same_data_directory(self):
        first = self.cluster.members[0]
        first.put('mine', 'v')
        second = harness.Member(self.cluster, 'm1')
        second.peer_port = first.peer_port  # it must not come as far as listening
        second.log_path += '.second'
        self.refused(None, first.data_dir, member=second)
        self.assertEqual(first.value('mine'), b'v')


@harness.conclave_only('it believes whatever its data directory says')
class Mismatches(StartTest):
    """Data and peers of somebody else."""

    def used_directory(self):
        cluster = self.new_cluster(token='first').start()
        cluster.members[0].put('k', 'v')
        self.assertEqual(cluster.members[0].terminate(), 0)
        return cluster

    def test_data_directory_of_another_cluster(self):
        cluster = self.used_directory()
        cluster.token = 'second'
        member = cluster.members[0]
        self.refused(cluster, member.data_dir, 'cluster')
        cluster.token = 'first'
        member.start()
        cluster.wait_healthy()
        self.assertEqual(member.value('k'), b'v')

    def test_data_directory_of_another_member(self):
        cluster = harness.Cluster(3).start()
        self.addCleanup(cluster.stop)
        one, two, _ = cluster.members
        two.put('k', 'v')
        one.terminate()
        two.terminate()
        own, one.data_dir = one.data_dir, two.data_dir
        self.refused(cluster, two.data_dir, 'member', member=one)
        one.data_dir = own
        one.start()
        two.start()
        cluster.wait_healthy()
        self.assertEqual(one.value('k'), b'v')

    def test_peer_of_another_cluster(self):
        cluster = harness.Cluster(3)
        self.addCleanup(cluster.stop)
        one, two, stranger = cluster.members
        one.start()
        two.start()
        cluster.wait_healthy()
        one.put('k', 'v')
        cluster.token += '-another'
        stranger.start()
        refusal = re.compile('is of cluster [0-9a-f]+, this member of cluster')
        harness.wait_until(
            lambda: any(refusal.search(member.log()) for member in cluster.members),
            20,
            'a refusal',
        )
        self.assertEqual(one.value('k'), b'v')
        two.put('k', 'w')
        with self.assertRaises(grpc.RpcError):
            stranger.put('k', 'foreign', timeout=2)
        self.assertEqual(two.value('k'), b'w')

    def test_garbage_at_the_peer_port(self):
        member = self.cluster.members[0]
        member.put('k', 'v')
        for data in (
            os.urandom(5000),
            b'\xff' * 5000,
            bytes(5000),
            b'GET / HTTP/1.1\r\n\r\n',
            b'\0',
        ):
            with Connection(member.peer_port) as connection:
                connection.send(data)
                connection.until_closed(1)
        self.assertEqual(member.value('k'), b'v')


class FullDisk(harness.ClusterTest):
    """On a small file system of its own: writes are refused with NOSPACE, reads go on, and service
    comes back."""

    SIZE_MIB = 280
    members = 1

    @classmethod
    def setUpClass(cls):
        cls.mount = harness.tempfile.mkdtemp(prefix='conclave-full-')
        done = harness.run(
            ['mount', '-t', 'tmpfs', '-o', f'size={cls.SIZE_MIB}m', 'tmpfs', cls.mount]
        )
        if done.returncode != 0:
            os.rmdir(cls.mount)
            raise AssertionError(f'a small file system cannot be mounted here: {done.stderr}')
        directory = os.path.join(cls.mount, 'members')
        os.mkdir(directory)
        try:
            cls.cluster = harness.Cluster(cls.members, directory=directory).start()
        except BaseException:
            cls.unmount()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        cls.unmount()

    @classmethod
    def unmount(cls):
        harness.run(['umount', cls.mount])
        shutil.rmtree(cls.mount, ignore_errors=True)

    @harness.conclave_only('it stops')
    def test_full_and_empty_again(self):
        member = self.cluster.members[0]
        member.put('kept', 'v')
        filler = os.path.join(self.mount, 'filler')
        with open(filler, 'wb') as file:
            try:
                while True:
                    file.write(b'x' * (1 << 20))
                    file.flush()
            except OSError:
                pass
        acknowledged, refusal = self.fill(member)
        self.assertEqual(
            (refusal.code(), refusal.details()),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, 'etcdserver: mvcc: database space exceeded'),
        )
        self.assertTrue(member.is_running())
        self.assertEqual(member.value('kept'), b'v')  # a linearizable read
        self.assertEqual(
            member.get('fill/', range_end=b'fill0', count_only=True).count, acknowledged
        )
        member.status()

        os.remove(filler)
        harness.wait_until(
            lambda: member.put('back', 'again', timeout=2), 20, 'service to come back'
        )
        member.kill()
        member.start()
        self.cluster.wait_healthy()
        self.assertEqual(member.value('back'), b'again')
        self.assertEqual(
            member.get('fill/', range_end=b'fill0', count_only=True).count, acknowledged
        )

    def fill(self, member):
        value = 'x' * 1_000_000
        for number in range(2 * self.SIZE_MIB):
            try:
                member.put(f'fill/{number:04}', value, timeout=10)
            except grpc.RpcError as error:
                return number, error
        raise AssertionError('the disk never became full')


if __name__ == '__main__':
    harness.main()
