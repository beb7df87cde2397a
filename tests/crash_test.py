"""Kills members with SIGKILL while clients write, and then looks for what they were promised.

Concurrent clients write unique values, read and compare-and-swap through all members, while one,
two or all of the members at a time are killed at random moments, restarted, or frozen for a while.
Afterwards every acknowledged write is there, at the revision it was given; all members hold the
same; the whole history is linearizable per key and its revisions follow real time
(build/conclave-check-history); and writes that were retried under one conclave-request-id were
applied exactly once.

    tests/crash_test.py --seconds 600 --seed 7
    tests/crash_test.py --binary etcd          # the same for stock etcd, without request ids
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import harness

PROCESSES = 3
THREADS = 4
CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'crash_client.py')
CLIENTS_END_SECONDS = 30


class Nemesis:
    """What happens to the members, drawn from a seed."""

    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.kills = 0
        self.freezes = 0
        self.largest = 0

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.rng.uniform(0.2, 2.0))
            if self.rng.random() < 0.15:
                self.freeze()
            else:
                self.crash()
            if self.rng.random() < 0.7:
                self.cluster.wait_healthy()
        self.cluster.wait_healthy()

    def crash(self):
        everybody = len(self.cluster.members)
        victims = self.choose(self.rng.choices([1, min(2, everybody), everybody], [60, 20, 20])[0])
        self.largest = max(self.largest, len(victims))
        for victim in victims:
            victim.kill()
            self.kills += 1
            if self.rng.random() < 0.4:
                time.sleep(self.rng.uniform(0, 0.3))
        time.sleep(self.rng.uniform(0, 1.5))
        self.rng.shuffle(victims)
        for victim in victims:
            victim.start()
            if self.rng.random() < 0.4:
                time.sleep(self.rng.uniform(0, 0.3))

    def freeze(self):
        victims = self.choose(1)
        for victim in victims:
            victim.pause()
            self.freezes += 1
        time.sleep(self.rng.uniform(0.1, 3.0))
        for victim in victims:
            victim.resume()

    def choose(self, count):
        """Members to hurt; often the leader among them, who has the most to lose."""
        members = list(self.cluster.members)
        self.rng.shuffle(members)
        if self.rng.random() < 0.5:
            members.sort(key=lambda member: not self.leads(member))
        return members[:count]

    @staticmethod
    def leads(member):
        try:
            status = member.status(timeout=0.5)
        except harness.grpc.RpcError:
            return False
        return status.leader == status.header.member_id


class Clients:
    """The client processes, and the history they leave."""

    def __init__(self, cluster, directory, seed, idempotent):
        self.paths = []
        self.processes = []
        for number in range(1, PROCESSES + 1):
            path = os.path.join(directory, f'history-{number}')
            self.paths.append(path)
            self.processes.append(
                harness.spawn(
                    [
                        sys.executable,
                        CLIENT,
                        str(number),
                        str(THREADS),
                        str(seed),
                        path,
                        str(idempotent),
                    ]
                    + [member.endpoint for member in cluster.members],
                    stdin=subprocess.PIPE,
                )
            )

    def check_alive(self):
        for process in self.processes:
            assert process.poll() is None, 'a client process ended early: see its message above'

    def finish(self):
        for process in self.processes:
            process.stdin.close()
        codes = [harness.reap(process, CLIENTS_END_SECONDS) for process in self.processes]
        assert codes == [0] * len(codes), f'client processes ended with {codes}'

    def history(self):
        entries = []
        for path in self.paths:
            with open(path, encoding='utf-8') as lines:
                entries += [json.loads(line) for line in lines]
        return entries


# --- afterwards ---


def everything(member):
    """All key-values of a member, as it holds them itself, read in pages."""
    kvs, start, revision = {}, b'\0', 0
    while True:
        page = member.get(start, range_end=b'\0', limit=5000, revision=revision, timeout=20)
        revision = revision or page.header.revision
        for kv in page.kvs:
            kvs[kv.key.decode()] = (
                kv.value.decode(),
                kv.mod_revision,
                kv.create_revision,
                kv.version,
            )
        if not page.more:
            return kvs
        start = page.kvs[-1].key + b'\0'


def check_same_everywhere(cluster):
    """Linearizable reads first let each member catch up; then each answers from its own state."""
    states = [everything(member) for member in cluster.members]
    for member, state in zip(cluster.members, states):
        assert state == states[0], f'{member.name} differs from {cluster.members[0].name}: ' + str(
            sorted(set(state.items()) ^ set(states[0].items()))[:10]
        )
        own = {}
        for kv in member.get(b'\0', range_end=b'\0', serializable=True, timeout=20).kvs:
            own[kv.key.decode()] = kv.value.decode()
        assert own == {
            key: value[0] for key, value in states[0].items()
        }, f'{member.name} answers local reads differently'
    return states[0]


def check_promises(history, state):
    """Every acknowledged append is there as acknowledged, and nothing that was not asked for."""
    appends = {e['key']: e for e in history if e['key'].startswith('log/')}
    lost = [
        key
        for key, e in appends.items()
        if 'return' in e and state.get(key) != (e['value'], e['rev'], e['rev'], 1)
    ]
    assert not lost, (
        f'{len(lost)} acknowledged writes are lost or changed, for example '
        f'{appends[lost[0]]}: the store has {state.get(lost[0])}'
    )
    foreign = [key for key in state if key.startswith('log/') and key not in appends]
    assert not foreign, f'keys that nobody wrote: {foreign[:5]}'
    return sum('return' in e for e in appends.values())


def check_applied_once(history, state):
    """Each idempotent writer's key has had as many versions as writes."""
    writes = {}
    for e in history:
        if e['key'].startswith('once/'):
            writes.setdefault(e['key'], []).append(e)
    for key, entries in writes.items():
        known = sum('return' in e for e in entries)
        value, _, _, version = state[key]
        assert version == int(value), f'{key} holds write {value} at version {version}'
        assert known <= version <= len(entries), f'{key}: {known} acknowledged, version {version}'
    return sum(len(entries) for entries in writes.values())


def final_reads(cluster):
    """Linearizable reads of each register through each member, to close the history with."""
    keys = sorted({kv.key for kv in cluster.members[0].get(b'r', range_end=b's').kvs})
    for member in cluster.members:
        for key in keys:
            call = time.monotonic_ns()
            answer = member.get(key, timeout=10)
            found = answer.kvs[0] if answer.kvs else None
            yield {
                'client': 0,
                'op': 'get',
                'key': key.decode(),
                'call': call,
                'return': time.monotonic_ns(),
                'value': found.value.decode() if found else None,
                'rev': found.mod_revision if found else 0,
                'at': answer.header.revision,
            }


def judge(history, path):
    with open(path, 'w', encoding='utf-8') as lines:
        for entry in history:
            lines.write(json.dumps(entry, separators=(',', ':')) + '\n')
    done = harness.run([checker(), path], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().split(': ', 1)[1]


def checker():
    beside = os.path.join(os.path.dirname(harness.Options.binary), 'conclave-check-history')
    for path in (
        os.environ.get('CONCLAVE_CHECK_HISTORY'),
        beside,
        os.path.join(harness.ROOT, 'build', 'conclave-check-history'),
    ):
        if path and os.access(path, os.X_OK):
            return path
    sys.exit('conclave-check-history is not built')


def longest_gap_ms(history):
    """The longest time in which nobody's write was acknowledged."""
    times = sorted(e['return'] for e in history if e['op'] != 'get' and 'return' in e)
    return max((b - a for a, b in zip(times, times[1:])), default=0) / 1e6


def latencies_ms(history):
    return sorted((e['return'] - e['call']) / 1e6 for e in history if 'return' in e)


def summarize(history, nemesis, seconds):
    done = latencies_ms(history)
    unknown = len(history) - len(done)
    print(
        f'  {len(done)} operations answered ({len(done) / seconds:.0f}/s), {unknown} of unknown '
        f'fate; {nemesis.kills} kills (up to {nemesis.largest} at once), {nemesis.freezes} freezes'
    )
    print(
        f'  latency p50 {done[len(done) // 2]:.1f} ms, p99 {done[len(done) * 99 // 100]:.1f} ms; '
        f'longest time without an acknowledged write {longest_gap_ms(history):.0f} ms',
        flush=True,
    )


def crash_test(seconds, seed, members):
    """Returns the number of checks that held; raises AssertionError at the first that does not."""
    directory = tempfile.mkdtemp(prefix='conclave-crash-')
    idempotent = 0 if harness.is_etcd() else 1
    kept = False
    checker()
    try:
        with harness.Cluster(members, flags=['--snapshot-count', '200']) as cluster:
            clients = Clients(cluster, directory, seed, idempotent)
            nemesis = Nemesis(cluster, seed)
            nemesis.run(seconds)
            clients.check_alive()
            clients.finish()
            history = clients.history()
            summarize(history, nemesis, seconds)
            kept = True
            state = check_same_everywhere(cluster)
            print(f'  all members hold the same {len(state)} keys', flush=True)
            print(
                f'  all {check_promises(history, state)} acknowledged appends are there', flush=True
            )
            if idempotent:
                print(
                    f'  {check_applied_once(history, state)} writes with a request id were applied '
                    'once',
                    flush=True,
                )
            print(
                '  '
                + judge(
                    history + list(final_reads(cluster)), os.path.join(directory, 'history.jsonl')
                ),
                flush=True,
            )
        kept = False
        return 4 if idempotent else 3
    finally:
        if kept:
            print(f'  the history is kept in {directory}', file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument('--seconds', type=float, default=None, help='60, or 10 with --quick')
    parser.add_argument('--seed', type=int, default=None, help='of the faults; drawn if not given')
    parser.add_argument('--members', type=int, default=3)
    parsed = parser.parse_args()
    harness.apply_arguments(parsed)
    seconds = parsed.seconds or (10 if parsed.quick else 60)
    seed = parsed.seed if parsed.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f'  crash test: {seconds:.0f} s, seed {seed}', flush=True)
    try:
        print(f'{crash_test(seconds, seed, parsed.members)} passed, 0 failed')
    except AssertionError as error:
        print(f'  FAIL (seed {seed}): {error}', file=sys.stderr)
        print('0 passed, 1 failed')
        sys.exit(1)


if __name__ == '__main__':
    main()
