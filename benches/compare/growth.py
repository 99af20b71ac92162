#!/usr/bin/env python3
"""How costs grow: with finished jobs, with scheduled plugins, with the size of payloads and states.

    cargo build --release && benches/compare/growth.py [--quick]

Prints a table, writes benches/growth.svg, and says of each series whether it grows as its theory says: by log n for indexed work,
in proportion for bytes and for plugins. The exit code is 1 if one grows faster. About three minutes; `--quick` leaves out the largest sizes.
"""

import json
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import plot
import world
from ductile import BINARY, Ductile

FINISHED = [0, 1_000, 10_000, 100_000, 1_000_000]
PLUGINS = [10, 100, 1_000, 10_000]
# The largest state that is allowed has 1,048,576 bytes.
BYTES = [1_000, 10_000, 100_000, 1_000_000]
SVG = os.path.join(world.ROOT, "benches", "growth.svg")
# Between neighbours of one series, for noise.
NOISE = 1.4


@dataclass
class Series:
    """One cost in microseconds, by size."""

    name: str
    over: str
    theory: str
    points: list = field(default_factory=list)

    def add(self, size, cost):
        self.points.append((size, cost))

    def verdict(self):
        """`as expected`, or what is faster than the theory."""
        if self.theory == "log n":
            # From the first size that is not zero; a constant is also fine.
            (first, low), (last, high) = next(point for point in self.points if point[0] > 0), self.points[-1]
            allowed = NOISE * math.log(last) / math.log(first)
            if high > low * allowed:
                return f"FASTER than log n: {high / low:.1f} times from {first:,} to {last:,}, {allowed:.1f} allowed"
            return "as expected"
        for (size, cost), (larger, more) in zip(self.points, self.points[1:]):
            # What does not depend on the size is in both.
            allowed = NOISE * self.factor(larger) / max(self.factor(size), 1)
            if more > cost * max(allowed, NOISE):
                return f"FASTER than {self.theory}: {more / cost:.1f} times from {size:,} to {larger:,}, {allowed:.1f} allowed"
        # The part that grows, without the constant one: its exponent over the last step.
        (_, constant), (size, cost), (larger, more) = self.points[0], *self.points[-2:]
        step = self.factor(larger) / max(self.factor(size), 1)
        if step > 2 and more > cost > 1.5 * constant:
            exponent = math.log((more - constant) / (cost - constant)) / math.log(step)
            if exponent > 1.25:
                return f"FASTER than {self.theory}: the part that grows has the exponent {exponent:.2f} from {size:,} to {larger:,}"
        return "as expected"

    def factor(self, size):
        """What the cost may be in proportion to."""
        return min(size, 86_400) if self.theory == "jobs of the last day" else size


def measure(quick=False):
    """All series, printed as they come."""
    series = with_history(FINISHED[:-1] if quick else FINISHED, 3 if quick else 9)
    series += with_plugins(PLUGINS[:-1] if quick else PLUGINS, 3 if quick else 6)
    series += with_bytes(BYTES, 20 if quick else 60)
    return series


def with_history(sizes, rounds):
    over = "finished jobs"
    settle = Series("settle and claim, the commit", over, "log n")
    job = Series("a whole job", over, "log n")
    enqueue = Series("enqueue: a POST of 300 bytes, answered", over, "log n")
    status = Series("`status`", over, "jobs of the last day")
    queue = Series("`queue`", over, "log n")
    tick = Series("a tick with nothing due, processor time", over, "log n")
    ready = Series("exec to ready", over, "log n")
    series = [settle, job, enqueue, status, queue, tick, ready]
    with tempfile.TemporaryDirectory() as folder, Daemon(folder) as ductile:
        for size in sizes:
            ductile.start()
            ductile.stop()
            # Each one second after the one before, until now: a day has 86,400 of them.
            refill(ductile, size)
            # Twice: the first start after a fill reads what the fill has left in the log.
            ductile.start()
            ductile.stop()
            ready.add(size, world.median(restart(ductile) for _ in range(3)) * 1e3)
            ticks = idle(ductile, rounds)
            tick.add(size, ticks)
            commits, gaps, posts = [], [], []
            for _ in range(rounds):
                commit, gap, post = backlog(ductile, 60, body_of=lambda number: payload(number, 300))
                commits.append(commit)
                gaps += gap
                posts += post
            settle.add(size, world.median(commits))
            job.add(size, world.median(gaps))
            enqueue.add(size, world.median(posts))
            status.add(size, command(ductile, "status", rounds))
            queue.add(size, command(ductile, "queue", rounds))
            ductile.stop()
            say(over, size, series)
    return series


def with_plugins(sizes, rounds):
    over = "scheduled plugins"
    tick = Series("a tick with nothing due, processor time", over, "n")
    first = Series("a start that enqueues all polls, its commits", over, "n")
    ready = Series("exec to ready", over, "n")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, Daemon(folder) as ductile:
            for number in range(size):
                name = f"p{number}"
                ductile.world.write(f"plugins/{name}/manifest.yaml", f"{{name: {name}, protocol: 1, entrypoint: noop, commands: [poll]}}\n")
                os.link(ductile.world.noop, ductile.world.path(f"plugins/{name}/noop"))
            scheduled = "\n".join(f"  p{number}: {{schedule: {{every: 1d}}}}" for number in range(size))
            ductile.start()
            # Everything is due at the first start; nothing of it runs.
            ductile.hold()
            ductile.stop()
            ductile.start(more=scheduled)
            queued = "SELECT count(*) FROM job_queue WHERE completed_at IS NULL"
            world.wait(lambda: ductile.one(queued) == size, "the polls")
            first.add(size, ductile.metric("ductile_commit_duration_seconds_sum") * 1e6)
            ductile.stop()
            # Now nothing is due for a day.
            connection = sqlite3.connect(ductile.database, isolation_level=None)
            connection.execute("DELETE FROM job_queue")
            connection.close()
            ready.add(size, world.median(restart(ductile, more=scheduled) for _ in range(3)) * 1e3)
            tick.add(size, idle(ductile, rounds))
            ductile.stop()
            say(over, size, [tick, first, ready])
    return [tick, first, ready]


def with_bytes(sizes, count):
    over = "bytes"
    payloads = Series("a whole job, by its payload", over, "n")
    states = Series("a whole job, by its state, read and replaced", over, "n")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, Daemon(folder) as ductile:
            ductile.start()
            _, gaps, _ = backlog(ductile, count, body_of=lambda number: payload(number, size))
            payloads.add(size, world.median(gaps))
            ductile.stop()
            ductile.start(env={"NOOP_STATE": size})
            _, gaps, _ = backlog(ductile, count, body_of=lambda number: payload(number, 300))
            stored = ductile.one("SELECT length(state) FROM plugin_state")
            assert stored == size, f"a state of {stored} bytes instead of {size}"
            states.add(size, world.median(gaps))
            ductile.stop()
            say(over, size, [payloads, states])
    return [payloads, states]


class Daemon:
    """A ductile that is ended in any case."""

    def __init__(self, folder):
        self.ductile = Ductile(folder)

    def __enter__(self):
        return self.ductile

    def __exit__(self, *_):
        world.end_all()


def refill(ductile, size):
    """A database with just this history; the one before is replaced."""
    if size == 0:
        return
    connection = sqlite3.connect(ductile.database, isolation_level=None)
    for table in ("job_log", "job_payload", "job_queue"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("VACUUM")
    connection.close()
    ductile.fill(finished=size)
    # What the fill has left to the disk must not be written beside what is measured.
    os.sync()


def restart(ductile, more=""):
    """Milliseconds from exec to ready. The daemon goes on."""
    ductile.stop()
    return ductile.start(more=more)


def idle(ductile, rounds):
    """Microseconds of processor time of a second, which has one tick, when there is nothing to do."""
    spent = []
    before = processor(ductile.pid())
    for _ in range(rounds + 1):
        time.sleep(1)
        now = processor(ductile.pid())
        spent.append(now - before)
        before = now
    # The first may have had something left from the start.
    return world.median(spent[1:])


def processor(pid):
    """Microseconds that all threads were running."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e3


def payload(number, size):
    start = json.dumps({"number": number})[:-1] + ', "text": "'
    return start + "x" * max(size - len(start) - 2, 0) + '"}'


def backlog(ductile, count, body_of):
    """Fills the queue while it is paused, and empties it: microseconds of a commit of the dispatcher, from job to job, and of a
    POST."""
    ductile.world.forget()
    ductile.hold()
    posts = []
    for number in range(count):
        body = body_of(number)
        begun = time.perf_counter()
        ductile.add(number, body)
        posts.append((time.perf_counter() - begun) * 1e6)
    names = ("ductile_commit_duration_seconds_sum", "ductile_commit_duration_seconds_count")
    before = [ductile.metric(name) for name in names]
    ductile.release()
    started = sorted(ns for ns, _ in ductile.world.wait_ran(count, pause=0.05))
    world.wait(ductile.idle, "the last job to end")
    took, commits = (after - earlier for after, earlier in zip((ductile.metric(name) for name in names), before))
    gaps = [(later - earlier) / 1e3 for earlier, later in zip(started, started[1:])]
    return took / commits * 1e6, gaps, posts


def command(ductile, name, rounds):
    """Microseconds from the exec of a subcommand to its end."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run([BINARY, name, "--config", ductile.config], check=False, **quiet)
        times.append((time.perf_counter() - begun) * 1e6)
    return world.median(times)


def say(over, size, series):
    costs = "; ".join(f"{one.name} {one.points[-1][1]:.0f}" for one in series)
    print(f"{size:,} {over}: {costs} (µs)", flush=True)


def table(series):
    """Markdown: one table for each thing that grows."""
    text = []
    for over in dict.fromkeys(one.over for one in series):
        rows = [one for one in series if one.over == over]
        sizes = [size for size, _ in rows[0].points]
        text.append(f"| µs, by {over} | " + " | ".join(f"{size:,}" for size in sizes) + " | theory | |")
        text.append("|---|" + "--:|" * len(sizes) + "---|---|")
        for one in rows:
            costs = " | ".join(f"{cost:,.0f}" for _, cost in one.points)
            text.append(f"| {one.name} | {costs} | {one.theory} | {one.verdict()} |")
        text.append("")
    return "\n".join(text)


def main():
    Ductile.version()
    quick = "--quick" in sys.argv[1:]
    if [argument for argument in sys.argv[1:] if argument != "--quick"]:
        sys.exit(__doc__)
    series = measure(quick)
    print(table(series))
    if not quick:
        plot.write(SVG, series)
    if any(one.verdict() != "as expected" for one in series):
        sys.exit(1)


if __name__ == "__main__":
    main()
