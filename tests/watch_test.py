"""Watches over real connections: stock clients, many watches, clients that stop reading, members
that go away."""

import os
import subprocess
import threading
import time

import etcd3
from etcd3 import etcdrpc as rpc

import harness
from watch_stream import WatchStream, is_fragment

KIB = 1024
MIB = 1024 * KIB


def resident_bytes(member):
    with open(f'/proc/{member.process.pid}/statm') as statm:
        return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def values(events):
    return [event.kv.value for event in events]


class Streams(harness.ClusterTest):
    """What etcd promises of a stream of watches; also asked of etcd."""

    members = 1

    def setUp(self):
        self.member = self.cluster.members[0]

    def test_many_watches_on_one_stream(self):
        with WatchStream(self.member) as stream:
            for number in range(300):
                stream.create(key=b'many/%d' % number)
            stream.until(lambda all_: len(all_) == 300)
            self.assertEqual([r.watch_id for r in stream.responses], list(range(300)))
            for number in (7, 0, 299):
                self.member.put(f'many/{number}', 'x')
            self.assertEqual(
                [e.kv.key for e in stream.wait_events(3)], [b'many/7', b'many/0', b'many/299']
            )
            self.assertEqual([r.watch_id for r in stream.responses[300:]], [7, 0, 299])

    def test_many_watchers_of_one_key(self):
        streams = [WatchStream(self.member) for _ in range(20)]
        for stream in streams:
            for _ in range(50):
                stream.create(key=b'hot')
            stream.until(lambda all_: len(all_) == 50)
        for number in range(10):
            self.member.put('hot', str(number))
        for stream in streams:
            stream.wait_events(500)
            for watch_id in range(50):
                self.assertEqual(
                    values(stream.events(watch_id)), [b'%d' % n for n in range(10)]
                )
            stream.close()

    def test_a_transaction_comes_as_a_whole(self):
        with WatchStream(self.member) as stream:
            stream.create(key=b'whole/', range_end=b'whole0')
            stream.wait_created()
            puts = [
                rpc.RequestOp(request_put=rpc.PutRequest(key=b'whole/%d' % n)) for n in range(50)
            ]
            self.member.kv.Txn(rpc.TxnRequest(success=puts))
            stream.wait_events(50)
            self.assertEqual(len(stream.responses), 2)

    def test_fragments(self):
        value = b'x' * MIB
        with WatchStream(self.member) as stream, WatchStream(self.member) as plain:
            for each, fragment in ((stream, True), (plain, False)):
                each.create(key=b'frag/', range_end=b'frag0', fragment=fragment, prev_kv=True)
                each.wait_created()
            for number in range(5):
                self.member.put(f'frag/{number}', value)
            plain.wait_events(5)
            stream.wait_events(5)
            # One revision, five previous values of a megabyte.
            self.member.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'frag/', range_end=b'frag0'))
            plain.wait_events(10)
            stream.wait_events(10)
            pieces = [r for r in stream.responses if r.events and r.events[0].type == 1]
            self.assertGreater(len(pieces), 1)
            self.assertEqual([is_fragment(r) for r in pieces], [True] * (len(pieces) - 1) + [False])
            self.assertEqual(len([r for r in plain.responses if r.events and r.events[0].type]), 1)

    def test_progress_when_asked(self):
        revision = self.member.put('asked', 'x').header.revision
        with WatchStream(self.member) as stream:
            stream.create(key=b'asked')
            stream.wait_created()
            stream.ask_progress()
            stream.until(lambda all_: len(all_) == 2)
            self.assertEqual(stream.responses[1].watch_id, -1)
            self.assertEqual(stream.responses[1].header.revision, revision)
            self.assertEqual(len(stream.responses[1].events), 0)

    def test_a_half_closed_stream_still_hears(self):
        with WatchStream(self.member) as stream:
            stream.create(key=b'half')
            stream.wait_created()
            stream.half_close()
            time.sleep(0.1)
            self.member.put('half', 'x')
            self.assertEqual(values(stream.wait_events(1)), [b'x'])


class StockClients(harness.ClusterTest):
    members = 3

    def etcdctl(self, *args):
        """Lines of a watching etcdctl, as they come."""
        process = harness.spawn(
            ['etcdctl', '--endpoints', self.cluster.members[0].endpoint, 'watch', *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ, ETCDCTL_API='3'),
        )
        lines = []

        def read():
            for line in process.stdout:
                lines.append(line.rstrip('\n'))

        threading.Thread(target=read, daemon=True).start()
        return process, lines

    def expect(self, lines, wanted):
        deadline = time.monotonic() + 10
        while len(lines) < len(wanted) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(lines, wanted)

    def test_etcdctl(self):
        member = self.cluster.members[1]
        first = member.put('ctl/a', '1').header.revision
        member.put('ctl/a', '2')
        process, lines = self.etcdctl('ctl/', '--prefix', '--prev-kv', f'--rev={first}')
        wanted = ['PUT', 'ctl/a', '1', 'PUT', 'ctl/a', '1', 'ctl/a', '2']
        self.expect(lines, wanted)
        member.put('ctl/b', '3')
        member.kv.DeleteRange(rpc.DeleteRangeRequest(key=b'ctl/a'))
        self.expect(
            lines,
            wanted + ['PUT', 'ctl/b', '3', 'DELETE', 'ctl/a', '2', 'ctl/a', ''],
        )
        process.kill()
        harness.reap(process)

    def test_etcdctl_of_a_compacted_revision(self):
        member = self.cluster.members[1]
        for number in range(5):
            revision = member.put('compacted', str(number)).header.revision
        member.kv.Compact(rpc.CompactionRequest(revision=revision, physical=True))
        harness.wait_until(
            lambda: self.is_compacted(self.cluster.members[0], revision), 10, 'a compaction'
        )
        process, lines = self.etcdctl('compacted', f'--rev={revision - 2}')
        harness.wait_until(lambda: process.poll() is not None, 10, 'etcdctl to give up')
        self.assertIn('required revision has been compacted', '\n'.join(lines))
        process, lines = self.etcdctl('compacted', f'--rev={revision}')
        self.expect(lines, ['PUT', 'compacted', '4'])
        process.kill()
        harness.reap(process)

    @staticmethod
    def is_compacted(member, revision):
        try:
            member.get('x', revision=revision - 1, serializable=True)
        except Exception as error:  # pylint: disable=broad-exception-caught
            return 'compacted' in str(error)
        return False

    def test_python_etcd3(self):
        member = self.cluster.members[2]
        client = etcd3.client('127.0.0.1', member.client_port)
        events, cancel = client.watch_prefix('py/')
        client.put('py/a', '1')
        client.put('py/a', '2')
        client.delete('py/a')
        heard = [next(events) for _ in range(3)]
        self.assertEqual([(type(e).__name__, e.key, e.value) for e in heard][:2],
                         [('PutEvent', b'py/a', b'1'), ('PutEvent', b'py/a', b'2')])
        self.assertEqual(type(heard[2]).__name__, 'DeleteEvent')
        cancel()
        heard = []
        watch_id = client.add_watch_callback('py/b', lambda response: heard.extend(response.events))
        client.put('py/b', 'x')
        harness.wait_until(lambda: len(heard) == 1, 5, 'a callback')
        client.cancel_watch(watch_id)
        again, cancel = client.watch('py/a', start_revision=heard[0].mod_revision - 3)
        self.assertEqual([next(again).value for _ in range(3)], [b'1', b'2', b''])
        cancel()
        client.close()


class Slow(harness.ClusterTest):
    """Clients that do not take what they are told."""

    members = 1

    def test_a_stopped_reader_costs_little_and_misses_nothing(self):
        member = self.cluster.members[0]
        count = 200 if harness.Options.quick else 500
        value = b'x' * (100 * KIB)
        stopped = [WatchStream(member, reads=False) for _ in range(20)]
        for stream in stopped:
            stream.create(key=b'slow')
        with WatchStream(member) as reader:
            reader.create(key=b'slow')
            reader.wait_created()
            time.sleep(0.5)
            before = resident_bytes(member)
            slowest = 0.0
            for number in range(count):
                started = time.monotonic()
                member.put('slow', b'%06d' % number + value)
                slowest = max(slowest, time.monotonic() - started)
            reader.wait_events(count, 30)
            grown = resident_bytes(member) - before
        # History, log in memory, and a megabyte and a half for each of the stopped.
        allowed = 3 * count * len(value) + 20 * 3 * MIB // 2 + 64 * MIB
        if harness.keeps_freed_memory():
            allowed += 256 * MIB
        self.assertLess(grown, allowed)
        self.assertLess(slowest, 2.0)
        for stream in stopped:
            stream.read()
        expected = [b'%06d' % number for number in range(count)]
        for stream in stopped:
            heard = [v[:6] for v in values(stream.wait_events(count, 60))]
            self.assertEqual(heard, expected)
            stream.close()

    def test_one_stream_that_is_not_read_holds_back_no_other(self):
        member = self.cluster.members[0]
        stuck = WatchStream(member, reads=False)
        stuck.create(key=b'both')
        with WatchStream(member) as reader:  # over the same connection
            reader.create(key=b'both')
            reader.wait_created()
            for number in range(100):
                member.put('both', b'%03d' % number + b'x' * (100 * KIB))
            self.assertEqual(len(reader.wait_events(100, 20)), 100)
        stuck.close()


class Members(harness.ClusterTest):
    """A client that goes from member to member."""

    members = 3

    def test_resuming_at_another_member(self):
        writer_stops = threading.Event()
        written = []

        def write():
            number = 0
            while not writer_stops.is_set():
                number += 1
                try:
                    answer = self.cluster.members[0].put('resume', str(number), timeout=5)
                    written.append((answer.header.revision, str(number).encode()))
                except Exception:  # pylint: disable=broad-exception-caught
                    time.sleep(0.05)

        thread = threading.Thread(target=write, daemon=True)
        start = self.cluster.members[0].put('resume', '0').header.revision + 1
        thread.start()
        heard = []
        for turn in range(6):
            member = self.cluster.members[1 + turn % 2]
            following = heard[-1].kv.mod_revision + 1 if heard else start
            with WatchStream(member) as stream:
                stream.create(key=b'resume', start_revision=following)
                heard += stream.wait_events(20, 20)
            if turn in (1, 2):
                member.kill()
                member.start()
                harness.wait_until(lambda m=member: m.get('x', timeout=1), 20, 'a restart')
        writer_stops.set()
        thread.join()
        revisions = [event.kv.mod_revision for event in heard]
        self.assertEqual(revisions, sorted(set(revisions)))
        told = {event.kv.mod_revision: event.kv.value for event in heard}
        for revision, value in written:
            if revision <= revisions[-1]:
                self.assertEqual(told.get(revision), value)

    def test_a_stopping_member_says_so(self):
        member = self.cluster.followers()[0]
        stream = WatchStream(member)
        stream.create(key=b'x')
        stream.wait_created()
        member.terminate()
        harness.wait_until(lambda: stream.error is not None, 10, 'the end of the stream')
        self.assertEqual(stream.error.code().name, 'UNAVAILABLE')
        member.start()
        self.cluster.wait_healthy()


class Progress(harness.ClusterTest):
    members = 1
    flags = ('--experimental-watch-progress-notify-interval', '1s')

    @harness.conclave_only('the flag came with 3.4.27')
    def test_quiet_watches_are_told_how_far_they_are(self):
        member = self.cluster.members[0]
        with WatchStream(member) as stream:
            stream.create(key=b'quiet', progress_notify=True)
            stream.create(key=b'quiet')
            revision = member.put('other', 'x').header.revision
            stream.until(lambda all_: any(r.header.revision == revision for r in all_[2:]), 10)
            told = stream.responses[2:]
            self.assertEqual({r.watch_id for r in told}, {0})
            self.assertEqual([len(r.events) for r in told], [0] * len(told))


if __name__ == '__main__':
    harness.main()
