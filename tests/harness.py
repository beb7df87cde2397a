"""Starts, kills, restarts and stops real clusters for the whole-binary tests.

A cluster runs in a temporary directory on free loopback ports, from `build/conclave` or from stock
`etcd` (the same flags): a test that passes on etcd states what etcd does. Processes are children of
the test, die with it, and are only ever ended by the handle they were started with. When a test
fails the end of each member's log is printed.

    class MyTest(harness.ClusterTest):
        members = 3
        def test_it(self):
            self.cluster.leader().kv.Put(...)

    if __name__ == '__main__':
        harness.main()
"""

import argparse
import atexit
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
import urllib.error
import urllib.request

import grpc
from etcd3 import etcdrpc as rpc

# Read when the first channel is made. Our children run other programs at once, and what gRPC does before
# a fork now and then waits for ever for its own threads.
os.environ['GRPC_ENABLE_FORK_SUPPORT'] = '0'

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOG_TAIL_LINES = 25
HEALTHY_SECONDS = 30


class Options:
    """How this run was asked to go; set by main()."""

    binary = os.environ.get('CONCLAVE_BINARY', os.path.join(ROOT, 'build', 'conclave'))
    quick = False
    consensus = None  # the default


def is_etcd(binary=None):
    return os.path.basename(binary or Options.binary).startswith('etcd')


def keeps_freed_memory():
    """A build with ASan keeps 256 MiB of what was freed, to find who uses it still."""
    with open(Options.binary, 'rb') as binary:
        return b'__asan_init' in binary.read()


def server_command(binary):
    return [binary] if is_etcd(binary) else [binary, 'serve']


# --- ports ---


def port_range():
    low, high = os.environ.get('CONCLAVE_TEST_PORTS', '10240-31999').split('-')
    return int(low), int(high)


_given_ports = set()


def free_port():
    """A loopback port that nobody listens on, below the range the kernel takes for outgoing
    connections."""
    low, high = port_range()
    for _ in range(1000):
        port = random.SystemRandom().randint(low, high)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise RuntimeError(f'no free port between {low} and {high}')


# --- processes ---

_running = set()
_prctl = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command, **options):
    """A child that cannot outlive this process."""
    process = subprocess.Popen(command, preexec_fn=_die_with_parent, **options)
    _running.add(process)
    return process


def reap(process, timeout=10):
    """Waits for an ending child; SIGKILL if it takes longer than `timeout`. Returns its exit
    code."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _running.discard(process)
    return process.returncode


@atexit.register
def _kill_all():
    for process in list(_running):
        if process.poll() is None:
            process.kill()
        process.wait()
    _running.clear()


def _exit_on_signal(number, _frame):
    sys.exit(128 + number)


def run(command, timeout=60, stdin=None, env=None):
    """Runs a command to its end; returns the CompletedProcess with text output."""
    return subprocess.run(
        command,
        timeout=timeout,
        input=stdin,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )


def etcdctl(endpoints, *args, timeout=60, stdin=None):
    """Runs etcdctl, of its third API, to its end."""
    command = ['etcdctl', '--endpoints', endpoints, '--command-timeout=10s', *args]
    return run(command, timeout=timeout, stdin=stdin, env=dict(os.environ, ETCDCTL_API='3'))


def post(member, path, body, timeout=10, headers=None):
    """The status and the JSON of the gateway's answer; text if it is none."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(member.url + path, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode()


# --- members and clusters ---


def _server_environment():
    """Servers read flags from CONCLAVE_* and ETCD_*: what this shell has of those is not meant for
    them."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('CONCLAVE_', 'ETCD_'))
    }


def _keep_polling(_state):
    """Python's gRPC makes progress only while somebody polls, and a request that fails at once does
    not. With a subscriber it polls all the time, so that a channel to a member that was down comes
    back."""


class Member:
    """One server process and how to reach it."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.binary = cluster.binary
        self.client_port = free_port()
        self.peer_port = free_port()
        self.data_dir = os.path.join(cluster.directory, name)
        self.log_path = os.path.join(cluster.directory, name + '.log')
        self.process = None
        self.environment = {}  # beside this shell's
        self.joins = None  # the --initial-cluster of a member that joins a cluster that is there
        self._channel = None

    @property
    def endpoint(self):
        return f'127.0.0.1:{self.client_port}'

    @property
    def url(self):
        return f'{self.cluster.client_scheme}://127.0.0.1:{self.client_port}'

    @property
    def peer_url(self):
        return f'{self.cluster.peer_scheme}://127.0.0.1:{self.peer_port}'

    def command(self):
        return (
            server_command(self.binary)
            + [
                '--name',
                self.name,
                '--data-dir',
                self.data_dir,
                '--listen-client-urls',
                self.url,
                '--advertise-client-urls',
                self.url,
                '--listen-peer-urls',
                self.peer_url,
                '--initial-advertise-peer-urls',
                self.peer_url,
                '--initial-cluster',
                self.joins or self.cluster.initial_cluster(),
                '--initial-cluster-state',
                'existing' if self.joins else 'new',
                '--initial-cluster-token',
                self.cluster.token,
            ]
            + self._consensus()
            + self.cluster.flags
        )

    def _consensus(self):
        wanted = Options.consensus and not is_etcd(self.binary)
        return ['--consensus', Options.consensus] if wanted else []

    def start(self):
        assert not self.is_running(), f'{self.name} is already running'
        with open(self.log_path, 'ab') as log:
            self.process = spawn(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_server_environment() | self.environment,
            )
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL, and gone when this returns."""
        self.process.kill()
        reap(self.process)

    def terminate(self, timeout=15):
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return reap(self.process, timeout)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def wait_exit(self, timeout=15):
        """The exit code of a member that is expected to stop by itself; None if it does not."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        _running.discard(self.process)
        return self.process.returncode

    def log(self):
        try:
            with open(self.log_path, errors='replace') as log:
                return log.read()
        except FileNotFoundError:
            return ''

    # Requests. One lazily made channel serves them all; it reconnects by itself.

    @property
    def channel(self):
        if self._channel is None:
            self._channel = new_channel(self.endpoint, self.cluster.credentials)
            self._channel.subscribe(_keep_polling, try_to_connect=True)
        return self._channel

    @property
    def kv(self):
        return rpc.KVStub(self.channel)

    def status(self, timeout=2):
        return rpc.MaintenanceStub(self.channel).Status(rpc.StatusRequest(), timeout=timeout)

    def member_list(self, timeout=5):
        return rpc.ClusterStub(self.channel).MemberList(rpc.MemberListRequest(), timeout=timeout)

    def put(self, key, value, timeout=5, **fields):
        return self.kv.Put(
            rpc.PutRequest(key=as_bytes(key), value=as_bytes(value), **fields), timeout=timeout
        )

    def get(self, key, timeout=5, **fields):
        return self.kv.Range(rpc.RangeRequest(key=as_bytes(key), **fields), timeout=timeout)

    def value(self, key, **fields):
        """The value of one key, or None."""
        kvs = self.get(key, **fields).kvs
        return kvs[0].value if kvs else None

    def close(self):
        """Lets the channel go; it ends once its last poll has."""
        if self._channel is not None:
            self._channel.unsubscribe(_keep_polling)
            self._channel = None


class Cluster:
    """Members that know of each other. `flags` go to each of them."""

    client_scheme = 'http'
    peer_scheme = 'http'
    credentials = None  # of gRPC, where the client URLs have https

    def __init__(self, members=3, binary=None, flags=(), directory=None, token=None):
        self.binary = binary or Options.binary
        self.flags = list(flags)
        self._owns_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix='conclave-test-')
        self.token = token or f'test-{os.path.basename(self.directory)}'
        self._made = []  # also those that are no longer, or not yet, among the members
        self.members = [self.new_member(f'm{number}') for number in range(1, members + 1)]

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, _value, _trace):
        if kind is not None:
            self.print_logs()
        self.stop()

    def initial_cluster(self):
        return ','.join(f'{m.name}={m.peer_url}' for m in self.members)

    def new_member(self, name):
        """A member that is not started, and that the others do not know of yet."""
        self._made.append(Member(self, name))
        return self._made[-1]

    @property
    def endpoints(self):
        return ','.join(m.endpoint for m in self.members)

    def start(self):
        return self.launch().wait_ready()

    def launch(self):
        """Starts the processes; wait_ready() is to follow."""
        for member in self.members:
            member.start()
        return self

    def wait_ready(self):
        try:
            self.wait_healthy()
            wait_until(self._all_known, HEALTHY_SECONDS, 'members to publish their URLs')
        except BaseException:
            self.print_logs()
            self.stop()
            raise
        return self

    def stop(self):
        for member in self._made:
            member.close()
            if member.is_running():
                member.resume()
                member.kill()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def running(self):
        return [m for m in self.members if m.is_running()]

    def wait_healthy(self, timeout=HEALTHY_SECONDS):
        """Returns once every running member answers a linearizable read and knows the same
        leader."""
        wait_until(self._all_agree, timeout, f'{self.directory}: members to agree on a leader')

    def is_witness(self, name):
        """By the flags: it serves no clients, and advertises no URLs to them."""
        flags = dict(zip(self.flags, self.flags[1:]))
        return name in flags.get('--witnesses', '').split(',')

    def _all_agree(self):
        for member in self.running():
            if not self.is_witness(member.name):
                self._answers(member)
        leaders = {m.status(timeout=1).leader for m in self.running()}
        return len(leaders) == 1 and 0 not in leaders

    @staticmethod
    def _answers(member):
        """Raises unless it answers a linearizable read, or says that only users may read: that,
        too, it says once it knows what was written before."""
        try:
            member.get('health', timeout=1)
        except grpc.RpcError as error:
            if error.details() != 'etcdserver: user name is empty':
                raise

    def _all_known(self):
        listed = self.members[0].member_list().members
        known = [m.name and (m.clientURLs or self.is_witness(m.name)) for m in listed]
        return all(known) and len(listed) == len(self.members)

    def leader(self, timeout=HEALTHY_SECONDS):
        """The member that leads, as it says itself and as a majority of the members agrees."""
        found = []

        def look():
            statuses = {m: m.status(timeout=1) for m in self.running()}
            leaders = [m for m, s in statuses.items() if s.leader == s.header.member_id]
            found[:] = [
                m
                for m in leaders
                if sum(s.leader == statuses[m].leader for s in statuses.values())
                > len(self.members) // 2
            ]
            return len(found) == 1

        wait_until(look, timeout, 'a leader')
        return found[0]

    def followers(self):
        leader = self.leader()
        return [m for m in self.running() if m is not leader]

    def print_logs(self):
        for member in self.members:
            lines = member.log().splitlines()[-LOG_TAIL_LINES:]
            state = 'running' if member.is_running() else 'stopped'
            print(
                f'--- log of {member.name} ({state}), its last {len(lines)} lines', file=sys.stderr
            )
            for line in lines:
                print('    ' + line[:400], file=sys.stderr)


def wait_until(condition, timeout, what):
    """Calls `condition` until it is true. A failed request counts as false."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            if condition():
                return
            last = None
        except (grpc.RpcError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(
                f'waited {timeout} s in vain for {what}'
                + (f'; the last try said: {describe(last)}' if last else '')
            )
        time.sleep(0.05)


def describe(error):
    if isinstance(error, grpc.RpcError):
        return f'{error.code().name}: {error.details()}'
    return repr(error)


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


def new_channel(endpoint, credentials=None, **options):
    """A channel of its own (gRPC shares sockets between channels with equal options), that
    reconnects quickly."""
    settings = {
        'grpc.use_local_subchannel_pool': 1,
        'grpc.initial_reconnect_backoff_ms': 50,
        'grpc.min_reconnect_backoff_ms': 2000,  # how long one attempt may take
        'grpc.max_reconnect_backoff_ms': 200,
        'grpc.max_receive_message_length': 64 << 20,
        'grpc.max_send_message_length': 64 << 20,
        'grpc.enable_http_proxy': 0,
    }
    settings.update(options)
    if credentials is not None:
        return grpc.secure_channel(endpoint, credentials, options=list(settings.items()))
    return grpc.insecure_channel(endpoint, options=list(settings.items()))


# --- running tests ---


def conclave_only(reason):
    """Marks a test, or a class of them, that a stock etcd does not pass. It is named and left out
    for `--binary etcd`, and never for Conclave."""

    def mark(test):
        test.conclave_only = reason
        return test

    return mark


def takes_long(test):
    """Marks a test that --quick names and leaves out."""
    test.takes_long = True
    return test


class ClusterTest(unittest.TestCase):
    """A test class with one cluster for all its tests."""

    members = 3
    flags = ()
    cluster = None

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(cls.members, flags=cls.flags).start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()


class LeaseTest(ClusterTest):
    """With leases, at the first member; and a name for each test."""

    members = 1

    def setUp(self):
        self.member = self.cluster.members[0]
        self.name = self.id().rsplit('.', 1)[1].encode()

    def grant(self, ttl=60):
        stub = rpc.LeaseStub(self.member.channel)
        return stub.LeaseGrant(rpc.LeaseGrantRequest(TTL=ttl), timeout=5).ID

    def revoke(self, lease):
        stub = rpc.LeaseStub(self.member.channel)
        stub.LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease), timeout=5)


class _Result(unittest.TestResult):
    """One line per test; the logs of a failed test's cluster; counts."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self._started = 0.0
        self._logged = None  # the test whose logs have been printed

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()

    def _line(self, test, outcome):
        seconds = time.monotonic() - self._started
        print(f'  {outcome:4} {seconds:6.2f} s  {test.id().removeprefix("__main__.")}', flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self._line(test, 'ok')

    def _failed(self, test, error):
        self._line(test, 'FAIL')
        print(self._exc_info_to_string(error, test), file=sys.stderr, flush=True)
        cluster = getattr(test, 'cluster', None)
        if cluster is not None and self._logged != test.id():
            self._logged = test.id()
            cluster.print_logs()

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)  # counts it, if it failed
        if err is not None:
            print(f'  in {subtest._subDescription()}', file=sys.stderr)
            self._failed(test, err)

    def addSkip(self, test, reason):
        """A skipped test would be one that nobody notices missing."""
        self.addError(test, (AssertionError, AssertionError('skipped: ' + reason), None))


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--binary',
        default=Options.binary,
        help='the server to test: build/conclave, or a stock etcd',
    )
    parser.add_argument('--quick', action='store_true', help='fewer repetitions')
    parser.add_argument('--consensus', choices=['raft', 'paxos'], help='the engine of the clusters')
    return parser


def apply_arguments(parsed):
    Options.binary = shutil.which(parsed.binary) or parsed.binary
    Options.quick = parsed.quick
    Options.consensus = parsed.consensus
    if not os.access(Options.binary, os.X_OK):
        sys.exit(
            f'{parsed.binary} is not there: build it (scripts/build), or name it with --binary'
        )
    signal.signal(signal.SIGTERM, _exit_on_signal)


def _wanted(suite):
    """The tests of a suite, without those that are not for the server under test."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _wanted(test)
            continue
        method = getattr(test, test._testMethodName)  # pylint: disable=protected-access
        reason = getattr(method, 'conclave_only', None) or getattr(test, 'conclave_only', None)
        if getattr(method, 'takes_long', False) and Options.quick:
            print(f'  left out by --quick: {test.id().removeprefix("__main__.")}')
        elif reason and is_etcd():
            print(f'  not asked of etcd: {test.id().removeprefix("__main__.")} ({reason})')
        else:
            yield test


def run_tests(module='__main__', pattern=None):
    """Runs the tests of a module; prints the count that tests/run.py adds up. Returns the exit
    code."""
    loader = unittest.TestLoader()
    if pattern:
        loader.testNamePatterns = [f'*{pattern}*']
    result = _Result()
    suite = unittest.TestSuite(_wanted(loader.loadTestsFromModule(sys.modules[module])))
    suite.run(result)
    failed = len(result.failures) + len(result.errors)
    if result.testsRun == 0 and not is_etcd():
        print('no test was run', file=sys.stderr)
        return 1
    print(f'{result.passed} passed, {failed} failed', flush=True)
    return 1 if failed else 0


def main():
    parser = arguments(sys.modules['__main__'].__doc__)
    parser.add_argument('-k', metavar='PATTERN', help='only tests whose name contains this')
    parsed = parser.parse_args()
    apply_arguments(parsed)
    code = 1
    try:
        code = run_tests(pattern=parsed.k)
    except Exception:
        traceback.print_exc()
    _kill_all()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit(): the interpreter freezes its daemon threads on the way out, and one of gRPC's
    # that watches a channel may hold the lock that freeing the channel then waits for.
    os._exit(code)
