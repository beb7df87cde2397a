"""Runs all whole-binary tests, five programs at a time as they mostly wait, and adds up what they
counted. What a program prints appears when it has ended.

    tests/run.py                      # everything, about five minutes
    tests/run.py --quick              # two minutes: no slow clients, short crash test
    tests/run.py --binary etcd        # shows that the tests describe a real etcd
    tests/run.py --only crash --jobs 1
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import time

import harness

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
# Those that take long first.
TESTS = [
    'crash_test.py',
    'survival_test.py',
    'bad_input_test.py',
    'members_test.py',
    'maintenance_test.py',
    'import_test.py',
    'fairness_test.py',
    'consensus_test.py',
    'zookeeper_test.py',
    'zookeeper_differential_test.py',
    'zookeeper_clients_test.py',
    'zookeeper_reconfig_test.py',
    'zookeeper_import_test.py',
    'zookeeper_admin_test.py',
    'differential_test.py',
    'etcdctl_pair_test.py',
    'etcdctl_test.py',
    'watch_test.py',
    'lock_test.py',
    'fence_test.py',
    'auth_test.py',
    'native_test.py',
    'http_test.py',
    'tls_test.py',
    'idempotency_test.py',
    'python_etcd3_test.py',
    'node_client_test.py',
    'layering_test.py',
]
TAKES_NO_BINARY = ('layering_test.py',)
LONGEST_SECONDS = 600


def environment(number):
    """Ports for the program's own use, so that none takes one of another's member that is down just
    now."""
    low, high = harness.port_range()
    share = (high + 1 - low) // len(TESTS)
    first = low + number * share
    return dict(os.environ, CONCLAVE_TEST_PORTS=f'{first}-{first + share - 1}')


def run_one(name, parsed):
    """(passed, failed, what it printed) of one test program."""
    command = [sys.executable, os.path.join(DIRECTORY, name)]
    if name not in TAKES_NO_BINARY:
        command += ['--binary', harness.Options.binary] + (['--quick'] if parsed.quick else [])
        command += ['--consensus', parsed.consensus] if parsed.consensus else []
    print(f'  starting {name}', flush=True)
    start = time.monotonic()
    process = harness.spawn(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        env=environment(TESTS.index(name)),
    )
    try:
        output, _ = process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # it stops its members then
        harness.reap(process, timeout=30)
        output, _ = process.communicate()
    harness.reap(process)
    counts = re.findall(r'^(\d+) passed, (\d+) failed$', output, re.M)
    passed, failed = (int(number) for number in counts[-1]) if counts else (0, 0)
    output = re.sub(r'^\d+ passed, \d+ failed\n', '', output, flags=re.M)
    if process.returncode != 0 and failed == 0:
        output += f'  FAIL {name} ended with {process.returncode}\n'
        failed = 1
    output += f'--- {name}: {passed} ok, {failed} failed, {time.monotonic() - start:.0f} s'
    return passed, failed, output


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument('--only', metavar='TEXT', help='only programs whose name contains this')
    parser.add_argument(
        '--without', metavar='NAME,...', default='', help='not these programs, and says so'
    )
    parser.add_argument('--jobs', type=int, default=5, help='programs at a time')
    parsed = parser.parse_args()
    harness.apply_arguments(parsed)
    left_out = {f'{name}_test.py' for name in parsed.without.split(',') if name}
    if left_out - set(TESTS):
        parser.error(f'no such programs: {", ".join(sorted(left_out - set(TESTS)))}')
    names = [
        name for name in TESTS if name not in left_out and (not parsed.only or parsed.only in name)
    ]
    if left_out:
        print(f'left out: {", ".join(sorted(left_out))}')
    start = time.monotonic()
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(parsed.jobs) as pool:
        runs = {pool.submit(run_one, name, parsed): name for name in names}
        for done in concurrent.futures.as_completed(runs):
            more_passed, more_failed, output = done.result()
            passed += more_passed
            failed += more_failed
            print(f'=== {runs[done]}\n{output}', flush=True)
    print(f'whole-binary tests took {time.monotonic() - start:.0f} s')
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed or passed == 0 else 0)


if __name__ == '__main__':
    main()
