"""Every command of stock etcdctl (API 3), given to a stock etcd and to Conclave: what it prints and
its exit code must be the same, in each of its output formats.

Both clusters begin empty and are told the same, so that revisions agree too. Ids, ports, terms and
times have names or are left out. With `--binary etcd` two etcds are compared, which shows that the
test itself is right.

Not here, as other tests have them side by side or under kills: `member` with members that are
started (members_test), move-leader, alarms that count, quotas (maintenance_test), TLS flags
(tls_test), `lock` and `elect` while leaders die (lock_test). `completion` and `migrate` (keys of
etcd's second API, in a data directory) ask no server anything. `check perf` puts load on a server
for a minute; it passes, and is no test of every day.

Accepted differences:
- `snapshot save` gets Conclave's own file: `snapshot status` and `restore` of etcdctl refuse it,
  those of `conclave` take it.
- `endpoint hashkv` and `endpoint status`: hashes, sizes and log indexes are numbers of each
  server's own, and so is the version.
- The first of two mistakes of `member add`: an id that etcd makes from URLs and time, and had.
"""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from etcd3 import etcdrpc as rpc

import harness

ETCD = '/usr/bin/etcd'
FAST = ['--heartbeat-interval', '20', '--election-timeout', '100', '--bcrypt-cost', '4']
FORMATS = ('simple', 'json', 'fields', 'table')
NEVER_SAME = (  # what is each cluster's own, in every output format
    (r'"(raft_term|raftTerm|dbSize|dbSizeInUse|raftIndex|raftAppliedIndex|hash)":\d+', r'"\1":N'),
    (r'"(RaftTerm|DBSize|RaftIndex|RaftAppliedIndex|Hash)" : \d+', r'"\1" : N'),
    (r'remaining\(\d+s\)', 'remaining(N)'),
    (r'"ttl":\d+', '"ttl":N'),
    (r'"(TTL|RemainingTTL)" : \d+', r'"\1" : N'),
    (r'\b[0-9.]+[mµ]s\b', 'N'),
    (r'"took":[0-9.]+', '"took":N'),
    (r'"size":"[^"]*"', '"size":N'),
    (r'"(version|Version)"( ?: ?)"3\.[0-9.]+"', r'"\1"\2"3"'),
    (r'\braft_term: \d+', 'raft_term: N'),
    (r'"ts":[^,]*', '"ts":T'),
    (r'"target":"[^"]*"', '"target":T'),
    (r'"caller":"[^"]*"', '"caller":C'),
    (r'\b(Member|cluster)  +', r'\1 '),  # ids that are shorter
    (r'(?s)goroutine \d+ \[.*', 'goroutines'),  # etcdctl itself panics on some input
    (r'endpoint://client-[0-9a-f-]+/', 'endpoint://'),
)


class Side:
    """One of the two clusters, and the names of what is its own."""

    def __init__(self, members, binary=None):
        self.cluster = harness.Cluster(members, binary=binary, flags=FAST).launch()
        self.names = {}
        self.found = 0

    def wait_ready(self):
        self.cluster.wait_ready()
        listed = self.cluster.members[0].member_list()
        self.names[listed.header.cluster_id] = 'CLUSTER'
        self.names.update((member.ID, member.name.upper()) for member in listed.members)

    @property
    def endpoint(self):
        return self.cluster.members[0].endpoint

    def name_of(self, match):
        """Ids of leases and new members are named in the order in which they are seen."""
        digits = match[0]
        number = int(digits) if digits.isdigit() else 0
        if number not in self.names and len(digits) <= 16:
            number = int(digits, 16)
        if number not in self.names:
            self.found += 1
            self.names[number] = f'ID{self.found}'
        return self.names[number]

    def id_of(self, name):
        """The other way round, as etcdctl takes it."""
        return next(f'{number:x}' for number, known in self.names.items() if known == name)

    def normal(self, text):
        for member in self.cluster.members:
            text = text.replace(f':{member.client_port}', f':{member.name}')
            text = text.replace(f':{member.peer_port}', f':{member.name}-peer')
        for pattern, instead in NEVER_SAME:
            text = re.sub(pattern, instead, text)
        return re.sub(r'\b([0-9a-f]{14,16}|\d{17,20})\b', self.name_of, text)

    def spawn(self, *args, start=subprocess.Popen, **env):
        """etcdctl; an argument in braces is the id of that name, and a member's peer port has its
        name too."""
        words = [re.sub(r'\{(\w+)\}', lambda m: self.id_of(m[1]), arg) for arg in args]
        for member in self.cluster.members:
            port = f':{member.peer_port}'
            words = [word.replace(f':{member.name}-peer', port) for word in words]
        return start(
            ['etcdctl', '--endpoints', self.endpoint, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, ETCDCTL_API='3', **env),
        )


    def printed(self, *args):
        process = self.spawn(*args)
        out, err = process.communicate(timeout=30)
        return Printed(process.returncode, out.decode(), err.decode())


class Printed:
    """What one run of etcdctl gave."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __eq__(self, other):
        return (self.code, self.out, self.err) == (other.code, other.out, other.err)

    def __str__(self):
        return f'{self.code} {self.out!r} {self.err!r}'


class Pair(unittest.TestCase):
    """Both sides, and the comparison of what etcdctl prints. One pair for all tests of a class."""

    members = 1
    sides = ()
    cluster = None

    @classmethod
    def setUpClass(cls):
        cls.sides = [Side(cls.members, ETCD), Side(cls.members)]
        for side in cls.sides:
            side.wait_ready()
        cls.cluster = cls.sides[1].cluster

    @classmethod
    def tearDownClass(cls):
        for side in cls.sides:
            side.cluster.stop()

    def run_both(self, *args, stdin='', sort=False, **env):
        """The Printed of each side; `sort` is for lines that come in the order of ids."""
        running = [side.spawn(*args, **env) for side in self.sides]
        printed = []
        for side, process in zip(self.sides, running):
            out, err = process.communicate(stdin.encode(), timeout=30)
            out = out.decode(errors='backslashreplace')
            out, err = side.normal(out), side.normal(err.decode(errors='backslashreplace'))
            out = self.ordered(out) if sort else out
            printed.append(Printed(process.returncode, out, err))
        return printed

    @staticmethod
    def ordered(text):
        return ' '.join(sorted(re.findall(r'[^\s,"\[\]]+', text)))

    def both(self, *args, **options):
        """What etcd's side printed, once it is known that the other one printed the same."""
        etcd, ours = self.run_both(*args, **options)
        self.assertEqual(str(etcd), str(ours), f'etcdctl {" ".join(args)}')
        return etcd

    def ok(self, *args, **options):
        printed = self.both(*args, **options)
        self.assertEqual(printed.code, 0, f'{args}: {printed}')
        return printed.out

    def fails(self, *args, **options):
        printed = self.both(*args, **options)
        self.assertNotEqual(printed.code, 0, f'{args}: {printed}')
        return printed.err

    def in_formats(self, *args, message=None, **options):
        """The same command once per output format, those that etcdctl refuses for it included; as
        protobuf if it is known which message that is."""
        for form in FORMATS:
            self.both('-w', form, *args, **options)
        if message is not None:
            shown = []
            for side in self.sides:
                process = side.spawn('-w', 'protobuf', *args)
                out, _ = process.communicate(options.get('stdin', '').encode(), timeout=30)
                shown.append(side.normal(str(message.FromString(out))))
            self.assertEqual(*shown, f'etcdctl -w protobuf {" ".join(args)}')

    def put(self, key, value):
        for side in self.sides:
            side.cluster.members[0].put(key, value)

    def delete(self, key):
        for side in self.sides:
            request = rpc.DeleteRangeRequest(key=key.encode())
            side.cluster.members[0].kv.DeleteRange(request, timeout=5)

    def revision(self):
        fields = self.ok('get', 'nothing', '-w', 'fields')
        return int(re.search('"Revision" : ([0-9]+)', fields)[1])

    def begin(self, *args, **env):
        """A command that goes on; ended with end()."""
        start = harness.spawn  # not to outlive this process
        return [Ongoing(side, side.spawn(*args, start=start, **env)) for side in self.sides]

    def printed_by(self, ongoing, *wanted):
        """Waits until both have printed all of `wanted`."""
        for one in ongoing:
            one.until(*wanted)

    def end(self, ongoing):
        """What both have printed."""
        etcd, ours = [one.end() for one in ongoing]
        self.assertEqual(etcd, ours)
        return etcd


class Ongoing:
    """An etcdctl that runs, and what it has printed so far."""

    def __init__(self, side, process):
        self.side, self.process = side, process
        self.text = ''
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line.decode(errors='backslashreplace')

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def until(self, *wanted):
        what = f'{wanted} of {self.process.args}'
        harness.wait_until(lambda: all(text in self.text for text in wanted), 15, what)

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = harness.reap(self.process)
        self.reader.join(10)
        return code, self.side.normal(self.text)


class Keys(Pair):
    """put, get, del, txn, compaction, lease."""

    def test_put(self):
        for args in (
            ('put/k', 'v'), ('put/k', '--', '-dash'), ('--', 'put/-', 'w'), ('put/empty', ''),
            ('put/k', 'w', '--prev-kv'), ('put/new', 'x', '--prev-kv'),
            ('put/k', '--ignore-value'), ('put/k', 'y', '--ignore-lease'),
            ('put/k', '--ignore-value', '--prev-kv'), ('put/ü€', 'ü€'), ('put/two', 'a', 'b'),
        ):  # fmt: skip
            self.ok('put', *args)
            self.ok('get', 'put/', '--prefix')
        self.ok('put', 'put/in', stdin='two\nlines\n')
        self.in_formats('put', 'put/k', 'z', '--prev-kv', message=rpc.PutResponse)
        self.ok('--hex', 'put', 'put/k', 'z', '--prev-kv')
        for args in (
            (), ('put/none', '--ignore-value'), ('put/none', 'v', '--ignore-value'),
            ('put/none', '--ignore-lease', 'v'), ('', 'v'), ('put/k', 'v', '--lease', '77'),
            ('put/k', 'v', '--lease', 'x'), ('put/k', 'v', '--lease', '77', '--ignore-lease'),
            ('put/k', 'v', '--nothing'),
        ):  # fmt: skip
            self.fails('put', *args)

    def test_get(self):
        for key, value in (('a', '3'), ('b', '1'), ('c', '2'), ('b', '4'), ('d', '')):
            self.put(f'get/{key}', value)
        self.put('get0', 'after')
        old = self.revision() - 3
        for args in (
            ('get/a',), ('get/none',), ('get/a', 'get/c'), ('get/c', 'get/a'), ('get/', '--prefix'),
            ('get/c', '--from-key'), ('', '--prefix', '--limit=2'), ('', '--from-key', '--limit=1'),
            ('get/', '--prefix', '--limit=2'), ('get/', '--prefix', '--limit=-1'),
            ('get/', '--prefix', '--keys-only'), ('get/', '--prefix', '--print-value-only'),
            ('get/', '--prefix', f'--rev={old}'), ('get/a', '--rev=1'),
            ('get/b', '--consistency=s'), ('get/b', '--consistency=l'),
            ('get/', '--prefix', '--keys-only', '--limit=2', '--rev', f'{old}'),
        ):  # fmt: skip
            self.both('get', *args)
            self.both('-w', 'json', 'get', *args)
        for args in (('get/', '--prefix', '--limit=2'), ('get/none',), ('get/a', '--keys-only')):
            self.in_formats('get', *args, message=rpc.RangeResponse)
            self.ok('--hex', 'get', *args)
        for target in ('CREATE', 'KEY', 'MODIFY', 'VALUE', 'VERSION'):
            self.ok('get', 'get/', '--prefix', f'--sort-by={target}', '--order=DESCEND')
            self.ok('get', 'get/', '--prefix', f'--sort-by={target}', '--limit=2')
        for args in (
            (), ('',), ('a', 'b', 'c'), ('a', '--prefix', '--from-key'), ('a', 'b', '--prefix'),
            ('a', 'b', '--from-key'), ('a', '--sort-by=X'), ('a', '--order=X'),
            ('a', '--consistency=x'), ('a', '--rev=1000000'), ('a', '--rev=x'), ('a', '--limit=x'),
            ('a', '--print-value-only', '-w', 'json'),
        ):  # fmt: skip
            self.both('get', *args)

    def test_del(self):
        def fill():
            for number in range(6):
                self.put(f'del/{number}', f'v{number}')

        for args in (
            ('del/1',), ('del/none',), ('del/1', 'del/4'), ('del/4', 'del/1'), ('del/', '--prefix'),
            ('del/4', '--from-key'), ('del/2', '--prev-kv'), ('del/', '--prefix', '--prev-kv'),
        ):  # fmt: skip
            fill()
            self.ok('del', *args)
        fill()
        self.in_formats('del', 'del/', '--prefix', '--prev-kv', message=rpc.DeleteRangeResponse)
        self.ok('--hex', 'del', 'del/', '--prefix', '--prev-kv')
        for args in ((), ('',), ('a', '--prefix', '--from-key'), ('a', 'b', '--prefix')):
            self.fails('del', *args)

    def test_txn(self):
        self.ok('put', 'txn/a', '1')
        lease = self.granted(1000)
        scripts = (
            'value("txn/a") = "1"\n\nput txn/b two\nget txn/a\n\nput txn/c three\n\n',
            'value("txn/a") != "1"\n\nput txn/b two\n\nget txn/ --prefix\nget txn/none\n\n',
            'mod("txn/a") > "0"\nversion("txn/b") < "9"\n\ndel txn/b --prev-kv\n\n\n',
            'create("txn/none") = "0"\nlease("txn/a") = "0"\n\nput txn/d "two words"\n\n\n',
            f'\nput txn/l v --lease={lease}\nget txn/l txn/z --limit=1\n\n\n',
            f'lease("txn/l") = "{lease}"\n\nget txn/l -w json\n\n\n',
            '\n\n\n',
            '\nput dup 1\nput dup 2\n\n\n', '\nget txn/a --rev=99999\n\n\n',
            '\nput x --ignore-value\n\n\n', '\nwrong\n\n\n', 'wrong\n\n\n\n',
            'value("txn/a") ~ "1"\n\n\n\n', 'version("txn/a") = "x"\n\n\n\n', '',
        )  # fmt: skip
        for script in scripts:
            self.both('txn', stdin=script)
            self.both('-w', 'json', 'txn', stdin=script)
        self.both('txn', '-i', stdin=scripts[1])
        self.in_formats('txn', stdin=scripts[0], message=rpc.TxnResponse)
        self.ok('--hex', 'txn', stdin=scripts[0])

    def test_compaction(self):
        for number in range(6):
            self.put('compact', str(number))
        now = self.revision()
        for args in (
            (f'{now - 3}',), (f'{now - 3}',), (f'{now - 4}',), (f'{now + 1}',), ('0',), ('-1',),
            ('x',), (), (f'{now - 2}', '--physical'), (f'{now - 1}', '-w', 'json'),
        ):  # fmt: skip
            self.both('compaction', *args)
        self.both('get', 'compact', f'--rev={now - 3}')
        self.ok('get', 'compact', f'--rev={now - 1}')
        self.both('watch', 'compact', f'--rev={now - 3}')

    def granted(self, ttl):
        """The name of a new lease's id, as an argument."""
        return '{' + self.ok('lease', 'grant', str(ttl)).split()[1] + '}'

    def test_lease(self):
        for form in FORMATS:
            self.both('-w', form, 'lease', 'grant', '1000')
        lease, other = self.granted(1000), self.granted(500)
        for number in range(3):
            self.ok('put', f'lease/{number}', 'v', f'--lease={lease}')
        self.ok('get', 'lease/1', '-w', 'json')
        self.ok('put', 'lease/1', 'w', '--ignore-lease')
        self.ok('put', 'lease/2', 'w')
        for form in FORMATS:
            for args in (('timetolive', lease), ('timetolive', other, '--keys'),
                         ('timetolive', '77'), ('timetolive', '77', '--keys'),
                         ('keep-alive', lease, '--once'), ('revoke', '77'), ('list',)):  # fmt: skip
                self.both('-w', form, 'lease', *args, sort='list' in args)
            # The keys of a lease come in no order.
            self.both('-w', form, 'lease', 'timetolive', lease, '--keys', sort=True)
        going_on = self.begin('lease', 'keep-alive', lease)
        self.printed_by(going_on, 'keepalived with TTL(1000)')
        self.ok('lease', 'revoke', lease)
        self.ok('get', 'lease/', '--prefix')
        self.both('lease', 'timetolive', lease)
        self.both('lease', 'keep-alive', lease, '--once')
        self.both('lease', 'keep-alive', lease)
        self.end(going_on)
        for args in (('revoke',), ('revoke', 'x'), ('timetolive',), ('timetolive', 'x'),
                     ('keep-alive',), ('keep-alive', 'x')):  # fmt: skip
            self.fails('lease', *args)
        self.both('lease', 'revoke', other, '-w', 'json')
        for ttl in ('0', '-1', '9000000001', 'x', '', '1.5'):
            self.both('lease', 'grant', ttl)
        self.both('lease', 'grant')


class Watching(Pair):
    """watch, lock, elect: what goes on until it is ended."""

    def watch(self, args, change, *wanted, **env):
        going_on = self.begin('watch', *args, **env)
        time.sleep(0.15)  # nothing says that a watch is there
        for what, *words in change:
            (self.put if what == 'put' else self.delete)(*words)
        self.printed_by(going_on, *wanted)
        return self.end(going_on)[1]

    def test_watch(self):
        change = [('put', 'w/a', '1'), ('put', 'w/b', '2'), ('put', 'w/a', '3'), ('del', 'w/a'),
                  ('put', 'wx', 'end'), ('put', 'w/z', 'end')]  # fmt: skip
        first = self.revision() + 1
        for args in (('w/', '--prefix'), ('w/', '--prefix', '--prev-kv'), ('w/a', 'w/zz'),
                     ('w/', '--prefix', f'--rev={first}'), ('w/', '--prefix', '-w', 'json'),
                     ('w/', '--prefix', '--prev-kv', '-w', 'fields'), ('w/', '--prefix', '--hex')):
            last = r'\x65\x6e\x64' if '--hex' in args else 'ZW5k' if 'json' in args else 'end'
            self.watch(args, change, last)
        said = self.watch(('w/z',), change, 'end')
        self.assertEqual(said, 'PUT\nw/z\nend\n')
        self.watch(('w/z', '--rev=-1'), change, 'end')

    def test_watch_with_a_command(self):
        names = ('REVISION', 'EVENT_TYPE', 'KEY', 'VALUE')
        script = 'echo ' + ' '.join(f'$ETCD_WATCH_{name}' for name in names)
        change = [('put', 'x/a', '1'), ('del', 'x/a'), ('put', 'x/b', 'end')]
        self.watch(('x/', '--prefix', '--', 'sh', '-c', script), change, '"end"\n')
        # By the environment, which is instead of arguments.
        said = self.watch(
            ('--prefix', '--', 'sh', '-c', script), change, '"end"\n', ETCDCTL_WATCH_KEY='x/'
        )
        self.assertIn('DELETE', said)
        self.watch((), change, 'end', ETCDCTL_WATCH_KEY='x/b', ETCDCTL_WATCH_RANGE_END='x/c')

    def test_watch_by_hand(self):
        going_on = self.begin('watch', '-i')
        for one in going_on:
            one.write('watch i/a\nwatch --prefix i/b --prev-kv -- echo ran\nprogress\n')
            one.until('progress notify')
        for command in (('put', 'i/a', '1'), ('put', 'i/b2', '2'), ('put', 'i/a', '3')):
            self.put(*command[1:])
            self.printed_by(going_on, command[-1] + '\n')
        self.printed_by(going_on, 'ran')
        said = [sorted(one.end()[1].split('\n')) for one in going_on]
        self.assertEqual(*said)
        self.assertEqual(said[0].count('PUT'), 3)

    def test_watch_mistakes(self):
        for args in ((), ('a', '--rev=x'), ('a', 'b', '--prefix')):
            self.fails('watch', *args)
        self.both('watch', '-i', stdin='nothing\n')

    def test_lock(self):
        show = ('--', 'sh', '-c', 'echo $ETCD_LOCK_KEY $ETCD_LOCK_REV')
        said = self.ok('lock', 'l', *show)
        self.assertRegex(said, r'^l/\S+ \d+\n$')
        self.ok('lock', 'l', '--ttl=5', *show)
        self.fails('lock', 'l', '--', 'sh', '-c', 'exit 7')
        held = self.begin('lock', 'l')
        self.printed_by(held, 'l/')
        waiting = self.begin('lock', 'l', *show)
        for side in self.sides:
            member = side.cluster.members[0]
            harness.wait_until(
                lambda m=member: m.get('l/', range_end=b'l0').count == 2, 5, 'a second in the queue'
            )
        self.end(held)
        self.printed_by(waiting, 'l/')
        for one in waiting:
            one.process.wait(10)
        self.assertRegex(self.end(waiting)[1], r'^l/\S+ \d+\n$')
        self.ok('get', 'l', '--prefix')
        for args in ((), ('l', '--ttl=x'), ('', '--', 'true')):
            self.both('lock', *args)

    def test_elect(self):
        listening = self.begin('elect', '-l', 'e')
        leading = self.begin('elect', 'e', 'one')
        self.printed_by(leading, 'one\n')
        self.printed_by(listening, 'one\n')
        second = self.begin('elect', 'e', 'two')
        for side in self.sides:
            member = side.cluster.members[0]
            harness.wait_until(
                lambda m=member: m.get('e/', range_end=b'e0').count == 2, 5, 'a second candidate'
            )
        self.end(leading)
        self.printed_by(second, 'two\n')
        self.printed_by(listening, 'two\n')
        self.end(second)
        self.end(listening)
        for args in ((), ('e',), ('-l',), ('-l', 'e', 'v')):
            self.both('elect', *args)


class Apart(Pair):
    """make-mirror, from either side to the other, and check: the sides do not stay the same."""

    def test_make_mirror(self):
        for number in range(3):
            self.put(f'm/{number}', f'v{number}')
        for name, flags, there in (('a', ('--prefix=m/',), 'm/'),
                                   ('b', ('--prefix=m/', '--dest-prefix=n/'), 'n/'),
                                   ('c', ('--prefix=m/', '--no-dest-prefix'), '')):  # fmt: skip
            for source, target in (self.sides, reversed(self.sides)):
                with self.subTest(source=source.endpoint, flags=flags):
                    self.mirror(source, target, name, flags, there)

    def mirror(self, source, target, name, flags, there):
        origin, copy = source.cluster.members[0], target.cluster.members[0]
        first = f'{there}0'.encode()
        copy.kv.DeleteRange(rpc.DeleteRangeRequest(key=first, range_end=first[:-1] + b'9'))
        process = source.spawn('make-mirror', *flags, target.endpoint, start=harness.spawn)
        # What is there already, and what comes.
        harness.wait_until(lambda: copy.value(f'{there}2') == b'v2', 10, 'the first copy')
        origin.put(f'm/{name}', 'new')
        harness.wait_until(lambda: copy.value(f'{there}{name}') == b'new', 10, 'a put')
        origin.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'm/' + name.encode()))
        harness.wait_until(lambda: copy.value(f'{there}{name}') is None, 10, 'a delete')
        process.terminate()
        harness.reap(process)


    def test_check_datascale(self):
        """It reads the memory of the process from /metrics. etcd takes long for so many writes."""
        done = harness.etcdctl(
            self.sides[1].endpoint, 'check', 'datascale', '--auto-compact', '--auto-defrag'
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn('PASS: Approximate system memory used', done.stdout)


class Servers(Pair):
    """member, endpoint, alarm, defrag, snapshot, check: of three members."""

    members = 3

    def test_member_list(self):
        for form in ('simple', 'json', 'fields', 'table'):
            self.shapes('-w', form, 'member', 'list')

    def add_patiently(self, side, *args):
        """etcd takes a cluster for unhealthy for five seconds after a change."""
        printed = []

        def done():
            printed[:] = [side.printed('member', 'add', *args)]
            return 'unhealthy' not in printed[0].err

        harness.wait_until(done, 20, 'the cluster to be healthy')
        self.assertEqual(printed[0].code, 0, printed[0].err)
        return self.ordered(side.normal(printed[0].out))

    def test_membership(self):
        """Of a member that is never started; the others go on."""

        url = '--peer-urls=http://127.0.0.1:9'
        added = [self.add_patiently(side, 'new', url, '--learner') for side in self.sides]
        self.assertEqual(*added)
        new = '{' + re.search(r'ID\d+', added[0])[0] + '}'
        self.ok('member', 'list', sort=True)
        self.fails('member', 'promote', new)
        self.fails('member', 'add', 'again', '--peer-urls=http://127.0.0.1:m2-peer')
        self.fails('member', 'add', 'again', '--peer-urls=http://127.0.0.1:6', '--learner')
        self.ok('member', 'update', '{M2}', '--peer-urls=http://127.0.0.1:m2-peer')
        self.fails('member', 'update', new, '--peer-urls=http://127.0.0.1:m2-peer')
        self.fails('member', 'promote', '{M2}')
        for what in ('promote', 'remove', 'update'):
            for args in ((), ('77',), ('zz',), ('77', '78')):
                self.fails('member', what, *args, *([url] if what == 'update' and args else []))
        self.fails('member', 'update', new)
        for args in ((), ('x',), ('x', 'y', url), ('x', '--peer-urls=:bad'), ('x', '--peer-urls=')):
            self.fails('member', 'add', *args)
        # etcd 3.4 takes a learner for none from then on, in its lists alone.
        self.ok('member', 'update', new, '--peer-urls=http://127.0.0.1:8,http://127.0.0.1:7')
        self.ok('member', 'remove', new)
        self.fails('member', 'remove', new)
        self.ok('member', 'list', sort=True)

    def test_endpoint(self):
        for args in (('health',), ('health', '--cluster')):
            for form in ('simple', 'json', 'table'):
                self.shapes('-w', form, 'endpoint', *args)
        for args in (('status',), ('status', '--cluster')):
            for form in ('simple', 'json', 'fields', 'table'):
                self.shapes('-w', form, 'endpoint', *args)
        for args in (('hashkv',), ('hashkv', '--cluster'), ('hashkv', '--rev=1')):
            for form in ('simple', 'json', 'fields', 'table'):
                self.shapes('-w', form, 'endpoint', *args)
        self.fails('endpoint', 'hashkv', '--rev=1000000')

    def shapes(self, *args):
        """Everything but the numbers and which of the members leads."""
        shown = []
        for printed in self.run_both(*args):
            self.assertEqual(printed.code, 0, f'{args}: {printed}')
            text = re.sub(r'\b[Mm][123](-peer)?\b', 'MEMBER', printed.out)
            text = re.sub(r'\b(true|false)\b', 'BOOL', text)
            text = re.sub(r'\b[0-9.]+( [kM]?B)?\b', 'N', text)
            text = re.sub(r'"dbSizeInUse":N,?|"DBSizeInUse" : N\n', '', text)
            shown.append(sorted(re.findall(r'[^\s,{}\[\]|+-]+', text)))
        self.assertEqual(*shown, f'etcdctl {" ".join(args)}')

    def test_alarm(self):
        self.in_formats('alarm', 'list')
        self.in_formats('alarm', 'disarm')
        for side in self.sides:
            stub = rpc.MaintenanceStub(side.cluster.members[0].channel)
            stub.Alarm(rpc.AlarmRequest(action=1, memberID=5, alarm=1))
        self.assertEqual(self.ok('alarm', 'list'), 'memberID:5 alarm:NOSPACE \n')
        self.in_formats('alarm', 'list', message=rpc.AlarmResponse)
        self.fails('put', 'alarm', 'v')
        self.assertEqual(self.ok('alarm', 'disarm'), 'memberID:5 alarm:NOSPACE \n')
        self.assertEqual(self.ok('alarm', 'list'), '')
        self.ok('put', 'alarm', 'v')
        self.fails('alarm', 'list', 'x')
        self.fails('alarm', 'disarm', 'x')

    def test_defrag(self):
        self.ok('defrag')
        self.ok('defrag', '--cluster', sort=True)

    def test_move_leader(self):
        for args in ((), ('zz',), ('1', '2')):
            self.fails('move-leader', *args)

    def test_snapshot(self):
        with tempfile.TemporaryDirectory() as directory:
            files = [os.path.join(directory, name) for name in 'ab']
            for side, file in zip(self.sides, files):
                done = harness.etcdctl(side.endpoint, 'snapshot', 'save', file)
                self.assertEqual(
                    (done.returncode, done.stdout), (0, f'Snapshot saved at {file}\n'), done.stderr
                )
            self.both('snapshot', 'save')
            self.both('snapshot', 'status')
            self.both('snapshot', 'status', os.path.join(directory, 'none'))
            self.assertEqual(
                [harness.etcdctl('', 'snapshot', 'status', file).returncode for file in files],
                [0, 0 if harness.is_etcd() else 1],
            )
            if not harness.is_etcd():
                own = harness.run([harness.Options.binary, 'snapshot', 'status', files[1]])
                self.assertEqual(own.returncode, 0, own.stderr)

    def test_version(self):
        self.assertIn('API version: 3.4', self.ok('version'))


class Users(Pair):
    """auth, user, role; and the flags that say who asks."""

    def test_every_command(self):
        self.fails('auth', 'enable')
        self.ok('auth', 'disable')
        self.manage_users()
        self.manage_roles()
        for args in (('auth', 'enable', 'x'), ('auth', 'disable', 'x'), ('user', 'list', 'x'),
                     ('role', 'list', 'x')):  # fmt: skip
            self.fails(*args)
        self.ok('put', 'conf', 'x')
        self.ok('auth', 'enable')
        self.with_users()
        self.ok('--user=root:pw', 'auth', 'disable')
        self.ok('get', 'conf')

    def manage_users(self):
        self.ok('user', 'add', 'root', '--new-user-password=pw')
        self.fails('user', 'add', 'root:pw')
        self.ok('user', 'add', 'ann:pass:word')
        self.ok('user', 'add', 'bob', '--interactive=false', stdin='bobs\n')
        self.ok('user', 'add', 'cn', '--no-password')
        self.in_formats('user', 'add', 'bob:x')
        for form in ('json', 'fields'):
            self.both('-w', form, 'user', 'add', f'{form}:x')
            self.both('-w', form, 'user', 'passwd', form, '--interactive=false', stdin='y\n')
            self.both('-w', form, 'user', 'list')
            self.both('-w', form, 'user', 'get', form)
            self.both('-w', form, 'user', 'delete', form)
        for args in (('add',), ('add', ''), ('add', ':pw'), ('add', 'a', 'b'),
                     ('add', 'dan:'), ('add', 'eve', '--no-password', '--new-user-password=x'),
                     ('delete',), ('delete', 'none'), ('get',), ('get', 'none'), ('passwd',),
                     ('grant-role', 'none', 'root'), ('grant-role', 'ann', 'none'),
                     ('grant-role', 'ann'), ('revoke-role', 'ann', 'none'), ('revoke-role', 'ann'),
                     ('revoke-role', 'none', 'r')):  # fmt: skip
            self.both('user', *args)
        self.fails('user', 'passwd', 'none', '--interactive=false', stdin='x\n')
        self.in_formats('user', 'list', message=rpc.AuthUserListResponse)

    def manage_roles(self):
        self.ok('role', 'add', 'app')
        self.fails('role', 'add', 'app')
        for args in (
            ('app', 'readwrite', 'app/', '--prefix'), ('app', 'read', 'conf'),
            ('app', 'write', 'out', '--from-key'), ('app', 'read', 'a', 'c'),
            ('app', 'write', 'a', 'c'), ('app', 'read', '', '--prefix'),
            ('app', 'read', '', '--from-key'), ('app', 'read', 'k', '--prefix'),
            ('app', 'read', 'c', 'a'), ('app', 'READ', 'upper'), ('app', 'x', 'k'),
            ('none', 'read', 'k'), ('app', 'read'), (), ('app', 'read', 'a', 'b', 'c'),
            ('app', 'read', 'a', '--prefix', '--from-key'), ('app', 'read', 'a', 'b', '--prefix'),
        ):  # fmt: skip
            self.both('role', 'grant-permission', *args)
        self.in_formats('role', 'get', 'app')
        self.in_formats('role', 'get', 'none')
        self.in_formats('role', 'list', message=rpc.AuthRoleListResponse)
        self.ok('user', 'grant-role', 'ann', 'app')
        self.in_formats('user', 'get', 'ann', '--detail')
        for args in (
            ('app', 'k', '--prefix'), ('app', 'k', '--prefix'), ('app', 'upper'), ('app', 'none'),
            ('none', 'k'), ('app',), ('app', '', '--prefix'), ('app', '', '--from-key'),
            ('app', 'a', 'd'), ('app', 'a', 'c'), ('app', 'c', 'a'),
        ):  # fmt: skip
            self.both('role', 'revoke-permission', *args)
        self.ok('role', 'get', 'app')
        for form in ('json', 'fields'):
            self.both('-w', form, 'role', 'add', form)
            self.both('-w', form, 'role', 'grant-permission', form, 'read', 'k')
            self.both('-w', form, 'role', 'revoke-permission', form, 'k')
            self.both('-w', form, 'user', 'grant-role', 'bob', form)
            self.both('-w', form, 'user', 'revoke-role', 'bob', form)
            self.both('-w', form, 'role', 'delete', form)
        for args in (('delete', 'none'), ('delete',), ('add',), ('add', ''), ('get',)):
            self.both('role', *args)
        self.both('role', 'add', 'root')
        self.both('user', 'grant-role', 'root', 'root')

    def with_users(self):
        for args in (('get', 'conf'), ('put', 'conf', 'v'), ('user', 'list'), ('member', 'list'),
                     ('defrag',), ('lease', 'grant', '100'), ('lock', 'l', '--', 'true')):
            self.both(*args)
        for user in (('--user=root', '--password=pw'), ('--user=ann:pass:word',)):
            for args in (
                ('get', 'conf'), ('put', 'app/1', 'v'), ('put', 'conf', 'v'),
                ('get', '', '--prefix'),
                ('del', 'a', 'c'), ('lease', 'grant', '100'), ('member', 'list'), ('defrag',),
                ('alarm', 'list'), ('endpoint', 'health'), ('user', 'list'), ('user', 'get', 'ann'),
                ('user', 'get', 'bob'), ('user', 'add', 'x:x'), ('user', 'delete', 'x'),
                ('role', 'get', 'app'), ('role', 'add', 'x'), ('role', 'delete', 'x'),
                ('auth', 'enable'), ('lock', 'app/l', '--', 'true'), ('lock', 'l', '--', 'true'),
            ):  # fmt: skip
                self.both(*user, *args)
        for user in (('--user=root:pw',), ('--user=ann', '--password=bad'), ('--user=bob:bobs',),
                     ('--user=none:x',), ('--user=cn:',), ('--user=ann:pass:word', '--password=x')):
            self.both(*user, 'get', 'conf')
        root = '--user=root:pw'
        self.ok(root, 'user', 'passwd', 'bob', '--interactive=false', stdin='new\n')
        self.fails('--user=bob:bobs', 'get', 'conf')
        self.fails('--user=bob:new', 'get', 'conf')
        self.fails(root, 'user', 'delete', 'root')
        self.fails(root, 'role', 'delete', 'root')
        self.fails(root, 'user', 'revoke-role', 'root', 'root')


if __name__ == '__main__':
    harness.main()
