"""The npm etcd client (tests/node) against a cluster, through the leader and a follower."""

import os

import harness

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
    @classmethod
    def setUpClass(cls):
        install()
        super().setUpClass()

    def check(self, member):
        node = harness.run(['node', os.path.join(DIRECTORY, 'kv.js'), member.endpoint])
        self.assertEqual(node.returncode, 0, node.stdout + node.stderr)
        self.assertEqual(node.stdout.count('ok - '), 10, node.stdout)

    def test_via_leader(self):
        self.check(self.cluster.leader())

    def test_via_follower(self):
        self.check(self.cluster.followers()[0])


if __name__ == '__main__':
    harness.main()
