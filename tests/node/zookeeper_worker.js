// The npm client `node-zookeeper-client`, which works on until it is told to stop, whatever happens to
// the servers: node zookeeper_worker.js HOSTS PATH. It owns the ephemeral node PATH/alive, counts up in
// PATH/count, each time only if nobody else has, and watches PATH/stop. Prints "started", a line for
// each count that was acknowledged, and at the end "stopped ACKNOWLEDGED UNKNOWN". Exits 1 with its
// session.
'use strict';

const { once } = require('node:events');
const zookeeper = require('node-zookeeper-client');

const { CreateMode, Event, Exception } = zookeeper;
const [hosts, path] = process.argv.slice(2);
const PASSING = [Exception.CONNECTION_LOSS, Exception.OPERATION_TIMEOUT];

const client = zookeeper.createClient(hosts, { sessionTimeout: 10000, retries: 0 });
let stopped = false;

// What the callback gets.
function call(method, ...args) {
  return new Promise((resolve, reject) => {
    client[method](...args, (error, ...results) => (error ? reject(error) : resolve(results)));
  });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function onStop(event) {
  if (event.getType() === Event.NODE_DATA_CHANGED) stopped = true;
}

// As in zookeeper_worker.c: the next number; 0: whether it was written is not known; -1: it was not.
async function countUp() {
  let next = 0;
  let isWriting = false;
  try {
    const [data, stat] = await call('getData', `${path}/count`);
    next = Number(data.toString()) + 1;
    isWriting = true;
    await call('setData', `${path}/count`, Buffer.from(String(next)), stat.version);
    return next;
  } catch (error) {
    const code = error.getCode ? error.getCode() : undefined;
    if (code === Exception.BAD_VERSION) return -1;
    if (!PASSING.includes(code)) throw error;
    return isWriting ? 0 : -1;
  }
}

async function main() {
  client.once('expired', () => {
    console.error('its session has expired');
    process.exit(1);
  });
  client.connect();
  await once(client, 'connected');
  await call('create', `${path}/alive`, null, CreateMode.EPHEMERAL);
  await call('getData', `${path}/stop`, onStop);
  console.log('started');
  let acknowledged = 0;
  let unknown = 0;
  while (!stopped) {
    const number = await countUp();
    if (number > 0) {
      ++acknowledged;
      console.log(number);
    }
    if (number === 0) ++unknown;
    await pause(number > 0 ? 2 : 50);
  }
  console.log(`stopped ${acknowledged} ${unknown}`);
  client.close();
  process.exit(0);
}

main().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
