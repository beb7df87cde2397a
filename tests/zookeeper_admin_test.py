"""ZooKeeper's admin server: the commands of Conclave's have the names and fields of a real one's,
with the values of the four-letter words."""

import http.client
import json
import re
import socket
import ssl
import unittest

import harness
import zookeeper_cluster
from zookeeper_wire import (
    ADD_WATCH,
    EXISTS,
    GET_DATA,
    Client,
    Server,
    create,
    four_letters,
    read,
    watches,
)

# What the real one has beside the fields of Conclave's, and why.
LEFT_OUT = {
    # of the process or the machine, by Java's libraries
    'environment': {'host.name', 'user.name', 'user.home', 'user.dir'},
    # numbers that are nowhere counted
    'server_stats': {'client_response'},
    'stats': {'client_response'},
    'configuration': {'data_log_dir', 'client_port_listen_backlog'},
    'dump': {'expiry_time_to_session_ids'},
}
INNER_LEFT_OUT = {
    'server_stats': {
        'fsync_threshold_exceed_count',
        'client_response_stats',
        'data_dir_size',
        'log_dir_size',
        'provider_null',
        'auth_failed_count',
        'non_mtlsremote_conn_count',
        'non_mtlslocal_conn_count',
    },
    'connections': {'interest_ops', 'established', 'last_response_time', 'last_latency'},
}
# Of several members, or Conclave's own.
MORE = {'configuration': {'secure_client_port'}, 'environment': {'conclave.version'}}
COMMON = [
    'configuration',
    'connections',
    'dump',
    'environment',
    'is_read_only',
    'ruok',
    'server_stats',
    'stats',
    'voting_view',
    'watch_summary',
    'watches',
    'watches_by_path',
]
NOT_THERE = {
    'dirs',
    'get_trace_mask',
    'initial_configuration',
    'last_snapshot',
    'observer_connection_stat_reset',
    'set_trace_mask',
    'system_properties',
}
# That dashboards of ZooKeeper show.
MONITORED = [
    'version',
    'server_state',
    'ephemerals_count',
    'num_alive_connections',
    'avg_latency',
    'min_latency',
    'max_latency',
    'outstanding_requests',
    'znode_count',
    'global_sessions',
    'local_sessions',
    'packets_sent',
    'packets_received',
    'watch_count',
    'approximate_data_size',
    'open_file_descriptor_count',
    'max_file_descriptor_count',
    'uptime',
]


def get(address, path, method='GET', context=None):
    """(status, content type, body)."""
    if context is None:
        connection = http.client.HTTPConnection(*address, timeout=10)
    else:
        connection = http.client.HTTPSConnection(*address, timeout=10, context=context)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader('Content-Type'), answer.read().decode()
    finally:
        connection.close()


def command(address, name):
    status, kind, body = get(address, '/commands/' + name)
    assert (status, kind) == (200, 'application/json'), (status, kind, body)
    return json.loads(body)


def use(client):
    """So that there is something of everything."""
    for asked in (
        create('/admin', b'x'),
        create('/admin/e', b'', flags=1),
        read(GET_DATA, '/admin', True),
        watches(ADD_WATCH, '/admin', 1),
        read(EXISTS, '/admin/none', True),
        read(GET_DATA, '/admin'),
    ):
        client.ask(asked)


class Admin(zookeeper_cluster.ZooKeeperTest):
    flags = ['--zookeeper-words', '*']

    def setUp(self):
        super().setUp()
        self.member = self.cluster.members[0]

    def assert_fields(self, name, theirs, ours, left_out, more):
        self.assertEqual(set(theirs) - set(ours) - left_out, set(), f'{name} lacks some')
        self.assertEqual(set(ours) - set(theirs) - more, set(), f'{name} has others')
        self.assertEqual(left_out & set(ours), set(), f'{name} has what is said to be left out')
        for field in set(theirs) & set(ours):
            kinds = (type(theirs[field]), type(ours[field]))
            self.assertEqual(kinds[0], kinds[1], f'{name}: {field}')

    def test_commands_have_a_real_ones_fields(self):
        with Server(with_admin=True) as real, Client(real.address) as beside_real:
            use(beside_real)
            client = self.connect()
            use(client)
            for name in COMMON:
                theirs, ours = command(real.admin, name), command(self.member.admin, name)
                java = {field for field in theirs if field.startswith(('java.', 'os.'))}
                left_out = LEFT_OUT.get(name, set()) | java
                self.assert_fields(name, theirs, ours, left_out, MORE.get(name, set()))
                self.assertEqual((ours['command'], ours['error']), (theirs['command'], None))
            monitors = [command(address, 'mntr') for address in (real.admin, self.member.admin)]
            for field in MONITORED:
                kinds = [type(monitor[field]) for monitor in monitors]
                self.assertEqual(kinds[0], kinds[1], field)
            both = (real.admin, self.member.admin)
            servers = [command(each, 'srvr')['server_stats'] for each in both]
            self.assert_fields('server_stats', *servers, INNER_LEFT_OUT['server_stats'], set())
            mine = [command(each, 'cons')['connections'][0] for each in both]
            self.assert_fields('cons', *mine, INNER_LEFT_OUT['connections'], set())
            self.assertEqual(mine[0]['last_operation'], mine[1]['last_operation'])
            for name in ('stat_reset', 'crst', 'nope'):
                self.assertEqual(command(real.admin, name), command(self.member.admin, name))
            # The list of all: what is not there is known.
            pages = [get(each, '/commands')[2] for each in both]
            theirs, ours = (set(re.findall(r'"/commands/(\w+)"', page)) for page in pages)
            self.assertEqual(theirs - ours, NOT_THERE)
            self.assertEqual(ours - theirs, set())
            client.close()

    def test_values_are_those_of_the_words(self):
        with self.connect() as client:
            use(client)
            monitor = command(self.member.admin, 'monitor')
            words = dict(
                line.split('\t', 1)
                for line in four_letters(self.member.zookeeper, 'mntr').splitlines()
            )
            names = {'zk_' + name for name in monitor.keys() - {'command', 'error'}}
            self.assertEqual(names, set(words))
            # Those that do not change while they are asked for.
            for name in ('server_state', 'znode_count', 'ephemerals_count', 'watch_count'):
                self.assertEqual(str(monitor[name]), words['zk_' + name])
            self.assertEqual(monitor['watch_count'], 3)
            status, kind, text = get(self.member.admin, '/metrics')
            self.assertEqual((status, kind.split(';')[0]), (200, 'text/plain'))
            metrics = dict(line.split() for line in text.splitlines() if not line.startswith('#'))
            self.assertEqual(metrics['znode_count'], words['zk_znode_count'])
            numbers = {name for name, value in monitor.items() if isinstance(value, (int, float))}
            self.assertEqual(set(metrics), numbers)
            found = command(self.member.admin, 'watches')['session_id_to_watched_paths']
            self.assertEqual(sorted(found[str(client.session)]), ['/admin', '/admin/none'])
            paths = command(self.member.admin, 'dump')['session_id_to_ephemeral_paths']
            self.assertEqual(paths, {str(client.session): ['/admin/e']})
            connections = command(self.member.admin, 'cons')['connections']
            mine = [one for one in connections if one['session_id'] == client.session]
            self.assertEqual(len(mine), 1)
            client.close()

    def test_who_leads(self):
        leader = self.cluster.leader()
        views = [command(member.admin, 'leader') for member in self.cluster.members]
        self.assertEqual(len({view['leader_id'] for view in views}), 1)
        leads = [view['is_leader'] for view in views]
        self.assertEqual(leads, [member is leader for member in self.cluster.members])
        self.assertEqual(views[0]['leader_ip'], '127.0.0.1')
        voters = command(self.member.admin, 'voting_view')['current_config']
        addresses = {one['server_addresses'][0] for one in voters.values()}
        self.assertEqual(
            addresses, {member.peer_url.removeprefix('http://') for member in self.cluster.members}
        )
        own = [one['client_address'] for one in voters.values() if one['client_address']]
        self.assertEqual(own, ['%s:%s' % self.member.zookeeper])
        self.assertTrue(command(leader.admin, 'zabstate')['is_leader'])

    def test_what_is_no_command(self):
        self.assertEqual(get(self.member.admin, '/')[0], 404)
        self.assertEqual(get(self.member.admin, '/v3/kv/put')[0], 404)
        self.assertEqual(get(self.member.admin, '/commands/ruok', 'POST')[0], 405)
        # A client of ZooKeeper's that was sent there is told in HTTP that this is no request.
        with socket.create_connection(self.member.admin, timeout=20) as client:
            client.sendall(bytes([0, 0, 0, 45]) + bytes(45))
            with client.makefile('rb') as answer:
                self.assertRegex(answer.read(), rb'^HTTP/1.1 400 ')
        self.assertEqual(command(self.member.admin, 'ruok')['error'], None)


class Guarded(unittest.TestCase):
    def test_with_tls_and_without_a_leader(self):
        with zookeeper_cluster.SecureCluster(2) as cluster:
            member = cluster.members[0]
            context = cluster.alice.context()
            status, _, body = get(member.admin, '/commands/dump', context=context)
            self.assertEqual(status, 200)
            self.assertIn('--zookeeper-words', json.loads(body)['error'])
            with self.assertRaises((ssl.SSLError, OSError, http.client.HTTPException)):
                get(member.admin, '/commands/ruok', context=cluster.anonymous.context())
            self.assertEqual(get(member.admin, '/commands/ruok')[0], 400)
            cluster.members[1].kill()

            def error():
                return json.loads(get(member.admin, '/commands/mntr', context=context)[2])['error']

            harness.wait_until(lambda: 'not currently serving' in str(error()), 20, 'no leader')
            body = get(member.admin, '/commands/ruok', context=context)[2]
            self.assertIsNone(json.loads(body)['error'])


if __name__ == '__main__':
    harness.main()
