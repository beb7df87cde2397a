"""Reads every #include of the source tree and fails where a folder knows more than it may.

The rules are read from docs/ARCHITECTURE.md, section Layering: its table says which folder may
include which, the paragraph after it which folders are pure and what those may not include. They
are written nowhere else. With them go a few cheap checks of style.

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
SYSTEM_HEADER = re.compile(
    r'^(sys|netinet|arpa|linux|asm|net)/|^(unistd|fcntl|signal|poll|dirent|dlfcn|pthread|'
    r'netdb|termios|time|sched|semaphore|errno)\.h$'
)


class Rules:
    """Section Layering of docs/ARCHITECTURE.md.

    A row's right side says what may be included, up to the first semicolon: a list of folders,
    `nothing of ours`, or `all of the above` (or `everything in src`) `but` a list. `frontends/X`
    stands for each front-end."""

    def __init__(self, page):
        part = re.search(r'^## Layering$(.*?)(?=^## |\Z)', page, re.S | re.M)
        assert part, 'docs/ARCHITECTURE.md has no section "Layering"'
        rows = re.findall(r'^\| *([^|]+?) *\| *([^|]+?) *\|$', part[1], re.M)
        rows = [row for row in rows if row[0] != 'folder' and not row[0].startswith('--')]
        assert len(rows) > 5, 'the layering table has hardly any rows'
        self.allowed = {}
        self.nested = set()  # folders inside folders that only the word `but` mentions
        for folders, may in rows:
            for folder in folders.split(', '):
                self.allowed[folder] = self.parse(may.split(';')[0])
        for folder in sorted(self.nested - set(self.allowed)):
            if '/' in folder:
                parent = folder.split('/')[0]
                self.allowed[folder] = self.allowed[parent] | {parent}

        pure = re.search(
            r'Pure folders \(([^)]*)\) include no(.*?)\bno system headers', part[1], re.S
        )
        assert (
            pure
        ), 'the paragraph "Pure folders (...) include no ..., no system headers" is missing'
        self.pure = set(pure[1].replace('\n', ' ').split(', '))
        self.impure_headers = set(re.findall(r'<([a-z_]+)>', pure[2]))
        assert self.impure_headers, 'no header is forbidden to pure folders'

    def parse(self, text):
        base, _, but = text.partition(' but ')
        excluded = {word for word in re.split(r', | and ', but) if word}
        self.nested |= excluded
        if base == 'nothing of ours':
            return set()
        if base == 'all of the above':
            return {
                folder
                for folder in self.allowed
                if folder not in excluded and folder.split('/')[0] not in excluded
            }
        if base == 'everything in src':
            return {'*'} | {'-' + folder for folder in excluded}
        return set(re.split(r', | and ', base))

    def folder_of(self, path):
        """The row that a path inside src belongs to; None if there is none."""
        parts = path.split('/')[:-1]
        if parts[:1] == ['frontends'] and 'frontends/X' in self.allowed:
            return '/'.join(parts[:2])
        while parts:
            if '/'.join(parts) in self.allowed:
                return '/'.join(parts)
            parts.pop()
        return None

    def may_include(self, folder, target):
        if folder == target:
            return True
        allowed = self.allowed['frontends/X' if folder.startswith('frontends/') else folder]
        if '*' in allowed:
            return '-' + target not in allowed
        return target in allowed

    def is_pure(self, folder):
        return folder.split('/')[0] in self.pure

    def makes_system_calls(self, folder):
        """io/posix does, and the process management of the two programs; nobody else."""
        return folder in ('io/posix', 'server', 'sim/program')


def sources(root, *tops):
    for top in tops:
        for directory, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(('.h', '.cc')):
                    yield os.path.relpath(os.path.join(directory, name), root)


def is_test(path):
    return (
        path.endswith(('_test.cc', '_fuzz.cc')) or '/testing/' in path or path.endswith('_bench.cc')
    )


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
            self.violation(
                path, 1, 'its folder is not in the layering table of docs/ARCHITECTURE.md'
            )
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
        if is_test(path):
            return
        if self.rules.is_pure(folder) and header in self.rules.impure_headers:
            self.violation(path, number, f'{folder} is pure and may not include <{header}>')
        if SYSTEM_HEADER.search(header) and not self.rules.makes_system_calls(folder):
            self.violation(
                path, number, f'{folder} makes no system calls and may not include <{header}>'
            )

    def check_style(self, path, lines):
        for number, line in enumerate(lines, 1):
            if len(line) > LONGEST_LINE:
                self.violation(path, number, f'{len(line)} columns')
            if UNFINISHED.search(line):
                self.violation(path, number, 'unfinished work is not kept in comments')
        if path.endswith('.h') and '#pragma once' not in lines[:1]:
            self.violation(path, 1, 'a header begins with #pragma once')


# --- the test itself, and a test of it ---

PAGE = '''
## Layering

| folder | may include |
|---|---|
| base | nothing of ours |
| api | base |
| store, txn | base, api; never node |
| frontends/X | base, api; never another front-end |
| io | base; only io/posix makes system calls |
| node | all of the above but io/posix and frontends |
| sim | everything in src but io/posix and server |
| server | everything in src |

Pure folders (base, api, store,
frontends) include no `<thread>`,
`<chrono>`, no system headers. Nothing in src includes sim or tests.

## Elsewhere
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
        for path, text in (
            ('src/store/a.cc', '#include <vector>\n#include "api/kv.h"\n#include "store/a.h"\n'),
            (
                'src/io/posix/a.cc',
                '#include <sys/socket.h>\n#include <thread>\n#include "io/x.h"\n',
            ),
            ('src/frontends/etcd/a.h', '#pragma once\n#include "base/x.h"\n#include "kv.pb.h"\n'),
            ('src/store/a_test.cc', '#include <thread>\n#include "node/x.h"\n'),
            ('src/node/a.cc', '#include <thread>\n#include "store/x.h"\n#include "io/x.h"\n'),
            ('src/server/a.cc', '#include <unistd.h>\n#include "frontends/etcd/x.h"\n'),
            ('sim/a.cc', '#include "sim/a.h"\n#include "io/clock.h"\n'),
        ):
            with self.subTest(path):
                self.assertEqual(self.violations(path, text), [])

    def test_what_is_not(self):
        long_line = '// ' + 'x' * 98
        for path, text, what in (
            ('src/base/a.cc', '#include "api/kv.h"\n', 'base may not include "api/kv.h"'),
            (
                'src/store/a.cc',
                '\n# include  "node/node.h"\n',
                'store may not include "node/node.h"',
            ),
            (
                'src/frontends/etcd/a.cc',
                '#include "store/s.h"\n',
                'frontends/etcd may not include "store/s.h"',
            ),
            (
                'src/frontends/etcd/a.cc',
                '#include "frontends/redis/r.h"\n',
                'frontends/etcd may not include "frontends/redis/r.h"',
            ),
            (
                'src/node/a.cc',
                '#include "frontends/etcd/s.h"\n',
                'node may not include "frontends/etcd/s.h"',
            ),
            ('src/node/a.cc', '#include <sys/socket.h>\n', 'node makes no system calls'),
            ('sim/a.cc', '#include "io/posix/p.h"\n', 'sim may not include "io/posix/p.h"'),
            ('src/io/a.cc', '#include "io/posix/p.h"\n', 'io may not include "io/posix/p.h"'),
            ('src/node/a.cc', '#include "sim/x.h"\n', 'nothing in src includes sim or tests'),
            (
                'src/node/a.cc',
                '#include "elsewhere/x.h"\n',
                'is in no folder of the layering table',
            ),
            ('src/other/a.cc', '\n', 'its folder is not in the layering table'),
            ('src/store/a.cc', '#include <chrono>\n', 'store is pure and may not include <chrono>'),
            (
                'src/frontends/etcd/a.cc',
                '#include <sys/socket.h>\n',
                'may not include <sys/socket.h>',
            ),
            ('src/base/a.cc', '#include <unistd.h>\n', 'may not include <unistd.h>'),
            ('src/node/a.h', '// no guard\n', 'a header begins with #pragma once'),
            ('src/node/a.cc', long_line, '101 columns'),
            ('src/node/a.cc', '// TO' 'DO: later', 'unfinished work'),
        ):
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
