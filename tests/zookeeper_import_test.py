"""`conclave import zookeeper`: the trees of a real ZooKeeper are copied into clusters, while they
are written to, through interruptions and failures, and both sides are compared node by node."""

import base64
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
import unittest

import harness
import zookeeper_cluster
from zookeeper_wire import (
    CREATE2,
    CREATE_CONTAINER,
    EXISTS,
    GET_CHILDREN2,
    GET_DATA,
    Client,
    Server,
    create,
    create_ttl,
    delete,
    get_acl,
    multi,
    read,
    set_acl,
    set_data,
)

MARK = b'conclave.import/zookeeper'
SEQUENTIAL, EPHEMERAL = 2, 1
NO_NODE, NO_AUTH = -101, -102
OPEN = [(31, 'world', 'anyone')]
# Of a scheme that Conclave does not know.
SASL = 'zookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider'


def digest(credentials):
    user = credentials.split(':')[0]
    hashed = hashlib.sha1(credentials.encode()).digest()
    return 'digest', user + ':' + base64.b64encode(hashed).decode()


def only(credentials, permissions=31):
    return (permissions, *digest(credentials))


def unhurried(address, **how):
    """A client whose session outlives what is waited for between two requests: nobody pings."""
    return Client(address, timeout_ms=40_000, **how)


class Tree:
    """What a client sees of a tree, without ephemeral nodes: path -> all that is copied."""

    def __init__(self, address, top='/', credentials=b'ann:pw', tls=None):
        self.top = top
        self.nodes = {}
        self.ephemerals = 0
        with unhurried(address, tls=tls) as client:
            client.auth('digest', credentials)
            self.walk(client, top)

    def walk(self, client, path):
        reply = client.ask(read(GET_CHILDREN2, path))
        if reply.err == NO_NODE and path != self.top:
            return False  # an ephemeral one, that went meanwhile
        if reply.err != 0:
            self.nodes[path] = reply.err
            return True
        names, stat = reply.body
        if stat.ephemeral_owner != 0:
            self.ephemerals += 1
            return False
        data, _ = client.ask(read(GET_DATA, path)).body
        acl, _ = client.ask(get_acl(path)).body
        above = '' if path == '/' else path
        stay = [
            name for name in names if above + '/' + name == '/zookeeper'
            or self.walk(client, above + '/' + name)
        ]
        # As if those that do not stay had gone.
        gone = len(names) - len(stay)
        self.nodes[path] = (
            data or b'',
            acl,
            (stat.ctime, stat.mtime, stat.version, stat.aversion, stat.data_length),
            (stat.num_children - gone, stat.cversion + gone),
        )
        return True


class Import:
    """The command, with what it printed."""

    def __init__(self, test, connect, target, *flags, **environment):
        self.log = os.path.join(target.directory, f'import-{time.monotonic_ns()}.log')
        command = [harness.Options.binary, 'import', 'zookeeper', '--connect', connect]
        command += ['--to', ','.join(member.url for member in target.members), *flags]
        with open(self.log, 'wb') as log:
            self.process = harness.spawn(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(os.environ, **environment),
            )
        test.addCleanup(self.kill)

    def output(self):
        with open(self.log, errors='replace') as log:
            return log.read()

    def wait_for(self, text, timeout=60):
        def seen():
            found = text in self.output()
            assert found or self.process.poll() is None, f'no {text!r}:\n{self.output()}'
            return found

        harness.wait_until(seen, timeout, repr(text))
        return self

    def end(self, timeout=60):
        """(exit code, output)."""
        harness.reap(self.process, timeout)
        return self.process.returncode, self.output()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        harness.reap(self.process)


class Writer(threading.Thread):
    """Changes what is below a node until it is stopped: data, children, sequential ones, ACLs."""

    def __init__(self, address, top):
        super().__init__(daemon=True)
        self.address = address
        self.top = top
        self.rounds = 0
        self.stopped = threading.Event()
        self.start()

    def run(self):
        chance = random.Random(5)
        with unhurried(self.address) as client:
            while not self.stopped.is_set():
                asked = [client.send(self.change(chance)) for _ in range(20)]
                for _ in asked:
                    client.receive()
                self.rounds += 20

    def change(self, chance):
        path = f'{self.top}/w{chance.randrange(40)}'
        return chance.choice(
            [
                create(path, b'%d' % self.rounds),
                create(path + '/c'),
                delete(path + '/c'),
                delete(path),
                set_data(path, b'again %d' % self.rounds),
                set_acl(path, [(31, 'world', 'anyone'), (1, 'ip', '10.0.0.1')]),
                create(f'{self.top}/s-', b'', flags=SEQUENTIAL),
                create(f'{self.top}/e-', b'', flags=SEQUENTIAL | EPHEMERAL),
            ]
        )

    def stop(self):
        self.stopped.set()
        self.join(20)
        return self.rounds


@harness.conclave_only('its own command')
class ImportTest(unittest.TestCase):
    """One ZooKeeper, in which each test has a node of its own; and clusters of its own."""

    @classmethod
    def setUpClass(cls):
        cls.source = Server([SASL]).start()

    @classmethod
    def tearDownClass(cls):
        cls.source.stop()

    def setUp(self):
        self.top = '/' + self.id().rsplit('.', 1)[1]
        self.client = unhurried(self.source.address)
        self.addCleanup(self.client.drop)
        self.client.auth('digest', b'ann:pw')
        self.ask(create(self.top))

    def ask(self, request, client=None):
        reply = (client or self.client).ask(request)
        self.assertEqual(reply.err, 0, request)
        return reply

    def target(self, members=1, kind=zookeeper_cluster.Cluster, flags=()):
        self.cluster = kind(members, flags=flags)
        self.addCleanup(self.cluster.stop)
        return self.cluster.start()

    @property
    def connect(self):
        return '%s:%s' % self.source.address + self.top

    def run_import(self, target, *flags, connect=None, **environment):
        return Import(self, connect or self.connect, target, *flags, **environment).end()

    def assert_copied(self, ended):
        code, output = ended
        self.assertEqual(code, 0, output)
        self.assertRegex(output, r'Pass \d+ found no change')
        self.assertIn('Verified', output)
        self.assertIn('Done.', output)
        self.assertIsNone(self.cluster.members[0].value(MARK))
        return output

    def assert_equal(self, target, top=None):
        top = top or self.top
        theirs = Tree(self.source.address, top)
        ours = Tree(target.members[0].zookeeper, top)
        paths = theirs.nodes.keys() | ours.nodes.keys()
        wrong = sorted(path for path in paths if theirs.nodes.get(path) != ours.nodes.get(path))
        detail = [(path, theirs.nodes.get(path), ours.nodes.get(path)) for path in wrong[:3]]
        self.assertEqual(detail, [], f'{len(wrong)} nodes differ')
        return theirs

    def fill(self, parents=20, children=50):
        """Nodes with all that a node can have."""
        chance = random.Random(3)
        acls = [OPEN, [only('ann:pw')], [(1, 'world', 'anyone'), only('ann:pw')]]
        acls.append([only('ann:pw'), (31, 'ip', '127.0.0.0/8')])
        for number in range(parents):
            path = f'{self.top}/p{number}'
            self.ask(create(path, b'parent', acls[number % len(acls)]))
            made = [
                create(f'{path}/c-', chance.randbytes(chance.randrange(200)), flags=SEQUENTIAL)
                for _ in range(children)
            ]
            self.ask(multi(made))
            gone = [delete(f'{path}/c-{i:010d}') for i in chance.sample(range(children), 5)]
            self.ask(multi(gone))
            for i in chance.sample(range(children), 10):
                self.client.ask(set_data(f'{path}/c-{i:010d}', chance.randbytes(9)))
                self.client.ask(set_acl(f'{path}/c-{i:010d}', acls[i % len(acls)]))
            self.ask(create(f'{path}/gone-', b'', flags=SEQUENTIAL | EPHEMERAL))
            self.ask(create(f'{path}/deep'))
            self.ask(create(f'{path}/deep/er', b'\0\xff'))
        self.ask(create(f'{self.top}/box', b'', opcode=CREATE_CONTAINER, flags=4))
        self.ask(create(f'{self.top}/box/inside'))
        self.ask(create_ttl(f'{self.top}/ttl', b'soon', 10_000_000))
        self.ask(create(f'{self.top}/\u00e4 \u4e2d', b'umlaut'))
        self.ask(create(f'{self.top}/large', os.urandom(900_000)))


class Copies(ImportTest):
    def test_all_of_a_tree(self):
        """Everything that a ZooKeeper has, from the root."""
        self.fill(*((10, 50) if harness.Options.quick else (60, 60)))
        self.ask(set_data('/', b'of the root'))
        target = self.target(3, flags=['--snapshot-count', '5'])
        connect = '%s:%s' % self.source.address
        flags = ('--source-auth', 'digest:ann:pw')
        output = self.assert_copied(self.run_import(target, *flags, connect=connect))
        copied = self.assert_equal(target, '/')
        self.assertGreater(copied.ephemerals, 5)
        self.assertIn(f'Copied {len(copied.nodes):,} nodes', output)
        self.assertIn(f'{copied.ephemerals} ephemeral nodes left behind', output)
        # Members begin again with what their snapshots have of it.
        for member in target.members:
            member.kill()
        for member in target.members:
            member.start()
        target.wait_healthy()
        self.assert_equal(target, '/')
        # What comes next has the same name on both sides, also where ephemeral ones were the last.
        with unhurried(target.members[1].zookeeper) as client:
            client.auth('digest', b'ann:pw')
            for path in (f'{self.top}/p1', f'{self.top}/p2', self.top, '/'):
                path = path.rstrip('/')
                following = create(f'{path}/next-', flags=SEQUENTIAL, opcode=CREATE2)
                theirs, ours = (self.ask(following, each) for each in (self.client, client))
                self.assertEqual(theirs.body[0], ours.body[0])
            stat = self.ask(read(EXISTS, f'{self.top}/box'), client).body
            self.assertEqual(stat.ephemeral_owner, 0)
        with Client(target.members[2].zookeeper) as nobody:
            self.assertEqual(nobody.ask(read(GET_DATA, f'{self.top}/p1')).err, NO_AUTH)
            self.assertEqual(nobody.ask(set_data(f'{self.top}/p2', b'')).err, NO_AUTH)

    def test_an_empty_tree_and_a_part_of_one(self):
        self.ask(create(self.top + '/app', b'1'))
        self.ask(create(self.top + '/app/a', b'2'))
        self.ask(create(self.top + '/other', b'3'))
        target = self.target()
        output = self.assert_copied(self.run_import(target, connect=self.connect + '/app'))
        self.assertIn(f'Creating {self.top}, which everybody may use', output)
        self.assertEqual(len(self.assert_equal(target, self.top + '/app').nodes), 2)
        self.assertEqual(
            list(Tree(target.members[0].zookeeper, self.top).nodes),
            [self.top + '/app/a', self.top + '/app', self.top],
        )
        # The same elsewhere: at the root, which is there.
        target = self.target()
        self.assert_copied(self.run_import(target, '--into', '/', connect=self.connect + '/app'))
        nodes = Tree(target.members[0].zookeeper).nodes
        self.assertEqual({path: node[0] for path, node in nodes.items()}, {'/': b'1', '/a': b'2'})

    def test_what_cannot_be_read_is_named(self):
        self.ask(create(self.top + '/open', b'1'))
        self.ask(create(self.top + '/closed', b'2', [only('ann:pw')]))
        self.ask(create(self.top + '/closed/below', b'3'))
        self.ask(create(self.top + '/shown', b'4', [(1, 'world', 'anyone'), only('ann:pw')]))
        self.ask(create(self.top + '/shown/below', b'5'))
        target = self.target()
        code, output = self.run_import(target)
        self.assertEqual(code, 1, output)
        self.assertIn(f'Not copied, nor what is below: {self.top}/closed: it may not', output)
        self.assertIn(f'{self.top}/shown: its ACL is shown without passwords', output)
        self.assertIn('2 nodes could not be read', output)
        output = self.assert_copied(self.run_import(target, '--resume', '--skip-unreadable'))
        self.assertIn('2 nodes could not be read: left behind', output)
        there = Tree(target.members[0].zookeeper, self.top).nodes
        self.assertEqual(list(there), [self.top + '/open', self.top])
        target = self.target()
        ended = self.run_import(target, CONCLAVE_IMPORT_SOURCE_AUTH='digest:ann:pw')
        self.assert_copied(ended)
        self.assertEqual(len(self.assert_equal(target).nodes), 6)

    def test_what_has_no_place_in_the_target_is_named(self):
        self.ask(create(self.top + '/zookeeper'))
        self.ask(create(self.top + '/zookeeper/x'))
        self.ask(create(self.top + '/y'))
        target = self.target()
        code, output = self.run_import(target, '--into', '/')
        self.assertEqual(code, 1, output)
        self.assertIn(f"{self.top}/zookeeper: its place in the target is ZooKeeper's own", output)
        self.assertIn('1 node cannot be in a Conclave cluster', output)

    def test_a_top_that_cannot_be_copied(self):
        self.ask(create(self.top + '/closed', b'2', [only('ann:pw')]))
        self.ask(create(self.top + '/e', b'', flags=EPHEMERAL))
        target = self.target()
        code, output = self.run_import(target, connect=self.connect + '/e')
        self.assertEqual((code, f'{self.top}/e is ephemeral' in output), (1, True), output)
        for flags in (['--skip-unreadable'], ['--skip-unreadable', '--resume']):
            code, output = self.run_import(target, *flags, connect=self.connect + '/closed')
            self.assertEqual(code, 1, output)
            self.assertIn(f'{self.top}/closed: it may not be read. Nothing was copied', output)

    def test_wrong_places(self):
        target = self.target()
        code, output = self.run_import(target, connect=self.connect + '/nope')
        self.assertEqual(code, 1)
        self.assertIn(f'there is no node {self.top}/nope', output)
        # Not ZooKeeper's port, and nobody's.
        connect = f'127.0.0.1:{harness.free_port()}'
        code, output = self.run_import(target, '--patience', '1', connect=connect)
        self.assertEqual((code, 'Connection refused' in output), (1, True), output)
        address = target.members[0].endpoint.removeprefix('http://')
        code, output = self.run_import(target, '--patience', '1', connect=address)
        self.assertEqual(code, 1, output)
        code, output = self.run_import(target, '--source-auth', 'nonsense:x')
        self.assertEqual((code, 'refuses the credentials' in output), (1, True), output)
        # The first host does not answer, the second does.
        self.assert_copied(self.run_import(target, connect=connect + ',' + self.connect))
        self.assert_equal(target)
        for wrong in (['--into', 'x'], ['--source-auth', 'ann'], ['--passes', '1']):
            code, output = self.run_import(target, *wrong)
            self.assertEqual(code, 2, output)

    def test_into_a_target_that_has_nodes(self):
        self.ask(create(self.top + '/both', b'of the source'))
        for _ in range(3):
            self.ask(create(self.top + '/both/s-', flags=SEQUENTIAL))
        target = self.target()
        with unhurried(target.members[0].zookeeper) as client:

            def data(path):
                return client.ask(read(GET_DATA, self.top + path)).body[0]

            self.ask(create(self.top), client)
            self.ask(create(self.top + '/own', b'kept'), client)
            self.ask(create(self.top + '/both', b'of the target'), client)
            for _ in range(5):
                self.ask(create(self.top + '/both/own-', flags=SEQUENTIAL), client)
            code, output = self.run_import(target)
            self.assertEqual(code, 1)
            self.assertIn(f'it is not empty: it has {self.top}', output)
            self.assertEqual(data('/both'), b'of the target')
            output = self.assert_copied(self.run_import(target, '--merge'))
            self.assertIn('The target keeps 6 nodes of its own', output)
            self.assertEqual(data('/both'), b'of the source')
            self.assertEqual(data('/own'), b'kept')
            made = self.ask(create(self.top + '/both/s-', flags=SEQUENTIAL), client).body
            self.assertEqual(made, self.top + '/both/s-0000000005')


class Lives(ImportTest):
    def test_a_tree_that_is_written_to(self):
        self.fill(10, 20)
        target = self.target()
        writer = Writer(self.source.address, self.top)
        self.addCleanup(writer.stop)
        harness.wait_until(lambda: writer.rounds > 100, 30, 'it to write')
        # It never comes to rest, and says so; where it does all the same for as long as two passes
        # take, on a machine that is busy, the other import is another one.
        flags = ('--source-auth', 'digest:ann:pw')
        code, output = self.run_import(target, *flags, '--passes', '2')
        self.assertIn(code, (0, 3), output)
        is_resumed = code == 3
        if is_resumed:
            self.assertIn('it changes all the time', output)
        else:
            target = self.target()
        running = Import(self, self.connect, target, *flags, '--resume', '--follow')
        running.wait_for('Following the source')
        before = writer.rounds
        harness.wait_until(lambda: writer.rounds > before + 500, 30, 'more to be written')
        writer.stop()
        running.process.send_signal(signal.SIGTERM)
        output = self.assert_copied(running.end())
        self.assertEqual('Going on with the import' in output, is_resumed)
        self.assertGreater(len(self.assert_equal(target).nodes), 200)

    def test_interruptions_and_a_second_import(self):
        self.fill(10, 50)
        target = self.target(3)
        flags = ('--source-auth', 'digest:ann:pw', '--follow')
        running = Import(self, self.connect, target, *flags)
        harness.wait_until(lambda: target.members[0].value(MARK) is not None, 20, 'its beginning')
        running.kill()
        code, output = self.run_import(target, '--source-auth', 'digest:ann:pw')
        self.assertEqual(code, 1)
        self.assertIn('begun and not ended; --resume', output)
        code, output = self.run_import(target, '--resume', '--merge')
        self.assertEqual(code, 1)
        self.assertIn('is another one', output)
        # Another ensemble that has the same place is none to go on with.
        with Server() as other, Client(other.address) as client:
            self.ask(create(self.top), client)
            connect = '%s:%s' % other.address
            for top in ('', self.top):
                ended = self.run_import(target, '--resume', connect=connect + top)
                self.assertEqual((ended[0], 'is another one' in ended[1]), (1, True), ended[1])
        self.ask(delete(self.top + '/p1/deep/er'))
        flags = ('--source-auth', 'digest:ann:pw', '--resume')
        code, _ = self.run_import(target, *flags, '--passes', '2')
        self.assertIn(code, (0, 3))
        if code == 3:
            self.assert_copied(self.run_import(target, *flags))
        self.assert_equal(target)

    def test_what_the_targets_clients_wrote_stays(self):
        """--resume neither overwrites nor removes it; nor does --merge what is ephemeral."""
        self.ask(create(self.top + '/a', b'1'))
        self.ask(create(self.top + '/b', b'1'))
        target = self.target()
        running = Import(self, self.connect, target, '--follow').wait_for('Following the source')
        running.kill()
        with unhurried(target.members[0].zookeeper) as client:
            self.ask(set_data(self.top + '/a', b'of the target'), client)
            self.ask(create(self.top + '/own', b'of the target'), client)
            for path in ('/own', '/a'):
                code, output = self.run_import(target, '--resume')
                self.assertEqual(code, 1, output)
                self.assertIn('a client of this cluster has written it', output)
                self.assertEqual(self.ask(read(GET_DATA, self.top + path), client).body[0],
                                 b'of the target')
                self.ask(delete(self.top + path), client)
            self.assert_copied(self.run_import(target, '--resume'))
            self.assert_equal(target)
            self.ask(create(self.top + '/live', b'', flags=EPHEMERAL), client)
            self.ask(create(self.top + '/live'))
            code, output = self.run_import(target, '--merge')
            self.assertEqual(code, 1, output)
            self.assertIn(f'{self.top}/live: it is an ephemeral node of a client', output)
            stat = self.ask(read(EXISTS, self.top + '/live'), client).body
            self.assertNotEqual(stat.ephemeral_owner, 0)

    def test_acls_of_a_foreign_scheme_are_counted(self):
        """Each node once, and as it is in the end."""
        foreign = [(31, 'sasl', 'ann'), (7, 'world', 'anyone')]
        stays, opens, goes, closes = (f'{self.top}/{name}' for name in 'abcd')
        for path in (stays, opens, goes):
            self.ask(create(path, b'1', foreign))
        self.ask(create(closes))
        target = self.target()
        running = Import(self, self.connect, target, '--follow').wait_for('Following the source')
        for passes in (1, 2):
            self.ask(set_data(stays, b'another'))
            harness.wait_until(
                lambda n=passes: running.output().count('\nPass ') >= n, 30, 'a pass that finds it'
            )
        self.ask(delete(goes))
        self.ask(delete(opens))
        self.ask(create(opens))
        self.ask(set_acl(closes, foreign))
        running.process.send_signal(signal.SIGTERM)
        output = self.assert_copied(running.end())
        self.assertIn('2 ACLs with a scheme that Conclave does not know', output)
        self.assert_equal(target)

    def test_a_merge_keeps_what_is_above_the_targets_own(self):
        self.ask(create(self.top + '/a'))
        self.ask(create(self.top + '/a/b'))
        target = self.target()
        with unhurried(target.members[0].zookeeper) as client:
            for path in ('', '/a', '/a/own'):
                self.ask(create(self.top + path), client)
            running = Import(self, self.connect, target, '--merge', '--follow')
            running.wait_for('Following the source')
            self.ask(delete(self.top + '/a/b'))
            self.ask(delete(self.top + '/a'))
            running.wait_for(f'{self.top}/a is gone in the source, and stays')
            running.process.send_signal(signal.SIGTERM)
            output = self.assert_copied(running.end())
            self.assertIn('1 node that went in the source stayed', output)
            self.assertEqual(self.ask(read(EXISTS, self.top + '/a/own'), client).err, 0)

    def test_the_root_of_another_ensemble(self):
        """Roots look alike: the hosts tell."""
        target = self.target()
        connect = '%s:%s' % self.source.address
        flags = ('--into', '/x')
        running = Import(self, connect, target, *flags, '--follow')
        running.wait_for('Following the source')
        running.kill()
        with Server() as other:
            ended = self.run_import(target, *flags, '--resume', connect='%s:%s' % other.address)
            self.assertEqual(ended[0], 1, ended[1])
            self.assertIn(f'is of {connect}: if that is the same ensemble', ended[1])
            # One of them is enough: the tree is that of whoever answers.
            both = f'127.0.0.1:{harness.free_port()},{connect}'
            running = Import(self, both, target, *flags, '--resume', '--follow')
            running.wait_for('Going on with the import').wait_for('Following the source')

    def test_one_import_ends_another(self):
        target = self.target()
        first = Import(self, self.connect, target, '--follow').wait_for('Following the source')
        second = Import(self, self.connect, target, '--follow', '--resume')
        second.wait_for('Following the source')
        self.ask(create(self.top + '/a'))
        code, output = first.end()
        self.assertEqual(code, 1, output)
        self.assertIn('another import was begun', output)
        second.process.send_signal(signal.SIGTERM)
        self.assert_copied(second.end())
        self.assert_equal(target)

    def test_failures_of_both_sides(self):
        """The target's leader dies, and the ZooKeeper is started again."""
        self.fill(10, 50)
        target = self.target(3)
        flags = ('--source-auth', 'digest:ann:pw', '--follow')
        running = Import(self, self.connect, target, *flags).wait_for('Following the source')
        target.leader().kill()
        self.source.process.kill()
        harness.reap(self.source.process)
        self.source.start()
        self.client = unhurried(self.source.address)
        self.addCleanup(self.client.drop)
        self.client.auth('digest', b'ann:pw')
        self.ask(create(self.top + '/after'))
        running.process.send_signal(signal.SIGTERM)
        code, output = running.end()
        self.assertEqual(code, 0, output)
        theirs = Tree(self.source.address, self.top).nodes
        ours = Tree(target.running()[0].zookeeper, self.top).nodes
        self.assertEqual(theirs, ours)
        self.assertIn(self.top + '/after', ours)


class Guarded(ImportTest):
    def test_where_users_are_enabled(self):
        target = self.target()
        for command in (
            ['user', 'add', 'root:rootpw'],
            ['user', 'grant-role', 'root', 'root'],
            ['user', 'add', 'ann:annpw'],
            ['auth', 'enable'],
        ):
            done = harness.etcdctl(target.endpoints, *command)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        code, output = self.run_import(target)
        self.assertEqual((code, 'nobody said who asks' in output), (1, True), output)
        code, output = self.run_import(target, '--to-user', 'ann:annpw')
        self.assertEqual((code, 'permission denied' in output), (1, True), output)
        code, output = self.run_import(target, CONCLAVE_IMPORT_TO_USER='root:rootpw')
        self.assertEqual(code, 0, output)
        self.assert_equal(target)

    def test_from_one_cluster_to_another_with_tls(self):
        """A source with TLS, whose clients show certificates; here it is another Conclave."""
        source = self.target(kind=zookeeper_cluster.SecureCluster)
        tls = source.alice.context()
        with Client(source.members[0].zookeeper, tls=tls) as client:
            for path in ('/a', '/a/b', '/c'):
                self.ask(create(path, path.encode()), client)
        target = self.target()
        connect = 'tls://%s:%s' % source.members[0].zookeeper
        flags = source.alice.flags()
        self.assert_copied(self.run_import(target, *flags, connect=connect))
        nodes = Tree(target.members[0].zookeeper).nodes
        self.assertEqual(sorted(nodes), ['/', '/a', '/a/b', '/c'])
        code, output = self.run_import(target, '--merge', '--patience', '1', connect=connect)
        self.assertEqual(code, 1)
        self.assertIn('certificate', output)


if __name__ == '__main__':
    harness.main()
