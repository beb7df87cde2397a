"""The npm etcd client (tests/node) against a cluster, through the leader and a follower, and over
TLS."""

import os

import harness
from tls_test import TlsCluster

DIRECTORY = os.path.join(harness.ROOT, 'tests', 'node')


def install():
    """Exactly what package-lock.json pins; nothing if that is there already."""
    lock = os.path.join(DIRECTORY, 'package-lock.json')
    done = os.path.join(DIRECTORY, 'node_modules', '.package-lock.json')
    if os.path.exists(done) and os.path.getmtime(done) >= os.path.getmtime(lock):
        return
    npm = harness.run(
        ['npm', 'ci', '--prefix', DIRECTORY, '--ignore-scripts', '--no-audit', '--no-fund'],
        timeout=300,
    )
    assert npm.returncode == 0, f'npm ci failed: {npm.stdout}{npm.stderr}'
    os.utime(done)


class NodeClient(harness.ClusterTest):
    flags = ('--bcrypt-cost', '4')

    @classmethod
    def setUpClass(cls):
        install()
        super().setUpClass()

    def check(self, url, *ca):
        node = harness.run(['node', os.path.join(DIRECTORY, 'kv.js'), url, *ca])
        self.assertEqual(node.returncode, 0, node.stdout + node.stderr)
        self.assertIn('22 of 22 pass', node.stdout)

    def test_via_leader(self):
        self.check(self.cluster.leader().url)

    def test_via_follower(self):
        self.check(self.cluster.followers()[0].url)

    def test_over_tls(self):
        flags = ['--bcrypt-cost', '4']
        with TlsCluster(1, flags=flags, ca_for_clients=False) as cluster:
            port = cluster.members[0].client_port
            self.check(f'https://localhost:{port}', cluster.authority.ca)


if __name__ == '__main__':
    harness.main()
