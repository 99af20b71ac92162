#!/usr/bin/env python3
"""ductile beside what a user would pick instead, on one machine in one run; writes benches/RESULTS.md.

    benches/compare/run.py [--install] [--quick] [--no-growth]
    benches/compare/run.py --webhooks [--seconds 5] [--finished 1000000] [--queued 100000]

It needs cc, cargo and Python 3.11, and of the peers what there is: `--install` fetches Debian's webhook, nq,
task-spooler and wrk (as root), and builds pueue under target/. Everything is on the loopback interface and in temporary
folders. A full run takes about seven minutes; `--quick` a third of it, and writes nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import growth
import peers
import results
import world
from ductile import Ductile, DuctileByHand

# Enough that the first is still running when the last is on the queue.
KILLED_WITH = 200
KILLED_WAIT_MS = 25
SENDERS = 32


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--install", action="store_true", help="install the peers first")
    arguments.add_argument("--quick", action="store_true", help="one short round, and no results written")
    arguments.add_argument("--no-growth", action="store_true", help="without benches/compare/growth.py")
    arguments.add_argument("--webhooks", action="store_true", help="only webhooks under load")
    arguments.add_argument("--seconds", type=int, default=3, help="of each load")
    arguments.add_argument("--finished", type=int, default=0, help="with --webhooks: finished jobs in the database before")
    arguments.add_argument("--queued", type=int, default=0, help="with --webhooks: jobs that wait for a plugin that is not loaded")
    options = arguments.parse_args()
    if options.install:
        install()
    Ductile.version()
    if options.webhooks:
        webhooks(options)
        return
    rounds = 1 if options.quick else 3
    measured = {"bare": [], "versions": {}, "tools": {}}
    tools = [Ductile, DuctileByHand, *peers.ALL]
    for tool in list(tools):
        try:
            measured["versions"][tool.name] = tool.version()
            measured["tools"][tool.name] = []
        except world.Missing as missing:
            print(f"{tool.name}: {missing} is not installed")
            measured["tools"][tool.name] = None
            tools.remove(tool)
    jobs = build_bench()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        measured["bare"].append(bare(jobs))
        for tool in tools:
            try:
                found = one_round(tool, options)
            except (OSError, subprocess.SubprocessError, AssertionError) as error:
                # Without ductile there is nothing to compare; a peer that fails is told of, and the others go on.
                if issubclass(tool, Ductile):
                    raise
                print(f"  {tool.name}: failed in this round: {error}", flush=True)
                continue
            print(f"  {tool.name}: {json.dumps(found)}", flush=True)
            measured["tools"][tool.name].append(found)
    measured["breakdown"] = breakdown(jobs)
    grown = None if options.no_growth else growth.measure(options.quick)
    page = results.page(measured, grown)
    print(page)
    if not options.quick:
        results.write(page, grown)


def one_round(tool, options):
    """Everything that one tool is asked, in folders of its own."""
    found = {}
    share = 5 if options.quick else 1
    with World(tool) as instance:
        found["ready_ms"] = instance.start()
        waits = latencies(instance, max(tool.latencies // share, 5))
        found["start_p50"], found["start_p99"] = world.quantile(waits, 0.5), world.quantile(waits, 0.99)
        found["memory"] = world.memory(instance.pid()) if tool.stays else None
    if tool is DuctileByHand:
        return found
    if tool.jobs:
        with World(tool) as instance:
            instance.start()
            found["jobs"] = serial(instance, max(tool.jobs // share, 5))
    if hasattr(tool, "load"):
        with World(tool) as instance:
            instance.start(record=False)
            paths = ("/keep", "/run") if tool is Ductile else ("/run",)
            for path in paths:
                for senders in (1, 32):
                    found[f"{path} {senders}"] = instance.load(path, senders, 1 if options.quick else options.seconds)
    with World(tool) as instance:
        instance.start(wait_ms=KILLED_WAIT_MS)
        found["lost"], found["twice"] = killed(instance)
    return found


class World:
    """A tool in a temporary folder, ended with everything that it has started."""

    def __init__(self, tool):
        self.tool = tool

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.instance = self.tool(self.folder.name)
        return self.instance

    def __exit__(self, failed, *_):
        try:
            if not failed:
                self.instance.stop()
        finally:
            world.end_all()
            self.folder.cleanup()


def latencies(instance, count):
    """Milliseconds from the beginning of a POST, or from the exec of the command that enqueues, to the job's main()."""
    waits = []
    for number in range(count):
        begun = time.monotonic_ns()
        instance.add(number)
        started, found = instance.world.wait_ran(number + 1)[-1]
        assert found == number, f"job {found} ran instead of {number}"
        waits.append((started - begun) / 1e6)
        world.wait(instance.idle, "the job to end")
    return waits


def serial(instance, count):
    """No-op jobs a second out of a queue that is full before the first: by the times at which they start."""
    instance.hold()
    for number in range(count):
        instance.add(number)
    instance.release()
    started = sorted(ns for ns, _ in instance.world.wait_ran(count, pause=0.05))
    world.wait(instance.idle, "the last job to end")
    return (count - 1) / ((started[-1] - started[0]) / 1e9)


def killed(instance):
    """How many of the jobs that were acknowledged never ran after a kill -9 and a restart, and how many ran twice."""
    numbers = range(KILLED_WITH)
    # A webhook has many senders; commands are given one after the other, as the tools' queues are in that order.
    with ThreadPoolExecutor(SENDERS if instance.unit == "POST" else 1) as senders:
        # An error of any of them is raised here.
        list(senders.map(instance.add, numbers))
    instance.kill()
    instance.again()
    world.wait(instance.idle, "all jobs to end", 120, 0.05)
    ran = [number for _, number in instance.world.ran()]
    return len(set(numbers) - set(ran)), len(ran) - len(set(ran))


def webhooks(options):
    """Ductile's webhooks beside those of webhook, beside any history."""
    with World(Ductile) as instance:
        instance.start(record=False)
        instance.stop()
        instance.fill(options.finished, options.queued)
        instance.start(record=False)
        for path in ("/keep", "/run"):
            for senders in (1, 32):
                print(results.load_line(f"ductile {path}", senders, instance.load(path, senders, options.seconds)), flush=True)
    try:
        with World(peers.Webhook) as instance:
            instance.start(record=False)
            for senders in (1, 32):
                print(results.load_line("webhook", senders, instance.load("", senders, options.seconds)), flush=True)
    except world.Missing as missing:
        print(f"{missing} is not installed: no peer")


def build_bench():
    """The benchmark `jobs`, which has the bare spawn and commit and the breakdown."""
    command = ["cargo", "bench", "--bench", "jobs", "--no-run", "--message-format", "json"]
    output = subprocess.run(command, cwd=world.ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return next(message["executable"] for message in messages if message.get("target", {}).get("name") == "jobs")


def bench(jobs, part):
    command = [jobs, "--bench", part]
    return subprocess.run(command, cwd=world.ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout


def bare(jobs):
    """Microseconds of a bare spawn, a bare commit, and both in turn."""
    found = re.search(r"bare: spawn (\d+), commit (\d+), in turn (\d+)", bench(jobs, "bare"))
    return dict(zip(("spawn", "commit", "both"), map(int, found.groups()), strict=True))


def breakdown(jobs):
    """The table of ductile's own cost of a job, and what is said below it."""
    lines = bench(jobs, "breakdown").splitlines()
    return "\n".join(line for line in lines if line.startswith("|")), lines[-1]


def install():
    subprocess.run(["apt-get", "install", "-y", "webhook", "nq", "task-spooler", "wrk"], check=True)
    if not os.access(os.path.join(world.PEERS, "bin", "pueued"), os.X_OK):
        subprocess.run(["cargo", "install", "--locked", "--root", world.PEERS, "--version", "^4", "pueue"], cwd=world.ROOT, check=True)


if __name__ == "__main__":
    try:
        main()
    except world.Missing as missing:
        sys.exit(f"{missing} is missing")
