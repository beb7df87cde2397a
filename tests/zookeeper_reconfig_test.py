"""ZooKeeper's reconfig: kazoo, zkCli and raw connections change the members of a cluster that
serves, with members killed in between; and what a real ensemble of three answers to the same
requests, right or wrong.

Accepted differences, and why:
- A request that changes nothing makes no new version: there is none to tell of.
- An id that was removed never comes back, and 0 is nobody's.
- Nobody joins at another member's address, on the loopback interface neither.
- A voter does not become an observer, and there is one observer at a time.
- Where its clients reach a server is for that to say, by --zookeeper-advertise.
- Who joins is started afterwards, and has no vote until then. (In ZooKeeper it has to follow the leader before.)
- Observers alone and ZooKeeper's groups are bad arguments, and not an answer that could not be read (-5).
- One voter may be enough; a ZooKeeper that has not been told so by standaloneEnabled wants two.
- Who has no right is told so before it is looked at who would be there.
- Texts are read before the version is looked at, and all members come alone: ZooKeeper would ignore who joins or
  leaves. A port above 65535 is a bad argument, and not an answer that could not be read (-5).
"""

import concurrent.futures
import contextlib
import logging
import subprocess
import threading
import unittest

import requests
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    ConnectionLoss,
    NewConfigNoQuorumError,
    NoAuthError,
)
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

import harness
import zookeeper_cluster
from harness import wait_until
from zookeeper_wire import (
    CLASSES,
    GET_DATA,
    RECONFIG,
    Client,
    Closed,
    Ensemble,
    create,
    int64,
    read,
    set_acl,
    set_data,
    string,
)

logging.getLogger('kazoo').setLevel(logging.CRITICAL)

CONFIG = '/zookeeper/config'
LONG = 40
SUPER = 'super:lK75jTNcA+U9vtVEw5vB51mj/w4='  # of super:secret
FLAGS = ('--zookeeper-reconfig', '--zookeeper-super-digest', SUPER)

BAD_ARGUMENTS, MARSHALLING, NO_QUORUM, NO_AUTH, BAD_VERSION, DISABLED = -8, -5, -13, -102, -103, -123


def reconfig(joining=None, leaving=None, members=None, version=-1):
    return RECONFIG, b''.join(map(string, (joining, leaving, members))) + int64(version)


class Configuration:
    """What /zookeeper/config says: of each id its line, and the version."""

    def __init__(self, data):
        *lines, version = data.decode().split('\n')
        assert version.startswith('version='), data
        self.version = int(version.removeprefix('version='), 16)
        split = (line.removeprefix('server.').split('=') for line in lines)
        self.lines = {int(number): line for number, line in split}


def line_of(member, role='participant'):
    host = f'127.0.0.1:{member.peer_port}:{member.peer_port + 1}:{role}'
    return f'{host};127.0.0.1:{member.zookeeper_port}'


class ReconfigTest(unittest.TestCase):
    """Each test has a cluster of its own."""

    members = 3
    flags = FLAGS

    def setUp(self):
        self.cluster = zookeeper_cluster.AdvertisingCluster(self.members, flags=self.flags).start()
        self.addCleanup(self.cluster.stop)
        self.opened = contextlib.ExitStack()
        self.addCleanup(self.opened.close)
        self.wait_until_told()

    def wait_until_told(self):
        wait_until(
            lambda: all(';' in line for line in self.config().lines.values())
            and len(self.config().lines) == self.members,
            LONG,
            'all members to have told their addresses',
        )

    def connect(self, member=None, secret='super:secret'):
        """A raw connection of the super user's."""
        client = Client((member or self.cluster.running()[0]).zookeeper)
        if secret:
            self.assertEqual(client.auth('digest', secret.encode()).err, 0)
        return self.opened.enter_context(client)

    def kazoo(self, member=None, secret='super:secret'):
        hosts = '%s:%s' % member.zookeeper if member else self.cluster.hosts
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5)
        auth = [('digest', secret)] if secret else None
        client = KazooClient(hosts, connection_retry=retry, auth_data=auth)
        client.start(timeout=20)
        self.opened.callback(client.close)
        self.opened.callback(client.stop)
        return client

    def config(self, member=None):
        client = self.connect(member, None)
        data = client.ask(read(GET_DATA, CONFIG)).body[0]
        client.close()
        return Configuration(data)

    def id_of(self, member):
        found = [number for number, line in self.config().lines.items() if line == line_of(member)]
        self.assertEqual(len(found), 1, member.name)
        return found[0]

    def new_member(self, name):
        """One that is to join those who are there now."""
        member = self.cluster.new_member(name)
        member.joins = f'{self.cluster.initial_cluster()},{name}={member.peer_url}'
        self.cluster.members.append(member)
        return member

    def gone(self, member):
        self.assertEqual(member.wait_exit(LONG), 0, member.log()[-2000:])
        self.assertIn('removed', member.log())
        self.cluster.members.remove(member)

    def serves(self, member):
        """It has told its address, and answers."""
        member.start()
        wait_until(lambda: self.connect(member).ask(read(GET_DATA, CONFIG)).err == 0, LONG, 'it')

    def promoted(self, client, line):
        """Once it is not behind any more."""

        def done():
            try:
                client.reconfig(line, None, None)
            except NewConfigNoQuorumError:
                return False
            return True

        wait_until(done, LONG, f'{line} to be granted')


class ChangesTest(ReconfigTest):
    def test_an_observer_is_added_promoted_and_removed(self):
        events = []
        follower = self.cluster.followers()[0]
        client = self.kazoo(follower)
        client.create('/before', b'1')
        before = Configuration(client.get(CONFIG, watch=events.append)[0])
        late = self.new_member('m4')
        data, stat = client.reconfig(f'server.4={line_of(late, "observer")}', None, None)
        after = Configuration(data)
        self.assertEqual(after.lines, before.lines | {4: line_of(late, 'observer')})
        self.assertEqual(after.version, stat.mzxid)
        self.assertGreater(after.version, before.version)
        self.assertEqual(client.get(CONFIG), (data, stat))
        wait_until(lambda: events, LONG, 'the event')
        self.assertEqual([(event.type, event.path) for event in events], [('CHANGED', CONFIG)])
        self.assertEqual(self.config().lines, after.lines)

        with self.assertRaises(NewConfigNoQuorumError):
            client.reconfig(f'server.4={line_of(late)}', None, None)
        late.start()
        self.promoted(client, f'server.4={line_of(late)}')
        self.assertEqual(self.config().lines, before.lines | {4: line_of(late)})
        self.serves_znodes(late)

        data, _ = client.reconfig(None, '4', None)
        self.assertEqual(Configuration(data).lines, before.lines)
        self.gone(late)
        self.assertEqual(self.config().lines, before.lines)
        with self.assertRaises(BadArgumentsError):
            client.reconfig(f'server.4={line_of(late)}', None, None)  # an id never comes back

    def serves_znodes(self, late):
        wait_until(lambda: self.kazoo(late).get('/before')[0] == b'1', LONG, 'it to serve')
        self.kazoo(late).create('/after', b'2')

    def test_a_voter_is_added_and_another_one_takes_its_place(self):
        client = self.kazoo(self.cluster.leader())
        fourth = self.new_member('m4')
        client.reconfig(f'server.4={line_of(fourth)}', None, None)
        self.serves(fourth)
        client.create('/a', b'x')
        fourth.kill()
        self.cluster.members.remove(fourth)
        fifth = self.new_member('m5')
        data, _ = client.reconfig(f'server.-5={line_of(fifth)}', '4', None)
        lines = Configuration(data).lines
        self.assertEqual(lines[-5], line_of(fifth))
        self.assertEqual(len(lines), 4)
        self.serves(fifth)
        self.assertEqual(self.kazoo(fifth).get('/a')[0], b'x')

    def test_all_members_in_one_text(self):
        client = self.kazoo()
        config = self.config()
        goes = self.cluster.followers()[0]
        leaving = self.id_of(goes)
        late = self.new_member('m4')
        lines = {number: line for number, line in config.lines.items() if number != leaving}
        lines[4] = line_of(late)
        text = '\n'.join(f'server.{number}={line}' for number, line in lines.items())
        text += f'\nversion={config.version:x}'
        try:
            data, _ = client.reconfig(None, None, text, config.version)
            self.assertEqual(Configuration(data).lines, lines)
        except ConnectionLoss:  # it was to the one that has gone
            pass
        self.gone(goes)
        self.assertEqual(self.config().lines, lines)
        late.joins = ','.join(f'{m.name}={m.peer_url}' for m in self.cluster.members)
        self.serves(late)

    def test_the_leader_is_removed_by_a_client_of_its_own(self):
        leader = self.cluster.leader()
        client = self.connect(leader)
        client.ask(create('/a', b'x'))
        leaving = self.id_of(leader)
        lines = self.config().lines
        del lines[leaving]
        with contextlib.suppress(Closed):
            answer = client.ask(reconfig(leaving=str(leaving)))
            self.assertEqual(answer.err, 0)
            self.assertEqual(Configuration(answer.body[0]).lines, lines)
        self.gone(leader)
        wait_until(lambda: self.config().lines == lines, LONG, 'the others to go on')
        other = self.connect()
        self.assertEqual(other.ask(reconfig(leaving=str(leaving))).err, 0, 'asked again')
        self.assertEqual(other.ask(read(GET_DATA, '/a')).body[0], b'x')
        self.assertEqual(other.ask(set_data('/a', b'y')).err, 0)

    def test_the_leader_is_removed_by_a_client_of_another(self):
        leader = self.cluster.leader()
        leaving = self.id_of(leader)
        client = self.connect(self.cluster.followers()[0])
        answer = client.ask(reconfig(leaving=str(leaving)))
        self.assertEqual(answer.err, 0)
        self.gone(leader)
        self.assertEqual(client.ask(create('/a')).err, 0)

    def test_down_to_one_and_up_again(self):
        for _ in range(2):
            goes = self.cluster.followers()[0]
            stays = [member for member in self.cluster.running() if member is not goes]
            client = self.connect(stays[0])
            self.assertEqual(client.ask(reconfig(leaving=str(self.id_of(goes)))).err, 0)
            self.gone(goes)
        client = self.connect()
        last = str(self.id_of(self.cluster.members[0]))
        self.assertEqual(client.ask(reconfig(leaving=last)).err, BAD_ARGUMENTS)
        late = self.new_member('m4')
        self.assertEqual(client.ask(reconfig(f'server.4={line_of(late)}')).err, 0)
        self.assertEqual(client.ask(create('/a')).err, 0, 'nobody waits for it')
        self.serves(late)
        self.assertEqual(self.connect(late).ask(create('/b')).err, 0)

    def test_where_a_member_is_reached(self):
        goes = self.cluster.followers()[0]
        number = self.id_of(goes)
        goes.terminate()
        goes.peer_port = harness.free_port()
        client = self.connect()
        answer = client.ask(reconfig(f'server.{number}={line_of(goes)}'))
        self.assertEqual(answer.err, 0)
        self.assertEqual(Configuration(answer.body[0]).lines[number], line_of(goes))
        goes.joins = self.cluster.initial_cluster()
        self.serves(goes)
        self.assertEqual(self.connect(goes).ask(create('/a')).err, 0)

    def test_zkcli(self):
        late = self.cluster.new_member('m4')
        config = self.config()
        said = self.zkcli(
            'addauth digest super:secret',
            f'reconfig -v {config.version:x} -add server.4={line_of(late, "observer")}',
            f'reconfig -v {config.version:x} -remove 4',
            'reconfig -remove 4',
            'config',
        )
        self.assertEqual(said.count('Committed new configuration:'), 2, said)
        self.assertIn(f'server.4={line_of(late, "observer")}', said)
        self.assertIn('version No is not valid', said)
        self.assertEqual(self.config().lines, config.lines)

    def zkcli(self, *commands):
        command = ['java', '-cp', CLASSES, 'org.apache.zookeeper.ZooKeeperMain']
        command += ['-server', self.cluster.hosts]
        typed = '\n'.join(commands) + '\nquit\n'
        done = subprocess.run(
            command, input=typed, text=True, capture_output=True, timeout=90, check=False
        )
        return done.stdout + done.stderr


class RefusalsTest(ReconfigTest):
    def ask(self, *request, client=None):
        return (client or self.connect()).ask(reconfig(*request)).err

    def test_who_may_not(self):
        leaving = str(self.id_of(self.cluster.members[2]))
        for secret in (None, 'super:wrong', 'bob:pw'):
            for member in self.cluster.members:
                self.assertEqual(
                    self.ask(None, leaving, client=self.connect(member, secret)), NO_AUTH
                )
        with self.assertRaises(NoAuthError):
            self.kazoo(secret=None).reconfig(None, leaving, None)
        acl = make_digest_acl('bob', 'pw', write=True, read=True)
        given = [(acl.perms, acl.id.scheme, acl.id.id), (1, 'world', 'anyone')]
        self.assertEqual(self.connect().ask(set_acl(CONFIG, given)).err, 0)
        self.assertEqual(self.ask(None, '77', client=self.connect(None, 'bob:pw')), 0)
        self.assertEqual(self.ask(None, '77', client=self.connect(None, 'ann:pw')), NO_AUTH)
        self.assertEqual(len(self.config().lines), 3)

    def test_who_may_not_keeps_nobody_waiting(self):
        late, other = self.cluster.new_member('m4'), self.cluster.new_member('m5')
        # Each has one under way at a time; more of them than changes may wait.
        crowd = [self.connect(member, None) for member in self.cluster.members * 30]
        for client in crowd:
            for _ in range(10):
                client.send(reconfig(f'server.9={line_of(other)}'))
        client = self.connect()
        for number in (41, 42, 43):
            self.assertEqual(self.ask(f'server.{number}={line_of(late)}', client=client), 0)
            self.assertEqual(self.ask(None, str(number), client=client), 0)
        for client in crowd:
            self.assertEqual({client.receive().err for _ in range(10)}, {NO_AUTH})

    def test_another_version(self):
        config = self.config()
        for version in (0, 1, config.version - 1, config.version + 1, -2, 1 << 62):
            self.assertEqual(self.ask(None, '77', None, version), BAD_VERSION, version)
        with self.assertRaises(BadVersionError):
            self.kazoo().reconfig(None, '77', None, config.version + 1)
        self.assertEqual(self.ask(None, '77', None, config.version), 0)
        self.assertEqual(self.config().version, config.version, 'nothing has changed')

    def test_two_at_once_from_one_version(self):
        for round_number in range(3):
            version = self.config().version
            late = [self.cluster.new_member(f'late{round_number}{n}') for n in range(4)]
            clients = [self.connect(member) for member in (self.cluster.members * 2)[:4]]
            number = 10 * (round_number + 1)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                asked = [
                    pool.submit(
                        client.ask,
                        reconfig(f'server.{number + n}={line_of(late[n])}', None, None, version),
                    )
                    for n, client in enumerate(clients)
                ]
                codes = sorted(future.result().err for future in asked)
            self.assertEqual(codes, [BAD_VERSION] * 3 + [0])
            added = [new for new in self.config().lines if number <= new < number + 10]
            self.assertEqual(len(added), 1)
            self.assertEqual(self.ask(None, str(added[0])), 0)

    def test_what_cannot_be(self):
        config = self.config()
        first = min(config.lines)
        line = config.lines[first]
        spare = '127.0.0.1:1:2:participant;127.0.0.1:3'
        self.assertEqual(self.ask(f'server.{first}={line.replace("participant", "observer")}'), -8)
        self.assertEqual(self.ask(f'server.9={line}'), BAD_ARGUMENTS)
        self.assertEqual(self.ask(f'server.0={spare}'), BAD_ARGUMENTS)
        self.assertEqual(self.ask(f'server.{first}={line[:-1]}'), BAD_ARGUMENTS)
        self.assertEqual(self.ask('server.9=nonsense'), BAD_ARGUMENTS)
        self.assertEqual(self.ask('server.9=127.0.0.1:99999:2;3'), BAD_ARGUMENTS)
        self.assertEqual(self.ask(None, 'nonsense'), MARSHALLING)
        self.assertEqual(self.ask(None, '77', f'server.9={spare}'), BAD_ARGUMENTS)
        self.assertEqual(self.ask(None, None, f'server.9={spare}'), NO_QUORUM)
        self.assertEqual(self.ask(None, ','.join(map(str, config.lines))), BAD_ARGUMENTS)
        self.assertEqual(self.config().lines, config.lines)

    def test_too_few_would_be_there(self):
        down, stays, goes = self.cluster.members
        numbers = {member: self.id_of(member) for member in self.cluster.members}
        down.kill()
        wait_until(lambda: self.cluster.leader() is not down, LONG, 'a leader')
        client = self.connect(stays)

        wait_until(self.is_missed, LONG, 'it to be missed')
        self.assertEqual(self.ask(None, str(numbers[goes]), client=client), NO_QUORUM)
        self.assertEqual(self.ask(f'server.4={line_of(down)}', client=client), BAD_ARGUMENTS)
        late = self.new_member('m4')
        self.assertEqual(self.ask(f'server.4={line_of(late)}', client=client), NO_QUORUM)
        swap = f'server.4={line_of(late)}', str(numbers[down])
        self.assertEqual(self.ask(*swap, client=client), 0)
        self.cluster.members.remove(down)
        late.joins = ','.join(f'{m.name}={m.peer_url}' for m in self.cluster.members)
        self.serves(late)

    def test_no_majority_moves_at_once(self):
        goes, stays = self.cluster.followers()
        client = self.connect(self.cluster.leader())
        lines = self.config().lines
        moved = {m: f'server.{self.id_of(m)}={self.elsewhere(m)}' for m in (goes, stays)}
        self.assertEqual(self.ask(','.join(moved.values()), client=client), NO_QUORUM)
        stays.terminate()
        wait_until(self.is_missed, LONG, 'it to be missed')
        self.assertEqual(self.ask(moved[goes], client=client), NO_QUORUM)
        self.assertEqual(self.config().lines, lines)

    @staticmethod
    def elsewhere(member):
        """Its line, with a peer port where nobody listens."""
        here, port = line_of(member), harness.free_port()
        return here.replace(f':{member.peer_port}:{member.peer_port + 1}:', f':{port}:{port + 1}:')

    def is_missed(self):
        """By the leader, that one of the others is not there."""
        url = self.cluster.leader().url + '/metrics'
        return '\nconclave_peers_connected 1\n' in requests.get(url, timeout=5).text


class OrderTest(ReconfigTest):
    def test_within_a_session(self):
        client = self.connect(self.cluster.followers()[0])
        late = self.cluster.new_member('m4')
        client.ask(create('/a'))
        sent = [
            client.send(request)
            for request in (
                set_data('/a', b'1'),
                reconfig(f'server.4={line_of(late)}'),
                read(GET_DATA, CONFIG),
                set_data('/a', b'2'),
                reconfig(None, '4'),
                read(GET_DATA, CONFIG),
                read(GET_DATA, '/a'),
            )
        ]
        answers = [client.receive() for _ in sent]
        self.assertEqual([(each.xid, each.err) for each in answers], [(xid, 0) for xid in sent])
        self.assertEqual(answers[1].body, answers[2].body)
        self.assertIn(4, Configuration(answers[2].body[0]).lines)
        self.assertNotIn(4, Configuration(answers[5].body[0]).lines)
        self.assertEqual(answers[6].body[0], b'2')
        zxids = [answers[n].zxid for n in (0, 1, 3, 4)]
        self.assertEqual(zxids, sorted(set(zxids)))

    def test_while_others_write(self):
        """A change of members is proposed into an empty log: those who write wait, and that is
        all."""
        stop = threading.Event()
        written = [0] * 6

        def write(number):
            client = self.connect(self.cluster.members[number % 3])
            path = f'/w{number}'
            self.assertEqual(client.ask(create(path)).err, 0)
            while not stop.is_set():
                sent = [client.send(set_data(path, b'x' * 100)) for _ in range(20)]
                for xid in sent:
                    answer = client.receive()
                    self.assertEqual((answer.xid, answer.err), (xid, 0))
                    written[number] += 1
            stat = client.ask(read(GET_DATA, path)).body[1]
            self.assertEqual(stat.version, written[number])

        late = self.cluster.new_member('m4')
        with concurrent.futures.ThreadPoolExecutor() as pool:
            writers = [pool.submit(write, number) for number in range(len(written))]
            try:
                for round_number in range(10):
                    client = self.connect(self.cluster.members[round_number % 3])
                    joins = reconfig(f'server.{40 + round_number}={line_of(late)}')
                    self.assertEqual(client.ask(joins).err, 0)
                    leaves = reconfig(None, str(40 + round_number))
                    self.assertEqual(client.ask(leaves).err, 0)
            finally:
                stop.set()
            for writer in writers:
                writer.result()
        self.assertGreater(min(written), 0)
        self.assertEqual(len(self.config().lines), 3)

    def test_a_leader_that_is_killed_meanwhile(self):
        """Whatever became of it: asked again it is done, and once."""
        for number in (41, 42):
            late = self.cluster.new_member(f'late{number}')
            leader = self.cluster.leader()
            client = self.connect(self.cluster.followers()[0])
            client.send(reconfig(f'server.{number}={line_of(late)}'))
            leader.kill()

            def asked_again(number=number, late=late):
                try:
                    answer = self.connect(self.cluster.followers()[0]).ask(
                        reconfig(f'server.{number}={line_of(late)}')
                    )
                except Closed:
                    return False
                return answer.err == 0 and number in Configuration(answer.body[0]).lines

            # The one that is down is missing from a quorum of four.
            leader.start()
            wait_until(asked_again, LONG, 'it to be done')
            self.cluster.wait_healthy()
            self.assertEqual(self.connect().ask(reconfig(None, str(number))).err, 0)
        self.assertEqual(len(self.config().lines), 3)


class WitnessTest(ReconfigTest):
    """Of which nobody knows sessions, rights or versions."""

    flags = FLAGS + ('--witnesses', 'm3')

    def wait_until_told(self):
        """A witness tells none."""

    def test_changes(self):
        client = self.connect()
        late = self.new_member('m4')
        self.assertEqual(client.ask(reconfig(None, '1', None, 1)).err, BAD_VERSION)
        self.assertEqual(self.connect(None, None).ask(reconfig(None, '1')).err, NO_AUTH)
        self.assertEqual(client.ask(reconfig(f'server.4={line_of(late)}')).err, 0)
        late.start()
        wait_until(lambda: late.status().leader != 0 and late.get('a'), LONG, 'it to serve')
        witness = self.cluster.members[2]
        self.assertTrue(witness.is_running(), witness.log()[-2000:])
        goes = next(m for m in self.cluster.followers() if m is not witness and m is not late)
        other = self.connect(next(m for m in self.cluster.members[:2] if m is not goes))
        self.assertEqual(other.ask(reconfig(None, str(self.id_of(goes)))).err, 0)
        self.gone(goes)
        late.kill()
        wait_until(lambda: other.ask(create('/with-the-witness')).err == 0, LONG, 'a quorum')


class DisabledTest(unittest.TestCase):
    def test_it_is_refused(self):
        flags = ('--zookeeper-super-digest', SUPER)
        with zookeeper_cluster.AdvertisingCluster(1, flags=flags) as cluster:
            with Client(cluster.members[0].zookeeper) as client:
                client.auth('digest', b'super:secret')
                for request in (reconfig(None, '1'), reconfig('nonsense'), reconfig(None, 'x')):
                    self.assertEqual(client.ask(request).err, DISABLED)


class BesideZooKeeper(ReconfigTest):
    def setUp(self):
        super().setUp()
        digest = f'zookeeper.DigestAuthenticationProvider.superDigest={SUPER}'
        self.real = self.opened.enter_context(Ensemble([digest]))
        addresses = self.cluster.members[0].zookeeper, self.real.address()
        self.supers = [self.opened.enter_context(Client(address)) for address in addresses]
        self.others = [self.opened.enter_context(Client(address)) for address in addresses]
        for client in self.supers:
            self.assertEqual(client.auth('digest', b'super:secret').err, 0)

    @staticmethod
    def config_at(client):
        return Configuration(client.ask(read(GET_DATA, CONFIG)).body[0])

    def ask_both(self, make, number=None):
        """`make` gets a server's configuration. The codes must be the same, and of what was done the
        lines of who came; those of who was there stay."""
        for client, other in zip(self.supers, self.others):
            before = self.config_at(client)
            refused = other.ask(reconfig(*make(before))).err
            reply = client.ask(reconfig(*make(before)))
            after = self.config_at(client)
            said = reply.body and Configuration(reply.body[0]).lines
            if reply.err == 0:
                self.assertEqual(said, after.lines)
                self.assertEqual(reply.body[1].mzxid, after.version)
                self.assertGreaterEqual(reply.zxid, after.version)
            else:
                self.assertIsNone(said)
                self.assertEqual(after.lines, before.lines)
            new = {key: line for key, line in after.lines.items() if key not in before.lines}
            gone = [key for key in before.lines if key not in after.lines]
            yield refused, reply.err, new, gone == ([number] if number else [])

    def assert_same(self, make, number=None):
        ours, theirs = self.ask_both(make, number)
        self.assertEqual(ours, theirs, make(Configuration(b'server.1=\nversion=0')))
        return ours

    def test_answers(self):
        spare = '127.0.0.1:{0}:{1}:{2};127.0.0.1:{3}'
        voter, observer = (spare.format(11, 12, role, 13) for role in ('participant', 'observer'))
        wrong = [
            *(f'server.9={text}' for text in ('', 'nonsense', 'h:1:1;3', 'h:x:2;3', 'h:1:x;3')),
            *(f'server.9={text}' for text in ('h:1:2:leader;3', 'h:1;3', 'h:1:2', 'h:1:2;x')),
            *('server.9', f'server.x={voter}', f'server.={voter}', f'server.9={voter}=1'),
            *(f'server.9={text}' for text in ('h:1:2;', 'h:1:2:observer:x;3', 'h:1:2;3;4')),
            *('nonsense', f'server.9={voter},server.10', f'server.9={voter},server.y={voter}'),
        ]
        for text in wrong:
            _, code, new, _ = self.assert_same(lambda _, text=text: (text,))
            self.assertIn(code, (BAD_ARGUMENTS, MARSHALLING), text)
            self.assertEqual(new, {})
        for text in ('x', 'server.1', '1,x', '1;2', '0x1'):
            self.assert_same(lambda _, text=text: (None, text))
        for text in ('x', f'server.x={voter}', '# nobody'):
            self.assert_same(lambda _, text=text: (None, None, text))
        self.assert_same(lambda config: (None, ','.join(map(str, config.lines))))
        for offset in (1, -1, 1 << 40):
            self.assert_same(lambda config, by=offset: (None, '77', None, config.version + by))
        self.assert_same(lambda _: (None, '77', None, 0))
        for request in ((), (None, '77'), (None, '77, 78,'), ('', '')):
            self.assertEqual(self.assert_same(lambda _, asked=request: asked)[:2], (NO_AUTH, 0))

        for number, line in ((9, observer), (-10, voter), (11, '127.0.0.1:11:12;13')):
            joins = f'server.{number}={line}'
            added = self.assert_same(lambda config, text=joins: (text, None, None, config.version))
            self.assertEqual(added[:2], (NO_AUTH, 0))
            self.assertEqual(list(added[2]), [number])
            again = self.assert_same(lambda _, text=joins: (text,))
            self.assertEqual(again[1:3], (0, {}))
            self.assertTrue(self.assert_same(lambda _, n=number: (None, str(n)), number)[3])
        self.assert_same(
            lambda config: (
                None,
                None,
                ',\n'.join(f'server.{n}={line}' for n, line in config.lines.items())
                + f'\nserver.12={voter}\nversion={config.version:x}',
                config.version,
            )
        )

    def test_too_few_would_be_there(self):
        """Of four voters two, one of which has not started."""
        joins = 'server.9=127.0.0.1:11:12:participant;127.0.0.1:13'
        self.assert_same(lambda _: (joins,))

        def two_leave(config):
            mine = next(
                number
                for number, line in config.lines.items()
                if line.endswith((f':{self.real.address()[1]}', f':{self.supers[0].address[1]}'))
            )
            others = [number for number in config.lines if number not in (mine, 9)]
            return None, ','.join(map(str, others))

        codes = [reply[1] for reply in self.ask_both(two_leave)]
        self.assertEqual(codes, [NO_QUORUM] * 2)


if __name__ == '__main__':
    harness.main()
