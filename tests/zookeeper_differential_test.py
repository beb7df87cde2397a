"""The same requests to a real ZooKeeper 3.8 and to Conclave: result codes, data, Stats, children and
events of watches must be the same.

Both are alone and start empty. Three sessions of each take turns; after every step each session
reads, so that the events that the step has caused have come. A zxid is compared by the step that it
is of; the time only for being one.

Accepted differences, and why:
- A write that fails does not use up a zxid, and the zxids of answers to reads are Conclave's own.
- An empty path is no node, and neither is one that no node can have: ZooKeeper takes the empty one
  for the root, and says of some others that there is none; to Conclave both are bad arguments.
- A null path cannot be read: ZooKeeper answers some requests as if it were a bad one. Null data are
  empty data.
- checkWatches is about the connection that asks: to ZooKeeper 3.8 anybody's watch of the path will do.
- A watch stays beside one of another kind on the same path, as in ZooKeeper 3.9: in 3.8 the later one takes
  the earlier one's place. The sessions of this test have one kind each.
- Who has left a watch and may not read the node any more is not told of it, as in ZooKeeper since 3.8.4
  (CVE-2024-23944). The 3.8.0 here still tells.
- A `check` outside of a multi is answered; ZooKeeper's server fails to if the version is right, and
  closes the connection.
- A session is not taken from its connection by somebody who names it with a wrong password.
- Each part of a multi is held to quotas with what those before it did; to ZooKeeper they are apart. Limits and
  stats that are no numbers do not count; a ZooKeeper then refuses writes with -5.
- `sasl` is refused: ZooKeeper answers an empty token where it has not been set up for it.
"""

import base64
import hashlib
import random
import time

import harness
import zookeeper_cluster
from zookeeper_wire import (
    ADD_WATCH,
    CHECK_WATCHES,
    CREATE,
    CREATE2,
    CREATE_CONTAINER,
    EXISTS,
    GET_ALL_CHILDREN_NUMBER,
    GET_CHILDREN,
    GET_CHILDREN2,
    GET_DATA,
    GET_EPHEMERALS,
    MULTI,
    MULTI_READ,
    NAMES,
    OPEN_ACL,
    REMOVE_WATCHES,
    SET_DATA,
    WHO_AM_I,
    Client,
    Closed,
    Server,
    Stat,
    check,
    create,
    create_ttl,
    delete,
    get_acl,
    multi,
    read,
    set_acl,
    set_data,
    set_watches,
    string,
    sync,
    watches,
)

SESSIONS = 3
STEPS = 150


class Side:
    """One of the two servers: its sessions, and which step its zxids are of."""

    def __init__(self, address):
        self.address = address
        self.clients = []
        self.steps = {0: 'the beginning'}
        self.written = 0
        self.has_watches = True

    def open(self):
        self.clients = [Client(self.address) for _ in range(SESSIONS)]

    def drop(self):
        for client in self.clients:
            client.drop()

    def ask(self, step, number, request, xid=None):
        """What is comparable of the answer, and of the events that everybody got."""
        client = self.clients[number]
        try:
            reply = client.ask(request, xid)
        except Closed:
            self.clients[number] = Client(self.address)
            return 'closed', None, []
        if reply.zxid > self.written:
            self.steps.setdefault(reply.zxid, step)
            self.written = reply.zxid
        events = []
        for each in self.clients if self.has_watches else ():
            each.ask(read(EXISTS, '/'))
            events.append([(event.type, event.state, event.path) for event in each.take_events()])
        return reply.err, self.comparable(reply.body), events

    def comparable(self, body):
        if isinstance(body, Stat):
            now = time.time() * 1000
            times_ok = all(t == 0 or abs(t - now) < 600_000 for t in (body.ctime, body.mtime))
            return (
                'stat',
                self.steps.get(body.czxid, 'unknown'),
                self.steps.get(body.mzxid, 'unknown'),
                self.steps.get(body.pzxid, 'unknown'),
                times_ok,
                body.ctime <= body.mtime,
                body.version,
                body.cversion,
                body.aversion,
                self.owner(body.ephemeral_owner),
                body.data_length,
                body.num_children,
            )
        if isinstance(body, (tuple, list)):
            return [self.comparable(each) for each in body]
        return body

    def owner(self, session):
        for number, client in enumerate(self.clients):
            if client.session == session:
                return number
        return session if session == 0 else 'other'


class Generator:
    """Requests as they come, most of them about a few nodes below one; some are senseless."""

    def __init__(self, seed, top):
        self.chance = random.Random(seed)
        self.top = top

    def path(self):
        depth = self.chance.choice([0, 1, 1, 1, 2, 2, 2, 3])
        return self.top + ''.join('/' + self.chance.choice('abc') for _ in range(depth))

    def any_path(self):
        if self.chance.random() < 0.05:
            return self.chance.choice(
                [self.top + '/nope/x', '/zookeeper', '/', self.top + '/a/s-0000000000']
            )
        return self.path()

    def version(self):
        return self.chance.choice([-1, -1, -1, 0, 1, 2])

    def data(self):
        return self.chance.randbytes(self.chance.choice([0, 1, 5, 30]))

    def acl(self):
        return self.chance.choice(
            [
                OPEN_ACL,
                OPEN_ACL,
                [(31, 'auth', '')],
                [(1, 'world', 'anyone'), (31, 'digest', 'bob:ikIaKsbtGweaHnb/jKn7OHqbunM=')],
                [(0, 'world', 'anyone')],
                [(31, 'ip', '127.0.0.1/8')],
                [(31, 'ip', '10.0.0.0/8')],
                [(31, 'digest', 'no colon')],
                [],
                [(31, 'nobody', 'x')],
                [(15, 'world', 'anyone'), (15, 'world', 'anyone')],
            ]
        )

    def readable(self):
        return self.chance.choice(
            [
                OPEN_ACL,
                [(17, 'world', 'anyone'), (31, 'digest', 'bob:ikIaKsbtGweaHnb/jKn7OHqbunM=')],
                [(31, 'ip', '127.0.0.1/8')],
                [(15, 'world', 'anyone'), (15, 'world', 'anyone')],
                [],
            ]
        )

    def create(self):
        acl = self.acl() if self.chance.random() < 0.15 else OPEN_ACL
        flags = self.chance.choice([0, 0, 0, 0, 1, 1, 2, 3, 4, 9, -1])
        opcode = self.chance.choice([1, CREATE2])
        path = self.path() + ('/s-' if flags in (2, 3) else '')
        return create(path, self.data(), acl, flags, opcode)

    def part(self):
        return self.chance.choice(
            [
                self.create,
                self.create,
                lambda: delete(self.path(), self.version()),
                lambda: set_data(self.path(), self.data(), self.version()),
                lambda: check(self.path(), self.version()),
            ]
        )()

    def next(self, number):
        """For the session of this number. Each has one kind of watches: in 3.8 a persistent one takes
        the place of another kind on the same path, and the other way round."""
        watch = number == 0 and self.chance.random() < 0.5
        kinds = [
            (20, self.create),
            (10, lambda: delete(self.any_path(), self.version())),
            (12, lambda: set_data(self.any_path(), self.data(), self.version())),
            (3, lambda: set_acl(self.path(), self.readable(), self.chance.choice([-1, -1, 0, 1]))),
            (8, lambda: multi([self.part() for _ in range(self.chance.randint(1, 4))])),
            (2, lambda: create_ttl(self.path(), self.data(), 10_000_000, self.chance.choice([5, 6]))),
            (2, lambda: create(self.path(), b'', flags=4, opcode=CREATE_CONTAINER)),
            (8, lambda: read(EXISTS, self.any_path(), watch)),
            (8, lambda: read(GET_DATA, self.any_path(), watch)),
            (4, lambda: read(GET_CHILDREN, self.any_path(), watch)),
            (4, lambda: read(GET_CHILDREN2, self.any_path(), watch)),
            (2, lambda: get_acl(self.path())),
            (2, lambda: (GET_ALL_CHILDREN_NUMBER, string(self.path()))),
            (2, lambda: (GET_EPHEMERALS, string(self.path()))),
            (2, lambda: sync(self.path())),
            (3, self.multi_read),
            (4 if number > 0 else 0, lambda: watches(ADD_WATCH, self.path(), number - 1)),
            (2, lambda: watches(REMOVE_WATCHES, self.path(), self.chance.choice([1, 2, 3]))),
            (2, lambda: watches(CHECK_WATCHES, self.path(), self.chance.choice([1, 2, 3]))),
        ]
        weights, makers = zip(*kinds)
        return self.chance.choices(makers, weights)[0]()

    def multi_read(self):
        parts = [
            read(self.chance.choice([GET_DATA, GET_CHILDREN]), self.path()) for _ in range(3)
        ]
        return multi(parts, MULTI_READ)


class BesideZooKeeper(zookeeper_cluster.ZooKeeperTest):
    members = 1
    flags = ('--heartbeat-interval', '20', '--election-timeout', '100')
    properties = ['zookeeper.extendedTypesEnabled=true']

    @classmethod
    def setUpClass(cls):
        cls.real = Server(properties=cls.properties).start()
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.real.stop()

    def setUp(self):
        super().setUp()
        self.sides = [Side(self.real.address), Side(self.cluster.members[0].zookeeper)]
        for side in self.sides:
            side.open()
            self.addCleanup(side.drop)
        self.step = 0

    def ask_both(self, number, request, xid=None):
        self.step += 1
        real, ours = [side.ask(self.step, number, request, xid) for side in self.sides]
        if request[0] == CHECK_WATCHES and (real[0], ours[0]) == (0, -121):
            ours = real  # accepted
        what = f'step {self.step}: {NAMES.get(request[0], request[0])} {request[1]} of {number}'
        self.assertEqual(real, ours, what)
        return real

    def reconnect_both(self, number):
        for side in self.sides:
            old = side.clients[number]
            old.drop()
            side.clients[number] = Client(
                side.address, session=old.session, password=old.password, zxid=old.zxid
            )
            self.assertEqual(side.clients[number].session, old.session)


class Differential(BesideZooKeeper):
    super_digest = 'super:' + base64.b64encode(hashlib.sha1(b'super:secret').digest()).decode()
    flags = BesideZooKeeper.flags + ('--zookeeper-super-digest', super_digest)
    properties = BesideZooKeeper.properties + [
        'zookeeper.DigestAuthenticationProvider.superDigest=' + super_digest
    ]

    def test_generated_requests(self):
        for seed in range(4 if harness.Options.quick else 12):
            with self.subTest(seed=seed):
                top = f'/g{seed}'
                generator = Generator(seed, top)
                self.ask_both(0, create(top))
                for side in self.sides:
                    side.clients[1].auth('digest', b'bob:pw')
                for _ in range(STEPS):
                    number = generator.chance.randrange(SESSIONS)
                    self.ask_both(number, generator.next(number))

    def test_watches_are_armed_again(self):
        for seed in range(3 if harness.Options.quick else 8):
            with self.subTest(seed=seed):
                top = f'/w{seed}'
                generator = Generator(1000 + seed, top)
                self.ask_both(0, create(top))
                for _ in range(40):
                    self.ask_both(0, generator.create())
                self.ask_both(1, read(EXISTS, top))
                seen = [side.clients[1].zxid for side in self.sides]
                for _ in range(30):
                    change = generator.chance.choice(
                        [
                            generator.create(),
                            delete(generator.path()),
                            set_data(generator.path(), generator.data()),
                        ]
                    )
                    self.ask_both(0, change)
                paths = sorted({generator.path() for _ in range(30)})
                generator.chance.shuffle(paths)
                third = len(paths) // 3
                kinds = [paths[:third], paths[third : 2 * third], paths[2 * third :]]
                # One-shot ones of several kinds, persistent ones, and recursive ones.
                lists = [kinds[0], kinds[0][1:], kinds[0][:-1], kinds[1], kinds[2]]
                self.reconnect_both(1)
                self.step += 1
                told = []
                for side, zxid in zip(self.sides, seen):
                    request = set_watches(zxid, *lists)
                    told.append(side.ask(self.step, 1, request, -8))
                self.assertEqual(*told)
                for _ in range(20):
                    self.ask_both(0, generator.create())
                    self.ask_both(0, delete(generator.path()))

    def test_ephemerals_go_with_their_session(self):
        self.ask_both(0, create('/e'))
        self.ask_both(1, create('/e/1', flags=1))
        self.ask_both(1, create('/e/2-', flags=3))
        self.ask_both(1, create('/e/1/child'))
        self.ask_both(0, read(GET_CHILDREN2, '/e', True))
        self.ask_both(2, watches(ADD_WATCH, '/e', 1))
        self.ask_both(0, read(GET_DATA, '/e/1', True))
        self.ask_both(1, (GET_EPHEMERALS, string('/e')))
        self.step += 1
        found = []
        for side in self.sides:
            side.clients[1].close()
            side.clients[1] = Client(side.address)
            side.clients[0].ask(read(EXISTS, '/'))
            events = side.clients[0].take_events()
            found.append(sorted((event.type, event.state, event.path) for event in events))
        self.assertEqual(*found)
        self.ask_both(0, read(GET_CHILDREN, '/e'))
        self.ask_both(0, read(EXISTS, '/e/1'))

    def test_modes_and_times_to_live(self):
        for flags in range(-1, 9):
            self.ask_both(0, create(f'/m{flags}', flags=flags, opcode=CREATE2))
            self.ask_both(0, create_ttl(f'/ttl{flags}', b'', 100_000, flags))
            for opcode in (CREATE, CREATE2, CREATE_CONTAINER):
                made = create(f'/multi{opcode}-{flags}-', flags=flags, opcode=opcode)
                self.ask_both(0, multi([made]))
        # Not below 0 for a mode without TTL: with that one request a ZooKeeper ends itself.
        for ttl in (0, 1_000_000, (1 << 40) - 1, 1 << 40):
            for flags in (0, 5, 6):
                self.ask_both(0, create_ttl(f'/of{ttl}-{flags}-', b'', ttl, flags))
                self.ask_both(0, multi([create_ttl(f'/in{ttl}-{flags}-', b'', ttl, flags)]))
        for opcode in (GET_DATA, REMOVE_WATCHES, SET_DATA, 999):
            self.ask_both(0, multi([(opcode, string('/x') + b'\0')]))
        self.ask_both(0, multi([create('/q'), read(GET_DATA, '/q')]))
        self.ask_both(0, multi([create('/q'), read(GET_DATA, '/q')], MULTI_READ))
        self.ask_both(0, multi([]))
        self.ask_both(0, multi([], MULTI_READ))

    def test_paths(self):
        self.ask_both(0, create('/p'))
        for path in ('p', '/p/', '//', '/p//b', '/p/./b', '/p/..', '/', '/p/\1b', '/p/\ud7ffx'):
            self.ask_both(0, create(path))
            self.ask_both(0, multi([create(path)]))
        for path in ('/p/...', '/p/.a', '/p/ b', '/p/ü', '/zookeeper/mine', '/p/%2f'):
            for request in (create(path), read(EXISTS, path), set_data(path, b'1'), delete(path)):
                self.ask_both(0, request)
        self.ask_both(0, delete('/'))
        self.ask_both(0, read(EXISTS, 'p'))

    def test_rights(self):
        acls = [
            [],
            [(31, 'world', 'x')],
            [(31, 'digest', 'x')],
            [(31, 'digest', 'a:b')],
            [(31, 'digest', 'a:b:c')],
            [(31, 'ip', '1.2.3.4')],
            [(31, 'ip', '127.0.0.1')],
            [(31, 'ip', '127.0.0.0/8')],
            [(31, 'ip', '1.2.3.4/40')],
            [(31, 'ip', 'x')],
            [(31, 'auth', '')],
            [(31, 'auth', 'anything')],
            [(31, 'bogus', 'x')],
            [(0, 'world', 'anyone')],
            [(99, 'world', 'anyone')],
            [(31, 'sasl', 'b')],
            [(1, 'world', 'anyone'), (2, 'world', 'anyone')],
        ]
        for side in self.sides:
            side.has_watches = False
            for credentials in (b'bob:pw', b'ann:pw', b'bob:pw'):
                self.assertEqual(side.clients[1].auth('digest', credentials).err, 0)
        self.ask_both(0, create('/r'))
        for acl in acls:
            for number in (0, 1):
                self.ask_both(number, create('/r/n', b'data', acl))
                for asks in (0, 1):
                    self.ask_both(asks, get_acl('/r/n'))
                    self.ask_both(asks, read(GET_DATA, '/r/n'))
                    self.ask_both(asks, set_data('/r/n', b'x'))
                    self.ask_both(asks, create('/r/n/c'))
                    self.ask_both(asks, read(GET_CHILDREN, '/r/n'))
                    self.ask_both(asks, multi([check('/r/n', -1)]))
                    self.ask_both(asks, set_acl('/r/n', acl))
                    self.ask_both(asks, delete('/r/n/c'))
                self.ask_both(0, delete('/r/n'))
                self.ask_both(0, create('/r/o'))
                self.ask_both(number, set_acl('/r/o', acl, 0))
                self.ask_both(1, get_acl('/r/o'))
                self.ask_both(0, delete('/r/o'))

    def test_the_super_user(self):
        nobodys = [(31, 'digest', 'nobody:x')]
        for side in self.sides:
            self.assertEqual(side.clients[1].auth('digest', b'super:secret').err, 0)
            side.clients[2].auth('digest', b'super:wrong')
        self.ask_both(0, create('/super', b'x', nobodys))
        self.ask_both(0, create('/supers', b'x', [(31, 'digest', self.super_digest)]))
        for number in (0, 2, 1):
            for path in ('/super', '/supers'):
                self.ask_both(number, read(GET_DATA, path))
                self.ask_both(number, get_acl(path))
                self.ask_both(number, set_data(path, b'y'))
                self.ask_both(number, create(f'{path}/c', b'', [(31, 'auth', '')]))
                self.ask_both(number, multi([check(path, -1), set_data(path, b'z')]))
                self.ask_both(number, get_acl(f'{path}/c'))
                self.ask_both(number, set_acl(path, nobodys))
                self.ask_both(number, delete(f'{path}/c'))
            self.ask_both(number, set_data('/zookeeper/config', b''))
        found = [sorted(side.clients[1].ask((WHO_AM_I, b'')).body) for side in self.sides]
        self.assertEqual(*found)

    def test_who_asks(self):
        found = []
        for side in self.sides:
            client = side.clients[2]
            client.auth('digest', b'bob:pw')
            found.append(sorted(client.ask((WHO_AM_I, b'')).body))
        self.assertEqual(*found)

    def test_a_scheme_that_there_is_not(self):
        for side in self.sides:
            client = side.clients[2]
            self.assertEqual(client.auth('bogus', b'x').err, -115)
            with self.assertRaises(Closed):
                client.ask(read(EXISTS, '/'))

    def test_requests_that_cannot_be_read(self):
        for opcode in (9999, 0, 10, 23, -1, 99):
            for side in self.sides:
                client = Client(side.address)
                self.opened.enter_context(client)
                reply = client.ask((opcode, string('/x')))
                self.assertEqual((reply.err, reply.zxid, reply.body), (-6, -1, None), opcode)
                with self.assertRaises(Closed):
                    client.ask(read(EXISTS, '/'))
        for opcode in list(range(1, 10)) + list(range(12, 20)) + [21, 22]:
            self.ask_both(0, (opcode, b'\0'))
        for count in (b'\x7f\xff\xff\xff', b'\x80\0\0\0'):
            self.ask_both(0, (1, string('/x') + string(b'') + count))
            self.ask_both(0, (1, count))
        self.ask_both(0, (MULTI, b'\0\0\0\3\0\0\0\0\0' + string('/x')))

    def test_sessions(self):
        for side in self.sides:
            with Client(side.address, timeout_ms=1) as short:
                self.assertEqual((short.timeout_ms, len(short.password)), (4_000, 16))
            with Client(side.address, timeout_ms=10**6, read_only=None) as long:
                self.assertEqual((long.timeout_ms, long.has_read_only), (40_000, False))
            with Client(side.address, session=77) as unknown:
                said = unknown.timeout_ms, unknown.session, unknown.password
                self.assertEqual(said, (0, 0, bytes(16)))
            old = Client(side.address)
            with Client(side.address, session=old.session, password=old.password) as new:
                self.assertEqual(new.session, old.session)
                with self.assertRaises((Closed, ConnectionError)):
                    old.ask(read(EXISTS, '/'))
                wrong = Client(side.address, session=old.session, password=b'x' * 16)
                self.assertEqual((wrong.timeout_ms, wrong.session), (0, 0))
            with self.assertRaises((Closed, ConnectionError)):
                Client(side.address, zxid=1 << 50)
            closed = Client(side.address)
            self.assertEqual(closed.close().err, 0)
            with Client(side.address, session=closed.session, password=closed.password) as gone:
                self.assertEqual((gone.timeout_ms, gone.session), (0, 0))

    def test_sizes(self):
        self.ask_both(0, create('/big', bytes(1_048_000)))
        self.ask_both(0, read(EXISTS, '/big'))
        for side in self.sides:
            with Client(side.address) as client, self.assertRaises((Closed, ConnectionError)):
                client.ask(create('/bigger', bytes(0xFFFFF)))
        self.ask_both(0, delete('/big'))


class Quotas(BesideZooKeeper):
    flags = BesideZooKeeper.flags + ('--zookeeper-enforce-quota',)
    properties = ['zookeeper.extendedTypesEnabled=true', 'zookeeper.enforceQuota=true']

    def set_quota(self, path, limits):
        """As setquota of zkCli does."""
        parts = path.split('/')[1:]
        for depth in range(1, len(parts) + 1):
            self.ask_both(0, create('/zookeeper/quota/' + '/'.join(parts[:depth])))
        self.ask_both(0, create(f'/zookeeper/quota{path}/zookeeper_limits', limits))
        self.ask_both(0, create(f'/zookeeper/quota{path}/zookeeper_stats', b'count=0,bytes=0'))

    def stats(self, path):
        return self.ask_both(0, read(GET_DATA, f'/zookeeper/quota{path}/zookeeper_stats'))[1]

    def test_generated_requests(self):
        exceeded = 0
        for seed in range(3 if harness.Options.quick else 8):
            with self.subTest(seed=seed):
                top = f'/q{seed}'
                generator = Generator(2000 + seed, top)
                self.ask_both(0, create(top))
                for _ in range(20):
                    self.ask_both(0, generator.create())
                quotas = {
                    top + '/a': b'count=-1,bytes=-1=;byteHardLimit=40;countHardLimit=3',
                    top + '/b': b'count=2,bytes=10',
                    top + '/b/c': b'count=-1,bytes=-1=;countHardLimit=1',
                    top + '/c': b'bytes=7;countHardLimit=1',
                }
                for path, limits in quotas.items():
                    self.set_quota(path, limits)
                for step in range(STEPS):
                    number = generator.chance.randrange(SESSIONS)
                    request = generator.next(number)
                    # A ZooKeeper judges the parts of a multi apart from each other.
                    if request[0] != MULTI:
                        exceeded += self.ask_both(number, request)[0] == -125
                    if step % 5 == 0:
                        for path in quotas:
                            self.stats(path)
                for side in self.sides:
                    side.clients[1].close()
                    side.clients[1] = Client(side.address)
                for path in quotas:
                    self.stats(path)
                    self.ask_both(0, delete(f'/zookeeper/quota{path}/zookeeper_limits'))
                    self.ask_both(0, generator.create())
                    self.stats(path)
        self.assertGreater(exceeded, 3)

    def test_limits_and_stats_that_clients_change(self):
        self.ask_both(0, create('/s', b'12345'))
        self.set_quota('/s', b'count=3,bytes=100')
        self.assertEqual(self.stats('/s')[0], b'count=1,bytes=5')
        limits, stats = [f'/zookeeper/quota/s/zookeeper_{each}' for each in ('limits', 'stats')]
        for number, line in enumerate((b'', b'count=5', b'byteHardLimit=8', b'count=1;bytes=2;x=7')):
            self.ask_both(0, set_data(limits, line))
            self.ask_both(0, create(f'/s/{number}', b'123'))
            self.ask_both(0, set_data(stats, line))
            self.ask_both(0, create(f'/s/{number}-2', b'1'))
            self.stats('/s')
        self.ask_both(0, set_data('/s', b''))
        self.ask_both(0, delete('/s/0'))
        self.stats('/s')
        self.ask_both(0, delete(stats))
        self.ask_both(0, create('/s/a', b'x'))
        self.ask_both(0, create(stats, b'anything'))
        self.stats('/s')
        self.ask_both(0, multi([delete('/s/a'), set_data('/s', b'1234'), create('/s/b', b'1')]))
        self.stats('/s')


if __name__ == '__main__':
    harness.main()
