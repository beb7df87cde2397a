"""Stock etcdctl (API 3) against a cluster: every flag of the KV commands, through the leader and a
follower, and what they print. A cluster of one, and all other commands, are in
etcdctl_pair_test.py."""

import json
import os
import subprocess
import time

import harness


class EtcdctlCommands:
    """The tests, run once per kind of endpoint."""

    def endpoint(self):
        raise NotImplementedError

    def etcdctl(self, *args, stdin=None, endpoints=None):
        return harness.etcdctl(endpoints or self.endpoint(), *args, stdin=stdin)

    def ctl(self, *args, stdin=None, endpoints=None):
        """The output of a command that succeeds."""
        done = self.etcdctl(*args, stdin=stdin, endpoints=endpoints)
        self.assertEqual(done.returncode, 0, f'{args}: {done.stdout}{done.stderr}')
        return done.stdout

    def fails(self, *args, stdin=None):
        """The error text of a command that fails."""
        done = self.etcdctl(*args, stdin=stdin)
        self.assertNotEqual(done.returncode, 0, f'{args}: {done.stdout}')
        return done.stdout + done.stderr

    def json(self, *args, stdin=None):
        return json.loads(self.ctl(*args, '-w', 'json', stdin=stdin))

    def fill(self, prefix, count=5):
        for number in range(count):
            self.assertEqual(self.ctl('put', f'{prefix}{number}', f'v{count - number}'), 'OK\n')

    def revision(self):
        return self.json('get', 'nothing')['header']['revision']

    # --- put and get

    def test_put_get_del(self):
        self.assertEqual(self.ctl('put', 'pgd/k', 'hello world'), 'OK\n')
        self.assertEqual(self.ctl('get', 'pgd/k'), 'pgd/k\nhello world\n')
        self.assertEqual(self.ctl('get', 'pgd/k', '--print-value-only'), 'hello world\n')
        self.assertEqual(self.ctl('del', 'pgd/k'), '1\n')
        self.assertEqual(self.ctl('get', 'pgd/k'), '')
        self.assertEqual(self.ctl('del', 'pgd/k'), '0\n')

    def test_put_value_from_stdin(self):
        self.assertEqual(self.ctl('put', 'stdin/k', stdin='two\nlines'), 'OK\n')
        self.assertEqual(self.ctl('get', 'stdin/k'), 'stdin/k\ntwo\nlines\n')

    def test_put_prev_kv(self):
        self.assertEqual(self.ctl('put', 'prev/k', 'a', '--prev-kv'), 'OK\n')
        self.assertEqual(self.ctl('put', 'prev/k', 'b', '--prev-kv'), 'OK\nprev/k\na\n')
        self.assertEqual(self.ctl('del', 'prev/k', '--prev-kv'), '1\nprev/k\nb\n')

    def test_put_ignore_value(self):
        self.ctl('put', 'ignore/k', 'kept')
        self.assertEqual(self.ctl('put', 'ignore/k', '--ignore-value'), 'OK\n')
        self.assertEqual(self.ctl('get', 'ignore/k'), 'ignore/k\nkept\n')
        self.assertEqual(self.ctl('put', 'ignore/k', 'new', '--ignore-lease'), 'OK\n')
        self.assertEqual(self.ctl('get', 'ignore/k', '--print-value-only'), 'new\n')
        self.assertIn(
            'etcdserver: key not found', self.fails('put', 'ignore/none', '--ignore-value')
        )

    def test_get_ranges(self):
        self.fill('range/')
        self.ctl('put', 'range0', 'after')
        all_keys = [f'range/{n}' for n in range(5)]
        lines = self.ctl('get', 'range/', '--prefix', '--keys-only').split()
        self.assertEqual(lines, all_keys)
        lines = self.ctl('get', 'range/1', 'range/4', '--keys-only').split()
        self.assertEqual(lines, all_keys[1:4])
        lines = self.ctl('get', 'range/3', '--from-key', '--keys-only', '--limit=3').split()
        self.assertEqual(lines, ['range/3', 'range/4', 'range0'])
        lines = self.ctl('get', 'range/', '--prefix', '--limit=2', '--print-value-only').split()
        self.assertEqual(lines, ['v5', 'v4'])
        self.assertEqual(self.ctl('get', '', '--prefix', '--keys-only', '--limit=1').count('\n'), 2)

    def test_get_sorted(self):
        self.fill('sort/')
        self.ctl('put', 'sort/2', 'v0')

        def keys(*flags):
            out = self.ctl('get', 'sort/', '--prefix', '--keys-only', *flags)
            return ''.join(line.removeprefix('sort/') for line in out.split())

        self.assertEqual(keys('--order=DESCEND'), '43210')
        self.assertEqual(keys('--sort-by=KEY', '--order=ASCEND'), '01234')
        self.assertEqual(keys('--sort-by=VALUE', '--order=ASCEND'), '24310')
        self.assertEqual(keys('--sort-by=MODIFY', '--order=DESCEND'), '24310')
        self.assertEqual(keys('--sort-by=CREATE', '--order=DESCEND'), '43210')
        self.assertEqual(keys('--sort-by=VERSION', '--order=DESCEND')[0], '2')
        self.assertEqual(keys('--sort-by=VALUE', '--order=ASCEND', '--limit=2'), '24')

    def test_get_count_and_more(self):
        self.fill('count/')
        lines = self.ctl('get', 'count/', '--prefix', '--limit=2', '-w', 'fields').splitlines()
        self.assertIn('"Count" : 5', lines)
        self.assertIn('"More" : true', lines)

    def test_get_at_revision(self):
        self.ctl('put', 'rev/k', 'old')
        old = self.revision()
        self.ctl('put', 'rev/k', 'new')
        self.assertEqual(self.ctl('get', 'rev/k', f'--rev={old}'), 'rev/k\nold\n')
        self.assertEqual(self.ctl('get', 'rev/k', f'--rev={old - 1}'), '')
        self.assertIn(
            'etcdserver: mvcc: required revision is a future revision',
            self.fails('get', 'rev/k', '--rev=1000000'),
        )

    def test_get_serializable(self):
        self.ctl('put', 'serial/k', 'v')
        self.ctl('get', 'serial/k')  # this member has applied it now
        self.assertEqual(self.ctl('get', 'serial/k', '--consistency=s'), 'serial/k\nv\n')

    def test_get_as_json(self):
        put = self.json('put', 'json/k', 'v')
        answer = self.json('get', 'json/k')
        self.assertEqual(answer['header']['cluster_id'], put['header']['cluster_id'])
        self.assertGreater(answer['header']['member_id'], 0)
        self.assertGreater(answer['header']['raft_term'], 0)
        revision = put['header']['revision']
        self.assertEqual(
            answer['kvs'],
            [
                {
                    'key': 'anNvbi9r',
                    'value': 'dg==',
                    'create_revision': revision,
                    'mod_revision': revision,
                    'version': 1,
                }
            ],
        )
        self.assertEqual(answer['count'], 1)

    def test_get_as_fields(self):
        revision = self.json('put', 'fields/k', 'v')['header']['revision']
        lines = self.ctl('get', 'fields/k', '-w', 'fields').splitlines()
        for line in (
            '"Key" : "fields/k"',
            '"Value" : "v"',
            '"Version" : 1',
            '"Lease" : 0',
            f'"CreateRevision" : {revision}',
            f'"ModRevision" : {revision}',
            f'"Revision" : {revision}',
            '"More" : false',
            '"Count" : 1',
        ):
            self.assertIn(line, lines)

    def test_del_ranges(self):
        self.fill('del/')
        self.assertEqual(self.ctl('del', 'del/0', 'del/2'), '2\n')
        self.assertEqual(
            self.ctl('del', 'del/', '--prefix', '--prev-kv'), '3\ndel/2\nv3\ndel/3\nv2\ndel/4\nv1\n'
        )
        self.ctl('put', '~last', 'x')
        self.assertEqual(self.ctl('del', '~last', '--from-key'), '1\n')

    # --- transactions, as one types them

    def test_txn(self):
        self.ctl('put', 'txn/a', '1')
        script = 'value("txn/a") = "1"\n\nput txn/b two\nget txn/a\n\nput txn/c three\n\n'
        self.assertEqual(self.ctl('txn', stdin=script), 'SUCCESS\n\nOK\n\ntxn/a\n1\n')
        self.assertEqual(self.ctl('get', 'txn/b', '--print-value-only'), 'two\n')
        script = 'version("txn/a") > "5"\n\nput txn/b no\n\ndel txn/b\nget txn/ --prefix\n\n'
        self.assertEqual(self.ctl('txn', stdin=script), 'FAILURE\n\n1\n\ntxn/a\n1\n')

    def test_txn_interactive_prompts(self):
        script = 'create("itxn/new") = "0"\n\nput itxn/new 1\n\nget itxn/new\n\n'
        first = self.ctl('txn', '-i', stdin=script)
        self.assertIn('compares:', first)
        self.assertTrue(first.endswith('SUCCESS\n\nOK\n'), first)
        self.assertTrue(self.ctl('txn', '-i', stdin=script).endswith('FAILURE\n\nitxn/new\n1\n'))

    def test_txn_compares(self):
        revision = self.json('put', 'cmp/k', 'm')['header']['revision']
        for compare, holds in (
            ('value("cmp/k") = "m"', True),
            ('value("cmp/k") < "n"', True),
            ('value("cmp/k") > "m"', False),
            ('version("cmp/k") = "1"', True),
            ('version("cmp/none") = "0"', True),
            (f'mod("cmp/k") = "{revision}"', True),
            (f'mod("cmp/k") < "{revision}"', False),
            (f'create("cmp/k") > "{revision - 1}"', True),
            ('value("cmp/none") = ""', False),
        ):
            with self.subTest(compare):
                answer = self.json('txn', stdin=f'{compare}\n\nget cmp/k\n\n\n')
                self.assertEqual(answer.get('succeeded', False), holds)

    def test_txn_is_one_revision(self):
        before = self.revision()
        self.ctl('txn', stdin='\nput one/a 1\nput one/b 2\nput one/c 3\n\n\n')
        self.assertEqual(self.revision(), before + 1)
        kvs = self.json('get', 'one/', '--prefix')['kvs']
        self.assertEqual({kv['mod_revision'] for kv in kvs}, {before + 1})

    def test_txn_duplicate_key(self):
        self.assertIn(
            'etcdserver: duplicate key given in txn request',
            self.fails('txn', stdin='\nput dup/a 1\nput dup/a 2\n\n\n'),
        )
        self.assertEqual(self.ctl('get', 'dup/a'), '')

    # --- compaction

    def test_compaction(self):
        self.ctl('put', 'compact/k', 'old')
        old = self.revision()
        self.ctl('put', 'compact/k', 'new')
        now = self.revision()
        self.assertEqual(self.ctl('compaction', str(now)), f'compacted revision {now}\n')
        self.assertIn(
            'etcdserver: mvcc: required revision has been compacted',
            self.fails('get', 'compact/k', f'--rev={old}'),
        )
        self.assertIn(
            'etcdserver: mvcc: required revision has been compacted',
            self.fails('compaction', str(old)),
        )
        self.assertIn(
            'etcdserver: mvcc: required revision is a future revision',
            self.fails('compaction', str(now + 1000)),
        )
        self.assertEqual(
            self.ctl('get', 'compact/k', f'--rev={now}', '--print-value-only'), 'new\n'
        )
        self.ctl('put', 'compact/k', 'newer')
        self.assertEqual(
            self.ctl('compaction', '--physical', str(now + 1)), f'compacted revision {now + 1}\n'
        )

    # --- leases

    def grant(self, ttl):
        words = self.ctl('lease', 'grant', str(ttl)).split()
        self.assertEqual(words[:1] + words[2:], ['lease', 'granted', 'with', f'TTL({ttl}s)'])
        return words[1]

    def test_lease_grant_put_and_revoke(self):
        lease = self.grant(600)
        self.assertEqual(self.ctl('put', 'leased/a', '1', '--lease', lease), 'OK\n')
        self.assertEqual(self.ctl('put', 'leased/b', '2', '--lease', lease), 'OK\n')
        self.assertEqual(self.json('get', 'leased/a')['kvs'][0]['lease'], int(lease, 16))
        left = self.ctl('lease', 'timetolive', lease, '--keys')
        self.assertRegex(
            left,
            rf'^lease {lease} granted with TTL\(600s\), remaining\(59\ds\), '
            r'attached keys\(\[(leased/a leased/b|leased/b leased/a)\]\)\n$',
        )
        self.assertIn(lease, self.ctl('lease', 'list').split())
        before = self.revision()
        self.assertEqual(self.ctl('lease', 'revoke', lease), f'lease {lease} revoked\n')
        self.assertEqual(self.revision(), before + 1)
        self.assertEqual(self.ctl('get', 'leased/', '--prefix'), '')
        self.assertEqual(
            self.ctl('lease', 'timetolive', lease), f'lease {lease} already expired\n'
        )
        self.assertNotIn(lease, self.ctl('lease', 'list').split())

    def test_lease_that_is_not_there(self):
        gone = 'etcdserver: requested lease not found'
        self.assertIn(gone, self.fails('lease', 'revoke', '77'))
        self.assertIn(gone, self.fails('put', 'lease/none', '1', '--lease', '77'))
        self.assertEqual(self.ctl('get', 'lease/none'), '')
        self.assertIn(gone, self.fails('lease', 'keep-alive', '--once', '77'))

    def test_lease_too_long(self):
        self.assertIn(
            'etcdserver: too large lease TTL', self.fails('lease', 'grant', '9000000001')
        )

    # --- the cluster

    def test_member_list(self):
        self.assertEqual(len(self.ctl('member', 'list').splitlines()), len(self.cluster.members))
        members = self.json('member', 'list')['members']
        self.assertEqual(sorted(m['name'] for m in members), [m.name for m in self.cluster.members])
        expected = {m.name: ([m.peer_url], [m.url]) for m in self.cluster.members}
        self.assertEqual({m['name']: (m['peerURLs'], m['clientURLs']) for m in members}, expected)
        table = self.ctl('member', 'list', '-w', 'table')
        for word in ('started', *(m.url for m in self.cluster.members)):
            self.assertIn(word, table)

    def test_endpoint_status(self):
        statuses = json.loads(
            self.ctl('endpoint', 'status', '-w', 'json', endpoints=self.cluster.endpoints)
        )
        self.assertEqual(len(statuses), len(self.cluster.members))
        leaders = {s['Status']['leader'] for s in statuses}
        self.assertEqual(len(leaders), 1)
        ids = {s['Status']['header']['member_id'] for s in statuses}
        self.assertEqual(len(ids), len(statuses))
        self.assertTrue(leaders <= ids)
        for entry in statuses:
            status = entry['Status']
            self.assertRegex(status['version'], r'^3\.\d+\.\d+')
            self.assertGreater(status['dbSize'], 0)
            self.assertGreaterEqual(status['raftIndex'], status['raftAppliedIndex'])

    def test_endpoint_status_of_the_cluster(self):
        table = self.ctl('endpoint', 'status', '--cluster', '-w', 'table')
        rows = [line for line in table.splitlines() if '127.0.0.1' in line]
        self.assertEqual(len(rows), len(self.cluster.members))
        self.assertEqual(
            sum('| true |' in ' '.join(row.split()) or '|      true |' in row for row in rows),
            1,
            table,
        )

    def test_endpoint_health(self):
        done = self.etcdctl('endpoint', 'health', '--cluster')
        self.assertEqual(done.returncode, 0)
        text = done.stdout + done.stderr
        for member in self.cluster.members:
            self.assertIn(f'{member.url} is healthy: successfully committed proposal', text)

    def test_several_endpoints(self):
        for number in range(6):
            self.ctl('put', f'several/{number}', 'v', endpoints=self.cluster.endpoints)
        self.assertEqual(self.json('get', 'several/', '--prefix')['count'], 6)


class ViaLeader(EtcdctlCommands, harness.ClusterTest):
    def endpoint(self):
        return self.cluster.leader().endpoint


class ViaFollower(EtcdctlCommands, harness.ClusterTest):
    def endpoint(self):
        return self.cluster.followers()[0].endpoint

    # What takes long, once.

    def test_lease_expires(self):
        lease = self.grant(2)
        self.ctl('put', 'lease/short', '1', '--lease', lease)
        self.ctl('put', 'lease/moved', '1', '--lease', lease)
        self.ctl('put', 'lease/moved', '2')
        deadline = time.monotonic() + 20
        while self.ctl('get', 'lease/short') and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.ctl('get', 'lease/short'), '')
        self.assertEqual(self.ctl('get', 'lease/moved', '--print-value-only'), '2\n')

    def test_lease_kept_alive(self):
        lease = self.grant(2)
        self.ctl('put', 'lease/kept', '1', '--lease', lease)
        command = ['etcdctl', '--endpoints', self.endpoint(), 'lease', 'keep-alive', lease]
        env = dict(os.environ, ETCDCTL_API='3')
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as keeper:
            try:
                time.sleep(3.5)
                self.assertEqual(self.ctl('get', 'lease/kept', '--print-value-only'), '1\n')
            finally:
                keeper.kill()
            lines = keeper.stdout.read().splitlines()
        self.assertGreaterEqual(len(lines), 3)
        self.ctl('del', 'lease/kept')  # or it would go while another test counts revisions
        self.assertEqual(set(lines), {f'lease {lease} keepalived with TTL(2)'})
        once = self.ctl('lease', 'keep-alive', '--once', self.grant(100))
        self.assertRegex(once, r'^lease \w+ keepalived with TTL\(100\)\n$')


if __name__ == '__main__':
    harness.main()
