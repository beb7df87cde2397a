"""Alarms, hashes, leadership, snapshots: etcdctl's maintenance commands, the same RPCs and the JSON
gateway, side by side with a stock etcd; and snapshots that new clusters begin with."""

import base64
import hashlib
import json
import os
import re
import shutil
import threading
import unittest

import grpc
from etcd3 import etcdrpc as rpc

import harness

NOBODY = 0x1234
GET, ACTIVATE, DEACTIVATE = 0, 1, 2
NONE, NOSPACE, CORRUPT = 0, 1, 2
MIB = 1 << 20


def varint(number):
    number &= (1 << 64) - 1
    out = b''
    while True:
        out += bytes([number & 127 | (128 if number > 127 else 0)])
        number >>= 7
        if not number:
            return out


def fields(*pairs):
    """A protobuf message of integers: python3-etcd3 knows not all of them."""
    return b''.join(varint(field << 3) + varint(value) for field, value in pairs)


def parse(message):
    """The fields of a protobuf message: integers, and bytes as they are."""
    found = {}
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            size = number()
            value = message[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found


def maintenance(member, method, request=b'', timeout=10):
    """The answer's fields, or the name of the code and the text of an error."""
    call = member.channel.unary_unary('/etcdserverpb.Maintenance/' + method)
    try:
        return parse(call(request, timeout=timeout))
    except grpc.RpcError as error:
        return error.code().name, error.details()


def alarm(member, action, whose=0, kind=NONE):
    """The alarms of the answer as (member, kind), or an error."""
    answer = maintenance(member, 'Alarm', fields((1, action), (2, whose), (3, kind)))
    if isinstance(answer, tuple):
        return answer
    entries = [parse(entry) for entry in answer.get(2, [])]
    return sorted((entry.get(1, [0])[0], entry.get(2, [0])[0]) for entry in entries)


def outcome(call):
    """None, or the code and text of the error."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return None


def lease_grant(member):
    return rpc.LeaseStub(member.channel).LeaseGrant(rpc.LeaseGrantRequest(TTL=60), timeout=5)


def snapshot(member):
    """The remaining_bytes and the blobs of a streamed snapshot."""
    call = member.channel.unary_stream('/etcdserverpb.Maintenance/Snapshot')
    parts = [parse(part) for part in call(b'', timeout=60)]
    return [p.get(2, [0])[0] for p in parts], [p.get(3, [b''])[0] for p in parts]


class SideBySide(unittest.TestCase):
    """The same is asked of a stock etcd and of the server under test."""

    @classmethod
    def setUpClass(cls):
        flags = ['--quota-backend-bytes', str(16 * MIB)]
        cls.cluster = harness.Cluster(3, flags=flags).start()
        cls.etcd = harness.Cluster(3, binary=shutil.which('etcd'), flags=flags).start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        cls.etcd.stop()

    def same(self, ask):
        """What `ask(cluster)` gives for both; returns it."""
        expected = ask(self.etcd)
        self.assertEqual(ask(self.cluster), expected)
        return expected

    def test_alarms(self):
        steps = [
            (GET,),
            (ACTIVATE, 5, NOSPACE),
            (ACTIVATE, 5, NOSPACE),
            (ACTIVATE, 0, NOSPACE),
            (ACTIVATE, 6, CORRUPT),
            (GET,),
            (GET, 5, NOSPACE),
            (GET, 5),
            (GET, 0, CORRUPT),
            (DEACTIVATE, 7, CORRUPT),
            (DEACTIVATE, 6, CORRUPT),
            (DEACTIVATE, 6, CORRUPT),
            (ACTIVATE, 5, CORRUPT),
            (DEACTIVATE, 5),
            (GET,),
            (DEACTIVATE, 5, CORRUPT),
            (DEACTIVATE, 5, NOSPACE),
            (DEACTIVATE, 0, NOSPACE),
            (GET,),
        ]
        for number, step in enumerate(steps):
            with self.subTest(step=number, what=step):
                self.same(lambda cluster, s=step: alarm(cluster.members[number % 3], *s))

    @harness.conclave_only('it ends its members')
    def test_alarm_that_is_none(self):
        for step in ((ACTIVATE, 5, NONE), (ACTIVATE, 5, 7), (7, 5, NOSPACE)):
            code, _ = alarm(self.cluster.members[0], *step)
            self.assertEqual(code, 'INVALID_ARGUMENT')
        self.assertEqual(alarm(self.cluster.members[0], GET), [])

    def test_no_space_refuses_what_grows(self):
        delete = rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b'none'))
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=b'k', value=b'v'))

        def ask(cluster):
            alarm(cluster.members[0], ACTIVATE, 5, NOSPACE)
            said = []
            for member in cluster.members:
                # The others hear of it with the log.
                member.get('k')
                said += [
                    outcome(lambda: member.put('k', 'v')),
                    outcome(lambda: lease_grant(member)),
                    outcome(lambda: member.kv.Txn(rpc.TxnRequest(success=[put]), timeout=5)),
                    outcome(lambda: member.kv.Txn(rpc.TxnRequest(success=[delete]), timeout=5)),
                    outcome(
                        lambda: member.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'k'), timeout=5)
                    ),
                    outcome(lambda: member.get('k')),
                ]
            said.append(harness.etcdctl(cluster.endpoints, 'alarm', 'list').stdout)
            said.append(harness.etcdctl(cluster.endpoints, 'alarm', 'disarm').stdout)
            cluster.members[1].get('k')
            said.append(outcome(lambda: cluster.members[1].put('k', 'v')))
            return said

        said = self.same(ask)
        self.assertEqual(
            said[0], ('RESOURCE_EXHAUSTED', 'etcdserver: mvcc: database space exceeded')
        )
        self.assertEqual(said[-1], None)

    def test_corrupt_refuses_everything_until_it_is_lifted(self):
        def ask(cluster):
            member = cluster.members[0]
            alarm(member, ACTIVATE, 5, CORRUPT)
            said = [
                outcome(lambda: member.put('k', 'v')),
                outcome(lambda: lease_grant(member)),
                harness.etcdctl(cluster.endpoints, 'alarm', 'list').stdout,
                len(snapshot(member)[1]) >= 2,
                isinstance(maintenance(member, 'HashKV'), dict),
                harness.etcdctl(cluster.endpoints, 'alarm', 'disarm').stdout,
                harness.etcdctl(cluster.endpoints, 'alarm', 'list').stdout,
                outcome(lambda: member.put('k', 'v')),
            ]
            return said

        said = self.same(ask)
        self.assertEqual(said[0], ('DATA_LOSS', 'etcdserver: corrupt cluster'))
        self.assertEqual(said[2], 'memberID:5 alarm:CORRUPT \n')
        self.assertEqual(said[-1], None)

    def test_quota(self):
        """A store that is full says so, and takes writes again once it has been emptied."""

        def fill(cluster):
            for number in range(200):
                member = cluster.members[number % 3]
                error = outcome(lambda: member.put(f'q/{number}', 'x' * 300_000))
                if error:
                    return error
            return None

        def raised(cluster):
            found = alarm(cluster.members[0], GET)
            ids = {m.status().header.member_id for m in cluster.members}
            return [kind for whose, kind in found if whose in ids]

        expected = ('RESOURCE_EXHAUSTED', 'etcdserver: mvcc: database space exceeded')
        self.assertEqual(self.same(fill), expected)
        for cluster in (self.etcd, self.cluster):
            harness.wait_until(lambda: raised(cluster), 10, 'the alarm')
            done = harness.etcdctl(cluster.endpoints, 'alarm', 'list')
            self.assertIn('alarm:NOSPACE', done.stdout)
            self.assertEqual(outcome(lambda: cluster.members[0].put('q', 'v')), expected)
            first = cluster.members[0]
            first.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'q/', range_end=b'q0'), timeout=10)
            revision = first.get('q').header.revision
            first.kv.Compact(rpc.CompactionRequest(revision=revision, physical=True), timeout=20)
            done = harness.etcdctl(cluster.endpoints, 'defrag')
            self.assertEqual(done.returncode, 0, done.stderr)

            def has_room():
                harness.etcdctl(cluster.endpoints, 'alarm', 'disarm')
                return outcome(lambda: first.put('q', 'v')) is None

            harness.wait_until(has_room, 20, 'room')
            harness.wait_until(lambda: not raised(cluster), 10, 'the alarm to go')
            self.assertEqual(harness.etcdctl(cluster.endpoints, 'alarm', 'list').stdout, '')

    @harness.conclave_only('the alarm stays until it is disarmed')
    def test_quota_alarm_goes_by_itself(self):
        full = harness.Cluster(1, flags=['--quota-backend-bytes', str(2 * MIB)])
        with full:
            member = full.members[0]
            error = None
            for number in range(100):
                error = error or outcome(lambda: member.put(f'q/{number}', 'x' * 100_000))
            self.assertEqual(error[0], 'RESOURCE_EXHAUSTED')
            harness.wait_until(lambda: len(alarm(member, GET)) == 1, 10, 'the alarm')
            member.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'q/', range_end=b'q0'), timeout=10)
            revision = member.get('q').header.revision
            member.kv.Compact(rpc.CompactionRequest(revision=revision), timeout=10)
            harness.wait_until(lambda: not alarm(member, GET), 20, 'the alarm to go')
            member.put('q', 'v')

    @harness.conclave_only('the alarm stays until it is disarmed')
    def test_quota_alarm_of_an_earlier_run_goes_by_itself(self):
        full = harness.Cluster(1, flags=['--quota-backend-bytes', str(2 * MIB)])
        with full:
            member = full.members[0]
            for number in range(100):
                if outcome(lambda: member.put(f'q/{number}', 'x' * 100_000)):
                    break
            harness.wait_until(lambda: len(alarm(member, GET)) == 1, 10, 'the alarm')
            member.kill()
            member.start()
            full.wait_healthy()
            self.assertEqual(len(alarm(member, GET)), 1)
            member.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'q/', range_end=b'q0'), timeout=10)
            revision = member.get('q').header.revision
            member.kv.Compact(rpc.CompactionRequest(revision=revision), timeout=10)
            harness.wait_until(lambda: not alarm(member, GET), 20, 'the alarm to go')
            member.put('q', 'v')

    def test_move_leader(self):
        def ask(cluster):
            leader = cluster.leader()
            follower = cluster.followers()[0]
            target = follower.status().header.member_id
            said = [
                maintenance(follower, 'MoveLeader', fields((1, target))),
                maintenance(leader, 'MoveLeader', fields((1, NOBODY))),
                maintenance(leader, 'MoveLeader'),
                maintenance(leader, 'MoveLeader', fields((1, leader.status().header.member_id))),
                maintenance(leader, 'MoveLeader', fields((1, target))),
                follower.status().leader == target,
                harness.post(
                    follower, '/v3/maintenance/transfer-leadership', {'targetID': str(NOBODY)}
                ),
            ]
            harness.wait_until(lambda: cluster.leader() is follower, 10, 'all to know the leader')
            back = leader.status().header.member_id
            done = harness.etcdctl(cluster.endpoints, 'move-leader', f'{back:x}')
            names = {f'{target:x}': 'FROM', f'{back:x}': 'TO'}
            said.append(re.sub('[0-9a-f]{12,}', lambda id_: names[id_[0]], done.stdout))
            cluster.wait_healthy()
            for word in (f'{NOBODY:x}', 'zz'):
                failed = harness.etcdctl(cluster.endpoints, 'move-leader', word)
                said += [failed.returncode, failed.stderr.splitlines()[-1]]
            failed = harness.etcdctl(follower.endpoint, 'move-leader', f'{back:x}')
            said += [failed.returncode, 'no leader endpoint given' in failed.stderr]
            return said

        said = self.same(ask)
        self.assertEqual(said[0], ('FAILED_PRECONDITION', 'etcdserver: not leader'))
        self.assertEqual(said[1], ('FAILED_PRECONDITION', 'etcdserver: bad leader transferee'))

    def test_hashes(self):
        def ask(cluster):
            member = cluster.members[0]
            for number in range(10):
                member.put(f'h/{number % 3}', f'v{number}')
            now = member.get('h/').header.revision
            member.kv.Compact(rpc.CompactionRequest(revision=now - 4), timeout=5)
            for each in cluster.members:
                each.get('h/')
            said = []
            for asked in (0, now, now - 1, now - 3, now - 4, now - 5, now + 1000):
                answers = [maintenance(m, 'HashKV', fields((1, asked))) for m in cluster.members]
                if isinstance(answers[0], tuple):
                    said.append(answers)
                    continue
                said.append(
                    [
                        len({a[2][0] for a in answers}),
                        {a[3][0] == now - 4 for a in answers},
                        {parse(a[1][0])[3][0] == now for a in answers},
                    ]
                )
            said.append(sorted(maintenance(member, 'Hash')))
            done = harness.etcdctl(cluster.endpoints, 'endpoint', 'hashkv')
            said.append(len({line.split(', ')[1] for line in done.stdout.splitlines()}))
            said.append(len(done.stdout.splitlines()))
            return said

        said = self.same(ask)
        self.assertEqual(said[0], [1, {True}, {True}])

    def test_defragment(self):
        def ask(cluster):
            done = harness.etcdctl(cluster.endpoints, 'defrag')
            said = re.sub(r'127\.0\.0\.1:\d+', 'MEMBER', done.stdout)
            return done.returncode, said, maintenance(cluster.members[0], 'Defragment')

        self.same(ask)

    def test_downgrade_is_not_there(self):
        self.same(lambda cluster: maintenance(cluster.members[0], 'Downgrade')[0])

    def test_gateway(self):
        def ask(cluster):
            member = cluster.members[0]
            five = {'alarm': 'NOSPACE', 'memberID': '5'}
            said = [
                harness.post(member, '/v3/maintenance/alarm', {}),
                harness.post(member, '/v3/maintenance/alarm', {'action': 'ACTIVATE', **five}),
                harness.post(member, '/v3/maintenance/alarm', {'action': 'GET'}),
                harness.post(member, '/v3/maintenance/alarm', {'action': 'DEACTIVATE', **five}),
                harness.post(member, '/v3/maintenance/alarm', {'action': 'NEVER'})[0],
                harness.post(member, '/v3/maintenance/defragment', {}),
                harness.post(member, '/v3/maintenance/transfer', {})[0],
            ]
            status, answer = harness.post(member, '/v3/maintenance/hash', {})
            said += [status, sorted(answer), sorted(answer['header'])]
            status, answer = harness.post(member, '/v3/maintenance/status', {})
            return said + [status, answer['header']['revision'] > '']

        self.same(ask)

    def test_gateway_snapshot(self):
        def ask(cluster):
            status, text = harness.post(cluster.members[0], '/v3/maintenance/snapshot', {})
            lines = [json.loads(line) for line in text.splitlines()]
            blobs = [base64.b64decode(line['result']['blob']) for line in lines]
            whole = b''.join(blobs[:-1])
            return status, hashlib.sha256(whole).digest() == blobs[-1], len(whole) % 512

        self.same(ask)

    def test_snapshot_stream(self):
        def ask(cluster):
            remaining, blobs = snapshot(cluster.members[1])
            sizes = [len(blob) for blob in blobs]
            whole = b''.join(blobs[:-1])
            left = [sum(sizes[number + 1 : -1]) for number in range(len(sizes) - 1)] + [0]
            return (
                remaining == left,
                hashlib.sha256(whole).digest() == blobs[-1],
                len(whole) % 512,
            )

        self.assertEqual(self.same(ask), (True, True, 0))

    def test_etcdctl_snapshot_save(self):
        def ask(cluster):
            path = os.path.join(cluster.directory, 'saved.db')
            done = harness.etcdctl(cluster.members[2].endpoint, 'snapshot', 'save', path)
            said = done.stdout.replace(path, 'FILE')
            is_whole = not os.path.exists(path + '.part')
            return done.returncode, said, os.path.getsize(path) % 512, is_whole

        self.assertEqual(self.same(ask), (0, 'Snapshot saved at FILE\n', 32, True))


def conclave(*args):
    return harness.run([harness.Options.binary, 'snapshot', *args])


class Writer(threading.Thread):
    """Writes, deletes and leases until it is stopped."""

    def __init__(self, member):
        super().__init__(daemon=True)
        self.member = member
        self.over = threading.Event()
        self.written = 0
        self.lease = lease_grant(member).ID

    def run(self):
        while not self.over.is_set():
            number = self.written
            lease = self.lease if number % 7 == 0 else 0
            self.member.put(f'w/{number % 500:03}', f'{number}' * 20, lease=lease)
            if number % 11 == 0:
                key = f'w/{(number * 7) % 500:03}'.encode()
                self.member.kv.DeleteRange(rpc.DeleteRangeRequest(key=key), timeout=5)
            self.written += 1

    def stop(self):
        self.over.set()
        self.join()


@harness.conclave_only('the files are of another format')
class Restored(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster(3).start()
        first = cls.cluster.members[0]
        for number in range(1000):
            first.put(f'old/{number % 400:04}', f'{number}' * 50)
        first.kv.Compact(rpc.CompactionRequest(revision=500), timeout=5)
        cls.file = os.path.join(cls.cluster.directory, 'saved')

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def save(self, endpoints=None, *flags):
        endpoints = endpoints or self.cluster.endpoints
        done = conclave('save', '--endpoints', endpoints, *flags, self.file)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists(self.file + '.part'))
        return self.status()

    def status(self, path=None):
        done = conclave('status', '--json', path or self.file)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def new_cluster(self, *flags, members=3):
        fresh = harness.Cluster(members, flags=flags)
        self.addCleanup(fresh.stop)
        return fresh

    def restore(self, member, *flags, file=None):
        if harness.Options.consensus:
            flags = ('--consensus', harness.Options.consensus, *flags)
        return conclave(
            'restore',
            file or self.file,
            '--name',
            member.name,
            '--data-dir',
            member.data_dir,
            '--initial-cluster',
            member.cluster.initial_cluster(),
            '--initial-advertise-peer-urls',
            member.peer_url,
            '--initial-cluster-token',
            member.cluster.token,
            *flags,
        )

    def restore_all(self, cluster, *flags):
        for member in cluster.members:
            done = self.restore(member, *flags)
            self.assertEqual(done.returncode, 0, done.stderr)

    @staticmethod
    def everything(member, revision):
        kvs = member.get('\0', range_end=b'\0', revision=revision, timeout=20).kvs
        return [
            (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)
            for kv in kvs
        ]

    def check_restored(self, *flags):
        writer = Writer(self.cluster.members[1])
        writer.start()
        harness.wait_until(lambda: writer.written > 50, 20, 'writes')
        acknowledged = self.cluster.members[2].get('x').header.revision
        state = self.save(self.cluster.followers()[0].endpoint)
        before = writer.written
        harness.wait_until(lambda: writer.written > before + 20, 20, 'further writes')
        writer.stop()
        revision = state['revision']
        self.assertGreaterEqual(revision, acknowledged)
        self.assertEqual(state['compactRevision'], 500)

        source = self.cluster.members[0]
        fresh = self.new_cluster(*flags)
        self.restore_all(fresh, *flags)
        fresh.start()
        copy = fresh.members[0]
        self.assertNotEqual(
            copy.status().header.cluster_id, source.status().header.cluster_id
        )
        self.assertEqual(copy.get('x').header.revision, revision)
        for at in (revision, revision - 20, 500):
            self.assertEqual(self.everything(copy, at), self.everything(source, at))
        self.assertEqual(len(self.everything(copy, revision)), state['totalKey'])
        for member in fresh.members:
            self.assertEqual(
                outcome(lambda m=member: m.get('old/', revision=499))[1],
                'etcdserver: mvcc: required revision has been compacted',
            )
        self.assertEqual(
            sorted(m.name for m in copy.member_list().members),
            [m.name for m in fresh.members],
        )
        answers = [maintenance(m, 'HashKV', fields((1, revision)))[2] for m in fresh.members]
        answers.append(maintenance(source, 'HashKV', fields((1, revision)))[2])
        self.assertEqual(len({tuple(a) for a in answers}), 1, answers)

        leases = rpc.LeaseStub(copy.channel)
        left = leases.LeaseTimeToLive(
            rpc.LeaseTimeToLiveRequest(ID=writer.lease, keys=True), timeout=5
        )
        self.assertTrue(0 < left.TTL <= 60)
        held = [kv[0] for kv in self.everything(copy, revision) if kv[5] == writer.lease]
        self.assertGreater(len(held), 3)
        self.assertEqual(sorted(left.keys), held)
        copy.put('after', 'it')
        self.assertEqual(fresh.members[2].get('after').kvs[0].mod_revision, revision + 1)
        return fresh

    def test_into_raft(self):
        self.check_restored('--consensus', 'raft')

    def test_into_paxos(self):
        self.check_restored('--consensus', 'paxos')

    def test_restored_cluster_restarts_and_grows(self):
        self.save()
        fresh = self.new_cluster()
        self.restore_all(fresh)
        fresh.start()
        expected = self.everything(fresh.members[0], 0)
        for member in fresh.members:
            member.kill()
        for member in fresh.members:
            member.start()
        fresh.wait_healthy()
        self.assertEqual(self.everything(fresh.members[1], 0), expected)
        # A new member gets the state from the others.
        added = fresh.new_member('m4')
        done = harness.etcdctl(
            fresh.endpoints, 'member', 'add', 'm4', '--peer-urls', added.peer_url
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        added.joins = fresh.initial_cluster() + f',m4={added.peer_url}'
        added.start()
        fresh.members.append(added)
        fresh.wait_healthy()
        self.assertEqual(self.everything(added, 0), expected)

    def test_with_a_witness(self):
        self.save()
        flags = ('--witnesses', 'm3')
        fresh = self.new_cluster(*flags)
        self.restore_all(fresh, *flags)
        fresh.start()
        source = self.cluster.members[0]
        at = fresh.members[0].get('x').header.revision
        self.assertEqual(self.everything(fresh.members[1], at), self.everything(source, at))
        fresh.members[0].put('after', 'it')
        witness = fresh.members[2]
        self.assertIn('witness', maintenance(witness, 'HashKV')[1])
        directory = os.path.join(witness.data_dir, 'snap')
        newest = sorted(os.listdir(directory))[-1]
        nobody = self.new_cluster(members=1)
        done = self.restore(nobody.members[0], file=os.path.join(directory, newest))
        self.assertEqual(done.returncode, 1)
        self.assertIn("this is a witness's file", done.stderr)
        target = witness.status().header.member_id
        self.assertEqual(
            maintenance(fresh.leader(), 'MoveLeader', fields((1, target))),
            ('FAILED_PRECONDITION', 'etcdserver: bad leader transferee'),
        )

    def test_who_was_not_restored_is_kept_out(self):
        """A member that starts from nothing with the same flags is of another cluster."""
        self.save()
        fresh = self.new_cluster()
        for member in fresh.members[:2]:
            self.assertEqual(self.restore(member).returncode, 0)
        for member in fresh.members:
            member.start()
        first = fresh.members[0]
        harness.wait_until(lambda: first.get('x', timeout=2), 30, 'two of three to serve')
        self.assertGreater(first.get('x').header.revision, 1000)
        with self.assertRaises(grpc.RpcError):
            fresh.members[2].get('x', timeout=2)

    def test_into_a_used_directory(self):
        self.save()
        fresh = self.new_cluster(members=1)
        member = fresh.members[0]
        self.assertEqual(self.restore(member).returncode, 0)
        again = self.restore(member)
        self.assertEqual(again.returncode, 1)
        self.assertIn('is not empty', again.stderr)
        fresh.start()
        self.assertGreater(member.get('x').header.revision, 1000)

    def test_flags_that_make_no_cluster(self):
        self.save()
        member = self.new_cluster(members=1).members[0]
        for flags, why in (
            (('--name', 'other'), 'this member\'s name "other" is not in it'),
            (('--initial-cluster-state', 'existing'), 'into a new cluster'),
            (('--no-such-flag',), 'unknown flag'),
        ):
            done = self.restore(member, *flags)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(why, done.stderr)
            self.assertFalse(os.path.exists(member.data_dir))

    def test_flags_that_restore_nothing(self):
        self.save()
        member = self.new_cluster(members=1).members[0]
        done = self.restore(member, '--version')
        self.assertEqual((done.returncode, done.stdout[:9]), (0, 'conclave '), done.stderr)
        self.assertFalse(os.path.exists(member.data_dir))
        done = self.restore(member, '--max-wals', '3')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('--max-wals has no effect', done.stderr)

    def test_damaged_files(self):
        self.save()
        with open(self.file, 'rb') as file:
            good = file.read()
        path = os.path.join(self.cluster.directory, 'damaged')
        middle = len(good) // 2
        for what, content, why in (
            ('cut', good[:middle], 'the file ends too early'),
            ('short', good[:10], 'the file ends too early'),
            ('empty', b'', 'the file ends too early'),
            ('a bit', good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :], 'checksum'),
            ('the end', good[:-1] + bytes([good[-1] ^ 1]), 'SHA-256'),
            ('longer', good + b'x', 'behind the footer'),
            ('another', b'something else entirely' * 100, 'not a snapshot file'),
        ):
            with self.subTest(what):
                with open(path, 'wb') as file:
                    file.write(content)
                done = conclave('status', path)
                self.assertEqual(done.returncode, 1)
                self.assertIn(why, done.stderr)
                self.assertIn(path, done.stderr)
                member = self.new_cluster(members=1).members[0]
                done = self.restore(member, file=path)
                self.assertEqual(done.returncode, 1)
                self.assertIn(why, done.stderr)
                self.assertFalse(os.path.exists(member.data_dir))
        self.assertEqual(conclave('status', path + '.none').returncode, 1)

    def test_file_of_a_data_directory(self):
        """It has its own checksums."""
        self.save()
        member = self.cluster.members[0]
        snapshot(member)
        directory = os.path.join(member.data_dir, 'snap')
        newest = sorted(os.listdir(directory))[-1]
        state = self.status(os.path.join(directory, newest))
        self.assertGreater(state['totalKey'], 0)
        self.assertFalse(state['checksum'])

    def test_etcdctl_saves_the_same(self):
        path = os.path.join(self.cluster.directory, 'by-etcdctl')
        done = harness.etcdctl(self.cluster.members[0].endpoint, 'snapshot', 'save', path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(self.status(path)['checksum'])

    def test_save_goes_on_to_the_next_endpoint(self):
        nobody = f'127.0.0.1:{harness.free_port()}'
        state = self.save(nobody + ',' + self.cluster.members[2].endpoint)
        self.assertGreater(state['totalKey'], 0)
        os.remove(self.file)
        done = conclave('save', '--endpoints', nobody, self.file)
        self.assertEqual(done.returncode, 1)
        self.assertIn('refused', done.stderr.lower())
        self.assertFalse(os.path.exists(self.file) or os.path.exists(self.file + '.part'))

    def test_without_a_majority(self):
        """What is left can be saved, and a new cluster begin with it."""
        broken = self.new_cluster()
        broken.start()
        broken.members[0].put('k', 'v')
        harness.wait_until(lambda: broken.members[2].value('k'), 10, 'the key')
        for member in broken.members[:2]:
            member.kill()
        last = broken.members[2]
        harness.wait_until(lambda: last.status().leader == 0, 20, 'no leader')
        done = conclave('save', '--endpoints', last.endpoint, self.file + '.no')
        self.assertEqual(done.returncode, 1)
        self.assertIn('request timed out', done.stderr)
        self.assertFalse(os.path.exists(self.file + '.no'))
        done = harness.etcdctl(last.endpoint, 'snapshot', 'save', self.file + '.no')
        self.assertNotEqual(done.returncode, 0)
        self.save(last.endpoint, '--stale')
        fresh = self.new_cluster(members=1)
        self.restore_all(fresh)
        fresh.start()
        self.assertEqual(fresh.members[0].value('k'), b'v')

    def test_slow_reader_holds_nobody_up(self):
        """Who reads a snapshot slowly does not stop writes, and gets it whole."""
        member = self.cluster.members[0]
        for number in range(100):
            member.put(f'large/{number}', os.urandom(200_000))
        call = member.channel.unary_stream('/etcdserverpb.Maintenance/Snapshot')
        stream = call(b'', timeout=60)
        first = parse(next(stream))
        for number in range(100):
            member.put(f'large/{number}', b'small')
        parts = [first] + [parse(part) for part in stream]
        blobs = [part[3][0] for part in parts]
        whole = b''.join(blobs[:-1])
        self.assertEqual(hashlib.sha256(whole).digest(), blobs[-1])
        path = os.path.join(self.cluster.directory, 'slow')
        with open(path, 'wb') as file:
            file.write(whole + blobs[-1])
        self.assertGreater(self.status(path)['totalSize'], 20_000_000)


if __name__ == '__main__':
    harness.main()
