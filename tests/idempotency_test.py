"""Writes named with the metadata `conclave-request-id: <client>/<sequence>`: applied once however
often they are sent, through whichever member, across leader changes, restarts and snapshots; each
repetition gets the first answer."""

import concurrent.futures

import grpc
from etcd3 import etcdrpc as rpc

import harness

KEPT_PER_CLIENT = 64  # limits::kRequestIdsPerClient


def named(client, sequence):
    return (('conclave-request-id', f'{client}/{sequence}'),)


def put(member, key, value, request_id, timeout=10):
    request = rpc.PutRequest(key=key.encode(), value=value.encode(), prev_kv=True)
    return member.kv.Put(request, metadata=request_id, timeout=timeout)


def meaning(answer):
    """An answer without what names the member that gave it."""
    copy = type(answer)()
    copy.CopyFrom(answer)
    copy.header.member_id = 0
    copy.header.raft_term = 0
    return copy


@harness.conclave_only('it knows no request ids')
class Idempotency(harness.ClusterTest):
    flags = ('--snapshot-count', '100')

    def assert_same(self, first, second):
        self.assertEqual(meaning(first), meaning(second))

    def version(self, key):
        kvs = self.cluster.leader().get(key).kvs
        return kvs[0].version if kvs else 0

    def test_a_repetition_gets_the_first_answer(self):
        for member in self.cluster.members:
            key = f'repeat/{member.name}'
            member.put(key, 'before')
            first = put(member, key, 'a', named(key, 1))
            self.assertEqual(first.prev_kv.value, b'before')
            member.put('repeat/other', 'moves the revision on')
            for other in self.cluster.members:
                self.assert_same(first, put(other, key, 'a', named(key, 1)))
            self.assertEqual(self.version(key), 2)

    def test_an_id_is_of_one_kind_of_request(self):
        leader = self.cluster.leader()
        lease = rpc.LeaseStub(leader.channel)
        lease.LeaseGrant(rpc.LeaseGrantRequest(TTL=60), metadata=named('kinds', 1), timeout=5)
        with self.assertRaises(grpc.RpcError) as refused:
            put(leader, 'kinds', 'v', named('kinds', 1))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(self.version('kinds'), 0)

    def test_another_sequence_is_another_write(self):
        leader = self.cluster.leader()
        for sequence in (1, 2, 7, 3):
            put(leader, 'sequence/k', str(sequence), named('sequence', sequence))
        put(leader, 'sequence/k', 'last', named('sequence-other', 1))
        self.assertEqual(self.version('sequence/k'), 5)
        self.assertEqual(leader.value('sequence/k'), b'last')

    def test_the_first_content_counts(self):
        leader = self.cluster.leader()
        first = put(leader, 'content/k', 'a', named('content', 1))
        self.assert_same(first, put(leader, 'content/k', 'b', named('content', 1)))
        self.assertEqual(leader.value('content/k'), b'a')

    def test_every_kind_of_write(self):
        leader = self.cluster.leader()
        for key in ('kind/a', 'kind/b'):
            leader.put(key, 'x')
        delete = rpc.DeleteRangeRequest(key=b'kind/a', prev_kv=True)
        answers = [
            leader.kv.DeleteRange(delete, metadata=named('kind', 1), timeout=5) for _ in range(2)
        ]
        self.assertEqual(answers[0].deleted, 1)
        self.assert_same(*answers)

        txn = rpc.TxnRequest(
            compare=[rpc.Compare(key=b'kind/b', target=rpc.Compare.VERSION, version=1)]
        )
        txn.success.add().request_put.CopyFrom(rpc.PutRequest(key=b'kind/b', value=b'y'))
        txn.failure.add().request_put.CopyFrom(rpc.PutRequest(key=b'kind/b', value=b'never'))
        answers = [leader.kv.Txn(txn, metadata=named('kind', 2), timeout=5) for _ in range(2)]
        self.assertTrue(answers[0].succeeded)
        self.assert_same(*answers)
        self.assertEqual(leader.value('kind/b'), b'y')

        revision = leader.get('kind/b').header.revision
        compact = rpc.CompactionRequest(revision=revision)
        for _ in range(2):
            leader.kv.Compact(compact, metadata=named('kind', 3), timeout=5)
        with self.assertRaises(grpc.RpcError):
            leader.kv.Compact(compact, metadata=named('kind', 4), timeout=5)

    def test_many_at_once_through_all_members(self):
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for sequence in range(1, 21):
                answers = list(
                    pool.map(
                        lambda number, at=sequence: put(
                            self.cluster.members[number % 3], 'race/k', str(at), named('race', at)
                        ),
                        range(24),
                    )
                )
                for answer in answers[1:]:
                    self.assert_same(answers[0], answer)
        self.assertEqual(self.version('race/k'), 20)

    def test_across_a_leader_change(self):
        leader = self.cluster.leader()
        first = put(leader, 'change/k', 'a', named('change', 1))
        leader.kill()
        try:
            for member in self.cluster.running():
                self.retry(member, first, 'change/k', named('change', 1))
        finally:
            leader.start()
            self.cluster.wait_healthy()
        self.retry(leader, first, 'change/k', named('change', 1))
        self.assertEqual(self.version('change/k'), 1)

    def retry(self, member, first, key, request_id):
        answers = []
        harness.wait_until(
            lambda: answers.append(put(member, key, 'a', request_id, timeout=3)) or True,
            20,
            f'{member.name} to answer',
        )
        self.assert_same(first, answers[0])

    def test_across_restarts_and_snapshots(self):
        first = put(self.cluster.leader(), 'restart/k', 'a', named('restart', 1))
        for between in (0, 400):
            leader = self.cluster.leader()
            for number in range(between):  # several snapshots
                leader.put('restart/filler', str(number))
            for member in self.cluster.members:
                member.kill()
            for member in self.cluster.members:
                member.start()
            self.cluster.wait_healthy()
            for member in self.cluster.members:
                self.retry(member, first, 'restart/k', named('restart', 1))
        self.assertEqual(self.version('restart/k'), 1)

    def test_an_answer_no_longer_kept_is_said_and_nothing_applied(self):
        leader = self.cluster.leader()
        last = KEPT_PER_CLIENT + 10
        for sequence in range(1, last + 1):
            put(leader, 'old/k', str(sequence), named('old', sequence))
        with self.assertRaises(grpc.RpcError) as refused:
            put(leader, 'old/k', 'again', named('old', 1))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn('request id', refused.exception.details())
        self.assertEqual((leader.value('old/k'), self.version('old/k')), (str(last).encode(), last))

    def test_a_refused_write_is_not_remembered_as_done(self):
        leader = self.cluster.leader()
        for _ in range(2):
            with self.assertRaises(grpc.RpcError) as refused:
                leader.kv.Put(
                    rpc.PutRequest(key=b'refused/k', ignore_value=True),
                    metadata=named('refused', 1),
                    timeout=5,
                )
            self.assertEqual(refused.exception.details(), 'etcdserver: key not found')
        self.assertEqual(self.version('refused/k'), 0)

    def test_malformed_ids_are_refused(self):
        leader = self.cluster.leader()
        for text in (
            '',
            'client',
            '/1',
            'client/',
            'client/x',
            'client/-1',
            'client/1.5',
            'c' * 129 + '/1',
            'client/99999999999999999999',
        ):
            with self.subTest(text), self.assertRaises(grpc.RpcError) as refused:
                leader.kv.Put(
                    rpc.PutRequest(key=b'malformed/k'),
                    timeout=5,
                    metadata=(('conclave-request-id', text),),
                )
            self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn('invalid request id', refused.exception.details())
        self.assertEqual(self.version('malformed/k'), 0)


if __name__ == '__main__':
    harness.main()
