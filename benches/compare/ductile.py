"""ductile, as its user has it: the release binary with a configuration, a daemon, webhooks and the command line."""

import os
import re
import signal
import sqlite3
import subprocess
import time

import world
from world import ROOT, SECRET

BINARY = os.path.join(ROOT, "target", "release", "ductile")

CONFIG = """
service: {{log_level: info, tick_interval: 1s, max_queue_depth: 10000000}}
state: {{path: ./state/ductile.db}}
plugins_dir: ./plugins
plugins:
  noop: {{env: {{{env}}}}}
  # There is no such plugin: its jobs are accepted and wait.
  broken: {{}}
{more}
webhooks:
  listen: 127.0.0.1:{port}
  endpoints:
    - {{path: /run, plugin: noop, secret: "{secret}", signature_header: {header}, max_body_size: 2MB}}
    - {{path: /keep, plugin: broken, secret: "{secret}", signature_header: {header}, max_body_size: 2MB}}
metrics: {{listen: "127.0.0.1:{metrics}"}}
"""


class Ductile:
    """A daemon in a folder of its own."""

    name = "ductile"
    unit = "POST"
    stays = True
    jobs = 1000
    latencies = 150

    def __init__(self, folder):
        self.world = world.World(folder)
        self.world.write("plugins/noop/manifest.yaml", "{name: noop, protocol: 1, entrypoint: noop, commands: [handle, poll]}\n")
        self.database = self.world.path("state/ductile.db")
        self.process = None

    @staticmethod
    def version():
        if not os.access(BINARY, os.X_OK):
            raise world.Missing("a release build of ductile (`cargo build --release`)")
        return subprocess.run([BINARY, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout.split()[1]

    def start(self, record=True, wait_ms=None, env=(), more=""):
        """Starts a daemon. Milliseconds from exec to its first answer."""
        noop = dict(env)
        if record:
            noop["NOOP_FILE"] = self.world.record
        if wait_ms:
            noop["NOOP_WAIT_MS"] = str(wait_ms)
        self.port, self.metrics_port = world.free_port(), world.free_port()
        env = ", ".join(f'{name}: "{value}"' for name, value in noop.items())
        ports = {"port": self.port, "metrics": self.metrics_port}
        config = CONFIG.format(env=env, more=more, secret=SECRET, header=world.HEADER, **ports)
        self.config = self.world.write("config.yaml", config)
        with open(self.world.path("log"), "ab") as log:
            begun = time.monotonic()
            command = [BINARY, "start", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.world.environment({}))
        self.wait_ready()
        return (time.monotonic() - begun) * 1e3

    def pid(self):
        return self.process.pid

    def cli(self, *arguments):
        command = [BINARY, *arguments, "--config", self.config]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout

    def hold(self):
        self.cli("pause")

    def release(self):
        self.cli("resume")

    def add(self, number, body=None):
        world.post(self.port, "/run", body or f'{{"number": {number}}}')

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def again(self):
        """After a kill; the jobs wait as long as before."""
        with open(self.world.path("log"), "ab") as log:
            command = [BINARY, "start", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.world.environment({}))
        self.wait_ready()

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                with open(self.world.path("log")) as log:
                    raise RuntimeError(f"ductile has ended: {log.read()[-1000:]}")
            return world.answers(self.port)

        world.wait(ready, "ductile to answer", 120, 0.0002)

    def idle(self):
        """Whether nothing will run any more."""
        return self.one("SELECT count(*) FROM job_queue WHERE completed_at IS NULL") == 0

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def one(self, sql, *parameters):
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql, parameters).fetchone()[0]
        finally:
            connection.close()

    def metric(self, name):
        """The value of a metric without labels."""
        return float(re.search(rf"^{name} (.+)$", world.get(self.metrics_port, "/metrics"), re.MULTILINE)[1])

    def load(self, path, senders, seconds):
        """wrk at one of the endpoints: what it saw, jobs a second meanwhile, what was acknowledged but not stored."""
        count = "SELECT count(*) FROM job_queue WHERE submitted_by = 'webhook'"
        done = count + " AND status = 'succeeded'"
        before = (self.one(count), self.one(done))
        result = world.wrk(self.world, self.port, path, senders, seconds)
        result["jobs"] = (self.one(done) - before[1]) / result["seconds"]
        # Whoever was cut off by the end of wrk was not told of its job.
        result["lost"] = max(result["accepted"] - (self.one(count) - before[0]), 0)
        result["peak"] = world.memory(self.pid(), "VmHWM")
        return result

    def fill(self, finished=0, queued=0):
        """Jobs that have succeeded, one a second until now, with their logs and payloads; and some that wait for a plugin
        that is not loaded. Without a daemon."""
        connection = sqlite3.connect(self.database, isolation_level=None)
        connection.execute("BEGIN")
        for first, count, plugin, status in ((0, finished, "noop", "succeeded"), (finished, queued, "broken", "queued")):
            if count == 0:
                continue
            ended = "created_at" if status == "succeeded" else "NULL"
            connection.execute(
                f"""
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1),
                row AS (SELECT i, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('-%d seconds', ?1 - i)) AS created_at FROM n)
                INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, submitted_by, hops, created_at,
                                       started_at, completed_at)
                SELECT printf('00000000-0000-7000-8000-%012x', ?2 + i), '{plugin}', 'handle', '{status}', 1, 4, 'cli', 0,
                       created_at, {ended}, {ended}
                FROM row
                """,
                (count, first),
            )
        connection.execute(
            """
            INSERT INTO job_log (job_id, attempt, plugin, command, submitted_by, status, started_at, completed_at, duration_ms,
                                 exit_code, result)
            SELECT id, 1, plugin, command, submitted_by, 'succeeded', started_at, completed_at, 1, 0, '{"status":"ok"}'
            FROM job_queue WHERE status = 'succeeded' AND id NOT IN (SELECT job_id FROM job_log)
            """
        )
        connection.execute(
            """
            INSERT INTO job_payload (seq, payload)
            SELECT seq, printf('{"x":"%0300d"}', 1) FROM job_queue WHERE seq NOT IN (SELECT seq FROM job_payload)
            """
        )
        connection.execute("COMMIT")
        connection.close()


class DuctileByHand(Ductile):
    """The same, asked by its command line."""

    name = "ductile, by `run --detach`"
    unit = "exec"

    def add(self, number, body=None):
        self.cli("run", "noop", "--command", "handle", "--detach", "--payload", body or f'{{"number": {number}}}')
