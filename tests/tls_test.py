"""TLS among members and for clients, with certificates that the openssl command makes: stock clients,
who is refused and what the log then says, certificates that are replaced while clients write, callers
that stall, garbage, and leaders killed."""

import contextlib
import os
import random
import re
import shutil
import socket
import ssl
import statistics
import struct
import tempfile
import threading
import time
import unittest

import etcd3
import grpc
from etcd3 import etcdrpc as rpc

import harness
from certificates import Authority

NAME_OF_MEMBERS = 'member.test'
NAMES = f'DNS:localhost,DNS:{NAME_OF_MEMBERS},IP:127.0.0.1'


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class Identity:
    """A certificate with its key, and the authority that the other side is held to."""

    def __init__(self, ca, certificate=None, key=None):
        self.ca, self.certificate, self.key = ca, certificate, key

    def grpc(self):
        key, chain = (read(self.key), read(self.certificate)) if self.key else (None, None)
        return grpc.ssl_channel_credentials(read(self.ca), key, chain)

    def flags(self):
        """etcdctl's, and conclave's."""
        shown = [f'--cert={self.certificate}', f'--key={self.key}'] if self.key else []
        return [f'--cacert={self.ca}', *shown]

    def context(self, protocols=()):
        context = ssl.create_default_context(cafile=self.ca)
        if self.key:
            context.load_cert_chain(self.certificate, self.key)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context


class TlsCluster(harness.Cluster):
    """All URLs have https; members show `member`, and clients have to show a certificate."""

    client_scheme = peer_scheme = 'https'

    def __init__(self, members=3, flags=(), ca_for_clients=True, binary=None):
        self.certificates = tempfile.mkdtemp(prefix='conclave-tls-')
        self.authority = Authority(os.path.join(self.certificates, 'ca'))
        certificate, key = self.authority.issue('member', names=NAMES)
        self.alice = Identity(self.authority.ca, *self.authority.issue('alice'))
        self.anonymous = Identity(self.authority.ca)
        self.credentials = (self.alice if ca_for_clients else self.anonymous).grpc()
        self.client_flags = ['--cert-file', certificate, '--key-file', key]
        if ca_for_clients:
            self.client_flags += ['--client-cert-auth', '--trusted-ca-file', self.authority.ca]
        self.peer_flags = ['--peer-cert-file', certificate, '--peer-key-file', key]
        self.peer_flags += ['--peer-client-cert-auth', '--peer-trusted-ca-file', self.authority.ca]
        super().__init__(members, binary, [*self.client_flags, *self.peer_flags, *flags])

    def stop(self):
        super().stop()
        shutil.rmtree(self.certificates, ignore_errors=True)


def secure(member, identity, protocols=()):
    """A TLS connection; the caller closes it."""
    raw = socket.create_connection(('127.0.0.1', member.client_port), timeout=5)
    return identity.context(protocols).wrap_socket(raw, server_hostname='127.0.0.1')


def https(member, identity, path, body=None):
    """(status line, body) of a request through the gateway."""
    method = 'GET' if body is None else 'POST'
    with secure(member, identity) as connection:
        connection.sendall(
            f'{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
            f'Content-Type: application/json\r\nContent-Length: {len(body or "")}\r\n\r\n'
            f'{body or ""}'.encode()
        )
        answer = b''
        while piece := connection.recv(65536):
            answer += piece
    head, _, content = answer.partition(b'\r\n\r\n')
    return head.split(b'\r\n')[0].decode(), content


def etcdctl(endpoints, identity, *args):
    return harness.etcdctl(endpoints, *identity.flags(), *args, timeout=30)


def conclave(*args):
    return harness.run([harness.Options.binary, *args])


def try_put(member, identity):
    """'' or why a Put fails."""
    channel = harness.new_channel(member.endpoint, identity.grpc() if identity else None)
    try:
        rpc.KVStub(channel).Put(rpc.PutRequest(key=b'try', value=b'x'), timeout=2)
        return ''
    except grpc.RpcError as error:
        return harness.describe(error)
    finally:
        channel.close()


class Log:
    """What a member logs from here on."""

    def __init__(self, member):
        self.member, self.seen = member, len(member.log())

    def wait_for(self, pattern, again=lambda: None):
        """`again` is done until the line is there: of many that fail within a second only a few are
        logged, and others may have failed just before."""

        def is_there():
            if re.search(pattern, self.member.log()[self.seen :]):
                return True
            again()
            return False

        harness.wait_until(is_there, 10, f'a log line "{pattern}"')


class Writers:
    """Threads that put as fast as they are answered, one channel each; they retry until told to
    stop."""

    def __init__(self, cluster, count=3):
        self.cluster, self.count = cluster, count
        self.acknowledged, self.errors = [], []
        self._stop = threading.Event()

    def __enter__(self):
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(self.count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number):
        channels = [harness.new_channel(m.endpoint, self.cluster.credentials) for m in self.cluster.members]
        turn = 0
        for count in range(10**9):
            if self._stop.is_set():
                break
            key = f'written/{number}/{count}'.encode()
            while not self._stop.is_set():
                try:
                    kv = rpc.KVStub(channels[(number + turn) % len(channels)])
                    kv.Put(rpc.PutRequest(key=key, value=b'v'), timeout=1)
                    self.acknowledged.append(key)
                    break
                except grpc.RpcError as error:
                    self.errors.append(harness.describe(error))
                    turn += 1
        for channel in channels:
            channel.close()

    def lost(self, member):
        """Acknowledged and not there."""
        there = {kv.key for kv in member.get(b'written/', range_end=b'written0', keys_only=True, timeout=10).kvs}
        return set(self.acknowledged) - there


class TlsTest(unittest.TestCase):
    """Stock clients of a cluster that has TLS everywhere."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = TlsCluster().start()
        cls.member = cls.cluster.members[0]
        cls.alice, cls.anonymous = cls.cluster.alice, cls.cluster.anonymous

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def test_grpc_through_every_member(self):
        for number, member in enumerate(self.cluster.members):
            member.put(f'grpc/{number}', 'x' * 1_000_000)
            self.assertEqual(member.value(f'grpc/{number}'), b'x' * 1_000_000)

    def test_etcdctl(self):
        urls = ','.join(m.url for m in self.cluster.members)

        def said(*args):
            done = etcdctl(urls, self.alice, *args)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        self.assertEqual(said('put', 'ctl', 'value'), 'OK\n')
        self.assertEqual(said('get', 'ctl'), 'ctl\nvalue\n')
        self.assertEqual(len(said('member', 'list').splitlines()), 3)
        self.assertIn('https://', said('member', 'list'))
        # etcdctl writes the health of endpoints to either, depending on its version.
        done = etcdctl(urls, self.alice, 'endpoint', 'health')
        self.assertEqual((done.stdout + done.stderr).count('is healthy'), 3)
        self.assertEqual(len(said('endpoint', 'status').splitlines()), 3)
        self.assertIn('granted', said('lease', 'grant', '60'))

    def test_python_etcd3(self):
        client = etcd3.client(
            'localhost',
            self.member.client_port,
            ca_cert=self.alice.ca,
            cert_key=self.alice.key,
            cert_cert=self.alice.certificate,
            timeout=10,
        )
        client.put('python', 'value')
        self.assertEqual(client.get('python')[0], b'value')
        events, cancel = client.watch('python')
        client.put('python', 'again')
        self.assertEqual(next(events).value, b'again')
        cancel()

    def test_the_gateway_over_https(self):
        status, _ = https(self.member, self.alice, '/v3/kv/put', '{"key":"Zw==","value":"dg=="}')
        self.assertEqual(status, 'HTTP/1.1 200 OK')
        _, body = https(self.member, self.alice, '/v3/kv/range', '{"key":"Zw=="}')
        self.assertIn(b'"value":"dg=="', body.replace(b' ', b''))
        self.assertIn(b'true', https(self.member, self.alice, '/health')[1])
        self.assertIn(b'etcd_server_has_leader 1', https(self.member, self.alice, '/metrics')[1])

    def test_curl(self):
        for version in ([], ['--http1.1']):
            done = harness.run(
                ['curl', '-sS', *version, '--cacert', self.alice.ca, '--cert', self.alice.certificate,
                 '--key', self.alice.key, '-w', '%{http_version}', self.member.url + '/version']
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn('etcdserver', done.stdout)

    def test_alpn(self):
        def chosen(*protocols):
            with secure(self.member, self.alice, protocols) as connection:
                return connection.selected_alpn_protocol()

        self.assertEqual(chosen('h2'), 'h2')
        self.assertIsNone(chosen())

    @harness.conclave_only('etcd speaks h2 with those, and serves the gateway over it')
    def test_alpn_of_those_who_speak_both(self):
        for offered in (['http/1.1'], ['h2', 'http/1.1']):
            with secure(self.member, self.alice, offered) as connection:
                self.assertEqual(connection.selected_alpn_protocol(), 'http/1.1')

    @harness.conclave_only('its own commands')
    def test_conclave_commands(self):
        where = ['--endpoints', self.member.url]
        done = conclave('status', *where, *self.alice.flags())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(re.findall(r'leader|follower', done.stdout)), 3, done.stdout)
        # Without a scheme, as etcdctl takes it.
        done = conclave('status', '--endpoints', self.member.endpoint, *self.alice.flags())
        self.assertEqual(len(re.findall(r'leader|follower', done.stdout)), 3, done.stdout)

        file = os.path.join(self.cluster.directory, 'saved')
        done = conclave('snapshot', 'save', file, *where, *self.alice.flags())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(conclave('snapshot', 'status', file).returncode, 0)
        done = conclave('member', 'replace', 'nobody', *where, *self.alice.flags())
        self.assertIn('the cluster has no member "nobody"', done.stderr)

        def refused(*flags):
            done = conclave('status', *where, *flags)
            self.assertEqual(done.returncode, 1)
            return done.stdout

        self.assertIn('certificate is refused: ', refused())
        self.assertRegex(refused(f'--cacert={self.alice.ca}'), 'certificate required|reset|truncated')
        skipping = ['--insecure-skip-tls-verify', *self.alice.flags()[1:]]
        self.assertEqual(conclave('status', *where, *skipping).returncode, 0)
        self.assertIn('/nowhere: No such file', refused('--cacert=/nowhere'))

    @harness.conclave_only('its own commands')
    def test_a_common_name_is_no_host_name(self):
        named = TlsCluster(members=1)
        self.addCleanup(named.stop)
        named.authority.issue('member', common_name='localhost', names='IP:127.0.0.1')
        named.start()
        by_name = named.members[0].url.replace('127.0.0.1', 'localhost')
        done = conclave('status', '--endpoints', named.members[0].url, *named.alice.flags())
        self.assertEqual(done.returncode, 0, done.stderr)
        done = conclave('status', '--endpoints', by_name, *named.alice.flags())
        self.assertEqual(done.returncode, 1)
        self.assertIn('hostname mismatch', done.stdout)

    def test_who_is_refused(self):
        stranger = Authority(os.path.join(self.cluster.certificates, 'stranger'), 'stranger')
        mallory = Identity(self.alice.ca, *stranger.issue('mallory'))
        late = Identity(self.alice.ca, *self.cluster.authority.issue('late', expired=True))
        for name, identity, line in (
            ('no certificate', self.anonymous, 'peer did not return a certificate'),
            ('another authority', mallory, r'certificate \(mallory\) is refused: unable to get local'),
            ('expired', late, r'certificate \(late\) is refused: certificate has expired'),
            ('plain gRPC', None, 'the other side does not speak TLS'),
        ):
            with self.subTest(name):
                log = Log(self.member)
                self.assertIn('UNAVAILABLE', try_put(self.member, identity))
                if not harness.is_etcd():
                    log.wait_for(
                        r'refused a client connection in the TLS handshake: .*' + line,
                        again=lambda identity=identity: try_put(self.member, identity),
                    )
        self.assertEqual(try_put(self.member, self.alice), '')
        wrong = Identity(stranger.ca, self.alice.certificate, self.alice.key)
        log = Log(self.member)
        self.assertIn('UNAVAILABLE', try_put(self.member, wrong))  # it does not trust the server
        if not harness.is_etcd():
            log.wait_for(
                'refused a client connection in the TLS handshake: ',
                again=lambda: try_put(self.member, wrong),
            )

    @harness.conclave_only('etcd 3.4 just hangs up')
    def test_plain_http_is_told_what_is_wrong(self):
        with socket.create_connection(('127.0.0.1', self.member.client_port), timeout=5) as plain:
            plain.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
            self.assertIn(b'HTTP request to an HTTPS server', plain.recv(4096))

    def test_old_versions_are_refused(self):
        for version, accepted in (('1_1', False), ('1_2', True), ('1_3', True)):
            done = harness.run(
                ['openssl', 's_client', '-connect', self.member.endpoint, f'-tls{version}',
                 '-cipher', 'ALL:@SECLEVEL=0', '-CAfile', self.alice.ca, '-cert',
                 self.alice.certificate, '-key', self.alice.key], stdin=''
            )  # fmt: skip
            self.assertEqual('Verify return code: 0 (ok)' in done.stdout and
                             'Cipher is (NONE)' not in done.stdout, accepted, done.stdout)  # fmt: skip

    def test_garbage(self):
        """Random bytes, and handshakes that were damaged: no crash, and others are served."""
        rng = random.Random(5)
        hello = client_hello(self.alice)
        for number in range(60 if harness.Options.quick else 300):
            kind = number % 4
            data = bytearray(hello)
            if kind == 0:
                data = bytearray(rng.randbytes(rng.randint(1, 3000)))
            elif kind == 1:
                data = bytearray(b'\x16\x03\x01' + rng.randbytes(rng.randint(1, 3000)))
            elif kind == 2:
                for _ in range(rng.randint(1, 5)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            else:
                data = data[: rng.randint(1, len(data))]
            port = self.member.peer_port if number % 3 == 0 else self.member.client_port
            with contextlib.suppress(OSError):
                with socket.create_connection(('127.0.0.1', port), timeout=5) as caller:
                    caller.sendall(data)
                    caller.settimeout(0.01)
                    caller.recv(100)
        self.assertTrue(self.member.is_running())
        self.assertEqual(try_put(self.member, self.alice), '')

    def test_garbage_inside_a_connection(self):
        for _ in range(20):
            with secure(self.member, self.alice) as connection:
                os.write(connection.fileno(), b'\x17\x03\x03\x00\x40' + os.urandom(64))
                with contextlib.suppress(OSError):
                    connection.recv(10)
        self.assertEqual(try_put(self.member, self.alice), '')

    def test_half_open_handshakes_disturb_nobody(self):
        leader = self.cluster.leader()
        hello = client_hello(self.alice)

        def put_times(count):
            times = []
            for number in range(count):
                start = time.monotonic()
                leader.put('half-open', str(number))
                times.append(time.monotonic() - start)
            return statistics.median(times), max(times)

        put_times(50)
        before = put_times(200)
        with contextlib.ExitStack() as stack:
            for number in range(1000):
                caller = stack.enter_context(
                    socket.create_connection(('127.0.0.1', leader.client_port), timeout=5)
                )
                # Silent, in the middle of its first words, or waiting for the server's.
                caller.sendall([b'', hello[:100], hello][number % 3])
            during = put_times(200)
            start = time.monotonic()
            self.assertEqual(try_put(leader, self.alice), '')
            connecting = time.monotonic() - start
        print(
            f'    1,000 half-open: Put {before[0]*1000:.1f} ms (longest {before[1]*1000:.0f}) before, '
            f'{during[0]*1000:.1f} ms (longest {during[1]*1000:.0f}) with them; a new client took '
            f'{connecting*1000:.0f} ms'
        )
        self.assertLess(during[0], 10 * before[0] + 0.02)
        self.assertLess(connecting, 2)

    @harness.conclave_only('etcd has no limit of time')
    @harness.takes_long
    def test_a_handshake_has_a_limit_of_time(self):
        log = Log(self.member)
        with socket.create_connection(('127.0.0.1', self.member.client_port), timeout=30) as caller:
            start = time.monotonic()
            self.assertEqual(caller.recv(1), b'')
            self.assertLess(abs(time.monotonic() - start - 10), 5)
        log.wait_for('the TLS handshake took too long')


def client_hello(identity):
    """The first bytes that a TLS client says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = identity.context().wrap_bio(incoming, outgoing, server_hostname='localhost')
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def serial_shown(member, identity):
    with secure(member, identity) as connection:
        return connection.getpeercert()['serialNumber']


class ChangesTest(unittest.TestCase):
    """What changes while a cluster serves."""

    def setUp(self):
        self.cluster = TlsCluster().start()
        self.addCleanup(self.cluster.stop)
        self.alice = self.cluster.alice

    def test_certificates_are_replaced_while_clients_write(self):
        member = self.cluster.members[0]
        log = Log(member)
        first = serial_shown(member, self.alice)
        with Writers(self.cluster) as writers:
            time.sleep(0.5)
            certificate, _ = self.cluster.authority.issue('member', names=NAMES)
            harness.wait_until(
                lambda: serial_shown(member, self.alice) != first, 10, 'the new certificate'
            )
            renewed = serial_shown(member, self.alice)
            good = read(certificate)
            with open(certificate, 'wb') as file:
                file.write(good[: len(good) // 2])
            if not harness.is_etcd():
                log.wait_for(
                    'the old ones stay in use', again=lambda: serial_shown(member, self.alice)
                )
            self.assertEqual(serial_shown(member, self.alice) if not harness.is_etcd() else renewed, renewed)
            with open(certificate, 'wb') as file:
                file.write(good)
            time.sleep(1.5)
            self.assertEqual(serial_shown(member, self.alice), renewed)
            # Links among the members that are made now use the new one.
            self.cluster.members[2].kill()
            self.cluster.members[2].start()
            self.cluster.wait_healthy()
        if not harness.is_etcd():
            log.wait_for('client TLS: the certificates have changed: the new ones')
        self.assertGreater(len(writers.acknowledged), 100)
        self.assertEqual(writers.lost(member), set())

    def test_the_leader_is_killed(self):
        with Writers(self.cluster) as writers:
            for _ in range(2):
                time.sleep(0.7)
                leader = self.cluster.leader()
                leader.kill()
                others = len(writers.acknowledged)
                harness.wait_until(lambda: len(writers.acknowledged) > others + 20, 20, 'writes')
                leader.start()
                self.cluster.wait_healthy()
        for member in self.cluster.members:
            self.assertEqual(writers.lost(member), set())
        self.assertGreater(len(writers.acknowledged), 100)

    def test_all_are_killed(self):
        with Writers(self.cluster) as writers:
            time.sleep(1)
        for member in self.cluster.members:
            member.kill()
        for member in self.cluster.members:
            member.start()
        self.cluster.wait_healthy()
        self.assertGreater(len(writers.acknowledged), 0)
        self.assertEqual(writers.lost(self.cluster.members[1]), set())

    @harness.conclave_only('as it is ended')
    def test_stopping_says_goodbye(self):
        with secure(self.cluster.members[0], self.alice, ['h2']) as connection:
            connection.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + struct.pack('>IBI', 4, 0, 0)[1:] + b'\0')
            connection.recv(100)
            self.assertEqual(self.cluster.members[0].terminate(), 0)
            while connection.recv(1000):  # an end without close_notify would be an SSLEOFError
                pass

    def test_a_revoked_certificate(self):
        authority = self.cluster.authority
        bob = Identity(authority.ca, *authority.issue('bob'))
        self.cluster.members[0].kill()
        self.cluster.flags += ['--client-crl-file', authority.revoke()]
        self.cluster.members[0].start()
        self.cluster.wait_healthy()
        self.assertEqual(try_put(self.cluster.members[0], bob), '')
        authority.revoke('bob')
        harness.wait_until(
            lambda: 'UNAVAILABLE' in try_put(self.cluster.members[0], bob), 10, 'the revocation'
        )
        self.assertEqual(try_put(self.cluster.members[0], self.alice), '')


class AmongMembersTest(unittest.TestCase):
    """Members that the others do not believe."""

    def joined(self, change, flags=()):
        """The cluster, of which m3 was started with changed flags."""
        cluster = self.cluster = TlsCluster(flags=flags)
        self.addCleanup(cluster.stop)
        with contextlib.suppress(AssertionError):
            for member in cluster.members[:2]:
                member.start()
            cluster.wait_healthy()
        command = cluster.members[2].command
        cluster.members[2].command = lambda: change(command(), cluster)
        cluster.members[2].start()
        return cluster

    @staticmethod
    def showing(command, certificate, key):
        """The command of a member that shows the others this certificate."""
        changed = {'--peer-cert-file': certificate, '--peer-key-file': key}
        return [changed.get(before, word) for before, word in zip([None, *command], command)]

    def expect_outside(self, cluster, of_m1, of_m3):
        member = cluster.members[0]
        if not harness.is_etcd():
            harness.wait_until(lambda: re.search(of_m1, member.log()), 10, f'm1 to log "{of_m1}"')
            outside = cluster.members[2]
            harness.wait_until(lambda: re.search(of_m3, outside.log()), 10, f'm3 to log "{of_m3}"')
        time.sleep(1)
        with self.assertRaises(grpc.RpcError):
            cluster.members[2].get('x', timeout=1)
        member.put('x', 'the two others go on')

    def test_another_authority(self):
        def change(command, cluster):
            other = Authority(os.path.join(cluster.certificates, 'other'), 'other')
            return self.showing(command, *other.issue('member'))

        self.expect_outside(
            self.joined(change),
            r'refused a peer connection in the TLS handshake: .*\(member\) is refused: unable to get',
            'no link to member m1 .*unknown ca',
        )

    def test_a_name_it_does_not_have(self):
        def change(command, cluster):
            stray = cluster.authority.issue('stray', names='DNS:elsewhere,IP:10.9.9.9')
            return self.showing(command, *stray)

        # It may call, and is not found at its address: it hears nothing of the others.
        cluster = self.joined(change)
        self.expect_outside(
            cluster, r'no link to member m3 .*\(stray\) is refused: IP address mismatch', 'alert'
        )

    def test_names_that_are_allowed(self):
        for flag, name in (
            ('--peer-cert-allowed-cn', 'member'),
            ('--peer-cert-allowed-hostname', NAME_OF_MEMBERS),
        ):
            with self.subTest(flag):
                cluster = TlsCluster(flags=[flag, name])
                with cluster:
                    cluster.leader().put('x', 'y')
                    cluster.members[2].kill()
                    stray = cluster.authority.issue('stray', names='DNS:localhost,IP:127.0.0.1')
                    command = self.showing(cluster.members[2].command(), *stray)
                    cluster.members[2].command = lambda changed=command: changed
                    cluster.members[2].start()
                    self.expect_outside(
                        cluster,
                        r'refused a peer .*\(stray\) is refused: not a name that is allowed',
                        'no link to member m1',
                    )

    def test_plain_among_tls(self):
        def change(command, cluster):
            m3 = cluster.members[2].peer_url
            return [word.replace(m3, m3.replace('https', 'http')) if before != '--initial-cluster' else
                    word.replace('https', 'http') for before, word in zip([None, *command], command)]  # fmt: skip

        cluster = self.joined(change)
        member = cluster.members[0]
        if harness.is_etcd():
            time.sleep(1)
        else:
            refusal = 'the other side does not speak TLS'
            harness.wait_until(lambda: refusal in member.log(), 10, 'a log line')
        member.put('x', 'y')


@harness.conclave_only('the way that docs/operations.md describes')
class SwitchTest(unittest.TestCase):
    """A cluster without TLS gets it, one member after the other, while clients write."""

    def test_plain_client_urls_get_tls(self):
        cluster = TlsCluster()
        self.addCleanup(cluster.stop)
        plain = self.cluster = harness.Cluster()
        self.addCleanup(plain.stop)
        plain.start()
        plain.members[0].put('before', 'x')
        for member in plain.members:
            # Both at once: the plain port stays, an encrypted one comes.
            self.assertEqual(member.terminate(), 0)
            port = harness.free_port()
            urls = f'{member.url},https://127.0.0.1:{port}'
            command = member.command()
            command[command.index('--listen-client-urls') + 1] = urls
            command[command.index('--advertise-client-urls') + 1] = urls
            member.command = lambda changed=command + cluster.client_flags: changed
            member.start()
            plain.wait_healthy()
            member.tls_port = port
        member = plain.members[1]
        done = etcdctl(f'https://127.0.0.1:{member.tls_port}', cluster.alice, 'get', 'before')
        self.assertEqual(done.stdout, 'before\nx\n', done.stderr)

    def test_plain_peer_urls_get_tls(self):
        cluster = TlsCluster()
        self.addCleanup(cluster.stop)
        plain = self.cluster = harness.Cluster()
        self.addCleanup(plain.stop)
        plain.start()
        with Writers(plain, 2) as writers:
            # Certificates first, so that whoever demands them gets them.
            for member in plain.members:
                self.assertEqual(member.terminate(), 0)
                command = member.command() + cluster.peer_flags
                member.command = lambda changed=command: changed
                member.start()
                plain.wait_healthy()
            ids = {m.name: m.ID for m in plain.members[0].member_list().members}
            for member in plain.members:
                port = harness.free_port()
                self.assertEqual(member.terminate(), 0)
                others = [m for m in plain.members if m is not member]
                url = f'https://127.0.0.1:{port}'
                done = harness.run(
                    ['etcdctl', '--endpoints', others[0].endpoint, 'member', 'update',
                     f'{ids[member.name]:x}', f'--peer-urls={url}'], env=dict(os.environ, ETCDCTL_API='3'),
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stderr)
                command = list(member.command())
                listed = {m.name: m.peerURLs[0] for m in others[0].member_list().members}
                for flag, value in (
                    ('--listen-peer-urls', url), ('--initial-advertise-peer-urls', url),
                    ('--initial-cluster', ','.join(f'{n}={u}' for n, u in listed.items())),
                    ('--initial-cluster-state', 'existing'),
                ):  # fmt: skip
                    command[command.index(flag) + 1] = value
                member.command = lambda changed=command: changed
                member.start()
                plain.wait_healthy()
        listed = [m.peerURLs[0] for m in plain.members[0].member_list().members]
        self.assertEqual([url.split(':')[0] for url in listed], ['https'] * 3)
        self.assertGreater(len(writers.acknowledged), 0)
        self.assertEqual(writers.lost(plain.members[2]), set())


class AutoTlsTest(unittest.TestCase):
    def test_certificates_that_are_made_up(self):
        cluster = self.cluster = harness.Cluster(flags=['--auto-tls', '--peer-auto-tls'])
        self.addCleanup(cluster.stop)
        cluster.client_scheme = cluster.peer_scheme = 'https'
        for member in cluster.members:
            member.start()
        url = cluster.members[0].url

        def said(*args):
            return harness.run(
                ['etcdctl', '--endpoints', url, '--insecure-skip-tls-verify',
                 '--insecure-transport=false', *args], env=dict(os.environ, ETCDCTL_API='3')
            )  # fmt: skip

        harness.wait_until(lambda: said('put', 'a', 'b').stdout == 'OK\n', 30, 'a write')
        self.assertEqual(said('get', 'a').stdout, 'a\nb\n')


class FlagsTest(unittest.TestCase):
    """What is refused at the start."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='conclave-tls-')
        self.addCleanup(shutil.rmtree, self.directory)
        self.authority = Authority(os.path.join(self.directory, 'ca'))
        self.shown = self.authority.issue('member')

    def refused(self, *flags):
        urls = [f'{scheme}://127.0.0.1:{harness.free_port()}' for scheme in ('https', 'http')]
        done = harness.run(
            harness.server_command(harness.Options.binary)
            + ['--data-dir', os.path.join(self.directory, 'data'), '--listen-client-urls', urls[0],
               '--advertise-client-urls', urls[0], '--listen-peer-urls', urls[1],
               '--initial-advertise-peer-urls', urls[1], '--initial-cluster', f'default={urls[1]}',
               *flags], timeout=20,
        )  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_https_needs_a_certificate(self):
        self.assertRegex(
            self.refused(), r'TLS key/cert \(--cert-file, --key-file\) must be provided for client url'
        )

    @harness.conclave_only('wording')
    def test_files(self):
        certificate, key = self.shown
        self.assertIn('--cert-file: it needs --key-file', self.refused('--cert-file', certificate))
        self.assertIn(
            '/nowhere: No such file', self.refused('--cert-file', certificate, '--key-file', '/nowhere')
        )
        _, other = self.authority.issue('other')
        self.assertIn(
            'it does not fit the certificate', self.refused('--cert-file', certificate, '--key-file', other)
        )
        self.assertIn(
            '"TLS_MADE_UP" is not a cipher suite',
            self.refused('--cert-file', certificate, '--key-file', key, '--cipher-suites', 'TLS_MADE_UP'),
        )

    def test_an_authority_alone_demands_certificates(self):
        cluster = TlsCluster(members=1)
        with cluster:
            member = cluster.members[0]
            member.kill()
            cluster.flags = [flag for flag in cluster.flags if flag != '--client-cert-auth']
            member.start()
            cluster.wait_healthy()
            self.assertIn('UNAVAILABLE', try_put(member, cluster.anonymous))
            self.assertEqual(try_put(member, cluster.alice), '')

    def test_without_an_authority_nobody_is_asked(self):
        with TlsCluster(members=1, ca_for_clients=False) as cluster:
            self.assertEqual(try_put(cluster.members[0], cluster.anonymous), '')
            self.assertEqual(try_put(cluster.members[0], cluster.alice), '')

    def test_tls_on_a_plain_port(self):
        with harness.Cluster(1) as cluster:
            member = cluster.members[0]
            log = Log(member)
            identity = Identity(self.authority.ca)
            self.assertIn('UNAVAILABLE', try_put(member, identity))
            if not harness.is_etcd():
                log.wait_for('TLS')
            member.put('x', 'y')


if __name__ == '__main__':
    harness.main()
