"""Certificates for tests, made by the openssl command."""

import os
import subprocess

SECTIONS = """
[ca]
default_ca = here
[here]
database = {directory}/database
serial = {directory}/serial
new_certs_dir = {directory}
certificate = {directory}/ca.crt
private_key = {directory}/ca.key
default_md = sha256
policy = anything
unique_subject = no
copy_extensions = copy
default_crl_days = 30
[anything]
commonName = supplied
[req]
distinguished_name = req
"""


class Authority:
    """A certificate authority in a directory of its own, and what it signs beside it."""

    def __init__(self, directory, name='test-ca', key='ec'):
        self.directory = directory
        self.key = key
        os.makedirs(directory)
        with open(self._path('config'), 'w', encoding='utf-8') as config:
            config.write(SECTIONS.format(directory=directory))
        with open(self._path('database'), 'w', encoding='utf-8'):
            pass
        with open(self._path('serial'), 'w', encoding='utf-8') as serial:
            serial.write('01\n')
        self._run(
            'req', '-x509', *self._new_key('ca'), '-out', self.ca, '-subj', f'/CN={name}',
            '-days', '30', '-addext', 'basicConstraints=critical,CA:TRUE',
        )  # fmt: skip

    @property
    def ca(self):
        return self._path('ca.crt')

    def issue(self, name, common_name=None, names='DNS:localhost,IP:127.0.0.1', expired=False):
        """(certificate, key): paths. The same name again replaces the files."""
        extensions = ['-addext', f'subjectAltName={names}'] if names else []
        self._run(
            'req', *self._new_key(name), '-out', self._path(name + '.csr'),
            '-subj', f'/CN={common_name or name}', *extensions,
        )  # fmt: skip
        dates = ['-startdate', '20200101000000Z', '-enddate', '20210101000000Z']
        self._run(
            'ca', '-batch', '-notext', '-in', self._path(name + '.csr'),
            '-out', self._path(name + '.new'), *(dates if expired else ['-days', '30']),
        )  # fmt: skip
        os.replace(self._path(name + '.key.new'), self._path(name + '.key'))
        os.replace(self._path(name + '.new'), self._path(name + '.crt'))
        return self._path(name + '.crt'), self._path(name + '.key')

    def revoke(self, *names):
        """The path of a list of what was revoked so far, these among it."""
        for name in names:
            self._run('ca', '-revoke', self._path(name + '.crt'))
        self._run('ca', '-gencrl', '-out', self._path('revoked.new'))
        os.replace(self._path('revoked.new'), self._path('revoked.crl'))
        return self._path('revoked.crl')

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _new_key(self, name):
        kind = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] if self.key == 'ec' else [self.key]
        path = self._path(name + ('.key' if name == 'ca' else '.key.new'))
        return ['-newkey', *kind, '-nodes', '-keyout', path]

    def _run(self, command, *arguments):
        done = subprocess.run(
            ['openssl', command, '-config', self._path('config'), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f'openssl {command}: {done.stderr}'
