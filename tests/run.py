"""Runs all whole-binary tests, one program after the other, and adds up what they counted.

    tests/run.py                      # everything, about six minutes
    tests/run.py --quick              # under ninety seconds: no slow clients, short crash test
    tests/run.py --binary etcd        # shows that the tests describe a real etcd
    tests/run.py --only crash
"""

import os
import re
import subprocess
import sys
import time

import harness

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
TESTS = [
    'layering_test.py',
    'etcdctl_test.py',
    'python_etcd3_test.py',
    'node_client_test.py',
    'differential_test.py',
    'idempotency_test.py',
    'survival_test.py',
    'bad_input_test.py',
    'crash_test.py',
]
TAKES_NO_BINARY = ('layering_test.py',)
LONGEST_SECONDS = 1200


def run_one(name, parsed):
    """(passed, failed) of one test program."""
    command = [sys.executable, os.path.join(DIRECTORY, name)]
    if name not in TAKES_NO_BINARY:
        command += ['--binary', harness.Options.binary] + (['--quick'] if parsed.quick else [])
    start = time.monotonic()
    print(f'=== {name}', flush=True)
    last = ''
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors='replace') as process:
        for line in process.stdout:
            if re.fullmatch(r'\d+ passed, \d+ failed', line.strip()):
                last = line.strip()
            else:
                print(line, end='', flush=True)
            if time.monotonic() - start > LONGEST_SECONDS:
                process.kill()
    counts = [int(number) for number in re.findall(r'\d+', last)] or [0, 0]
    passed, failed = counts
    if process.returncode != 0 and failed == 0:
        print(f'  FAIL {name} ended with {process.returncode}', flush=True)
        failed = 1
    print(f'--- {name}: {passed} ok, {failed} failed, {time.monotonic() - start:.0f} s', flush=True)
    return passed, failed


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument('--only', metavar='TEXT', help='only programs whose name contains this')
    parsed = parser.parse_args()
    harness.apply_arguments(parsed)
    start = time.monotonic()
    passed = failed = 0
    for name in TESTS:
        if parsed.only and parsed.only not in name:
            continue
        more_passed, more_failed = run_one(name, parsed)
        passed += more_passed
        failed += more_failed
    print(f'whole-binary tests took {time.monotonic() - start:.0f} s')
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed or passed == 0 else 0)


if __name__ == '__main__':
    main()
