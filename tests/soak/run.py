#!/usr/bin/env python3
"""The soak: two daemons under load for an hour, with reloads and kills.

Both get signed webhooks over a connection that is kept, jobs by `ductile run --detach`, and scheduled polls. Jobs
succeed, fail first, die, have children and keep state; retention deletes them after eight minutes; the configuration
changes and is reloaded every three minutes. `killed` is killed by SIGKILL every four to six minutes, in the middle of a
job, and started again at once. `steady` never is: a series of memory begins anew with each process, so what is asked of
memory and file descriptors from minute 10 to the end is asked of one that lives all the time.

An auditor reads both databases every ten seconds, long before retention deletes, and keeps what it has seen; the
plugins keep a journal of what ran. So each acknowledged job can be accounted for at the end.

    cargo build --release && tests/soak/run.py [--minutes 60] [--report tests/soak/REPORT.md]

Linux, and Python's standard library. Everything is on the loopback interface and in a temporary folder, which is removed
unless --keep is given. Exit code 0 when every figure is within its limit (verdict.py).
"""

import argparse
import hashlib
import hmac
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import verdict

HERE = os.path.dirname(os.path.abspath(__file__))
SECRET = "It's a Secret to Everybody"
SAMPLE_EVERY = 10

# Much shorter than the hour, so that most of what was accepted is deleted before its end; and shorter than the ten
# minutes after which memory is first looked at, so that the database has its final size by then. Seconds.
RETENTION = 480

# How many jobs a second the schedule of `clock` makes with their children, and how many one webhook is on average: nine
# of ten are `work` and its child, one is `flaky` and its two.
SCHEDULED, PER_WEBHOOK = 0.8, 2.1

CONFIG = """
service: {{tick_interval: 1s, dedupe_ttl: 2m, job_log_retention: {retention}s, job_queue_retention: {retention}s}}
state: {{path: ./state/ductile.db}}
plugins_dir: ./plugins
plugins:
  work: {{env: &env {{SOAK: {folder}}}, retry: &often {{max_attempts: 100, backoff_base: 1s}}}}
  flaky: {{env: *env, retry: *often}}
  count: {{env: *env, retry: *often}}
  slow: {{env: *env, retry: *often}}
  alarm: {{env: *env, retry: *often}}
  doomed: {{env: *env, retry: {{max_attempts: 2, backoff_base: 1s}}}}
  clock: {{env: *env, retry: *often, config: {{generation: {generation}}}{schedule}}}
routes:
  - {{from: work, event_type: hit, to: count}}
  - {{from: flaky, event_type: hit, to: count}}
  - {{from: slow, event_type: hit, to: count}}
  - {{from: clock, event_type: hit, to: count}}
  - {{from: ductile, event_type: job.dead, to: alarm}}
webhooks:
  listen: 127.0.0.1:0
  endpoints:
    - {{path: /work, plugin: work, secret: &secret "{secret}", signature_header: X-Signature, dedupe_header: X-Delivery}}
    - {{path: /flaky, plugin: flaky, secret: *secret, signature_header: X-Signature, dedupe_header: X-Delivery}}
    - {{path: /of-generation-{generation}, plugin: work, secret: *secret, signature_header: X-Signature}}
"""


class Daemon:
    """One of the two with its load, from the first start to the end of its last process."""

    def __init__(self, name, binary, folder, rng):
        self.name, self.binary, self.folder, self.rng = name, binary, folder, rng
        self.process = self.listen = None
        self.generation = self.reloads = self.refused = self.kills = self.hits = self.strays = 0
        self.acknowledged, self.samples, self.problems = set(), [], []
        self.audit = verdict.Audit()
        # Held while there is no daemon: a `run` without one takes the lock, and the next start would be refused.
        self.present = threading.Lock()
        self.over = threading.Event()
        self.config = os.path.join(folder, "config.yaml")
        self.database = os.path.join(folder, "state", "ductile.db")
        shutil.copytree(os.path.join(HERE, "plugins"), os.path.join(folder, "plugins"))
        os.mkdir(os.path.join(folder, "marks"))
        self.configure(scheduled=True)
        self.log = open(os.path.join(folder, "log"), "ab")

    def configure(self, scheduled):
        schedule = f", schedule: {{every: 2s, jitter: {self.generation % 2}s}}" if scheduled else ""
        write(self.config, CONFIG.format(
            retention=RETENTION, folder=json.dumps(self.folder), secret=SECRET, generation=self.generation, schedule=schedule,
        ))

    def start(self):
        command = [self.binary, "start", "--config", self.config]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                row = self.read("SELECT listen FROM service WHERE pid = ? AND listen IS NOT NULL", self.process.pid)
                if row:
                    self.listen = row[0][0]
                    return
            except sqlite3.Error:
                # It is not there yet, or just being made.
                pass
            time.sleep(0.02)
        raise self.failure("does not start")

    def failure(self, what):
        with open(self.log.name, errors="replace") as log:
            return RuntimeError(f"{self.name}: the daemon {what}:\n" + "".join(log.readlines()[-20:]))

    def read(self, sql, *parameters):
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def command(self, *arguments):
        return subprocess.run([self.binary, *arguments, "--config", self.config], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)

    def detach(self, plugin):
        result = self.command("run", plugin, "--command", "handle", "--payload", "{}", "--detach")
        if result.returncode == 0:
            self.acknowledged.add(result.stdout.strip())
        else:
            self.problems.append(f"run {plugin}: {result.stdout.strip()}")

    def reload(self, scheduled=True):
        self.generation += 1
        self.configure(scheduled)
        result = self.command("reload")
        self.reloads += 1
        if result.returncode != 0:
            self.refused += 1
            self.problems.append(f"reload: {result.stdout.strip()}")

    def kill(self):
        """While a plugin runs: so there is a process to end and an attempt to recover."""
        self.detach("slow")
        time.sleep(self.rng.uniform(0.5, 1.5))
        with self.present:
            self.process.kill()
            self.process.wait()
            left = self.plugins()
            self.kills += 1
            self.hits += bool(left)
            self.start()
            self.strays += len(left & self.plugins())

    def plugins(self):
        """The processes of this daemon's plugins, each with the time of its start: its number may be another's later."""
        mark, found = f"\0SOAK={self.folder}\0".encode(), set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as environ:
                    if mark in b"\0" + environ.read() + b"\0":
                        found.add((int(pid), stat(pid)[19]))
            except OSError:
                # Ended meanwhile, or not ours to look at.
                pass
        return found

    def send(self, rate):
        """Signed webhooks, each until it is acknowledged, as senders do; now and then a job by hand."""
        pause, by_hand, due = PER_WEBHOOK / (rate - SCHEDULED), 0, time.monotonic()
        connection, number = None, 0
        while not self.over.wait(max(0, due - time.monotonic())):
            due += self.rng.uniform(0.5, 1.5) * pause
            number += 1
            if due > by_hand:
                by_hand = due + 10
                with self.present:
                    self.detach(self.rng.choice(("work", "doomed")))
            body = json.dumps({"number": number, "text": "x" * self.rng.randrange(4000)}).encode()
            signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-Signature": signature, "X-Delivery": str(number)}
            status = None
            while status not in (200, 202):
                try:
                    connection = connection or http.client.HTTPConnection(self.listen, timeout=30)
                    connection.request("POST", "/flaky" if number % 10 == 0 else "/work", body, headers)
                    answer = connection.getresponse()
                    status, content = answer.status, answer.read()
                except (OSError, http.client.HTTPException):
                    # Killed. The next one may have another port.
                    connection, status = None, None
                    time.sleep(0.05)
                    continue
                if status not in (200, 202):
                    self.problems.append(f"webhook: {status}")
                    time.sleep(1)
            self.acknowledged.add(json.loads(content)["job_id"])

    def sample(self, minute):
        """One look from outside, over a second. At rest there are no pipes to a plugin: the least number of descriptors."""
        pid, fds, zombies = self.process.pid, [], None
        for _ in range(50):
            fds.append(len(os.listdir(f"/proc/{pid}/fd")))
            ended = {child for child in children(pid) if child[2] == "Z"}
            zombies = ended if zombies is None else zombies & ended
            time.sleep(0.02)
        with open(f"/proc/{pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        self.samples.append({
            "minute": minute, "life": self.kills, "rss": int(fields["VmRSS"].split()[0]) / 1024, "fds": min(fds),
            "threads": int(fields["Threads"]), "zombies": len(zombies), "depth": self.health(minute),
            "wal": size(self.database + "-wal"), "database": size(self.database),
        })
        self.audit.look(self.read)

    def health(self, minute):
        """The depth of the queue, as /healthz says."""
        connection = http.client.HTTPConnection(self.listen, timeout=30)
        try:
            connection.request("GET", "/healthz")
            health = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException) as error:
            health = {"status": "unknown", "reasons": repr(error), "queue_depth": 0}
        connection.close()
        if health["status"] != "ok":
            self.problems.append(f"minute {minute:.1f}: {health['status']}: {health['reasons']}")
        return health["queue_depth"]

    def end(self):
        """Without a schedule the queue becomes empty; then SIGTERM."""
        self.reload(scheduled=False)
        deadline = time.monotonic() + 120
        while self.read("SELECT 1 FROM job_queue WHERE completed_at IS NULL LIMIT 1") and time.monotonic() < deadline:
            time.sleep(0.2)
        self.process.terminate()
        if self.process.wait(60) != 0:
            self.problems.append(f"SIGTERM: exit code {self.process.returncode}")
        self.audit.look(self.read)

    def abandon(self):
        """Whatever has happened, nothing of ours goes on."""
        self.over.set()
        # Not released: the sender is to begin no `run` any more.
        self.present.acquire(timeout=120)
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid, _ in self.plugins():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.log.close()


def soak(options, folder):
    rng = random.Random(options.seed)
    daemons = []
    try:
        for name in ("steady", "killed"):
            daemons.append(Daemon(name, options.binary, os.path.join(folder, name), random.Random(rng.random())))
            daemons[-1].start()
        started, begin = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), time.monotonic()
        senders = [threading.Thread(target=daemon.send, args=(options.rate,), daemon=True) for daemon in daemons]
        for sender in senders:
            sender.start()
        disturb(daemons, rng, begin, options.minutes * 60)
        for daemon in daemons:
            daemon.over.set()
        for sender in senders:
            sender.join(60)
        lasted = time.monotonic() - begin
        for daemon in daemons:
            daemon.end()
        figures = verdict.series(*daemons, min(10, options.minutes / 3))
        for daemon in daemons:
            figures += verdict.judge(daemon, lasted, options.rate, RETENTION)
        return verdict.report(options, daemons, figures, started)
    finally:
        for daemon in daemons:
            daemon.abandon()


def disturb(daemons, rng, begin, seconds):
    """Looks, reloads and kills, one at a time, until the time is over."""
    # Each of them happens in a short try, too.
    reload_every, kill_every = min(180, seconds / 6), min(300, seconds / 4)
    sample_at, reload_at, kill_at = 5, reload_every, kill_every
    while (now := time.monotonic() - begin) < seconds:
        for daemon in daemons:
            if daemon.process.poll() is not None:
                raise daemon.failure(f"has ended by itself, {daemon.process.returncode}")
        if now >= sample_at:
            for daemon in daemons:
                daemon.sample((time.monotonic() - begin) / 60)
            sample_at += SAMPLE_EVERY
        elif now >= reload_at:
            for daemon in daemons:
                daemon.reload()
            reload_at += reload_every
        elif now >= kill_at:
            daemons[1].kill()
            kill_at += rng.uniform(0.8, 1.2) * kill_every
        else:
            time.sleep(0.2)


def children(pid):
    """(number, start, state) of each."""
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as listed:
                for child in listed.read().split():
                    fields = stat(child)
                    found.add((child, fields[19], fields[0]))
        except OSError:
            # The thread or the child has ended meanwhile.
            pass
    return found


def stat(pid):
    """The fields of /proc/PID/stat from the third on: the state is the first here, the time of the start number 19."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def size(path):
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--rate", type=float, default=5, help="jobs a second for each daemon, children included")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--binary", default=os.path.join(HERE, "..", "..", "target", "release", "ductile"))
    arguments.add_argument("--report", help="the file to write it to; it is printed in any case")
    arguments.add_argument("--keep", action="store_true", help="keep the folder, and say where it is")
    options = arguments.parse_args()
    # So that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="ductile-soak-")
    try:
        text, passed = soak(options, folder)
    except RuntimeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    print(text, end="")
    if options.report:
        write(options.report, text)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
