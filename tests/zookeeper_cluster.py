"""Clusters of Conclave that serve ZooKeeper's clients."""

import contextlib

import harness
from tls_test import TlsCluster
from zookeeper_wire import Client


class Member(harness.Member):
    def __init__(self, cluster, name):
        super().__init__(cluster, name)
        self.zookeeper_port = harness.free_port()
        self.admin_port = harness.free_port()

    @property
    def zookeeper(self):
        return '127.0.0.1', self.zookeeper_port

    @property
    def admin(self):
        return '127.0.0.1', self.admin_port

    def command(self):
        tls = 'tls://' if self.cluster.client_scheme == 'https' else ''
        addresses = ['--listen-zookeeper', tls + '%s:%s' % self.zookeeper]
        return super().command() + addresses + ['--zookeeper-admin', tls + '%s:%s' % self.admin]


class AdvertisingMember(Member):
    def command(self):
        return super().command() + ['--zookeeper-advertise', '%s:%s' % self.zookeeper]


class Members:
    def new_member(self, name):
        self._made.append(Member(self, name))
        return self._made[-1]

    @property
    def hosts(self):
        """As ZooKeeper's clients are told of them."""
        return ','.join('%s:%s' % member.zookeeper for member in self.members)


class Cluster(Members, harness.Cluster):
    pass


class AdvertisingCluster(Cluster):
    """Whose members say where ZooKeeper's clients reach them."""

    def new_member(self, name):
        self._made.append(AdvertisingMember(self, name))
        return self._made[-1]


class SecureCluster(Members, TlsCluster):
    """With TLS; clients have to show a certificate."""


class ZooKeeperTest(harness.ClusterTest):
    """A test class with one cluster, whose tests have connections that are closed at their end."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(cls.members, flags=cls.flags).start()

    def setUp(self):
        self.opened = contextlib.ExitStack()
        self.addCleanup(self.opened.close)

    def connect(self, member=0, **options):
        """A raw connection to the member of this number."""
        client = Client(self.cluster.members[member].zookeeper, **options)
        return self.opened.enter_context(client)
