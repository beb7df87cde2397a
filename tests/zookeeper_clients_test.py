"""Stock clients of ZooKeeper against three members: zkCli, whose output must be what it prints beside a
real ZooKeeper, the C client, and an npm client. (kazoo: zookeeper_test.py.)"""

import json
import os
import re
import shutil
import subprocess
import tempfile

import harness
import node_client_test
import zookeeper_cluster
from zookeeper_wire import CLASSES, Server

# What differs from server to server, and with the time.
MASKS = [
    (r'0x[0-9a-f]+', '0x?'),
    (r'^(Connecting to|[cm]time =) .*', r'\1 ?'),
]
COMMANDS = [
    'create /cli hello',
    'create /cli again',
    'create -s /cli/s- one',
    'create -s -e /cli/s- two',
    'create -e /cli/e two',
    'create -c /cli/container',
    'create -t 100000 /cli/ttl three',
    'create /nope/x',
    'ls /cli',
    'ls -s /cli',
    'ls -R /cli',
    'get /cli',
    'get -s /cli/e',
    'set /cli world',
    'set -s /cli other',
    'set -v 0 /cli again',
    'stat /cli',
    'stat /nope',
    'getAcl /cli',
    'getAcl -s /cli',
    'addauth digest ann:pw',
    'setAcl /cli/e auth::cdrwa',
    'getAcl /cli/e',
    'setAcl /cli/e nobody:x:r',
    'whoami',
    'getEphemerals /cli',
    'getAllChildrenNumber /cli',
    'get -w /cli',
    'set /cli watched',
    'addWatch -m PERSISTENT_RECURSIVE /cli',
    'create /cli/w',
    'set /cli/w x',
    'delete /cli/w',
    'removewatches /cli',
    'create /cli/w',
    'setquota -n 3 -b 1000 /cli',
    'setquota -N 30 /cli',
    'setquota -N 30 /cli/e',
    'listquota /cli',
    'create /cli/counted 1234',
    'listquota /cli',
    'get -s /zookeeper/quota/cli/zookeeper_stats',
    'delquota -n /cli',
    'listquota /cli',
    'delquota /cli',
    'listquota /cli',
    'delete /cli/counted',
    'sync /cli',
    'delete -v 3 /cli/w',
    'delete /cli',
    'deleteall /cli',
    'ls /zookeeper',
    'close',
    'quit',
]


def zkcli(hosts):
    """The lines that it prints, sorted: events come when they come, and a real ZooKeeper lists some
    things in the order of a hash table. What differs is masked."""
    command = ['java', '-cp', CLASSES, 'org.apache.zookeeper.ZooKeeperMain', '-server', hosts]
    done = subprocess.run(
        command,
        input='\n'.join(COMMANDS) + '\n',
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    said = done.stdout + '--- errors\n' + done.stderr
    for pattern, instead in MASKS:
        said = re.sub(pattern, instead, said, flags=re.M)
    assert done.returncode == 0, said
    said = re.sub(r'^\[(.*)\]$', lambda found: str(sorted(found[1].split(', '))), said, flags=re.M)
    return sorted(said.splitlines())


class Clients(zookeeper_cluster.ZooKeeperTest):
    def test_zkcli_prints_what_it_does_beside_a_zookeeper(self):
        with Server() as real:
            theirs = zkcli('%s:%s' % real.address)
        self.assertIn('Created /cli', theirs)
        self.assertIn('WatchedEvent state:SyncConnected type:NodeCreated path:/cli/w', theirs)
        self.maxDiff = None
        self.assertEqual(theirs, zkcli(self.cluster.hosts))

    def test_the_c_client(self):
        """Each kind of request, many at once; the program itself finds out whether all were done."""
        directory = tempfile.mkdtemp(prefix='conclave-test-')
        self.opened.callback(shutil.rmtree, directory)
        program = os.path.join(directory, 'zookeeper_load')
        source = os.path.join(harness.ROOT, 'bench', 'zookeeper_load.c')
        compiled = harness.run(
            ['cc', '-O1', '-DTHREADED', source, '-o', program, '-lzookeeper_mt', '-lpthread']
        )
        self.assertEqual(compiled.returncode, 0, compiled.stderr)
        hosts = self.cluster.hosts.replace(',', ' ')
        for operation in ('set', 'create', 'get', 'mixed'):
            done = harness.run([program, hosts, operation, '96', '6', '2', '200'])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreater(json.loads(done.stdout)['requests'], 100, operation)

    def test_an_npm_client(self):
        node_client_test.install()
        script = os.path.join(node_client_test.DIRECTORY, 'zookeeper.js')
        node = harness.run(['node', script, self.cluster.hosts])
        self.assertEqual(node.returncode, 0, node.stdout + node.stderr)
        self.assertIn('7 of 7 pass', node.stdout)


if __name__ == '__main__':
    harness.main()
