"""Reads every #include of the source tree and fails where a folder knows more than it may.

The rules stand in docs/ARCHITECTURE.md, between the lines `<!-- layering -->` and `<!-- /layering -->`: a table of
folder and what it may include of ours, and the list of pure folders and of headers they may not include. That page is
the only place where they are written; this test has no rules of its own, but for the cheap checks of style.

    tests/layering_test.py [ROOT]
"""

import os
import re
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
UNFINISHED = re.compile(r'\b(TODO|FIXME|XXX|HACK)\b')
LONGEST_LINE = 100
SYSTEM_HEADER = re.compile(r'^(sys|netinet|arpa|linux|asm|net)/|^(unistd|fcntl|signal|poll|dirent|dlfcn|pthread|'
                           r'netdb|termios|time|sched|semaphore|errno)\.h$')


class Rules:
    """The table of docs/ARCHITECTURE.md."""

    def __init__(self, page):
        part = re.search(r'<!-- layering -->(.*?)<!-- /layering -->', page, re.S)
        assert part, 'docs/ARCHITECTURE.md has no part between <!-- layering --> and <!-- /layering -->'
        self.allowed = {}
        for line in part[1].splitlines():
            cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
            if line.lstrip().startswith('|') and len(cells) == 2 and not cells[0].startswith(('-', 'folder')):
                self.add(cells[0], cells[1])
        assert len(self.allowed) > 5, 'the layering table has hardly any rows'
        self.pure = set(self.listed(part[1], 'Pure folders'))
        self.impure_headers = set(self.listed(part[1], 'Headers they may not include'))
        assert self.pure and self.impure_headers, 'the lists of pure folders and of their headers are missing'

    def add(self, folders, allowed):
        for folder in re.findall(r'`([^`]+)`', folders):
            self.allowed[folder] = set(re.findall(r'`([^`]+)`', allowed))

    @staticmethod
    def listed(text, title):
        line = re.search(rf'^{title}:(.*?)(?:\n\n|\Z)', text, re.S | re.M)
        return re.findall(r'`<?([^`>]+)>?`', line[1]) if line else []

    def folder_of(self, path):
        """The longest folder of the table that a path lies in; None if there is none."""
        parts = path.split('/')[:-1]
        while parts:
            if '/'.join(parts) in self.allowed:
                return '/'.join(parts)
            parts.pop()
        return None

    def may_include(self, folder, target):
        return folder == target or target in self.allowed[folder] or 'everything' in self.allowed[folder]

    def is_pure(self, folder):
        return folder in self.pure or folder.split('/')[0] in self.pure


def sources(root, *tops):
    for top in tops:
        for directory, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(('.h', '.cc')):
                    yield os.path.relpath(os.path.join(directory, name), root)


def is_test(path):
    return path.endswith(('_test.cc', '_fuzz.cc')) or '/testing/' in path or path.endswith('_bench.cc')


class Checker:
    def __init__(self, root):
        self.root = root
        with open(os.path.join(root, 'docs', 'ARCHITECTURE.md'), encoding='utf-8') as page:
            self.rules = Rules(page.read())
        self.violations = []
        self.files = 0

    def violation(self, path, line, what):
        self.violations.append(f'{path}:{line}: {what}')

    def run(self):
        for path in sources(self.root, 'src', 'sim'):
            self.files += 1
            with open(os.path.join(self.root, path), encoding='utf-8') as file:
                lines = file.read().splitlines()
            self.check_includes(path, lines)
            self.check_style(path, lines)
        return self.violations

    def check_includes(self, path, lines):
        inside = path.removeprefix('src/')
        folder = self.rules.folder_of(inside)
        if folder is None:
            self.violation(path, 1, 'its folder is not in the layering table of docs/ARCHITECTURE.md')
            return
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match and match[1] == '"':
                self.check_own(path, number, folder, match[2])
            elif match:
                self.check_system(path, number, folder, match[2])

    def check_own(self, path, number, folder, target):
        if os.path.basename(target).endswith('.pb.h'):
            return
        if target.startswith('tests/') or (target.startswith('sim/') and path.startswith('src/')):
            self.violation(path, number, f'"{target}": nothing in src includes sim or tests')
            return
        to = self.rules.folder_of(target)
        if to is None:
            self.violation(path, number, f'"{target}" is in no folder of the layering table')
        elif not self.rules.may_include(folder, to) and not is_test(path):
            self.violation(path, number, f'{folder} may not include "{target}"')

    def check_system(self, path, number, folder, header):
        if not self.rules.is_pure(folder) or is_test(path):
            return
        if header in self.rules.impure_headers or SYSTEM_HEADER.search(header):
            self.violation(path, number, f'{folder} is pure and may not include <{header}>')

    def check_style(self, path, lines):
        for number, line in enumerate(lines, 1):
            if len(line) > LONGEST_LINE:
                self.violation(path, number, f'{len(line)} columns')
            if UNFINISHED.search(line):
                self.violation(path, number, 'unfinished work is not kept in comments')
        if path.endswith('.h') and '#pragma once' not in lines[:1]:
            self.violation(path, 1, 'a header begins with #pragma once')


# --- the test itself, and a test of it -----------------------------------------------------------------------------

PAGE = '''
<!-- layering -->
| folder | may include |
|---|---|
| `base` | nothing |
| `api` | `base` |
| `store`, `txn` | `base`, `api` |
| `frontends/etcd` | `base`, `api` |
| `io` | `base` |
| `io/posix` | `base`, `io` |
| `node` | `base`, `api`, `store`, `io` |
| `sim` | `base`, `io` |

Pure folders: `base`, `api`, `store`,
`frontends`.

Headers they may not include: `<thread>`, `<chrono>`.
<!-- /layering -->
'''


class SyntheticTree(unittest.TestCase):
    """Each rule catches what it should, and nothing else."""

    def violations(self, path, text):
        with tempfile.TemporaryDirectory() as root:
            for name, content in (('docs/ARCHITECTURE.md', PAGE), (path, text)):
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), 'w', encoding='utf-8') as file:
                    file.write(content)
            return Checker(root).run()

    def test_what_is_allowed(self):
        for path, text in (('src/store/a.cc', '#include <vector>\n#include "api/kv.h"\n#include "store/a.h"\n'),
                           ('src/io/posix/a.cc', '#include <sys/socket.h>\n#include <thread>\n#include "io/x.h"\n'),
                           ('src/frontends/etcd/a.h', '#pragma once\n#include "base/x.h"\n#include "kv.pb.h"\n'),
                           ('src/store/a_test.cc', '#include <thread>\n#include "node/x.h"\n'),
                           ('sim/a.cc', '#include "sim/a.h"\n#include "io/clock.h"\n')):
            with self.subTest(path):
                self.assertEqual(self.violations(path, text), [])

    def test_what_is_not(self):
        long_line = '// ' + 'x' * 98
        for path, text, what in (
                ('src/base/a.cc', '#include "api/kv.h"\n', 'base may not include "api/kv.h"'),
                ('src/store/a.cc', '\n# include  "node/node.h"\n', 'store may not include "node/node.h"'),
                ('src/frontends/etcd/a.cc', '#include "store/s.h"\n', 'frontends/etcd may not include "store/s.h"'),
                ('src/io/a.cc', '#include "io/posix/p.h"\n', 'io may not include "io/posix/p.h"'),
                ('src/node/a.cc', '#include "sim/x.h"\n', 'nothing in src includes sim or tests'),
                ('src/node/a.cc', '#include "elsewhere/x.h"\n', 'is in no folder of the layering table'),
                ('src/other/a.cc', '\n', 'its folder is not in the layering table'),
                ('src/store/a.cc', '#include <chrono>\n', 'store is pure and may not include <chrono>'),
                ('src/frontends/etcd/a.cc', '#include <sys/socket.h>\n', 'is pure and may not include <sys/socket.h>'),
                ('src/base/a.cc', '#include <unistd.h>\n', 'is pure and may not include <unistd.h>'),
                ('src/node/a.h', '// no guard\n', 'a header begins with #pragma once'),
                ('src/node/a.cc', long_line, '101 columns'),
                ('src/node/a.cc', '// TO' 'DO: later', 'unfinished work')):
            with self.subTest(what):
                found = self.violations(path, text)
                self.assertEqual(len(found), 1, found)
                self.assertIn(what, found[0])

    def test_a_page_without_rules(self):
        with self.assertRaises(AssertionError):
            Rules('no table here')


class SourceTree(unittest.TestCase):
    root = ROOT

    def test_the_source_tree(self):
        checker = Checker(self.root)
        violations = checker.run()
        self.assertGreater(checker.files, 20)
        self.assertFalse(violations, f'{len(violations)} violations:\n' + '\n'.join(violations))


def main():
    if len(sys.argv) > 1:
        SourceTree.root = os.path.abspath(sys.argv[1])
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(sys.modules['__main__']).run(result)
    bad = result.failures + result.errors
    for test, text in bad:
        print(f'FAIL {test}\n{text}', file=sys.stderr)
    print(f'{result.testsRun - len({test.id() for test, _ in bad})} passed, {len(bad)} failed')
    sys.exit(1 if bad else 0)


if __name__ == '__main__':
    main()
