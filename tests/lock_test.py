"""Locks and elections: etcd's services over gRPC and the gateway, and etcdctl's own, from many
processes while leaders die."""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
from etcd3 import etcdrpc as rpc

import harness
from lock_messages import LeaderKey, Services

# Run by `etcdctl lock` as the holder: counts up, but only while the lock's key is still the one
# that was taken. It does not compare the counter, so a second holder would undo somebody's step.
HOLDER = '''
import base64, json, os, sys, time, urllib.request
def b64(text):
    return base64.b64encode(text.encode()).decode()
def ask(url, path, **fields):
    request = urllib.request.Request(url + path, data=json.dumps(fields).encode())
    with urllib.request.urlopen(request, timeout=3) as answer:
        return json.load(answer)
key, urls = os.environ['ETCD_LOCK_KEY'], sys.argv[1:]
for attempt in range(100):
    url = urls[attempt % len(urls)]
    try:
        own = ask(url, '/v3/kv/range', key=b64(key)).get('kvs')
        if not own:
            print('lost', key)
            break
        token = int(own[0]['create_revision'])
        kvs = ask(url, '/v3/kv/range', key=b64('count')).get('kvs')
        number, last = (int(n) for n in base64.b64decode(kvs[0]['value']).split()) if kvs else (0, 0)
        if last == token:
            print('counted', token)
            break
        assert last < token, f'a later holder ({last}) was here before {token}'
        time.sleep(0.02)
        fence = {'key': b64(key), 'target': 'CREATE', 'create_revision': token}
        put = {'key': b64('count'), 'value': b64(f'{number + 1} {token}')}
        done = ask(url, '/v3/kv/txn', compare=[fence], success=[{'request_put': put}])
        print('counted' if done.get('succeeded') else 'lost', token)
        break
    except OSError:
        time.sleep(0.2)
'''


def b64(data):
    return base64.b64encode(data).decode()


def post(member, path, timeout=5, **fields):
    """(status, answer) of the gateway."""
    return harness.post(member, path, fields, timeout)


class LockCase(harness.LeaseTest):
    def setUp(self):
        super().setUp()
        self.services = Services(self.member.channel)

    def key(self, lease):
        return b'%s/%x' % (self.name, lease)

    def has_key(self, key):
        return bool(self.member.kv.Range(rpc.RangeRequest(key=key), timeout=5).kvs)

    def wait(self, lease, services=None, method='Lock', **fields):
        """A call that has its place in the queue. It is cancelled when nobody holds it any more."""
        services = services or self.services
        call = services.future(method, name=self.name, lease=lease, **fields)
        harness.wait_until(lambda: self.has_key(self.key(lease)), 5, 'a place in the queue')
        return call

    def hold(self, lease, services=None, method='Lock', **fields):
        services = services or self.services
        return services.call(method, name=self.name, lease=lease, **fields)

    def refused(self, code, text, call):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual((raised.exception.code(), raised.exception.details()), (code, text))

    def unknown(self, text, call):
        self.refused(grpc.StatusCode.UNKNOWN, text, call)


class Locks(LockCase):
    """Also asked of etcd."""

    def test_a_free_lock(self):
        lease = self.grant()
        before = self.member.status().header.revision
        held = self.services.lock(name=self.name, lease=lease)
        self.assertEqual(held.key, self.key(lease))
        self.assertEqual(held.header.revision, before + 1)
        again = self.services.lock(name=self.name, lease=lease)
        self.assertEqual((again.key, again.header.revision), (held.key, before + 1))
        unlocked = self.services.unlock(held.key)
        self.assertEqual(unlocked.header.revision, before + 2)
        self.assertEqual(self.services.unlock(held.key).header.revision, before + 2)

    def test_without_a_lease_it_gets_one_of_a_minute(self):
        held = self.services.lock(name=self.name)
        name, lease = held.key.split(b'/')
        self.assertEqual(name, self.name)
        stub = rpc.LeaseStub(self.member.channel)
        left = stub.LeaseTimeToLive(rpc.LeaseTimeToLiveRequest(ID=int(lease, 16), keys=True))
        self.assertEqual((left.grantedTTL, list(left.keys)), (60, [held.key]))

    def test_refusals(self):
        not_found = 'etcdserver: requested lease not found'
        for lease in (77, -5):
            self.unknown(not_found, lambda n=lease: self.services.lock(name=self.name, lease=n))
        self.unknown('etcdserver: key is not provided', lambda: self.services.unlock(b''))

    def test_an_empty_name(self):
        lease = self.grant()
        self.assertEqual(self.services.lock(lease=lease).key, b'/%x' % lease)

    def test_waiters_in_order(self):
        leases = [self.grant() for _ in range(6)]
        calls = [self.wait(lease) for lease in leases]
        for number, call in enumerate(calls):
            held = call.result(timeout=5)
            self.assertEqual(held.key, self.key(leases[number]))
            time.sleep(0.05)
            self.assertFalse(any(later.done() for later in calls[number + 1 :]))
            unlocked = self.services.unlock(held.key).header.revision
            if number + 1 < len(calls):
                self.assertEqual(calls[number + 1].result(timeout=5).header.revision, unlocked)

    def test_the_end_of_a_lease_releases(self):
        first, second = self.grant(), self.grant()
        self.hold(first)
        call = self.wait(second)
        self.assertFalse(call.done())
        self.revoke(first)
        self.assertEqual(call.result(timeout=5).key, self.key(second))

    def test_who_cancels_leaves_the_queue(self):
        first, second, third = (self.grant() for _ in range(3))
        self.hold(first)
        cancelled, waiting = self.wait(second), self.wait(third)
        cancelled.cancel()
        harness.wait_until(lambda: not self.has_key(self.key(second)), 5, 'the withdrawal')
        self.assertFalse(waiting.done())
        self.services.unlock(self.key(first))
        self.assertEqual(waiting.result(timeout=5).key, self.key(third))

    def test_who_disconnects_leaves_the_queue(self):
        first, second = self.grant(), self.grant()
        self.hold(first)
        channel = harness.new_channel(self.member.endpoint)
        call = self.wait(second, Services(channel))
        self.assertFalse(call.done())
        channel.close()
        harness.wait_until(lambda: not self.has_key(self.key(second)), 5, 'the withdrawal')
        self.assertTrue(self.has_key(self.key(first)))

    def test_a_deadline_leaves_the_queue(self):
        first, second = self.grant(), self.grant()
        self.hold(first)
        with self.assertRaises(grpc.RpcError) as raised:
            self.services.lock(name=self.name, lease=second, timeout=0.5)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        harness.wait_until(lambda: not self.has_key(self.key(second)), 5, 'the withdrawal')

    def test_the_gateway(self):
        lease = self.grant()
        status, held = post(self.member, '/v3/lock/lock', name=b64(self.name), lease=lease)
        self.assertEqual((status, held['key']), (200, b64(self.key(lease))))
        status, unlocked = post(self.member, '/v3/lock/unlock', key=held['key'])
        self.assertEqual((status, list(unlocked)), (200, ['header']))
        text = 'etcdserver: key is not provided'
        self.assertEqual(
            post(self.member, '/v3/lock/unlock'),
            (500, {'error': text, 'message': text, 'code': 2}),
        )

    def test_a_waiting_gateway_call_that_goes_leaves_the_queue(self):
        first, second = self.grant(), self.grant()
        self.hold(first)
        with self.assertRaises(OSError):
            post(self.member, '/v3/lock/lock', timeout=0.5, name=b64(self.name), lease=second)
        harness.wait_until(lambda: not self.has_key(self.key(second)), 5, 'the withdrawal')

    @harness.conclave_only('etcd 3.4 says that it is held, though its key is gone')
    def test_a_place_is_lost_with_the_lease(self):
        first, second = self.grant(), self.grant()
        self.hold(first)
        call = self.wait(second)
        self.revoke(second)
        self.services.unlock(self.key(first))
        self.unknown('mutex: session is expired', lambda: call.result(timeout=5))


class Elections(LockCase):
    """Also asked of etcd."""

    def test_a_campaign(self):
        lease = self.grant()
        won = self.services.campaign(name=self.name, lease=lease, value=b'a')
        revision = won.header.revision
        self.assertEqual(
            won.leader, LeaderKey(name=self.name, key=self.key(lease), rev=revision, lease=lease)
        )
        again = self.services.campaign(name=self.name, lease=lease, value=b'b')
        self.assertEqual((again.leader, again.header.revision), (won.leader, revision))
        leader = self.services.call('Leader', name=self.name)
        self.assertEqual((leader.kv.value, leader.kv.create_revision), (b'b', revision))
        self.assertEqual(leader.header.revision, revision + 1)
        said = self.services.call('Proclaim', leader=won.leader, value=b'c')
        self.assertEqual(said.header.revision, revision + 2)
        gone = self.services.call('Resign', leader=won.leader)
        self.assertEqual(gone.header.revision, revision + 3)
        self.assertEqual(
            self.services.call('Resign', leader=won.leader).header.revision, revision + 3
        )

    def test_refusals(self):
        services = self.services
        missing = '"leader" field must be provided'
        for method in ('Proclaim', 'Resign'):
            self.unknown(missing, lambda m=method: services.call(m))
            self.unknown(
                'etcdserver: key is not provided',
                lambda m=method: services.call(m, leader=LeaderKey()),
            )
        self.unknown('election: no leader', lambda: services.call('Leader', name=self.name))
        self.unknown(
            'etcdserver: requested lease not found',
            lambda: services.campaign(name=self.name, lease=79),
        )
        lease = self.grant()
        leader = services.campaign(name=self.name, lease=lease).leader
        leader.rev -= 1
        self.unknown('election: not leader', lambda: services.call('Proclaim', leader=leader))

    def test_campaigns_wait_in_order(self):
        first, second = self.grant(), self.grant()
        leader = self.hold(first, method='Campaign', value=b'1').leader
        call = self.wait(second, method='Campaign', value=b'2')
        time.sleep(0.1)
        self.assertFalse(call.done())
        self.services.call('Resign', leader=leader)
        won = call.result(timeout=5)
        self.assertEqual(won.leader.key, self.key(second))
        self.assertEqual(won.header.revision, won.leader.rev)

    def test_a_cancelled_campaign_leaves(self):
        first, second = self.grant(), self.grant()
        self.hold(first, method='Campaign')
        self.wait(second, method='Campaign').cancel()
        harness.wait_until(lambda: not self.has_key(self.key(second)), 5, 'the withdrawal')

    def test_observe(self):
        stream = self.services.observe(self.name)
        seen = []

        def read():
            try:
                for answer in stream:
                    seen.append((answer.kv.key, answer.kv.value, answer.header.revision))
            except grpc.RpcError:
                pass

        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.3)
        first, second = self.grant(), self.grant()
        won = self.services.campaign(name=self.name, lease=first, value=b'1')
        wanted = [(self.key(first), b'1', won.header.revision)]
        harness.wait_until(lambda: seen == wanted, 5, 'the first leader')
        time.sleep(0.2)
        said = self.services.call('Proclaim', leader=won.leader, value=b'2')
        wanted.append((self.key(first), b'2', said.header.revision))
        harness.wait_until(lambda: seen == wanted, 5, 'another value')
        call = self.wait(second, method='Campaign', value=b'3')
        gone = self.services.call('Resign', leader=won.leader)
        wanted.append((self.key(second), b'3', gone.header.revision))
        harness.wait_until(lambda: seen == wanted, 5, 'the second leader')
        self.assertEqual(call.result(timeout=5).leader.key, self.key(second))
        stream.cancel()

    def test_the_gateway(self):
        lease = self.grant()
        status, won = post(
            self.member,
            '/v3/election/campaign',
            name=b64(self.name),
            lease=str(lease),
            value=b64(b'v'),
        )
        self.assertEqual((status, won['leader']['key']), (200, b64(self.key(lease))))
        status, leader = post(self.member, '/v3/election/leader', name=b64(self.name))
        self.assertEqual((status, leader['kv']['value']), (200, b64(b'v')))
        request = urllib.request.Request(
            self.member.url + '/v3/election/observe',
            data=json.dumps({'name': b64(self.name)}).encode(),
        )
        with urllib.request.urlopen(request, timeout=5) as stream:
            self.assertEqual(json.loads(stream.readline())['result']['kv'], leader['kv'])
        said = post(self.member, '/v3/election/proclaim', leader=won['leader'], value=b64(b'w'))
        self.assertEqual((said[0], list(said[1])), (200, ['header']))
        self.assertEqual(post(self.member, '/v3/election/resign', leader=won['leader'])[0], 200)
        self.assertEqual(
            post(self.member, '/v3/election/leader', name=b64(self.name))[1]['message'],
            'election: no leader',
        )

    @harness.conclave_only('etcd 3.4 says that it leads, though its key is gone')
    def test_a_place_is_lost_with_the_lease(self):
        first, second = self.grant(), self.grant()
        leader = self.hold(first, method='Campaign').leader
        call = self.wait(second, method='Campaign')
        self.revoke(second)
        self.services.call('Resign', leader=leader)
        self.unknown('election: not leader', lambda: call.result(timeout=5))


class ManyMembers(LockCase):
    members = 3

    def test_waiters_at_all_members_in_order(self):
        services = [Services(member.channel) for member in self.cluster.members]
        leases = [self.grant() for _ in range(9)]
        calls = [self.wait(lease, services[n % 3]) for n, lease in enumerate(leases)]
        for number, call in enumerate(calls):
            held = call.result(timeout=10)
            self.assertEqual(held.key, self.key(leases[number]))
            self.assertFalse(any(later.done() for later in calls[number + 1 :]))
            services[(number + 1) % 3].unlock(held.key)

    def test_a_wait_outlives_its_leader(self):
        leader = self.cluster.leader()
        follower = self.cluster.followers()[0]
        self.member = follower
        services = Services(follower.channel)
        first, second = self.grant(), self.grant()
        self.hold(first, services)
        call = self.wait(second, services)
        leader.kill()
        self.cluster.leader()
        self.assertFalse(call.done())
        harness.wait_until(lambda: self.unlocked(services, first), 20, 'a leader')
        self.assertEqual(call.result(timeout=10).key, self.key(second))
        leader.start()
        self.cluster.wait_healthy()

    def unlocked(self, services, lease):
        try:
            services.unlock(self.key(lease), timeout=2)
            return True
        except grpc.RpcError:
            return False


class Etcdctl(harness.ClusterTest):
    members = 3
    processes = 6
    seconds = 12

    def environment(self):
        endpoints = ','.join(member.endpoint for member in self.cluster.members)
        return dict(os.environ, ETCDCTL_API='3', ETCDCTL_ENDPOINTS=endpoints)

    def kill_leaders(self, threads):
        while any(thread.is_alive() for thread in threads):
            leader = self.cluster.leader()
            leader.kill()
            time.sleep(2)
            leader.start()
            self.cluster.wait_healthy()
            time.sleep(1)

    @harness.conclave_only('etcd whose leader is killed every few seconds gets too few turns done')
    @harness.takes_long
    def test_lock_while_leaders_die(self):
        urls = [member.url for member in self.cluster.members]
        command = ['etcdctl', 'lock', 'counter', '--ttl=10', '--', sys.executable, '-c', HOLDER]
        until = time.monotonic() + self.seconds
        outputs = []

        def take_turns():
            while time.monotonic() < until:
                done = subprocess.run(
                    [*command, *urls],
                    env=self.environment(),
                    capture_output=True,
                    text=True,
                    timeout=120,
                )
                outputs.append(done.stdout + done.stderr)

        threads = [threading.Thread(target=take_turns) for _ in range(self.processes)]
        for thread in threads:
            thread.start()
        self.kill_leaders(threads)
        for thread in threads:
            thread.join()
        lines = [line for output in outputs for line in output.splitlines()]
        self.assertFalse([line for line in lines if 'AssertionError' in line])
        counted = [int(line.split()[1]) for line in lines if line.startswith('counted')]
        self.assertGreater(len(counted), self.processes / 2, outputs)
        self.assertEqual(len(set(counted)), len(counted))
        number, last = self.cluster.leader().value('count').split()
        self.assertEqual((int(number), int(last)), (len(counted), max(counted)))

    @harness.takes_long
    def test_elect_while_leaders_die(self):
        """Each candidate that is elected says so; it is then ended, and the next one leads."""
        said = [tempfile.NamedTemporaryFile('w+') for _ in range(4)]
        for each in said:
            self.addCleanup(each.close)
        candidates = [
            harness.spawn(
                ['etcdctl', 'elect', 'election', f'c{number}'],
                env=self.environment(),
                stdout=said[number],
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in range(4)
        ]
        waiting = dict(enumerate(candidates))
        # Whose member dies while it enters the election gives up; those who watch for their turn go on.
        harness.wait_until(lambda: self.watches() == len(waiting) - 1, 30, 'those who wait')
        while waiting:
            leader = self.cluster.leader()
            harness.wait_until(lambda: self.elected() in waiting, 30, 'an elected candidate')
            number = self.elected()
            text = pathlib.Path(said[number].name)
            harness.wait_until(
                lambda: f'c{number}' in text.read_text().splitlines(),
                30,
                f'candidate {number} to hear of it',
            )
            leader.kill()
            self.cluster.leader()
            self.assertEqual(self.elected(), number)
            candidate = waiting.pop(number)
            candidate.terminate()
            candidate.wait(timeout=20)
            leader.start()
            self.cluster.wait_healthy()

    def watches(self):
        pages = [
            urllib.request.urlopen(member.url + '/metrics', timeout=5).read().decode()
            for member in self.cluster.running()
        ]
        found = [re.search(r'^etcd_debugging_mvcc_watcher_total (\S+)$', page, re.M) for page in pages]
        return sum(int(float(each[1])) for each in found)

    def elected(self):
        """The number of the candidate that leads; None while there is none, or nobody to ask."""
        for member in self.cluster.running():
            try:
                leader = Services(member.channel).call('Leader', name=b'election', timeout=2)
                return int(leader.kv.value[1:])
            except grpc.RpcError:
                pass
        return None


if __name__ == '__main__':
    harness.main()
