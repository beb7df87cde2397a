// The npm client `etcd3` against one endpoint: node kv.js host:port. Prints a line per case; exits
// 1 if one fails.
'use strict';

const assert = require('node:assert/strict');
const { Etcd3 } = require('etcd3');

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

  async 'errors have their own classes'(client) {
    await assert.rejects(client.get('k').revision(1000000).string(), /future revision/);
    await assert.rejects(async () => client.put('').value('v'), /key is not provided/);
  },
};

async function main(endpoint) {
  const client = new Etcd3({ hosts: `http://${endpoint}` });
  await client.delete().prefix('node/');
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run(client);
      console.log(`ok - ${name}`);
    } catch (error) {
      ++failed;
      console.log(`not ok - ${name}\n${error.stack}`);
    }
  }
  client.close();
  process.exitCode = failed ? 1 : 0;
}

main(process.argv[2]);
