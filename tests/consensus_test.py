"""The engine and the quorums of a cluster: chosen when it is created, kept, and agreed on."""

import json
import os
import shutil
import unittest

import grpc

import harness

LONG = 40


class ConsensusTest(unittest.TestCase):
    """Each test has clusters of its own."""

    conclave_only = 'etcd has one engine'

    def found(self, flags, members=3):
        self.cluster = harness.Cluster(members, flags=flags).start()
        self.addCleanup(self.cluster.stop)
        return self.cluster

    def writes(self, member, key):
        """Whether the member can have something written now."""
        try:
            member.put(key, 'value', timeout=3)
            return True
        except grpc.RpcError:
            return False

    def refused(self, flags, members=3):
        """The log of a first member that must not start."""
        cluster = harness.Cluster(members, flags=flags)
        self.addCleanup(cluster.stop)
        member = cluster.members[0].start()
        self.assertEqual(member.wait_exit(), 1)
        return member.log()

    def test_a_member_keeps_its_engine(self):
        cluster = self.found(['--consensus', 'paxos'])
        member = cluster.followers()[0]
        member.kill()
        cluster.flags = ['--consensus', 'raft']
        member.start()
        self.assertEqual(member.wait_exit(), 1)
        self.assertIn('created with --consensus paxos, not raft', member.log())

    def test_later_starts_need_no_flags(self):
        flags = ['--consensus', 'paxos', '--election-quorum', '3', '--write-quorum', '1']
        cluster = self.found(flags)
        member = cluster.followers()[0]
        member.kill()
        cluster.flags = []
        member.start()
        cluster.wait_healthy(LONG)
        cluster.leader().put('key', 'value')
        harness.wait_until(lambda: member.value('key') == b'value', LONG, 'the value')
        kept = 'this one keeps those it was created with'
        self.assertNotIn(kept, member.log())
        member.kill()
        cluster.flags = ['--consensus', 'paxos', '--election-quorum', '2', '--write-quorum', '2']
        member.start()
        cluster.wait_healthy(LONG)
        self.assertIn(kept, member.log())

    def test_members_of_other_engines_refuse_each_other(self):
        cluster = self.found(['--consensus', 'paxos'])
        member = cluster.followers()[0]
        member.kill()
        shutil.rmtree(member.data_dir)
        cluster.flags = ['--consensus', 'raft']
        member.start()
        harness.wait_until(
            lambda: 'runs with --consensus raft, this member with paxos' in member.log(),
            LONG,
            'the refusal',
        )
        self.assertTrue(self.writes(cluster.leader(), 'a'))

    def test_quorums_that_need_not_meet_are_refused(self):
        log = self.refused(['--consensus', 'paxos', '--election-quorum', '2', '--write-quorum', '1'])
        self.assertIn('need not share a member', log)

    def test_raft_has_no_flexible_quorums(self):
        log = self.refused(['--consensus', 'raft', '--election-quorum', '3', '--write-quorum', '1'])
        self.assertIn('are for --consensus paxos', log)

    def test_members_must_agree_on_the_quorums(self):
        cluster = self.found(['--consensus', 'paxos'])
        member = cluster.followers()[0]
        member.kill()
        shutil.rmtree(member.data_dir)
        cluster.flags += ['--election-quorum', '3', '--write-quorum', '1']
        member.start()
        harness.wait_until(lambda: 'is of cluster' in member.log(), LONG, 'the refusal')

    def test_a_write_quorum_of_one_writes_alone(self):
        flags = ['--consensus', 'paxos', '--election-quorum', '3', '--write-quorum', '1']
        cluster = self.found(flags)
        leader = cluster.leader()
        for member in cluster.followers():
            member.kill()
        self.assertTrue(self.writes(leader, 'alone'))
        for member in cluster.members:
            if member is not leader:
                member.start()
        cluster.wait_healthy(LONG)
        for member in cluster.members:
            self.assertEqual(member.value('alone'), b'value')

    def test_weights_decide(self):
        """Of 2+1+1 votes 3 decide: the first and any other, but not the two others."""
        cluster = self.found(['--weights', 'm1=2'])
        heavy, light, other = cluster.members
        light.kill()
        harness.wait_until(lambda: self.writes(heavy, 'a'), LONG, 'a write by two of them')
        light.start()
        cluster.wait_healthy(LONG)
        heavy.kill()
        self.assertFalse(self.writes(light, 'b'))
        self.assertFalse(self.writes(other, 'b'))
        heavy.start()
        harness.wait_until(lambda: self.writes(other, 'b'), LONG, 'a write by all of them')

    def test_witnesses_alone_are_refused(self):
        self.assertIn('keep no data', self.refused(['--witnesses', 'm2,m3']))
        self.assertIn('not a member', self.refused(['--witnesses', 'm7']))

    def test_a_witness_serves_nobody(self):
        cluster = self.found(['--witnesses', 'm3'])
        copy, _, witness = cluster.members
        for ask in (lambda: witness.get('a'), lambda: witness.put('a', 'b')):
            with self.assertRaises(grpc.RpcError) as refusal:
                ask()
            self.assertEqual(refusal.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertIn('this member is a witness', refusal.exception.details())
        def listed():
            return {m.name: m for m in witness.member_list().members}

        names = ['m1', 'm2', 'm3']
        harness.wait_until(lambda: sorted(listed()) == names, LONG, 'all names')
        self.assertEqual(list(listed()['m3'].clientURLs), [])
        rows = self.status_of(cluster, copy)
        self.assertEqual(rows['m3']['role'], 'witness')
        self.assertNotEqual(cluster.leader(), witness)

    def status_of(self, cluster, member):
        command = [cluster.binary, 'status', '--json', '--endpoints', member.endpoint]
        return {row['name']: row for row in json.loads(harness.run(command).stdout)}

    def test_either_copy_goes_on_with_the_witness(self):
        cluster = self.found(['--witnesses', 'm3'])
        copies = cluster.members[:2]
        written = []

        def write(member, count):
            for _ in range(count):
                key = f'key-{len(written)}'
                member.put(key, key)
                written.append(key)

        write(cluster.leader(), 50)
        for falls in (cluster.leader, lambda: cluster.followers()[0], cluster.leader):
            victim = falls()
            if victim not in copies:
                victim = next(c for c in copies if c is not cluster.leader())
            other = next(c for c in copies if c is not victim)
            write(other, 20)
            victim.kill()
            harness.wait_until(lambda: self.writes(other, 'probe'), LONG, 'a write by one copy')
            write(other, 50)
            victim.start()
            cluster.wait_healthy(LONG)
        for member in copies:
            for key in written:
                self.assertEqual(member.value(key), key.encode(), f'{key} on {member.name}')

    def disk_use(self, member):
        return sum(
            os.stat(os.path.join(folder, name)).st_blocks * 512
            for folder, _, names in os.walk(member.data_dir)
            for name in names
        )

    def test_a_witness_stays_small(self):
        """While 100 MB are written, after it has come back empty, and as the last one with a copy."""
        cluster = self.found(['--witnesses', 'm3', '--snapshot-count', '30'])
        copy, other, witness = cluster.members
        for number in range(100):
            copy.put(f'large-{number}', os.urandom(1_000_000), timeout=LONG)
        small = 40_000_000
        self.assertLess(self.disk_use(witness), small)
        self.assertGreater(self.disk_use(copy), 2 * small)

        witness.kill()
        shutil.rmtree(witness.data_dir)
        command = [cluster.binary, 'member', 'replace', 'm3', '--endpoints', copy.endpoint]
        replaced = harness.run(command)
        self.assertEqual(replaced.returncode, 0, replaced.stderr)
        witness.joins = cluster.initial_cluster()
        witness.start()
        harness.wait_until(
            lambda: witness.status().leader == copy.status().leader != 0
            and witness.status().raftIndex >= copy.status().raftIndex,
            LONG,
            'the new witness to have everything',
        )
        self.assertIn('snapshot at index', witness.log())
        self.assertLess(self.disk_use(witness), small)
        with self.assertRaises(grpc.RpcError) as refusal:
            witness.get('large-1')
        self.assertIn('this member is a witness', refusal.exception.details())
        # Until then both of those that voted before are needed.
        harness.wait_until(lambda: '3 voters, 0 learners' in witness.log(), LONG, 'its vote')
        other.kill()
        harness.wait_until(lambda: self.writes(copy, 'alone'), LONG, 'a write by one copy')


if __name__ == '__main__':
    harness.main()
