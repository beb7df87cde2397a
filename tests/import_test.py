"""`conclave import etcd`: a real etcd is copied into a cluster and followed, through restarts and
failures of all three, and both sides are compared key by key."""

import os
import pty
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
from etcd3 import etcdrpc as rpc

import harness
from auth_test import NO_PASSWORD, READ, READWRITE, WRITE, Client, add_role, outcome
from tls_test import TlsCluster

ETCD = shutil.which('etcd')
STATE_KEY = b'conclave.import/state'
CAUGHT_UP = 'Following the source'
FAST = ['--heartbeat-interval', '50', '--election-timeout', '500']


def keys_of(member, prefix=b''):
    """Everything in a member: key -> (value, lease)."""
    found = {}
    key, end = prefix or b'\0', b'\0' if not prefix else prefix[:-1] + bytes([prefix[-1] + 1])
    while True:
        page = member.get(key, range_end=end, limit=5_000, timeout=20)
        found.update((kv.key, (kv.value, kv.lease)) for kv in page.kvs)
        if not page.more:
            return found
        key = page.kvs[-1].key + b'\0'


def fill(member, keys, size=20, seed=1):
    """Binary keys and values, many to a transaction; returns them."""
    chance = random.Random(seed)
    made = {}
    while len(made) < keys:
        made[chance.randbytes(chance.randint(1, 30))] = chance.randbytes(chance.randint(0, size))
    items = list(made.items())
    for begin in range(0, len(items), 100):
        puts = [
            rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value))
            for key, value in items[begin : begin + 100]
        ]
        member.kv.Txn(rpc.TxnRequest(success=puts), timeout=20)
    return made


def leases(member):
    return rpc.LeaseStub(member.channel)


def grant(member, lease, seconds):
    leases(member).LeaseGrant(rpc.LeaseGrantRequest(ID=lease, TTL=seconds), timeout=5)


def time_to_live(member, lease):
    """(seconds left, granted, keys); what is left is -1 of a lease that is not there."""
    request = rpc.LeaseTimeToLiveRequest(ID=lease, keys=True)
    answer = leases(member).LeaseTimeToLive(request, timeout=5)
    return answer.TTL, answer.grantedTTL, sorted(answer.keys)


def keep_alive(member, lease):
    request = rpc.LeaseKeepAliveRequest(ID=lease)
    return next(iter(leases(member).LeaseKeepAlive(iter([request]), timeout=5))).TTL


class Import:
    """The command, with what it printed."""

    def __init__(self, test, source, target, *flags, **environment):
        self.log = os.path.join(target.directory, f'import-{time.monotonic_ns()}.log')
        command = [harness.Options.binary, 'import', 'etcd', '--endpoint', urls(source)]
        command += ['--to', urls(target), *flags]
        with open(self.log, 'wb') as log:
            env = dict(os.environ, **environment)
            self.process = harness.spawn(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
        self.killed = False
        test.addCleanup(self.kill)

    def output(self):
        with open(self.log, errors='replace') as log:
            return log.read()

    def wait_for(self, text, timeout=60):
        def seen():
            if self.process.poll() is not None and text not in self.output():
                raise AssertionError(f'it ended without {text!r}:\n{self.output()}')
            return text in self.output()

        try:
            harness.wait_until(seen, timeout, repr(text))
        except AssertionError as error:
            raise AssertionError(f'{error}; it printed:\n{self.output()}') from None
        return self

    def cut_over(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.end(timeout)

    def end(self, timeout=60):
        """(exit code, output)."""
        harness.reap(self.process, timeout)
        return self.process.returncode, self.output()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        harness.reap(self.process)


def urls(cluster):
    return ','.join(member.url for member in cluster.members)


class Writer(threading.Thread):
    """Counts up in a key, puts keys and deletes them, until it is stopped; through any member."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.count = 0
        self.stopped = threading.Event()
        self.start()

    def run(self):
        chance = random.Random(7)
        while not self.stopped.is_set():
            count = self.count + 1
            ops = [
                rpc.RequestOp(request_put=rpc.PutRequest(key=b'count', value=b'%d' % count)),
                rpc.RequestOp(
                    request_put=rpc.PutRequest(
                        key=b'w%d' % chance.randrange(500), value=b'%d' % count
                    )
                ),
                rpc.RequestOp(
                    request_delete_range=rpc.DeleteRangeRequest(key=b'x%d' % chance.randrange(500))
                ),
                rpc.RequestOp(request_put=rpc.PutRequest(key=b'y', value=chance.randbytes(50))),
            ]
            if count % 3 == 0:
                ops[2] = rpc.RequestOp(
                    request_put=rpc.PutRequest(key=b'x%d' % chance.randrange(500), value=b'')
                )
            member = self.cluster.running()[count % len(self.cluster.running())]
            try:
                member.kv.Txn(rpc.TxnRequest(success=ops), timeout=3)
            except grpc.RpcError:
                time.sleep(0.05)
                continue
            self.count = count

    def stop(self):
        self.stopped.set()
        self.join(20)
        return self.count


@harness.conclave_only('its own command')
class ImportTest(unittest.TestCase):
    """Clusters of its own for each test."""

    def clusters(self, sources=1, targets=1, source_flags=(), target_flags=()):
        source = harness.Cluster(sources, binary=ETCD, flags=[*FAST, *source_flags])
        self.addCleanup(source.stop)
        source.start()
        target = harness.Cluster(targets, flags=target_flags)
        self.addCleanup(target.stop)
        self.cluster = target
        return source, target.start()

    def assert_equal(self, source, target, prefix=b''):
        expected, got = keys_of(source.running()[0], prefix), keys_of(target.running()[0], prefix)
        keys = expected.keys() | got.keys()
        wrong = sorted(key for key in keys if expected.get(key) != got.get(key))
        self.assertEqual(wrong[:5], [], f'{len(wrong)} keys differ')
        return expected

    def assert_handed_over(self, ended):
        code, output = ended
        self.assertEqual(code, 0, output)
        self.assertIn('Verified', output)
        self.assertIn('Done.', output)
        return output


class Copies(ImportTest):
    def test_an_empty_etcd(self):
        source, target = self.clusters()
        output = self.assert_handed_over(Import(self, source, target, '--until-caught-up').end())
        self.assertIn('Verified', output)
        self.assertEqual(keys_of(target.members[0]), {})

    def test_fifty_thousand_binary_keys_and_leases(self):
        source, target = self.clusters()
        made = fill(source.members[0], 5_000 if harness.Options.quick else 50_000)
        for number in range(1, 201):
            grant(source.members[0], number, 100 + number)
            source.members[0].put(b'leased/%d' % number, b'v', lease=number)
        grant(source.members[0], 9_000, 77)  # without keys
        ended = Import(self, source, target, '--until-caught-up').end()
        output = self.assert_handed_over(ended)
        there = self.assert_equal(source, target)
        self.assertEqual(len(there), len(made) + 200)
        self.assertIn(f'{len(there):,} keys', output)
        self.assertIn('201 leases', output)
        for number in (1, 200, 9_000):
            left, granted, keys = time_to_live(target.members[0], number)
            self.assertEqual((granted, keys), time_to_live(source.members[0], number)[1:])
            self.assertGreater(left, granted - 20)

    def test_large_values(self):
        source, target = self.clusters()
        for number in range(15):
            source.members[0].put(b'large%d' % number, os.urandom(1_400_000))
        self.assert_handed_over(Import(self, source, target, '--until-caught-up').end())
        self.assert_equal(source, target)

    def test_a_prefix(self):
        source, target = self.clusters()
        for key in (b'a', b'b', b'b/1', b'b\xff', b'c'):
            source.members[0].put(key, b'from source')
        target.members[0].put('c', 'own')
        running = Import(self, source, target, '--prefix', 'b').wait_for(CAUGHT_UP)
        source.members[0].put('b/2', 'later')
        source.members[0].put('d', 'not meant')
        self.assert_handed_over(running.cut_over())
        self.assertEqual(len(self.assert_equal(source, target, b'b')), 4)
        imported = keys_of(source.members[0], b'b').keys()
        self.assertEqual(keys_of(target.members[0]).keys() - imported, {b'c'})

    def test_into_a_target_that_has_keys(self):
        source, target = self.clusters()
        source.members[0].put('both', 'of the source')
        source.members[0].put('deleted', 'soon')
        target.members[0].put('both', 'of the target')
        target.members[0].put('own', 'kept')
        code, output = Import(self, source, target, '--until-caught-up').end()
        self.assertEqual(code, 1)
        self.assertIn('it is not empty: it has "both"', output)
        self.assertEqual(target.members[0].value('both'), b'of the target')

        running = Import(self, source, target, '--merge').wait_for(CAUGHT_UP)
        running.kill()
        source.members[0].kv.DeleteRange(rpc.DeleteRangeRequest(key=b'deleted'), timeout=5)
        running = Import(self, source, target, '--merge', '--resume').wait_for(CAUGHT_UP)
        output = self.assert_handed_over(running.cut_over())
        self.assertIn('The target keeps 1 key of its own', output)
        self.assertEqual(
            keys_of(target.members[0]), {b'both': (b'of the source', 0), b'own': (b'kept', 0)}
        )


class Follows(ImportTest):
    def test_writes_during_the_copy(self):
        source, target = self.clusters()
        fill(source.members[0], 20_000)
        writer = Writer(source)
        running = Import(self, source, target).wait_for(CAUGHT_UP)
        time.sleep(2)
        count = writer.stop()
        output = self.assert_handed_over(running.cut_over())
        self.assertNotIn('WARNING', output)
        self.assert_equal(source, target)
        self.assertEqual(target.members[0].value('count'), b'%d' % count)
        self.assertGreater(count, 10)

    def test_says_so_if_writers_go_on(self):
        source, target = self.clusters()
        writer = Writer(source)
        self.addCleanup(writer.stop)
        output = self.assert_handed_over(Import(self, source, target, '--until-caught-up').end())
        self.assertIn('WARNING: the source was still written to', output)

    def test_revisions_of_many_keys(self):
        source, target = self.clusters(source_flags=['--max-txn-ops', '2000'])
        fill(source.members[0], 6_000)
        running = Import(self, source, target).wait_for(CAUGHT_UP)
        puts = [
            rpc.RequestOp(request_put=rpc.PutRequest(key=b'many/%d' % n, value=b'%d' % n))
            for n in range(1_500)
        ]
        source.members[0].kv.Txn(rpc.TxnRequest(success=puts), timeout=10)
        everything = rpc.DeleteRangeRequest(key=b'\x20', range_end=b'\xf0')
        source.members[0].kv.DeleteRange(everything, timeout=10)
        source.members[0].put('last', 'one')
        self.assert_handed_over(running.cut_over())
        self.assertGreater(len(self.assert_equal(source, target)), 300)

    def test_leases_live_and_end_with_those_of_the_source(self):
        source, target = self.clusters()
        grant(source.members[0], 1, 4)  # kept alive there
        grant(source.members[0], 2, 2)  # not
        grant(source.members[0], 3, 600)  # revoked
        for lease in (1, 2, 3):
            source.members[0].put(f'k{lease}', 'v', lease=lease)
        running = Import(self, source, target).wait_for(CAUGHT_UP)
        grant(source.members[0], 4, 4)  # and kept alive
        source.members[0].put('k4', 'v', lease=4)
        leases(source.members[0]).LeaseRevoke(rpc.LeaseRevokeRequest(ID=3), timeout=5)
        for _ in range(14):
            time.sleep(0.5)
            for lease in (1, 4):
                self.assertGreater(keep_alive(source.members[0], lease), 0)
            if source.members[0].value('k2') is None:
                source.members[0].put('k2', 'put again')
        for lease in (2, 3):
            harness.wait_until(
                lambda lease=lease: time_to_live(target.members[0], lease)[0] == -1, 10, 'its end'
            )
        self.assert_handed_over(running.cut_over())
        for lease in (1, 4):
            keep_alive(source.members[0], lease)
            self.assertEqual(time_to_live(target.members[0], lease)[1:], (4, [b'k%d' % lease]))
        self.assertEqual(
            keys_of(target.members[0]),
            {b'k1': (b'v', 1), b'k4': (b'v', 4), b'k2': (b'put again', 0)},
        )
        # Nobody keeps them alive any more.
        harness.wait_until(lambda: len(keys_of(target.members[0])) == 1, 15, 'both leases to end')

    def test_cut_over_by_a_word_at_the_terminal(self):
        source, target = self.clusters()
        source.members[0].put('k', 'v')
        terminal, its_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        command = [harness.Options.binary, 'import', 'etcd']
        command += ['--endpoint', urls(source), '--to', urls(target)]
        process = harness.spawn(
            ['setsid', '--ctty', *command], stdin=its_end, stdout=its_end, stderr=its_end
        )
        os.close(its_end)
        seen = b''
        while CAUGHT_UP.encode() not in seen:
            seen += os.read(terminal, 1_000)
        os.write(terminal, b'help\ncutover\n')
        try:
            while True:
                seen += os.read(terminal, 1_000)
        except OSError:
            pass  # it has ended
        self.assertEqual(harness.reap(process), 0, seen)
        self.assertIn(b'Done.', seen)


class Survives(ImportTest):
    def test_compaction_of_what_it_has_not_seen(self):
        source, target = self.clusters()
        member = source.members[0]
        fill(member, 1_000)
        running = Import(self, source, target).wait_for(CAUGHT_UP)
        running.process.send_signal(signal.SIGSTOP)
        member.kill()  # and its watch with it, so that it has to be begun again
        member.start()
        source.wait_healthy()
        member.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'\x20', range_end=b'\x60'), timeout=5)
        revision = member.put(b'new', b'one').header.revision
        member.kv.Compact(rpc.CompactionRequest(revision=revision, physical=True), timeout=10)
        running.process.send_signal(signal.SIGCONT)
        running.wait_for('has compacted')
        member.put('after', 'it')
        self.assert_handed_over(running.cut_over())
        self.assert_equal(source, target)

    def test_sigkill_of_the_targets_leader(self):
        source, target = self.clusters(targets=3)
        fill(source.members[0], 30_000, size=200)
        writer = Writer(source)
        self.addCleanup(writer.stop)
        running = Import(self, source, target).wait_for('copying')
        for _ in range(3):
            leader = target.leader()
            leader.kill()
            time.sleep(1)
            leader.start()
            target.wait_healthy()
        running.wait_for(CAUGHT_UP)
        count = writer.stop()
        self.assert_handed_over(running.cut_over())
        self.assert_equal(source, target)
        self.assertEqual(target.members[0].value('count'), b'%d' % count)

    def test_sigkill_of_the_sources_member(self):
        source, target = self.clusters(sources=3)
        fill(source.members[0], 5_000)
        grant(source.members[0], 5, 600)
        source.members[0].put('leased', 'v', lease=5)
        writer = Writer(source)
        self.addCleanup(writer.stop)
        running = Import(self, source, target).wait_for('copying')
        for member in source.members:
            time.sleep(1)
            member.kill()
            time.sleep(1.5)
            member.start()
            source.wait_healthy()
        running.wait_for(CAUGHT_UP)
        writer.stop()
        self.assert_handed_over(running.cut_over())
        self.assertIn(b'leased', self.assert_equal(source, target))

    def test_an_outage_of_the_source(self):
        source, target = self.clusters()
        grant(source.members[0], 5, 2)
        source.members[0].put('k', 'v', lease=5)
        running = Import(self, source, target).wait_for(CAUGHT_UP)
        source.members[0].kill()
        running.wait_for('trying again')
        time.sleep(5)
        self.assertEqual(target.members[0].value('k'), b'v', 'a lease ran out meanwhile')
        source.members[0].start()
        source.wait_healthy()
        keep_alive(source.members[0], 5)
        source.members[0].put('k2', 'v2')
        keep_alive(source.members[0], 5)
        code, output = running.cut_over()
        self.assertEqual(code, 0, output)
        self.assertEqual(target.members[0].value('k2'), b'v2')

    def test_its_own_end_and_a_lease_that_ran_out_meanwhile(self):
        source, target = self.clusters()
        member = source.members[0]
        fill(member, 30_000)
        grant(member, 5, 600)
        member.put('leased', 'v', lease=5)
        running = Import(self, source, target).wait_for('copying')
        running.kill()
        code, output = Import(self, source, target).end()
        self.assertEqual(code, 1)
        self.assertIn('--resume goes on with it', output)

        running = Import(self, source, target, '--resume').wait_for(CAUGHT_UP)
        running.kill()
        leases(target.members[0]).LeaseRevoke(rpc.LeaseRevokeRequest(ID=5), timeout=5)
        self.assertIsNone(target.members[0].value('leased'))
        gone = sorted(keys_of(member))[:100]
        member.kv.DeleteRange(rpc.DeleteRangeRequest(key=gone[0], range_end=gone[-1]), timeout=5)
        revision = member.put('new', 'one').header.revision
        member.kv.Compact(rpc.CompactionRequest(revision=revision), timeout=5)
        code, output = Import(self, source, target, '--resume', '--prefix', 'other').end()
        self.assertEqual(code, 1)
        self.assertIn('another one', output)
        running = Import(self, source, target, '--resume', '--until-caught-up')
        self.assert_handed_over(running.end())
        self.assertIn(b'leased', self.assert_equal(source, target))
        self.assertEqual(time_to_live(target.members[0], 5)[2], [b'leased'])

    def test_a_second_one_that_goes_on_ends_the_first(self):
        source, target = self.clusters()
        source.members[0].put('k', 'v')
        first = Import(self, source, target).wait_for(CAUGHT_UP)
        second = Import(self, source, target, '--resume').wait_for(CAUGHT_UP)
        source.members[0].put('k', 'w')
        code, output = first.end()
        self.assertEqual(code, 1)
        self.assertIn('another import has gone on', output)
        self.assert_handed_over(second.cut_over())
        self.assertEqual(target.members[0].value('k'), b'w')


def add_without_password(client, user):
    ask = client.channel.unary_unary(
        '/etcdserverpb.Auth/UserAdd',
        request_serializer=bytes,
        response_deserializer=rpc.AuthUserAddResponse.FromString,
    )
    ask(b'\n' + bytes([len(user)]) + user.encode() + NO_PASSWORD, timeout=5)


def try_login(member, user, password):
    return outcome(Client, member, user, password)


WRONG = 'etcdserver: authentication failed, invalid user ID or password'
PASSWORDS = {
    'root': 'the root:password',
    'ann': 'pass w\u00f6rd \u20ac',
    'long': 'l' * 72,
    'bob': 'b',
    'leaves': 'soon',
    'none': None,
}
ROLES = {
    'root': [],
    'empty': [],
    'app': [
        (READWRITE, b'app/', b'app0'),
        (READ, b'shared', b''),
        (WRITE, b'log\xff', b'log\xff\xff'),
        (READ, b'app/', b''),
    ],
    'tail': [(READ, b'x', b'\0'), (7, b'y', b'')],
    'dropped': [(READWRITE, b'dropped', b'')],
}
GRANTS = {'root': ['root'], 'ann': ['app', 'dropped'], 'long': ['tail'], 'bob': ['app', 'tail']}
KEYS = (b'a', b'app', b'app/', b'app/1', b'app0', b'dropped', b'shared', b'shared2', b'log\xff', b'x', b'z')


def make_users(member):
    nobody = Client(member)
    for role, permissions in ROLES.items():
        add_role(nobody, role, permissions)
    for user, password in PASSWORDS.items():
        if password is None:
            add_without_password(nobody, user)
        else:
            nobody.auth('UserAdd', name=user, password=password)
        for role in GRANTS.get(user, []):
            nobody.auth('UserGrantRole', user=user, role=role)


def users_of(client):
    """Users with their roles, and roles with their rights."""
    users = client.auth('UserList').users
    roles = client.auth('RoleList').roles
    return (
        {user: list(client.auth('UserGet', name=user).roles) for user in users},
        {
            role: sorted((p.permType, p.key, p.range_end) for p in client.auth('RoleGet', role=role).perm)
            for role in roles
        },
    )


def rights_of(member, passwords):
    """What each user is answered that reads, writes or deletes each of the keys."""
    seen = {}
    for user, password in passwords.items():
        client = Client(member, user, password)
        for key in KEYS:
            seen[user, key] = [
                outcome(client.get, key),
                outcome(client.get, key, range_end=key + b'\xff'),
                outcome(client.put, key, b'v'),
                outcome(client.delete, key),
            ]
    return seen


class Users(ImportTest):
    def secured(self, source_flags=()):
        """Both speak TLS, and trust nobody of the other side; the source wants certificates."""
        flags = [*FAST, '--bcrypt-cost', '4', *source_flags]
        source = TlsCluster(1, binary=ETCD, flags=flags)
        self.addCleanup(source.stop)
        source.start()
        self.cluster = target = TlsCluster(1, ca_for_clients=False)
        self.addCleanup(target.stop)
        return source, target.start()

    def test_are_copied_with_their_passwords_and_followed_over_tls(self):
        source, target = self.secured()
        make_users(source.members[0])
        source.members[0].put('app/1', 'v')
        Client(source.members[0]).auth('AuthEnable')
        root = Client(source.members[0], 'root', PASSWORDS['root'])
        flags = ['--user', 'root:' + PASSWORDS['root'], *source.alice.flags()]
        flags += ['--to-cacert', target.authority.ca]
        running = Import(self, source, target, *flags).wait_for(CAUGHT_UP)
        self.assertIn('Copied 6 users and 5 roles', running.output())
        passwords = {user: word for user, word in PASSWORDS.items() if word and user != 'leaves'}
        root.auth('UserChangePassword', name='bob', password='another')
        root.auth('UserDelete', name='leaves')
        root.auth('RoleDelete', role='dropped')
        root.auth('RoleRevokePermission', role='app', key=b'shared')
        root.auth('UserAdd', name='new', password='')
        passwords.update({'bob': 'another'})
        output = self.assert_handed_over(running.cut_over())
        for word in ('pass w', 'the root', PASSWORDS['long']):
            self.assertNotIn(word, output)

        old, new = source.members[0], target.members[0]
        self.assertEqual(outcome(Client(new).get, b'app/1'), 'etcdserver: user name is empty')
        there = users_of(Client(new, 'root', PASSWORDS['root']))
        self.assertEqual(there, users_of(root))
        self.assertEqual(sorted(there[0]), ['ann', 'bob', 'long', 'new', 'none', 'root'])
        self.assertEqual(Client(new, 'root', PASSWORDS['root']).get(b'app/1').kvs[0].value, b'v')
        self.assertEqual(rights_of(new, passwords), rights_of(old, passwords))
        for user, password, answer in (
            ('bob', 'b', WRONG),
            ('ann', 'wrong', WRONG),
            ('leaves', 'soon', WRONG),
            ('long', 'l' * 71, WRONG),
            ('long', 'l' * 73, try_login(old, 'long', 'l' * 73)),
            ('new', 'new', WRONG),
            ('none', 'x', 'auth: authentication failed, password was given for no password user'),
        ):
            self.assertEqual(try_login(new, user, password), answer, user)
            self.assertEqual(try_login(old, user, password), answer, user)
        url, ca = new.url, ['--cacert', target.authority.ca]
        said = harness.etcdctl(url, *ca, '--user', 'bob:another', 'get', 'app/1', timeout=15)
        self.assertEqual(said.returncode, 0, said.stderr)
        said = harness.etcdctl(url, *ca, '--user', 'bob:another', 'put', 'x1', 'v', timeout=15)
        self.assertIn('permission denied', said.stderr)

    def test_survive_its_end_and_a_target_where_they_are_enabled_already(self):
        """The source's tokens are signed: with each change of a user the import's are old."""
        with tempfile.TemporaryDirectory() as directory:
            key = directory + '/key'
            make = ['openssl', 'genpkey', '-quiet', '-algorithm', 'RSA', '-out', key]
            subprocess.run(make, check=True)
            subprocess.run(['openssl', 'pkey', '-in', key, '-pubout', '-out', key + '.pub'], check=True)
            signed = f'jwt,pub-key={key}.pub,priv-key={key},sign-method=RS256'
            source, target = self.clusters(
                source_flags=['--bcrypt-cost', '4', '--auth-token', signed]
            )
        old, new = source.members[0], target.members[0]
        make_users(old)
        nobody = Client(old)
        for number in range(150):  # more than a page of the database
            add_without_password(nobody, f'many/{number}')
        rights = [(READ, b'%d/' % number + bytes(40), b'') for number in range(100)]
        add_role(nobody, 'large', rights)  # over several pages
        nobody.auth('AuthEnable')
        login = ['--user', 'root:' + PASSWORDS['root']]
        scratch = os.path.join(target.directory, 'scratch')
        os.makedirs(scratch)
        environment = {'CONCLAVE_IMPORT_USER': login[1], 'TMPDIR': scratch}
        running = Import(self, source, target, **environment).wait_for(CAUGHT_UP)
        self.assertIn('Copied 156 users and 6 roles', running.output())
        self.assertEqual(os.listdir(scratch), [])
        running.kill()
        root = Client(old, 'root', PASSWORDS['root'])
        root.auth('UserChangePassword', name='bob', password='another')
        root = Client(old, 'root', PASSWORDS['root'])
        root.auth('UserDelete', name='none')
        root = Client(old, 'root', PASSWORDS['root'])
        root.auth('UserAdd', name='none', password='one')
        Client(new).auth('AuthEnable')  # as if it had ended between its last two steps
        without = ['--resume', '--without-users', '--to-' + login[0][2:], login[1]]
        code, output = Import(self, source, target, *login, *without).end()
        self.assertEqual(code, 1)
        self.assertIn('copies users', output)
        running = Import(self, source, target, *login, '--resume').wait_for(CAUGHT_UP)
        self.assertIn('disabled until the cut-over', running.output())
        root = Client(old, 'root', PASSWORDS['root'])
        root.auth('UserChangePassword', name='ann', password='newest')
        self.assert_handed_over(running.cut_over())
        root = Client(old, 'root', PASSWORDS['root'])
        self.assertEqual(users_of(Client(new, 'root', PASSWORDS['root'])), users_of(root))
        self.assertEqual(try_login(new, 'bob', 'another'), 'OK')
        self.assertEqual(try_login(new, 'bob', 'b'), WRONG)
        self.assertEqual(try_login(new, 'none', 'one'), 'OK')
        self.assertEqual(try_login(new, 'ann', 'newest'), 'OK')

    def test_are_left_alone(self):
        source, target = self.clusters(source_flags=['--bcrypt-cost', '4'])
        old, new = source.members[0], target.members[0]
        old.put('k', 'v')
        Client(new).auth('UserAdd', name='own', password='own')
        ended = Import(self, source, target, '--until-caught-up').end()
        self.assert_handed_over(ended)  # the source has none
        self.assertEqual(users_of(Client(new))[0], {'own': []})
        make_users(old)
        new.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'k'), timeout=5)
        code, output = Import(self, source, target, '--until-caught-up').end()
        self.assertEqual(code, 1)
        self.assertIn('it has users or roles of its own', output)
        self.assertEqual(keys_of(new), {})
        flags = ['--until-caught-up', '--without-users']
        self.assert_handed_over(Import(self, source, target, *flags).end())
        self.assertEqual(users_of(Client(new)), ({'own': []}, {}))

        # They exist, and are not enabled.
        Client(new).auth('UserDelete', name='own')
        new.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'k'), timeout=5)
        self.assert_handed_over(Import(self, source, target, '--until-caught-up').end())
        self.assertEqual(users_of(Client(new)), users_of(Client(old)))
        self.assertEqual(try_login(new, 'ann', 'x'), 'etcdserver: authentication is not enabled')

    def test_who_may_not_read_them(self):
        source, target = self.secured()
        make_users(source.members[0])
        Client(source.members[0]).auth('AuthEnable')
        to = ['--to-cacert', target.authority.ca]
        root = ['--user', 'root:' + PASSWORDS['root']]
        other = source.certificates + '/other'
        for flags, message in (
            ([*source.alice.flags(), *to, '--user', 'root:wrong'], 'invalid user ID or password'),
            ([*source.alice.flags(), *to], 'source: etcdserver: permission denied'),
            ([*source.alice.flags(), *to, '--user', 'ann:' + PASSWORDS['ann']], 'permission denied'),
            ([*source.alice.flags(), *root, *to, '--to-user', 'ann:x'], 'which ann is not'),
            ([*source.alice.flags(), *root], 'the server\'s certificate is refused'),
            ([*source.anonymous.flags(), *root, *to], 'source: '),
            ([*root, *to], 'the server\'s certificate is refused'),
            (['--cacert', other, *root, *to], other + ': No such file'),
        ):
            with self.subTest(flags=flags):
                code, output = Import(self, source, target, *flags, '--until-caught-up').end()
                self.assertEqual(code, 1, output)
                self.assertIn(message, output)
                self.assertNotIn(PASSWORDS['ann'], output)
        self.assertEqual(users_of(Client(target.members[0])), ({}, {}))
        good = [*source.alice.flags(), *root, *to, '--until-caught-up']
        nowhere = source.certificates + '/nowhere'
        code, output = Import(self, source, target, *good, TMPDIR=nowhere).end()
        self.assertEqual(code, 1)
        self.assertIn(nowhere, output)
        source.authority.issue('member', names='DNS:elsewhere')  # read again with each handshake
        code, output = Import(self, source, target, *good, '--resume').end()
        self.assertEqual(code, 1)
        self.assertIn('certificate is refused', output)
        insecure = [*good, '--resume', '--insecure-skip-tls-verify']
        self.assert_handed_over(Import(self, source, target, *insecure).end())


class Refuses(ImportTest):
    def test_to_hand_over_what_differs(self):
        source, target = self.clusters()
        for key in 'abc':
            source.members[0].put(key, 'v')
        for spoil, message in (
            (lambda m: m.put('b', 'changed'), '"b", has another value in the target'),
            (lambda m: m.put('bb', 'new'), '"bb", is in the target only'),
            (
                lambda m: m.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'a'), timeout=5),
                '"a", is in the source only',
            ),
        ):
            running = Import(self, source, target, '--resume').wait_for(CAUGHT_UP)
            spoil(target.members[0])
            code, output = running.cut_over()
            self.assertEqual(code, 3, output)
            self.assertIn(message, output)
            self.assertNotIn('Done.', output)
        self.assert_handed_over(
            Import(self, source, target, '--resume', '--until-caught-up').end()
        )
        self.assert_equal(source, target)

    def test_to_be_stopped_halfway_as_if_it_were_done(self):
        source, target = self.clusters()
        fill(source.members[0], 30_000)
        running = Import(self, source, target).wait_for('copying')
        running.process.send_signal(signal.SIGINT)
        running.wait_for('Told to cut over')
        running.process.send_signal(signal.SIGINT)
        code, output = running.end()
        self.assertEqual(code, 130, output)
        self.assertIn('stopped before the cut-over', output)

    def test_what_cannot_work(self):
        source, target = self.clusters()
        nobody = f'http://127.0.0.1:{harness.free_port()}'
        for flags, code, message in (
            (['--endpoint', nobody, '--to', urls(target)], 1, 'source: 127.0.0.1:'),
            (['--endpoint', urls(source), '--to', nobody], 1, 'target: 127.0.0.1:'),
            (['--endpoint', urls(source), '--to', nobody], 1, 'Connection refused'),
            (['--endpoint', urls(source), '--to', urls(source)], 1, 'the same cluster'),
            (['--endpoint', target.members[0].peer_url, '--to', urls(target)], 1, 'source: '),
            (['--endpoint', urls(source)], 2, '--to is required'),
            (['--endpoint', urls(source).replace('http', 'https'), '--to', urls(target)], 1, 'TLS: '),
            (['--endpoint', '', '--to', urls(target)], 2, '--endpoint'),
        ):
            with self.subTest(flags=flags):
                start = time.monotonic()
                ended = harness.run([harness.Options.binary, 'import', 'etcd', *flags], timeout=30)
                self.assertEqual(ended.returncode, code, ended.stderr)
                self.assertIn(message, ended.stderr)
                self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(keys_of(target.members[0]), {})

    def test_help(self):
        for words, code, text in (
            (['import', '--help'], 0, 'usage: conclave import etcd'),
            (['import', 'etcd', '--help'], 0, '--until-caught-up'),
            (['import'], 2, 'usage: conclave import etcd'),
            (['import', 'consul'], 2, 'unknown source "consul"'),
            (['help'], 0, 'import'),
        ):
            ended = harness.run([harness.Options.binary, *words])
            self.assertEqual(ended.returncode, code)
            self.assertIn(text, ended.stdout + ended.stderr)


if __name__ == '__main__':
    harness.main()
