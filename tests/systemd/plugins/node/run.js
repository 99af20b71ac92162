#!/usr/bin/env node
// Compiled code needs memory that is writable and executable; workers and names need threads.
const { Worker } = require('node:worker_threads');
const dns = require('node:dns').promises;
const os = require('node:os');
const fs = require('node:fs');

async function main() {
  JSON.parse(fs.readFileSync(0, 'utf8'));
  let sum = 0;
  for (let i = 0; i < 1e7; i++) sum = (sum + i * i) % 1000003;
  const fromWorker = await new Promise((resolve, reject) => {
    const worker = new Worker('require("node:worker_threads").parentPort.postMessage(42)', { eval: true });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  const { address } = await dns.lookup('localhost');
  if (fromWorker !== 42 || !address || os.cpus().length === 0 || !os.networkInterfaces()) throw new Error('odd');
  return { status: 'ok', state_updates: { sum } };
}

main()
  .catch((error) => ({ status: 'error', error: String(error), retry: false }))
  .then((response) => console.log(JSON.stringify(response)));
