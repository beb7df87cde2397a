"""What a member survives, and what makes it stop: SIGTERM, a torn or damaged log, a long absence, a
frozen leader."""

import os
import re
import shutil
import tempfile
import threading
import time

import grpc

import harness

ELECTION_SECONDS = 1.0  # the default --election-timeout


class Writer(threading.Thread):
    """Writes without a pause through one member until told to stop; keeps each outcome."""

    def __init__(self, member, prefix):
        super().__init__()
        self.member = member
        self.prefix = prefix
        self.stopping = threading.Event()
        self.done = []  # (key, time of the acknowledgement)
        self.failed = []  # what went wrong
        self.start()

    def run(self):
        channel = harness.new_channel(self.member.endpoint, **{'grpc.enable_retries': 0})
        stub = harness.rpc.KVStub(channel)
        number = 0
        while not self.stopping.is_set():
            number += 1
            key = f'{self.prefix}/{number:06}'
            try:
                stub.Put(harness.rpc.PutRequest(key=key.encode(), value=b'v'), timeout=10)
                self.done.append((key, time.monotonic()))
            except grpc.RpcError as error:
                self.failed.append(f'{key}: {harness.describe(error)}')
        channel.close()

    def finish(self):
        self.stopping.set()
        self.join()

    def longest_gap(self):
        times = [at for _, at in self.done]
        return max((b - a for a, b in zip(times, times[1:])), default=0)


class Stopping(harness.ClusterTest):
    def test_sigterm_hands_leadership_over(self):
        for attempt in range(2):
            leader = self.cluster.leader()
            writers = [
                Writer(member, f'term{attempt}-{member.name}')
                for member in self.cluster.followers()
            ]
            time.sleep(0.5)
            code = leader.terminate()
            time.sleep(1)
            for writer in writers:
                writer.finish()
            leader.start()
            self.cluster.wait_healthy()
            self.check_writes(writers)
            if harness.is_etcd():
                continue  # its followers do not pass a forwarded write on to the new leader
            self.assertEqual(code, 0)
            for writer in writers:
                self.assertEqual(writer.failed, [])
                self.assertLess(
                    writer.longest_gap(),
                    ELECTION_SECONDS,
                    'as long as an election: leadership was not handed over',
                )

    def check_writes(self, writers):
        for writer in writers:
            kvs = (
                self.cluster.leader()
                .get(writer.prefix, range_end=writer.prefix.encode() + b'\xff', keys_only=True)
                .kvs
            )
            there = {kv.key.decode() for kv in kvs}
            lost = [key for key, _ in writer.done if key not in there]
            self.assertEqual(lost, [])
            self.assertGreater(len(writer.done), 10)

    def test_sigterm_to_all(self):
        self.cluster.leader().put('all/k', 'v')
        for member in self.cluster.members:
            member.process.terminate()
        codes = [harness.reap(member.process, 15) for member in self.cluster.members]
        for member in self.cluster.members:
            member.start()
        self.cluster.wait_healthy()
        self.assertEqual(self.cluster.leader().value('all/k'), b'v')
        if not harness.is_etcd():
            self.assertEqual(codes, [0, 0, 0])

    def test_a_killed_leader_is_replaced(self):
        leader = self.cluster.leader()
        writers = [Writer(member, f'killed-{member.name}') for member in self.cluster.followers()]
        time.sleep(0.3)
        leader.kill()
        time.sleep(4)
        for writer in writers:
            writer.finish()
        leader.start()
        self.cluster.wait_healthy()
        self.check_writes(writers)
        for writer in writers:
            self.assertLess(writer.longest_gap(), 4 * ELECTION_SECONDS)

    def test_a_frozen_leader_answers_no_stale_read(self):
        leader = self.cluster.leader()
        leader.put('frozen/k', 'old')
        others = self.cluster.followers()
        leader.pause()
        harness.wait_until(lambda: others[0].put('frozen/k', 'new', timeout=3), 20, 'a new leader')
        result = []
        reader = threading.Thread(target=lambda: result.append(self.read(leader)))
        reader.start()
        leader.resume()
        reader.join()
        self.assertIn(result[0], (b'new', None))
        self.cluster.wait_healthy()

    @staticmethod
    def read(member):
        """The value, or None if the member could not say."""
        try:
            return member.value('frozen/k')
        except grpc.RpcError:
            return None

    def test_two_of_three_gone_refuses_and_recovers(self):
        one, two, three = self.cluster.members
        one.put('minority/k', 'v')
        two.kill()
        three.kill()
        with self.assertRaises(grpc.RpcError):
            one.put('minority/k', 'w', timeout=3)
        with self.assertRaises(grpc.RpcError):
            one.get('minority/k', timeout=3)
        self.assertEqual(one.value('minority/k', serializable=True), b'v')
        two.start()
        three.start()
        self.cluster.wait_healthy()
        self.assertIn(one.value('minority/k'), (b'v', b'w'))


@harness.conclave_only('a leader needs no disk to stay one')
class HungDisk(harness.ClusterTest):
    """The leader's disk takes nothing any more and fails nothing either (tests/hung_disk.c)."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix='conclave-hung-')
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        preload = os.path.join(cls.directory, 'hung_disk.so')
        source = os.path.join(os.path.dirname(__file__), 'hung_disk.c')
        built = harness.run(['cc', '-shared', '-fPIC', '-O2', '-o', preload, source, '-ldl'])
        assert built.returncode == 0, built.stderr
        cls.cluster = harness.Cluster(3)
        for member in cls.cluster.members:
            member.environment = {'LD_PRELOAD': preload, 'HUNG_DISK_WHILE': cls.switch(member)}
        cls.cluster.start()

    @classmethod
    def switch(cls, member):
        return os.path.join(cls.directory, member.name + '-hangs')

    def test_its_member_leads_no_more_within_two_election_timeouts(self):
        for _ in range(3):
            leader = self.cluster.leader()
            old, others = leader.status().header.member_id, self.cluster.followers()
            writer = Writer(others[0], 'hung')
            try:
                time.sleep(0.3)
                with open(self.switch(leader), 'w'):
                    hung_at = time.monotonic()
                harness.wait_until(
                    lambda: all(member.status().leader not in (0, old) for member in others),
                    10,
                    'another leader',
                )
                took = time.monotonic() - hung_at
                time.sleep(1)
            finally:
                writer.finish()
                os.remove(self.switch(leader))
            self.assertLess(took, 2 * ELECTION_SECONDS)
            self.assertEqual(writer.failed, [])
            self.assertLess(writer.longest_gap(), 2 * ELECTION_SECONDS)
            self.cluster.wait_healthy()


@harness.conclave_only('its log has another form')
class DamagedLog(harness.ClusterTest):
    def setUp(self):
        self.cluster = harness.Cluster(3).start()
        self.addCleanup(self.cluster.stop)

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    @staticmethod
    def segments(member):
        """Log files that hold something, oldest first."""
        found = []
        for directory, _, names in os.walk(member.data_dir):
            found += [os.path.join(directory, name) for name in names]
        return sorted(path for path in found if '/wal/' in path)

    def place_of(self, member, text):
        """(file, offset) of the last appearance of a text in the log of a stopped member."""
        for path in reversed(self.segments(member)):
            with open(path, 'rb') as file:
                at = file.read().rfind(text)
            if at >= 0:
                return path, at
        raise AssertionError(f'{text} is not in the log of {member.name}')

    @staticmethod
    def damage(path, offset, size=1):
        with open(path, 'r+b') as file:
            file.seek(offset)
            old = file.read(size)
            file.seek(offset)
            file.write(bytes(byte ^ 0x55 for byte in old))

    def test_damage_in_the_middle_stops_the_member_and_says_where(self):
        victim = self.cluster.followers()[0]
        leader = self.cluster.leader()
        leader.put('early', 'a-marker-in-the-middle')
        for number in range(50):
            leader.put(f'later/{number}', 'x' * 500)
        victim.get('early')  # by now it has them all
        victim.kill()
        path, offset = self.place_of(victim, b'a-marker-in-the-middle')
        self.damage(path, offset)
        victim.start()
        self.assertNotIn(victim.wait_exit(15), (None, 0))
        log = victim.log()
        self.assertIn(path, log)
        said = [int(number) for number in re.findall(r'offset (\d+)', log)]
        self.assertTrue(
            any(abs(number - offset) < 8192 for number in said), f'{offset} is not among {said}'
        )
        self.assertEqual(leader.value('early'), b'a-marker-in-the-middle')
        # The file is as it was found: nothing was cut off.
        with open(path, 'rb') as file:
            self.assertIn(b'x' * 500, file.read()[offset:])
        self.damage(path, offset)
        victim.start()
        self.cluster.wait_healthy()
        self.assertEqual(victim.value('early'), b'a-marker-in-the-middle')

    def last_written(self, member):
        """(file, offset) of the last byte in the log that is not zero."""
        newest = max(self.segments(member), key=self.last_used)
        return newest, self.last_used_offset(newest)

    @staticmethod
    def last_used_offset(path):
        with open(path, 'rb') as file:
            return len(file.read().rstrip(b'\0')) - 1

    def last_used(self, path):
        """Orders segments by what is written in them; the untouched next one has only a header."""
        return (self.last_used_offset(path) >= 4096, path)

    def test_a_torn_tail_is_cut_off(self):
        """The leader's last write is torn, of which it had told nobody: the others were frozen."""
        leader = self.cluster.leader()
        for number in range(50):
            leader.put(f'torn/{number}', f'value {number}')
        others = self.cluster.followers()
        for member in others:
            member.pause()
        with self.assertRaises(grpc.RpcError):
            leader.put('torn/unacknowledged', 'v', timeout=0.5)
        leader.kill()
        path, offset = self.last_written(leader)
        self.damage(path, offset)
        for member in others:
            member.resume()
        leader.start()
        self.cluster.wait_healthy()
        self.assertIn('cut off', leader.log())
        for number in range(50):
            self.assertEqual(leader.value(f'torn/{number}'), f'value {number}'.encode())
        leader.put('torn/after', 'v')

    def test_half_a_batch_at_the_tail_is_cut_off(self):
        victim = self.cluster.followers()[0]
        leader = self.cluster.leader()
        leader.put('half/k', 'v')
        victim.get('half/k')
        victim.kill()
        path, offset = self.last_written(victim)
        with open(path, 'r+b') as file:
            start = offset // 4096 * 4096 + 4096
            file.seek(start)
            file.write(os.urandom(1000))
        victim.start()
        self.cluster.wait_healthy()
        self.assertEqual(victim.value('half/k'), b'v')


class LongAbsence(harness.ClusterTest):
    flags = ('--snapshot-count', '20')

    def test_a_follower_that_was_away_catches_up(self):
        victim = self.cluster.followers()[0]
        victim.kill()
        leader = self.cluster.leader()
        leader.put('away/first', 'v')
        value = 'x' * 1_000_000
        for number in range(40):
            leader.put(f'away/{number % 10}', f'{number}:{value}')
        for number in range(200):
            leader.put('away/small', str(number))
        victim.start()
        self.cluster.wait_healthy()
        for number in range(10):
            self.assertEqual(
                victim.value(f'away/{number}').split(b':')[0], str(30 + number).encode()
            )
        self.assertEqual(victim.value('away/first', serializable=True), b'v')
        if not harness.is_etcd():  # which keeps 5,000 entries, however large
            self.assertRegex(victim.log(), 'snapshot at index [0-9]+ received')
        leader.put('away/then', 'goes on')
        self.assertEqual(victim.value('away/then'), b'goes on')
        for member in self.cluster.members:
            member.kill()
        for member in self.cluster.members:
            member.start()
        self.cluster.wait_healthy()
        self.assertEqual(victim.get('away/', range_end=b'away0', count_only=True).count, 13)


if __name__ == '__main__':
    harness.main()
