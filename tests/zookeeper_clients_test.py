"""Stock clients of ZooKeeper against three members: zkCli, whose output must be what it prints
beside a real ZooKeeper, the C client, and an npm client; and all three while leaders are killed.
(kazoo: zookeeper_test.py.)"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading

import harness
import node_client_test
import zookeeper_cluster
from zookeeper_wire import (
    CLASSES,
    EXISTS,
    GET_DATA,
    Client,
    Server,
    create,
    read,
    set_data,
)

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


def compile_c(directory, folder, name, *flags):
    """The path of the program. The client comes in a library with threads and in one without."""
    program = os.path.join(directory, name)
    source = os.path.join(harness.ROOT, folder, name + '.c')
    compiled = harness.run(['cc', '-O1', source, '-o', program, *flags])
    assert compiled.returncode == 0, compiled.stderr
    return program


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
        program = compile_c(directory, 'bench', 'zookeeper_load', '-l:libzookeeper_st.so.2')
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


class Worker:
    """A program that counts up in its path's `count` and owns `alive` there, until `stop` changes.
    It prints a line for each count that was acknowledged."""

    def __init__(self, path, command):
        self.path = path
        self.lines = []
        self.process = harness.spawn(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def acknowledged(self):
        return sum(line.isdigit() for line in list(self.lines))

    def wait_for_more(self, counts, timeout=40):
        wanted = self.acknowledged + counts

        def counted():
            assert self.process.poll() is None, self.told()
            return self.acknowledged >= wanted

        harness.wait_until(counted, timeout, f'{counts} more counts of {self.path}: {self.told()}')

    def told(self):
        return 'it printed:\n' + '\n'.join(self.lines[-15:])

    def end(self):
        """(exit code, counts acknowledged, those of which it does not know)."""
        harness.reap(self.process, 30)
        self.reader.join(10)
        numbers = re.fullmatch(r'stopped (\d+) (\d+)', self.lines[-1] if self.lines else '')
        assert numbers, self.told()
        return self.process.returncode, int(numbers[1]), int(numbers[2])


class CliWorker(Worker):
    """zkCli, which is told each step when the one before is over."""

    STEP_IS_OVER = 'printwatches is on'

    def __init__(self, path, hosts):
        self.changed = threading.Condition()
        self.counts = 0
        self.unknown = 0
        main = 'org.apache.zookeeper.ZooKeeperMain'
        command = ['java', '-Xmx128m', '-cp', CLASSES, main, '-timeout', '10000', '-server', hosts]
        super().__init__(path, command)
        self.driver = threading.Thread(target=self.drive, daemon=True)
        self.driver.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()

    @property
    def acknowledged(self):
        return self.counts

    def step(self, command):
        """The lines that it prints."""
        with self.changed:
            begin = len(self.lines)
            self.process.stdin.write(f'{command}\nprintwatches\n')
            self.process.stdin.flush()
            is_over = self.changed.wait_for(lambda: self.STEP_IS_OVER in self.lines[begin:], 40)
            assert is_over, self.told()
            return self.lines[begin:]

    def drive(self):
        self.step(f'create -e {self.path}/alive')
        self.step(f'get -w {self.path}/stop')
        self.lines.append('started')
        while not any('NodeDataChanged' in line for line in self.lines):
            found = '\n'.join(self.step(f'get -s {self.path}/count'))
            value = re.search(r'^(\d+)$', found, re.M)
            version = re.search(r'^dataVersion = (\d+)', found, re.M)
            if value is None or version is None:
                continue
            number = int(value[1]) + 1
            said = '\n'.join(self.step(f'set -v {version[1]} {self.path}/count {number}'))
            if 'version No is not valid' in said:
                continue
            if 'ConnectionLoss' in said:
                self.unknown += 1
            else:
                self.counts += 1
        self.process.stdin.write('quit\n')
        self.process.stdin.flush()

    def end(self):
        self.driver.join(30)
        harness.reap(self.process, 30)
        return self.process.returncode, self.counts, self.unknown


class WhileLeadersDie(zookeeper_cluster.ZooKeeperTest):
    """Clients of all kinds work while the leader is killed, twice; then each is looked at."""

    KILLS = 2
    COUNTS = 20  # that each has to do with every new leader

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        node_client_test.install()
        cls.directory = tempfile.mkdtemp(prefix='conclave-test-')
        try:
            cls.work()
        except BaseException:
            cls.cluster.print_logs()
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)
        super().tearDownClass()

    @classmethod
    def ask(cls, request):
        with Client(cls.cluster.running()[0].zookeeper) as client:
            reply = client.ask(request)
            assert reply.err == 0, (request, reply)
            client.close()
            return reply.body

    @classmethod
    def work(cls):
        for path in ('/c', '/npm', '/cli'):
            for node, data in ((path, b''), (path + '/count', b'0'), (path + '/stop', b'')):
                cls.ask(create(node, data))
        hosts = cls.cluster.hosts
        c = compile_c(
            cls.directory, 'tests', 'zookeeper_worker', '-DTHREADED', '-lzookeeper_mt', '-lpthread'
        )
        script = os.path.join(node_client_test.DIRECTORY, 'zookeeper_worker.js')
        cls.workers = [
            Worker('/c', [c, hosts, '/c']),
            Worker('/npm', ['node', script, hosts, '/npm']),
            CliWorker('/cli', hosts),
        ]
        for worker in cls.workers:
            worker.wait_for_more(3)
        cls.owners = {each.path: cls.owner(each.path) for each in cls.workers}
        for _ in range(cls.KILLS):
            leader = cls.cluster.leader()
            leader.kill()
            cls.cluster.leader()
            for worker in cls.workers:
                worker.wait_for_more(cls.COUNTS)
            leader.start()
            cls.cluster.wait_healthy()
        cls.owners_after = {each.path: cls.owner(each.path) for each in cls.workers}
        for worker in cls.workers:
            cls.ask(set_data(worker.path + '/stop', b'now'))
        cls.ends = {each.path: each.end() for each in cls.workers}

    @classmethod
    def owner(cls, path):
        """Of its ephemeral node: whose it is, and since when."""
        stat = cls.ask(read(EXISTS, path + '/alive'))
        return stat.ephemeral_owner, stat.czxid

    def check(self, path):
        code, acknowledged, unknown = self.ends[path]
        worker = next(each for each in self.workers if each.path == path)
        self.assertEqual(code, 0, worker.told())
        # The same session, with its node, from before the first failure to after the last.
        self.assertNotEqual(self.owners[path][0], 0)
        self.assertEqual(self.owners[path], self.owners_after[path])
        self.assertNotIn('xpired', '\n'.join(worker.lines))
        self.assertGreaterEqual(acknowledged, self.KILLS * self.COUNTS)
        data, stat = self.ask(read(GET_DATA, path + '/count'))
        self.assertEqual(int(data), stat.version)
        self.assertGreaterEqual(int(data), acknowledged)
        self.assertLessEqual(int(data), acknowledged + unknown)

    def test_the_c_client(self):
        self.check('/c')

    def test_an_npm_client(self):
        self.check('/npm')

    def test_zkcli(self):
        self.check('/cli')


if __name__ == '__main__':
    harness.main()
