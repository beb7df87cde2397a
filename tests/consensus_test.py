"""The engine and the quorums of a cluster: chosen when it is created, kept, and agreed on."""

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


if __name__ == '__main__':
    harness.main()
