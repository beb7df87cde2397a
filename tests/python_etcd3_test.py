"""The python-etcd3 client against a cluster, through the leader and a follower."""

import time

import etcd3

import harness


class ClientCalls:
    """The tests, run once per kind of endpoint."""

    def member(self):
        raise NotImplementedError

    def setUp(self):
        member = self.member()
        self.client = etcd3.client(host='127.0.0.1', port=member.client_port, timeout=10)
        self.addCleanup(self.client.close)

    def test_put_and_get(self):
        self.client.put('put/k', 'v')
        value, meta = self.client.get('put/k')
        self.assertEqual((value, meta.key, meta.version), (b'v', b'put/k', 1))
        self.assertEqual(meta.create_revision, meta.mod_revision)
        self.assertEqual(self.client.get('put/none'), (None, None))

    def test_binary_and_large_values(self):
        every_byte = bytes(range(256))
        for value in (b'', every_byte, every_byte * 4096):
            self.client.put(b'bin/\x00\xff', value)
            self.assertEqual(self.client.get(b'bin/\x00\xff')[0], value)

    def test_put_prev_kv(self):
        self.client.put('prev/k', 'a')
        self.assertEqual(self.client.put('prev/k', 'b', prev_kv=True).prev_kv.value, b'a')

    def test_put_if_not_exists(self):
        self.assertTrue(self.client.put_if_not_exists('once/k', 'a'))
        self.assertFalse(self.client.put_if_not_exists('once/k', 'b'))
        self.assertEqual(self.client.get('once/k')[0], b'a')

    def test_replace(self):
        self.client.put('replace/k', 'a')
        self.assertTrue(self.client.replace('replace/k', 'a', 'b'))
        self.assertFalse(self.client.replace('replace/k', 'a', 'c'))
        self.assertEqual(self.client.get('replace/k')[0], b'b')

    def test_delete(self):
        self.client.put('delete/k', 'a')
        self.assertTrue(self.client.delete('delete/k'))
        self.assertFalse(self.client.delete('delete/k'))
        self.client.put('delete/k', 'b')
        answer = self.client.delete('delete/k', prev_kv=True, return_response=True)
        self.assertEqual((answer.deleted, answer.prev_kvs[0].value), (1, b'b'))

    def test_prefix(self):
        for number in range(20):
            self.client.put(f'prefix/{number:02}', str(number))
        found = [(meta.key, value) for value, meta in self.client.get_prefix('prefix/')]
        self.assertEqual(found, [(b'prefix/%02d' % n, b'%d' % n) for n in range(20)])
        keys = [
            meta.key
            for _, meta in self.client.get_prefix(
                'prefix/', sort_order='descend', sort_target='key', keys_only=True
            )
        ]
        self.assertEqual(keys, [b'prefix/%02d' % n for n in reversed(range(20))])
        self.assertEqual(len(list(self.client.get_range('prefix/05', 'prefix/10'))), 5)
        self.assertEqual(self.client.get_prefix_response('prefix/').count, 20)
        self.assertEqual(self.client.delete_prefix('prefix/').deleted, 20)

    def test_transaction(self):
        tx = self.client.transactions
        self.client.put('txn/k', 'a')
        succeeded, answers = self.client.transaction(
            compare=[tx.value('txn/k') == 'a', tx.version('txn/k') > 0, tx.create('txn/none') == 0],
            success=[tx.put('txn/k', 'b'), tx.get('txn/k'), tx.delete('txn/none')],
            failure=[tx.put('txn/k', 'c')],
        )
        self.assertTrue(succeeded)
        self.assertEqual(answers[1][0][0], b'b')
        succeeded, answers = self.client.transaction(
            compare=[tx.mod('txn/k') < 1], success=[], failure=[tx.get('txn/k')]
        )
        self.assertFalse(succeeded)
        self.assertEqual(answers[0][0][0], b'b')

    def test_nested_transaction(self):
        tx = self.client.transactions
        inner = tx.txn(
            compare=[tx.version('nested/k') == 0], success=[tx.put('nested/k', 'in')], failure=[]
        )
        succeeded, _ = self.client.transaction(compare=[], success=[inner], failure=[])
        self.assertTrue(succeeded)
        self.assertEqual(self.client.get('nested/k')[0], b'in')

    def test_compact(self):
        self.client.put('compact/k', 'a')
        old = self.client.get('compact/k')[1].mod_revision
        self.client.put('compact/k', 'b')
        now = self.client.get('compact/k')[1].mod_revision
        self.client.compact(now)
        for request, text in (
            (old, 'etcdserver: mvcc: required revision has been compacted'),
            (now + 1000, 'etcdserver: mvcc: required revision is a future revision'),
        ):
            with self.assertRaisesRegex(Exception, text):
                self.client.compact(request)
        self.client.put('compact/k', 'c')
        self.client.compact(now + 1, physical=True)
        self.assertEqual(self.client.get('compact/k')[0], b'c')

    def test_lease(self):
        lease = self.client.lease(60)
        self.client.put('lease/a', '1', lease=lease)
        self.client.put('lease/b', '2', lease=lease.id)
        self.assertEqual(self.client.get('lease/a')[1].lease_id, lease.id)
        self.assertEqual(lease.granted_ttl, 60)
        self.assertIn(lease.remaining_ttl, (57, 58, 59))
        self.assertEqual(lease.keys, [b'lease/a', b'lease/b'])
        self.assertEqual([answer.TTL for answer in lease.refresh()], [60])
        self.client.put('lease/b', '3')
        lease.revoke()
        self.assertIsNone(self.client.get('lease/a')[0])
        self.assertEqual(self.client.get('lease/b')[0], b'3')
        self.assertEqual([answer.TTL for answer in lease.refresh()], [0])
        self.assertEqual(self.client.get_lease_info(lease.id).TTL, -1)

    def test_lease_with_a_chosen_id(self):
        name = int.from_bytes(self.member().name.encode(), 'big') % 2**62
        self.assertEqual(self.client.lease(60, lease_id=name).id, name)
        with self.assertRaises(etcd3.exceptions.PreconditionFailedError):
            self.client.lease(60, lease_id=name)
        self.client.revoke_lease(name)
        with self.assertRaisesRegex(Exception, 'etcdserver: requested lease not found'):
            self.client.revoke_lease(name)
        with self.assertRaisesRegex(Exception, 'etcdserver: requested lease not found'):
            self.client.put('lease/c', '1', lease=name)

    def test_lock(self):
        with self.client.lock('lock/k', ttl=20) as lock:
            self.assertTrue(lock.is_acquired())
            self.assertFalse(self.client.lock('lock/k', ttl=20).acquire(timeout=0))
        self.assertTrue(self.client.lock('lock/k', ttl=20).acquire(timeout=0))

    def test_lease_expires(self):
        lease = self.client.lease(2)
        self.client.put('lease/short', '1', lease=lease)
        until = time.monotonic() + 20
        while self.client.get('lease/short')[0] is not None and time.monotonic() < until:
            time.sleep(0.1)
        self.assertIsNone(self.client.get('lease/short')[0])
        self.assertEqual(lease.remaining_ttl, -1)

    def test_status(self):
        status = self.client.status()
        self.assertRegex(status.version, r'^3\.\d+\.\d+')
        self.assertGreater(status.db_size, 0)
        self.assertIn(status.leader.name, [m.name for m in self.cluster.members])
        self.assertGreater(status.raft_index, 0)
        self.assertGreater(status.raft_term, 0)

    def test_members(self):
        found = {m.name: (list(m.peer_urls), list(m.client_urls)) for m in self.client.members}
        self.assertEqual(found, {m.name: ([m.peer_url], [m.url]) for m in self.cluster.members})


class ViaLeader(ClientCalls, harness.ClusterTest):
    def member(self):
        return self.cluster.leader()


class ViaFollower(ClientCalls, harness.ClusterTest):
    def member(self):
        return self.cluster.followers()[0]


if __name__ == '__main__':
    harness.main()
