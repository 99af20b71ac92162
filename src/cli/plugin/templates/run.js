#!/usr/bin/env node
// __NAME__: counts its runs and tells of each with an event. Node.js, no packages.
//
// ductile starts this program once for each job: one JSON object, the request, is on stdin, and one JSON object, the
// response, must be printed on stdout. Print nothing else there (no console.log); console.error is free.
// Numbers beyond 2^53 lose digits in JavaScript: keep them as text if they matter.
'use strict';

const fs = require('fs');

// Only a change of the configuration can help: answered with `retry: false`.
class BadConfig extends Error {}

const commands = { poll, handle, health };

// Look at the outside world and report what is new. What follows is committed together or not at all.
function poll(request) {
  const greeting = settings(request);
  const run = count(request, 'runs');
  return {
    // Shown by `ductile run`, `logs` and `queue show`; protocol 2 wants one with every success.
    result: `run ${run}`,
    events: [{ type: '__NAME__.polled', payload: { greeting, run } }],
    // Merged into the state key by key; it comes back with the next request.
    state_updates: { runs: run },
    logs: [{ level: 'info', message: greeting }],
  };
}

// Take one event. A job may run twice: `event_id` is the same in every attempt.
function handle(request) {
  const greeting = settings(request);
  const { type, source } = request.event;
  return {
    result: `handled ${type}`,
    state_updates: { handled: count(request, 'handled') },
    logs: [{ level: 'info', message: `${greeting}: ${type} from ${source}` }],
  };
}

// Say whether a job could work now. Changes nothing.
function health(request) {
  settings(request);
  return { result: 'ready' };
}

function settings(request) {
  const { greeting = 'hello' } = request.config;
  if (typeof greeting !== 'string') throw new BadConfig('config.greeting must be text');
  return greeting;
}

// One more than the state has; 1 when there is nothing to count on.
function count(request, key) {
  const before = request.state[key];
  return Number.isSafeInteger(before) ? before + 1 : 1;
}

function answer(request) {
  try {
    if (!Object.hasOwn(commands, request.command)) throw new BadConfig(`unknown command ${request.command}`);
    return { status: 'ok', ...commands[request.command](request) };
  } catch (error) {
    // Any other error ends the program with 1 and a stack trace: a failure that is tried again.
    if (!(error instanceof BadConfig)) throw error;
    return { status: 'error', error: error.message, retry: false };
  }
}

const response = answer(JSON.parse(fs.readFileSync(0, 'utf8')));
fs.writeFileSync(1, JSON.stringify(response) + '\n');
