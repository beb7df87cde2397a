"""Members are added, promoted, updated, removed and replaced while the cluster serves: stock
etcdctl and the JSON gateway against real processes, with members killed in between. What is not
marked passes on a stock etcd too."""

import os
import shutil
import unittest

import harness

NOBODY = '1234'
LONG = 40


class MembersTest(unittest.TestCase):
    """Each test has a cluster of its own."""

    members = 3

    def setUp(self):
        self.cluster = harness.Cluster(self.members).start()
        self.addCleanup(self.stop)

    def stop(self):
        self.cluster.stop()

    # --- etcdctl

    def etcdctl(self, *args, at=None):
        return harness.etcdctl(at.endpoint if at else self.endpoints(), *args)

    def endpoints(self):
        """Those of the first members, if any runs: who joined may be a learner, which answers hardly
        anything."""
        running = self.cluster.running()
        return ','.join(m.endpoint for m in [m for m in running if not m.joins] or running)

    def ctl(self, *args, at=None):
        done = self.etcdctl(*args, at=at)
        self.assertEqual(done.returncode, 0, f'{args}: {done.stdout}{done.stderr}')
        return done.stdout

    def fails(self, *args, at=None):
        """The last line of what a command that fails says."""
        done = self.etcdctl(*args, at=at)
        self.assertNotEqual(done.returncode, 0, f'{args}: {done.stdout}')
        return done.stderr.splitlines()[-1]

    def ctl_when_healthy(self, *args):
        """As ctl; tried again while the cluster thinks that it is not healthy, which etcd does
        for five seconds after each change."""
        said = []

        def done():
            result = self.etcdctl(*args)
            asked_before = bool(said)
            said[:] = [result.stdout]
            if result.returncode == 0:
                return True
            # The answer to the first removal may have gone with the member that gave it.
            if asked_before and 'remove' in args and 'member not found' in result.stderr:
                return True
            again = (
                'unhealthy cluster',
                'not enough started',
                'in sync with leader',
                'timed out',
                'transport is closing',  # of one that was removed just now
            )
            self.assertTrue(any(why in result.stderr for why in again), result.stderr)
            return False

        harness.wait_until(done, LONG, f'{args} to be granted')
        return said[0]

    def listed(self, at=None):
        """What `member list` says: a row of fields per name, or per peer URL if it has none."""
        rows = [line.split(', ') for line in self.ctl('member', 'list', at=at).splitlines()]
        return {row[2] or row[3]: row for row in rows}

    def id_of(self, name):
        return self.listed()[name][0]

    def add(self, name, *flags):
        """Adds a member as an operator does; it is not started."""
        member = self.cluster.new_member(name)
        said = self.ctl_when_healthy('member', 'add', name, f'--peer-urls={member.peer_url}', *flags)
        self.assertRegex(said, r'Member +[0-9a-f]+ added to cluster')
        wanted = [line for line in said.splitlines() if line.startswith('ETCD_INITIAL_CLUSTER=')]
        member.joins = wanted[0].split('=', 1)[1].strip('"')
        self.cluster.members.append(member)
        return member

    def started(self, member):
        member.start()
        harness.wait_until(
            lambda: member.name in self.listed(), LONG, f'{member.name} to start'
        )
        return member

    def gateway(self, path, **body):
        """(HTTP status, answer) of the JSON gateway."""
        return harness.post(self.cluster.running()[0], f'/v3/cluster/member/{path}', body)


class ChangesTest(MembersTest):
    def test_a_learner_is_added_promoted_and_removed(self):
        self.ctl('put', 'before', '1')
        late = self.add('m4', '--learner')
        row = self.listed()[late.peer_url]
        self.assertEqual(row[1:], ['unstarted', '', late.peer_url, '', 'true'])
        self.assertIn('in sync with leader', self.fails('member', 'promote', row[0]))
        other = self.cluster.new_member('m5')
        self.assertIn(
            'too many learner members in cluster',
            self.fails('member', 'add', 'm5', '--learner', f'--peer-urls={other.peer_url}'),
        )

        self.started(late)
        self.assertEqual(self.ctl('get', 'before', '--consistency=s', at=late), 'before\n1\n')
        self.assertIn('rpc not supported for learner', self.fails('put', 'a', 'b', at=late))
        said = self.ctl_when_healthy('member', 'promote', row[0])
        self.assertRegex(said, r'Member +[0-9a-f]+ promoted in cluster')
        self.assertEqual(self.listed()['m4'][5], 'false')
        self.assertIn('can only promote a learner member', self.fails('member', 'promote', row[0]))
        harness.wait_until(
            lambda: self.etcdctl('put', 'after', '2', at=late).returncode == 0, LONG, 'm4 to serve'
        )
        self.assertEqual(self.ctl('get', 'after'), 'after\n2\n')

        said = self.ctl_when_healthy('member', 'remove', row[0])
        self.assertRegex(said, r'Member +[0-9a-f]+ removed from cluster')
        self.assertEqual(late.wait_exit(), 0)
        self.assertIn('removed', late.log())
        self.assertEqual(len(self.listed()), 3)
        self.assertIn('member not found', self.fails('member', 'remove', row[0]))

    def test_answers_to_what_cannot_be(self):
        leader = self.cluster.leader()
        url = leader.peer_url
        bad = 'etcdserver: given member URLs are invalid'
        taken = 'etcdserver: Peer URLs already exists'
        missing = 'etcdserver: member not found'
        asked = [
            ('add', {'peerURLs': []}, 400, 3, bad),
            ('add', {'peerURLs': ['banana']}, 400, 3, bad),
            ('add', {'peerURLs': ['http://127.0.0.1:1/path']}, 400, 3, bad),
            ('remove', {'ID': NOBODY}, 404, 5, missing),
            ('update', {'ID': NOBODY, 'peerURLs': ['http://127.0.0.1:1']}, 404, 5, missing),
            ('promote', {'ID': NOBODY}, 404, 5, missing),
            ('promote', {}, 404, 5, missing),
        ]
        for path, body, status, code, text in asked:
            with self.subTest(path=path, body=body):
                got = self.gateway(path, **body)
                self.assertEqual(got, (status, {'error': text, 'message': text, 'code': code}))
        harness.wait_until(
            lambda: 'unhealthy' not in self.gateway('add', peerURLs=[url])[1]['error'], 15, 'health'
        )
        self.assertEqual(self.gateway('add', peerURLs=[url])[1]['error'], taken)
        follower = self.cluster.followers()[0]
        self.assertEqual(
            self.fails('member', 'update', self.id_of(follower.name), f'--peer-urls={url}'),
            f'Error: {taken}',
        )

    def test_nothing_happens_at_the_cost_of_a_quorum(self):
        down = self.cluster.followers()[0]
        staying = next(m for m in self.cluster.members if m is not down)
        gone, other = self.id_of(down.name), self.id_of(staying.name)
        harness.wait_until(
            lambda: 'unhealthy'
            not in self.fails('member', 'add', 'x', f'--peer-urls={staying.peer_url}'),
            15,
            'the cluster to be healthy',
        )
        down.kill()
        new = self.cluster.new_member('m4')
        harness.wait_until(
            lambda: 'unhealthy cluster'
            in self.fails('member', 'add', 'm4', f'--peer-urls={new.peer_url}'),
            15,
            'the loss to be noticed',
        )
        self.assertIn('unhealthy cluster', self.fails('member', 'remove', other))
        self.assertEqual(len(self.listed()), 3)
        # The one that is down is of no use: it may go.
        self.assertIn('removed', self.ctl('member', 'remove', gone))
        self.assertEqual(len(self.listed()), 2)
        # Added and not started, it would be needed.
        self.ctl_when_healthy('member', 'add', 'm4', f'--peer-urls={new.peer_url}')
        another = self.cluster.new_member('m5')
        self.assertRegex(
            self.fails('member', 'add', 'm5', f'--peer-urls={another.peer_url}'),
            'unhealthy cluster|not enough started members',
        )

    def test_leaders_die_in_between(self):
        self.ctl('put', 'a', '1')
        for round_number in range(2):
            new = self.started(self.add(f'n{round_number}'))
            leader = self.cluster.leader()
            leader.kill()
            harness.wait_until(
                lambda: self.etcdctl('put', 'a', '1').returncode == 0, LONG, 'a new leader'
            )
            leader.start()
            self.cluster.wait_healthy(LONG)
            self.assertEqual(self.ctl('get', 'a', at=new), 'a\n1\n')
        leader = self.cluster.leader()
        self.ctl_when_healthy('member', 'remove', self.id_of(leader.name))
        self.assertEqual(leader.wait_exit(), 0)
        self.cluster.members.remove(leader)
        self.assertEqual(len(self.listed()), 4)
        harness.wait_until(
            lambda: self.etcdctl('put', 'a', '2').returncode == 0, LONG, 'a new leader'
        )

    def test_one_becomes_three(self):
        for member in self.cluster.members[1:]:
            self.ctl_when_healthy('member', 'remove', self.id_of(member.name))
            self.assertEqual(member.wait_exit(), 0)
        self.cluster.members = self.cluster.members[:1]
        self.assertEqual(len(self.listed()), 1)
        only = self.id_of('m1')
        self.assertIn('not enough started members', self.fails('member', 'remove', only))
        for name in ('x', 'y'):
            self.started(self.add(name))
        self.ctl('put', 'a', '1')
        self.cluster.members[0].kill()
        harness.wait_until(
            lambda: self.etcdctl('get', 'a').stdout == 'a\n1\n', LONG, 'the others to go on'
        )

    def test_a_member_restarts_without_the_flag_it_joined_with(self):
        new = self.started(self.add('m4'))
        new.kill()
        new.joins = None
        new.start()
        self.cluster.wait_healthy(LONG)
        self.ctl('put', 'a', '1', at=new)

    def test_an_address_changes(self):
        moving = self.cluster.followers()[0]
        member_id = self.id_of(moving.name)
        moving.terminate()
        moving.peer_port = harness.free_port()
        self.ctl_when_healthy('member', 'update', member_id, f'--peer-urls={moving.peer_url}')
        self.assertEqual(self.listed()[moving.name][3], moving.peer_url)
        moving.joins = self.cluster.initial_cluster()
        moving.start()
        self.cluster.wait_healthy(LONG)
        self.assertEqual(self.listed()[moving.name][3], moving.peer_url)
        self.ctl('put', 'a', '1', at=moving)

    def test_who_was_not_added_cannot_join(self):
        stranger = self.cluster.new_member('m4')
        stranger.joins = self.cluster.initial_cluster() + f',m4={stranger.peer_url}'
        stranger.start()
        self.assertEqual(stranger.wait_exit(), 1)
        expelled = self.started(self.add('m5'))
        self.ctl_when_healthy('member', 'remove', self.id_of('m5'))
        self.assertEqual(expelled.wait_exit(), 0)
        shutil.rmtree(expelled.data_dir)
        expelled.start()
        self.assertEqual(expelled.wait_exit(), 1)
        self.cluster.members.remove(expelled)


@harness.conclave_only('etcd lets it come back, with what it had acknowledged forgotten')
class LostDiskTest(MembersTest):
    def replace(self, name):
        return harness.run(
            [self.cluster.binary, 'member', 'replace', name, '--endpoints']
            + [self.endpoints()]
        )

    def test_it_is_refused_and_replaced_with_one_command(self):
        self.ctl('put', 'a', '1')
        lost = self.cluster.followers()[0]
        lost.kill()
        shutil.rmtree(lost.data_dir)
        lost.start()
        self.assertEqual(lost.wait_exit(), 1)
        self.assertIn(f'conclave member replace {lost.name}', lost.log())
        self.assertIn('has been here with another data directory', lost.log())
        shutil.rmtree(lost.data_dir)
        lost.joins = self.cluster.initial_cluster()
        lost.start()
        self.assertEqual(lost.wait_exit(), 1, 'joining is no way around it')
        self.assertFalse(os.path.exists(os.path.join(lost.data_dir, 'member.json')))

        old_id = self.id_of(lost.name)
        done = self.replace(lost.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('--initial-cluster-state existing', done.stdout)
        rows = self.listed()
        self.assertEqual(len(rows), 3)
        self.assertNotEqual(rows[lost.peer_url][0], old_id)
        self.started(lost)
        self.cluster.wait_healthy(LONG)
        self.assertEqual(self.ctl('get', 'a', at=lost), 'a\n1\n')
        self.assertEqual(self.replace('nobody').returncode, 1)

    def test_a_removed_member_says_so_at_each_start(self):
        out = self.cluster.followers()[0]
        self.ctl_when_healthy('member', 'remove', self.id_of(out.name))
        self.assertEqual(out.wait_exit(), 0)
        for _ in range(2):
            out.start()
            self.assertEqual(out.wait_exit(), 0)
        self.assertIn('was removed from the cluster', out.log())
        # One that was down meanwhile is told by the others.
        self.cluster.members.remove(out)

    def test_one_that_was_down_when_it_was_removed_is_told(self):
        out = self.cluster.followers()[0]
        out.kill()
        harness.wait_until(
            lambda: self.etcdctl('member', 'remove', self.id_of(out.name)).returncode == 0,
            LONG,
            'the removal',
        )
        out.start()
        self.assertEqual(out.wait_exit(), 0)
        self.assertIn('was removed from the cluster', out.log())
        self.cluster.members.remove(out)

    def test_other_members_than_the_flags_say(self):
        new = self.add('m4')
        new.joins = ','.join(f'{m.name}={m.peer_url}' for m in self.cluster.members[1:])
        new.start()
        self.assertEqual(new.wait_exit(), 1)
        self.assertIn('but --initial-cluster has', new.log())


if __name__ == '__main__':
    harness.main()
