"""What is asked over HTTP/1.1 and is no single answer: the gateway's streams, and the metrics of
watches and leases. The same is asked of etcd."""

import base64
import http.client
import json
import re
import time

import harness
from watch_stream import WatchStream


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Call:
    """A call of the gateway whose answers are read line by line."""

    def __init__(self, member, path, *requests, raw=None):
        self.connection = http.client.HTTPConnection('127.0.0.1', member.client_port, timeout=10)
        body = raw if raw is not None else ''.join(json.dumps(request) for request in requests)
        self.connection.request('POST', path, body)
        self._response = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    @property
    def response(self):
        """Comes with the first line."""
        if self._response is None:
            self._response = self.connection.getresponse()
        return self._response

    def line(self):
        """The next one without its header; None at the end."""
        line = self.response.readline()
        if not line:
            return None
        parsed = json.loads(line)
        parsed.get('result', {}).pop('header', None)
        return parsed

    def result(self):
        return self.line()['result']


class Gateway(harness.ClusterTest):
    members = 1

    def setUp(self):
        self.member = self.cluster.members[0]

    def test_events_as_they_happen(self):
        with Call(self.member, '/v3/watch', {'create_request': {'key': b64('gw')}}) as call:
            self.assertEqual(call.result(), {'created': True})
            self.assertEqual(call.response.status, 200)
            self.assertEqual(call.response.getheader('Content-Type'), 'application/json')
            self.assertEqual(call.response.getheader('Transfer-Encoding'), 'chunked')
            for number in range(3):
                revision = str(self.member.put('gw', str(number)).header.revision)
                (event,) = call.result()['events']
                self.assertEqual(event['kv']['value'], b64(str(number)))
                self.assertEqual(event['kv']['mod_revision'], revision)
                self.assertNotIn('type', event)
            self.member.kv.DeleteRange(harness.rpc.DeleteRangeRequest(key=b'gw'))
            (event,) = call.result()['events']
            self.assertEqual((event['type'], event['kv']['key']), ('DELETE', b64('gw')))

    def test_several_watches_in_one_body(self):
        requests = [
            {'create_request': {'key': b64('one')}},
            {'create_request': {'key': b64('two'), 'start_revision': '1', 'prev_kv': True}},
            {},
            {'cancel_request': {'watch_id': '1'}},
        ]
        with Call(self.member, '/v3/watch', *requests) as call:
            self.assertEqual(call.result(), {'created': True})
            self.assertEqual(call.result(), {'watch_id': '1', 'created': True})
            self.assertEqual(call.result(), {'watch_id': '1', 'canceled': True})
            self.member.put('one', 'x')
            self.assertEqual(call.result()['events'][0]['kv']['key'], b64('one'))

    def test_a_watch_of_a_compacted_revision(self):
        for _ in range(3):
            revision = self.member.put('old', 'x').header.revision
        self.member.kv.Compact(
            harness.rpc.CompactionRequest(revision=revision, physical=True)
        )
        create = {'create_request': {'key': b64('old'), 'start_revision': str(revision - 1)}}
        with Call(self.member, '/v3/watch', create) as call:
            self.assertEqual(call.result(), {'created': True})
            self.assertEqual(
                call.result(), {'canceled': True, 'compact_revision': str(revision)}
            )

    def test_an_empty_range(self):
        create = {'create_request': {'key': b64('b'), 'range_end': b64('a')}}
        with Call(self.member, '/v3/watch', create) as call:
            self.assertEqual(
                call.result(),
                {
                    'watch_id': '-1',
                    'created': True,
                    'canceled': True,
                    'cancel_reason': 'mvcc: watcher range is empty',
                },
            )

    def test_malformed(self):
        with Call(self.member, '/v3/watch', raw='{"create_request":') as call:
            self.assertEqual(call.response.status, 500)
            self.assertEqual(json.loads(call.response.read())['code'], 2)
        # What follows a mistake is not read; what was before goes on.
        raw = json.dumps({'create_request': {'key': b64('sound')}}) + '{"create_request": 5} {}'
        with Call(self.member, '/v3/watch', raw=raw) as call:
            self.assertEqual(call.result(), {'created': True})
            self.member.put('sound', 'x')
            self.assertEqual(len(call.result()['events']), 1)

    def test_keep_alive(self):
        lease = harness.rpc.LeaseStub(self.member.channel).LeaseGrant(
            harness.rpc.LeaseGrantRequest(TTL=60)
        )
        requests = [{'ID': str(lease.ID)}, {'ID': '12345'}, {'ID': str(lease.ID)}]
        with Call(self.member, '/v3/lease/keepalive', *requests) as call:
            kept = {'ID': str(lease.ID), 'TTL': '60'}
            self.assertEqual([call.result() for _ in range(3)], [kept, {'ID': '12345'}, kept])
            self.assertIsNone(call.line())

    def test_a_client_that_goes_away_leaves_no_watch(self):
        before = metric(self.member, 'etcd_debugging_mvcc_watcher_total')
        with Call(self.member, '/v3/watch', {'create_request': {'key': b64('gone')}}) as call:
            self.assertEqual(call.result(), {'created': True})
            self.assertEqual(metric(self.member, 'etcd_debugging_mvcc_watcher_total'), before + 1)
        harness.wait_until(
            lambda: metric(self.member, 'etcd_debugging_mvcc_watcher_total') == before,
            5,
            'the end of the watch',
        )

    @harness.conclave_only('there, the proxy between gateway and server speaks first')
    def test_a_stopping_member_says_so(self):
        with harness.Cluster(members=1) as cluster:
            member = cluster.members[0]
            cluster.wait_healthy()
            with Call(member, '/v3/watch', {'create_request': {'key': b64('x')}}) as call:
                self.assertEqual(call.result(), {'created': True})
                member.terminate()
                self.assertEqual(
                    call.line(),
                    {
                        'error': {
                            'grpc_code': 14,
                            'http_code': 503,
                            'message': 'etcdserver: server stopped',
                            'http_status': 'Service Unavailable',
                        }
                    },
                )
                self.assertIsNone(call.line())


def metrics(member):
    connection = http.client.HTTPConnection('127.0.0.1', member.client_port, timeout=10)
    connection.request('GET', '/metrics')
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def metric(member, name):
    found = re.search(rf'^{re.escape(name)} (\S+)$', metrics(member), re.M)
    return float(found.group(1)) if found else None


class Metrics(harness.ClusterTest):
    members = 1

    TYPES = {
        'etcd_debugging_lease_granted_total': 'counter',
        'etcd_debugging_lease_renewed_total': 'counter',
        'etcd_debugging_lease_revoked_total': 'counter',
        'etcd_debugging_lease_ttl_total': 'histogram',
        'etcd_debugging_mvcc_events_total': 'counter',
        'etcd_debugging_mvcc_pending_events_total': 'gauge',
        'etcd_debugging_mvcc_slow_watcher_total': 'gauge',
        'etcd_debugging_mvcc_watch_stream_total': 'gauge',
        'etcd_debugging_mvcc_watcher_total': 'gauge',
        'etcd_debugging_server_lease_expired_total': 'counter',
    }

    def test_of_watches_and_leases(self):
        member = self.cluster.members[0]
        text = metrics(member)
        for name, kind in self.TYPES.items():
            self.assertIn(f'# TYPE {name} {kind}\n', text)
        before = {name: metric(member, name) for name in self.TYPES}
        buckets = re.findall(r'^etcd_debugging_lease_ttl_total_bucket.*} 0$', text, re.M)
        self.assertEqual(len(buckets), 25)
        self.assertEqual(
            {float(bound) for bound in re.findall(r'le="(.*)"', '\n'.join(buckets))},
            {float(2**power) for power in range(24)} | {float('inf')},
        )

        leases = harness.rpc.LeaseStub(member.channel)
        lease = leases.LeaseGrant(harness.rpc.LeaseGrantRequest(TTL=60)).ID
        leases.LeaseGrant(harness.rpc.LeaseGrantRequest(TTL=64))
        leases.LeaseGrant(harness.rpc.LeaseGrantRequest(TTL=2))
        with Call(member, '/v3/lease/keepalive', {'ID': str(lease)}) as call:
            call.result()
        leases.LeaseRevoke(harness.rpc.LeaseRevokeRequest(ID=lease))
        create = {'create_request': {'key': b64('m')}}
        with Call(member, '/v3/watch', create, create) as call:
            call.result(), call.result()
            member.put('m', 'x')
            call.result(), call.result()
            self.expect_change(before, 'etcd_debugging_mvcc_watcher_total', 2)
            self.expect_change(before, 'etcd_debugging_mvcc_watch_stream_total', 1)
            self.expect_change(before, 'etcd_debugging_mvcc_slow_watcher_total', 0)
            self.expect_change(before, 'etcd_debugging_mvcc_pending_events_total', 0)
        self.expect_change(before, 'etcd_debugging_mvcc_events_total', 2)
        self.expect_change(before, 'etcd_debugging_lease_granted_total', 3)
        self.expect_change(before, 'etcd_debugging_lease_renewed_total', 1)
        self.expect_change(before, 'etcd_debugging_lease_revoked_total', 2)  # one expires
        self.expect_change(before, 'etcd_debugging_server_lease_expired_total', 1)
        text = metrics(member)
        for line in ('_bucket{le="32"} 1', '_bucket{le="64"} 3', '_sum 126', '_count 3'):
            self.assertIn(f'etcd_debugging_lease_ttl_total{line}\n', text)

    # What the dashboard and the alert rules that come with etcd (its "mixin") look for, but for the
    # last few of docs/operations.md, and with the labels by which they group.
    LOOKED_FOR = (
        'etcd_server_has_leader', 'etcd_server_leader_changes_seen_total',
        'etcd_server_proposals_failed_total', 'etcd_server_proposals_pending',
        'etcd_server_proposals_committed_total', 'etcd_server_proposals_applied_total',
        'etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"}',
        'etcd_mvcc_db_total_size_in_bytes', 'etcd_mvcc_db_total_size_in_use_in_bytes',
        'etcd_server_quota_backend_bytes', 'etcd_debugging_mvcc_db_total_size_in_bytes',
        'etcd_network_client_grpc_received_bytes_total',
        'etcd_network_client_grpc_sent_bytes_total', 'process_resident_memory_bytes',
        'process_cpu_seconds_total', 'process_open_fds', 'process_max_fds',
        'process_start_time_seconds', 'process_virtual_memory_bytes',
    )  # fmt: skip

    def test_of_dashboards_and_alerts(self):
        member = self.cluster.members[0]
        for name in self.LOOKED_FOR:
            self.assertIsNotNone(metric(member, name), name)
        self.assertGreater(metric(member, 'process_resident_memory_bytes'), 1e6)
        self.assertLess(abs(time.time() - metric(member, 'process_start_time_seconds')), 60)
        text = metrics(member)
        self.assertRegex(text, r'(?m)^etcd_server_version{server_version="3\.[0-9.]+"} 1$')
        self.assertRegex(text, r'(?m)^etcd_server_id{server_id="[0-9a-f]+"} 1$')
        received = 'etcd_network_client_grpc_received_bytes_total'
        before = metric(member, received)
        member.put('metrics', 'v' * 10_000)
        self.assertGreater(metric(member, received), before + 10_000)

    def test_of_calls(self):
        member = self.cluster.members[0]
        put = 'grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}'
        watch = 'grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"}'
        refused = f'grpc_server_handled_total{{grpc_code="InvalidArgument",{put}'
        names = [f'grpc_server_started_total{{{put}', f'grpc_server_started_total{{{watch}',
                 f'grpc_server_handled_total{{grpc_code="OK",{put}', refused,
                 f'grpc_server_handled_total{{grpc_code="Canceled",{watch}']  # fmt: skip
        before = {name: metric(member, name) or 0 for name in names}
        member.put('calls', '1')
        member.put('calls', '2')
        with self.assertRaises(harness.grpc.RpcError):
            member.put('', '1')
        with WatchStream(member) as stream:
            stream.create(key=b'calls')
            stream.wait_created()
            for name, change in zip(names, (3, 1, 2, 1, 0)):
                self.assertEqual((metric(member, name) or 0) - before[name], change, name)
        harness.wait_until(
            lambda: metric(member, names[-1]) == before[names[-1]] + 1, 5, 'the end of the stream'
        )

    def test_of_members(self):
        with harness.Cluster(3) as cluster:
            member = cluster.leader()  # in etcd, followers hardly talk to each other
            member.put('k', 'v')
            ids = {f'{m.status().header.member_id:x}' for m in cluster.members}
            self_ = f'{member.status().header.member_id:x}'
            text = metrics(member)
            for name, label in (('sent', 'To'), ('received', 'From')):
                found = re.findall(
                    rf'^etcd_network_peer_{name}_bytes_total{{{label}="(\w+)"}} (\S+)$', text, re.M
                )
                told = {peer for peer, count in found if float(count) > 0}
                self.assertEqual(told - {'0'}, ids - {self_}, name)  # some of etcd's are from '0'
            found = re.findall(
                r'^etcd_network_active_peers{Local="(\w+)",Remote="(\w+)"} (\S+)$', text, re.M
            )
            self.assertEqual({local for local, _, _ in found}, {self_})
            self.assertEqual({remote for _, remote, _ in found}, ids - {self_})

    def expect_change(self, before, name, change):
        member = self.cluster.members[0]
        harness.wait_until(
            lambda: metric(member, name) == before[name] + change,
            8,
            f'{name} to be {before[name]} + {change}',
        )


if __name__ == '__main__':
    harness.main()
