// The npm client `etcd3` against one endpoint: node kv.js URL [CA certificate]. Prints a line per
// case; exits 1 if one fails.
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const etcd3 = require('etcd3');
const { Etcd3 } = etcd3;

const [url, ca] = process.argv.slice(2);
const connection = { hosts: url };
if (ca) connection.credentials = { rootCertificate: fs.readFileSync(ca) };

const cases = {
  async 'put and get'(client) {
    await client.put('node/k').value('v');
    assert.equal(await client.get('node/k').string(), 'v');
    assert.equal(await client.get('node/none').string(), null);
    await client.put('node/n').value(42);
    assert.equal(await client.get('node/n').number(), 42);
    await client.put('node/j').value(JSON.stringify({ a: [1, 2] }));
    assert.deepEqual(await client.get('node/j').json(), { a: [1, 2] });
  },

  async 'bytes and keys that are not text'(client) {
    const key = Buffer.from([0xff, 0x00, 0x01]);
    const value = Buffer.alloc(100000, 7);
    await client.put(key).value(value);
    assert.ok((await client.get(key).buffer()).equals(value));
  },

  async 'put with the previous value'(client) {
    await client.put('node/prev').value('a');
    const answer = await client.put('node/prev').value('b').getPrevious();
    assert.equal(answer.value.toString(), 'a');
  },

  async 'ranges'(client) {
    for (const letter of 'cab') await client.put(`node/range/${letter}`).value(letter);
    const all = client.getAll().prefix('node/range/');
    assert.deepEqual(await all.strings(), {
      'node/range/a': 'a', 'node/range/b': 'b', 'node/range/c': 'c' });
    const sorted = client.getAll().prefix('node/range/').sort('Key', 'Descend');
    assert.deepEqual((await sorted.keys()).map(String), [
      'node/range/c', 'node/range/b', 'node/range/a']);
    assert.equal(await client.getAll().prefix('node/range/').count(), 3);
    assert.equal((await client.getAll().prefix('node/range/').limit(2).exec()).more, true);
    const inside = client.getAll().inRange({ start: 'node/range/a', end: 'node/range/c' });
    assert.equal(await inside.count(), 2);
  },

  async 'delete'(client) {
    await client.put('node/del/a').value('1');
    await client.put('node/del/b').value('2');
    assert.equal((await client.delete().key('node/del/a')).deleted, '1');
    const rest = await client.delete().prefix('node/del/').getPrevious();
    assert.deepEqual(rest.map((kv) => kv.value.toString()), ['2']);
  },

  async 'transactions: if, then, else'(client) {
    await client.put('node/txn').value('a');
    const won = await client.if('node/txn', 'Value', '==', 'a')
      .and('node/txn', 'Version', '>', 0)
      .then(client.put('node/txn').value('b'), client.get('node/txn'))
      .else(client.get('node/txn'))
      .commit();
    assert.equal(won.succeeded, true);
    assert.equal(won.responses[1].response_range.kvs[0].value.toString(), 'b');
    const lost = await client.if('node/txn', 'Value', '==', 'a')
      .then(client.put('node/txn').value('c'))
      .else(client.get('node/txn'))
      .commit();
    assert.equal(lost.succeeded, false);
    assert.equal(lost.responses[0].response_range.kvs[0].value.toString(), 'b');
  },

  async 'create if absent, exactly one of many'(client) {
    const race = Array.from({ length: 8 }, (_, number) =>
      client.if('node/once', 'Create', '==', 0)
        .then(client.put('node/once').value(String(number)))
        .commit());
    const winners = (await Promise.all(race)).filter((answer) => answer.succeeded);
    assert.equal(winners.length, 1);
  },

  async 'software transactional memory'(client) {
    await client.put('node/stm').value(0);
    const add = () => client.stm({ retries: 50 }).transact(async (tx) => {
      const now = await tx.get('node/stm').number();
      await tx.put('node/stm').value(now + 1);
    });
    await Promise.all([add(), add(), add(), add()]);
    assert.equal(await client.get('node/stm').number(), 4);
  },

  async 'namespaces'(client) {
    const space = client.namespace('node/space/');
    await space.put('k').value('inside');
    assert.equal(await client.get('node/space/k').string(), 'inside');
    assert.deepEqual(await space.getAll().strings(), { k: 'inside' });
    await space.delete().all();
    assert.equal(await client.get('node/space/k').string(), null);
  },

  async 'builders of reads'(client) {
    const space = client.namespace('node/read/');
    const first = await space.put('a').value('{"n":1}');
    await space.put('b').value('{"n":2}');
    assert.equal(await space.get('a').exists(), true);
    assert.equal(await space.get('none').exists(), false);
    assert.deepEqual(await space.getAll().json(), { a: { n: 1 }, b: { n: 2 } });
    assert.deepEqual((await space.getAll().keyBuffers()).map(String), ['a', 'b']);
    assert.deepEqual(await space.getAll().keys(), ['a', 'b']);
    assert.equal((await space.getAll().buffers()).b.toString(), '{"n":2}');
    const { revision } = first.header;
    assert.deepEqual(await space.getAll().maxCreateRevision(revision).keys(), ['a']);
    assert.deepEqual(await space.getAll().minModRevision(Number(revision) + 1).keys(), ['b']);
    assert.equal(await space.get('b').revision(revision).string(), null);
    assert.equal(await space.get('a').serializable(true).string(), '{"n":1}');
    const before = await space.get('a').exec();
    await space.put('a').touch();
    const after = await space.get('a').exec();
    assert.deepEqual(after.kvs[0].value, before.kvs[0].value);
    assert.equal(Number(after.kvs[0].version), Number(before.kvs[0].version) + 1);
    await space.delete().range(new etcd3.Range('a', 'b'));
    assert.deepEqual(await space.getAll().keys(), ['b']);
    await space.delete().inRange({ prefix: 'b' });
    assert.equal(await space.getAll().count(), 0);
  },

  async 'transactional memory: conflicts and prefetching'(client) {
    await client.put('node/stm').value(1);
    const stm = client.stm({ retries: 0, prefetch: ['node/stm'], isolation: 0 });
    await assert.rejects(stm.transact(async (tx) => {
      const now = await tx.get('node/stm').number();
      await client.put('node/stm').value(7);
      await tx.put('node/stm').value(now + 1);
    }), etcd3.STMConflictError);
    assert.equal(await client.get('node/stm').number(), 7);
    await client.stm().transact((tx) => tx.delete().key('node/stm'));
    assert.equal(await client.get('node/stm').exists(), false);
  },

  async 'leases: kept alive by themselves'(client) {
    const lease = client.lease(3);
    assert.match(await lease.grant(), /^\d+$/);
    await lease.put('node/lease/a').value('1');
    await once(lease, 'keepaliveSucceeded');
    assert.equal((await lease.keepaliveOnce()).TTL, '3');
    assert.equal(lease.state, 1);
    await client.put('node/lease/a').ignoreLease().value('2');
    await lease.revoke();
    assert.ok(lease.revoked());
    assert.equal(await client.get('node/lease/a').string(), null);
  },

  async 'leases: lost'(client) {
    const lease = client.lease(100, { autoKeepAlive: false });
    const ID = await lease.grant();
    assert.equal((await client.leaseClient.leaseTimeToLive({ ID })).grantedTTL, '100');
    const leases = (await client.leaseClient.leaseLeases()).leases.map((one) => one.ID);
    assert.ok(leases.includes(ID));
    await client.leaseClient.leaseRevoke({ ID });
    const lost = once(lease, 'lost');
    await assert.rejects(lease.keepaliveOnce(), etcd3.EtcdLeaseInvalidError);
    assert.ok((await lost)[0] instanceof etcd3.EtcdLeaseInvalidError);
    await assert.rejects(async () => client.put('node/lease/b').lease(ID).value('1'),
      etcd3.EtcdLeaseInvalidError);
  },

  async 'locks'(client) {
    const lock = client.lock('node/lock').ttl(10);
    await lock.acquire();
    assert.match(await lock.leaseId(), /^\d+$/);
    await assert.rejects(client.lock('node/lock').acquire(), etcd3.EtcdLockFailedError);
    await lock.release();
    assert.equal(await client.lock('node/lock').do(async () => {
      await assert.rejects(client.lock('node/lock').acquire(), etcd3.EtcdLockFailedError);
      return 'done';
    }), 'done');
    assert.equal(await client.get('node/lock').exists(), false);
  },

  async 'watchers'(client) {
    const watcher = await client.watch().prefix('node/watch/').withPreviousKV().create();
    const heard = [];
    watcher.on('put', (kv, previous) => heard.push(`${kv.value} after ${previous?.value}`));
    watcher.on('delete', (kv, previous) => heard.push(`gone ${previous.value}`));
    await client.put('node/watch/a').value('1');
    const second = await client.put('node/watch/a').value('2');
    await client.delete().key('node/watch/a');
    while (heard.length < 3) await once(watcher, 'data');
    assert.deepEqual(heard.map((text) => text.replace('undefined', '')),
      ['1 after ', '2 after 1', 'gone 2']);
    assert.equal(Number(watcher.lastRevision()), Number(second.header.revision) + 2); // the next one
    await watcher.cancel();

    const past = client.watch().key('node/watch/a').startRevision(second.header.revision)
      .only('put').watcher();
    assert.equal(String((await once(past, 'put'))[0].value), '2');
    await past.cancel();

    const some = await client.watch().inRange({ start: 'node/watch/a', end: 'node/watch/b' })
      .only('delete').create();
    const deleted = once(some, 'delete');
    await client.put('node/watch/a2').value('unheard');
    await client.delete().key('node/watch/a2');
    assert.equal(String((await deleted)[0].key), 'node/watch/a2');
    await some.cancel();
  },

  async 'a watcher of what was compacted'(client) {
    const { header } = await client.put('node/old').value('1');
    const { header: now } = await client.put('node/old').value('2');
    await client.kv.compact({ revision: now.revision, physical: true });
    const watcher = client.watch().key('node/old').startRevision(header.revision).watcher();
    const [error] = await new Promise((resolve) => {
      watcher.on('error', (...told) => resolve(told));
    });
    assert.match(error.message, /Watcher canceled/);
  },

  async 'elections'(client) {
    const election = client.election('node-election', 5);
    const observer = await election.observe();
    assert.equal(await election.leader(), undefined);
    const until = async (value) => {
      while (observer.leader() !== value) await once(observer, 'change');
    };
    const first = election.campaign('one');
    await first.wait();
    await until('one');
    assert.equal(await election.leader(), 'one');
    assert.match(await first.getCampaignKey(), /^election\/node-election\/\w+$/);
    await first.proclaim('still one');
    await until('still one');
    const second = election.campaign('two');
    const elected = once(second, 'elected');
    await first.resign();
    await elected;
    await until('two');
    await second.resign();
    await observer.cancel();
  },

  async 'roles and users'(client) {
    const role = await client.role('node-role').create();
    await assert.rejects(client.role('node-role').create(), etcd3.EtcdRoleExistsError);
    const range = client.range({ prefix: 'node/auth/' });
    await role.grant([{ permission: 'Read', range }, { permission: 'Write', key: 'node/one' }]);
    assert.deepEqual((await role.permissions()).map((one) => one.permission).sort(),
      ['Read', 'Write']);
    await role.revoke({ permission: 'Write', key: 'node/one' });
    const user = await client.user('node-user').create('secret');
    await assert.rejects(client.user('node-user').create('x'), etcd3.EtcdUserExistsError);
    await user.addRole(role);
    assert.deepEqual((await user.roles()).map((one) => one.name), ['node-role']);
    await role.removeUser(user);
    await assert.rejects(user.removeRole(role), etcd3.EtcdRoleNotGrantedError);
    await role.addUser('node-user');
    await user.setPassword('better');
    assert.ok((await client.getUsers()).some((one) => one.name === 'node-user'));
    assert.ok((await client.getRoles()).some((one) => one.name === 'node-role'));
    await assert.rejects(client.role('none').permissions(), etcd3.EtcdRoleNotFoundError);
    await assert.rejects(client.user('none').roles(), etcd3.EtcdUserNotFoundError);
  },

  async 'who may do what'(client) {
    await client.role('root').create();
    await (await client.user('root').create('pw')).addRole('root');
    await client.auth.authEnable();
    const as = (username, password) => new Etcd3({ ...connection, auth: { username, password } });
    const root = as('root', 'pw');
    const user = as('node-user', 'better');
    const wrong = as('node-user', 'wrong');
    await root.put('node/auth/a').value('1');
    assert.equal(await user.get('node/auth/a').string(), '1');
    await assert.rejects(async () => user.put('node/auth/a').value('2'),
      etcd3.EtcdPermissionDeniedError);
    await assert.rejects(wrong.get('node/auth/a').string(), /authentication failed/);
    const watcher = await user.watch().prefix('node/auth/').create();
    const put = once(watcher, 'put');
    await root.put('node/auth/b').value('3');
    assert.equal(String((await put)[0].value), '3');
    await watcher.cancel();
    await root.auth.authDisable();
    await client.user('root').delete();
    await client.role('root').delete();
    await client.user('node-user').delete();
    await client.role('node-role').delete();
    for (const one of [root, user, wrong]) one.close();
  },

  async 'the cluster and its upkeep'(client) {
    const status = await client.maintenance.status();
    assert.match(status.version, /^3\./);
    const { members } = await client.cluster.memberList({});
    assert.ok(members.some((one) => one.ID === status.header.member_id));
    assert.deepEqual((await client.maintenance.alarm({})).alarms, []);
    await client.maintenance.defragment();
    assert.ok((await client.maintenance.hash()).hash > 0);
    const snapshot = await client.maintenance.snapshot();
    let bytes = 0;
    for await (const part of snapshot) bytes += part.blob.length;
    assert.ok(bytes > 500);
  },

  async 'hosts that are not there'() {
    const scheme = url.split(':')[0];
    const several = new Etcd3({ ...connection, hosts: [`${scheme}://127.0.0.1:1`, url, url] });
    let served = 0;
    for (let number = 0; number < 6; ++number) {
      served += await several.get('node/k').exists().then(() => 1, () => 0);
    }
    assert.ok(served >= 2, `${served} of 6`);
    several.close();
    await assert.rejects(several.get('node/k').string(), etcd3.ClientClosedError);
  },

  async 'errors have their own classes'(client) {
    await assert.rejects(client.get('k').revision(1000000).string(), /future revision/);
    await assert.rejects(async () => client.put('').value('v'), etcd3.GRPCInvalidArgumentError);
    await assert.rejects(async () => client.put('').value('v'), /key is not provided/);
  },
};

async function main() {
  const client = new Etcd3(connection);
  await client.delete().prefix('node/');
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    const late = setTimeout(() => {
      console.log(`not ok - ${name}: it does not end`);
      process.exit(1);
    }, 10000);
    try {
      await run(client);
      console.log(`ok - ${name}`);
    } catch (error) {
      ++failed;
      console.log(`not ok - ${name}\n${error.stack}`);
    } finally {
      clearTimeout(late);
    }
  }
  client.close();
  const count = Object.keys(cases).length;
  console.log(`${count - failed} of ${count} pass`);
  process.exitCode = failed ? 1 : 0;
}

main();
