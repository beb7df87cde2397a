"""Runs every libFuzzer target of a build (-DCONCLAVE_FUZZ=ON) for a while. A crash fails, and its
input is kept.

    tests/fuzz_run.py BUILD_DIRECTORY [--seconds 10] [--jobs 2]

Targets are those that the CMake files declare with conclave_fuzzer: one that was not built is a
failure too. Small inputs to start from may stand in tests/corpus/<target>/; what a run finds is not
kept, except a crash, in BUILD_DIRECTORY/fuzz-crashes/."""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LARGEST_INPUT = 1 << 16
MEMORY_MIB = 2048
GRACE_SECONDS = 60


def declared():
    """Names of all fuzz targets in the source tree."""
    names = []
    for top in ('src', 'sim'):
        for directory, _, files in os.walk(os.path.join(ROOT, top)):
            if 'CMakeLists.txt' in files:
                with open(os.path.join(directory, 'CMakeLists.txt'), encoding='utf-8') as file:
                    names += re.findall(r'^\s*conclave_fuzzer\(\s*(\S+)', file.read(), re.M)
    return sorted(names)


def find(build, name):
    for directory, _, files in os.walk(build):
        path = os.path.join(directory, name)
        if name in files and os.access(path, os.X_OK):
            return path
    return None


def fuzz(build, name, seconds):
    """(passed, a line about it, the output to show if it failed)"""
    program = find(build, name)
    if program is None:
        return False, f'{name}: was not built in {build}', ''
    crashes = os.path.join(build, 'fuzz-crashes', name)
    os.makedirs(crashes, exist_ok=True)
    seeds = os.path.join(ROOT, 'tests', 'corpus', name)
    with tempfile.TemporaryDirectory(prefix='conclave-fuzz-') as found:
        command = [
            program,
            f'-max_total_time={seconds}',
            f'-max_len={LARGEST_INPUT}',
            '-timeout=10',
            f'-rss_limit_mb={MEMORY_MIB}',
            '-print_final_stats=1',
            f'-artifact_prefix={crashes}/',
            found,
        ]
        command += [seeds] if os.path.isdir(seeds) else []
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                timeout=seconds + GRACE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            return False, f'{name}: did not end', str(expired.output)
    runs = re.search(r'stat::number_of_executed_units:\s*(\d+)', done.stdout)
    coverage = re.findall(r'cov: (\d+)', done.stdout)
    if done.returncode != 0:
        return False, f'{name}: failed; its input is kept in {crashes}', done.stdout[-6000:]
    if not runs or int(runs[1]) == 0:
        return False, f'{name}: executed nothing', done.stdout[-2000:]
    return True, f'{name}: {int(runs[1]):,} inputs, {coverage[-1] if coverage else "?"} edges', ''


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('build')
    parser.add_argument('--seconds', type=int, default=10, help='for each target')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    parsed = parser.parse_args()
    names = declared()
    if not names:
        sys.exit('no conclave_fuzzer is declared')
    failed = 0
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(parsed.jobs) as pool:
        build = os.path.abspath(parsed.build)
        for passed, line, output in pool.map(lambda name: fuzz(build, name, parsed.seconds), names):
            print(f'  {"ok" if passed else "FAIL":4} {line}', flush=True)
            if not passed:
                failed += 1
                print(output, file=sys.stderr, flush=True)
    print(f'  {len(names)} targets in {time.monotonic() - start:.0f} s')
    print(f'{len(names) - failed} passed, {failed} failed')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
