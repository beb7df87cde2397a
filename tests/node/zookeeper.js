// The npm client `node-zookeeper-client` against a cluster: node zookeeper.js HOSTS. Prints a line
// per case; exits 1 if one fails.
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { promisify } = require('node:util');
const zookeeper = require('node-zookeeper-client');

const { CreateMode, Event, Exception, ACL, Id, Permission } = zookeeper;

async function connect() {
  const client = zookeeper.createClient(process.argv[2], { sessionTimeout: 10000, retries: 3 });
  client.connect();
  await once(client, 'connected');
  return client;
}

const call = (client, method, ...args) => promisify(client[method]).apply(client, args);

function rejects(promise, code) {
  return assert.rejects(promise, (error) => error.getCode() === code);
}

const cases = {
  async 'create, get, set and remove'(client, path) {
    assert.equal(await call(client, 'create', path, Buffer.from('one')), path);
    await rejects(call(client, 'create', path), Exception.NODE_EXISTS);
    await call(client, 'setData', path, Buffer.from('two'), 0);
    await rejects(call(client, 'setData', path, Buffer.from('x'), 0), Exception.BAD_VERSION);
    assert.equal((await call(client, 'getData', path)).toString(), 'two');
    await call(client, 'remove', path, -1);
    assert.equal(await call(client, 'exists', path), null);
    await rejects(call(client, 'getData', path), Exception.NO_NODE);
  },

  async 'every create mode it knows'(client, path) {
    await call(client, 'create', path);
    const modes = [CreateMode.PERSISTENT, CreateMode.EPHEMERAL];
    for (const mode of modes) await call(client, 'create', `${path}/${mode}`, null, mode);
    for (const mode of [CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL]) {
      const name = await call(client, 'create', `${path}/s-`, null, mode);
      assert.match(name, /\/s-000000000[23]$/);
    }
    assert.equal((await call(client, 'getChildren', path)).length, 4);
  },

  async 'a path made at once'(client, path) {
    await call(client, 'mkdirp', `${path}/a/b/c`);
    assert.deepEqual(await call(client, 'getChildren', `${path}/a`), ['b']);
    assert.equal((await call(client, 'exists', `${path}/a/b/c`)).numChildren, 0);
  },

  async 'watches'(client, path, other) {
    const told = [];
    await call(client, 'exists', path, (event) => told.push(event.getType()));
    await call(other, 'create', path);
    await call(client, 'getData', path, (event) => told.push(event.getType()));
    await call(client, 'getChildren', path, (event) => told.push(event.getType()));
    await call(other, 'setData', path, Buffer.from('x'), -1);
    await call(other, 'create', `${path}/child`);
    await call(client, 'getData', path);
    const expected = [Event.NODE_CREATED, Event.NODE_DATA_CHANGED, Event.NODE_CHILDREN_CHANGED];
    assert.deepEqual(told, expected);
  },

  async 'transactions'(client, path) {
    const results = await call(
      client.transaction().create(path).setData(path, Buffer.from('x')).check(path, 1),
      'commit'
    );
    assert.equal(results.length, 3);
    await assert.rejects(
      call(client.transaction().setData(path, Buffer.from('y')).check(path, 9), 'commit')
    );
    assert.equal((await call(client, 'getData', path)).toString(), 'x');
  },

  async 'rights'(client, path, other) {
    client.addAuthInfo('digest', Buffer.from('ann:secret'));
    const acl = [new ACL(Permission.ALL, new Id('auth', ''))];
    await call(client, 'create', path, Buffer.from('x'), acl, CreateMode.PERSISTENT);
    await rejects(call(other, 'getData', path), Exception.NO_AUTH);
    other.addAuthInfo('digest', Buffer.from('ann:secret'));
    assert.equal((await call(other, 'getData', path)).toString(), 'x');
    const [first] = await call(client, 'getACL', path);
    assert.equal(first.id.scheme, 'digest');
  },

  async 'an ephemeral node goes with its session'(client, path) {
    const passing = await connect();
    await call(passing, 'create', path, null, CreateMode.EPHEMERAL);
    passing.close();
    for (let tries = 0; tries < 100 && (await call(client, 'exists', path)); ++tries) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(await call(client, 'exists', path), null);
  },
};

async function main() {
  let passed = 0;
  const names = Object.keys(cases);
  for (const [number, name] of names.entries()) {
    const [client, other] = [await connect(), await connect()];
    try {
      await cases[name](client, `/node-${process.pid}-${number}`, other);
      ++passed;
      console.log(`ok   ${name}`);
    } catch (error) {
      console.log(`FAIL ${name}: ${error.stack}`);
    }
    client.close();
    other.close();
  }
  console.log(`${passed} of ${names.length} pass`);
  process.exit(passed === names.length ? 0 : 1);
}

main();
