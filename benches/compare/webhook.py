#!/usr/bin/env python3
"""Signed webhooks under load: ductile beside adnanh/webhook, by wrk, in one run.

Needs `wrk`, `webhook` (both Debian packages; without the second only ductile is measured), `cc`, and a release
build of ductile. Everything is on the loopback interface, bounded in time, and in a temporary folder.

    cargo build --release && benches/compare/webhook.py [--seconds 5] [--finished 1000000] [--queued 100000]
"""

import argparse
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DUCTILE = os.path.join(ROOT, "target", "release", "ductile")
SECRET = "It's a Secret to Everybody"
BODY = json.dumps({"text": "x" * (10_240 - len('{"text": ""}'))})

CONFIG = """
service: {{log_level: {level}, max_queue_depth: 10000000}}
state: {{path: ./state/ductile.db}}
plugins_dir: ./plugins
plugins: {{noop: {{env: {{NOOP_CLOCK: "1"}}}}, broken: {{}}}}
webhooks:
  listen: 127.0.0.1:0
  endpoints:
    - {{path: /run, plugin: noop, secret: "{secret}", signature_header: X-Hub-Signature-256}}
    - {{path: /keep, plugin: broken, secret: "{secret}", signature_header: X-Hub-Signature-256}}
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=5)
    arguments.add_argument("--finished", type=int, default=0, help="finished jobs in the database before")
    arguments.add_argument("--queued", type=int, default=0, help="jobs that wait for a plugin that is not loaded")
    options = arguments.parse_args()
    for program in ("wrk", "cc", DUCTILE):
        if not shutil.which(program):
            sys.exit(f"{program} is missing")
    with tempfile.TemporaryDirectory() as folder:
        signature = hmac.new(SECRET.encode(), BODY.encode(), hashlib.sha256).hexdigest()
        script = write(folder, "post.lua", POST % (signature, BODY))
        noop = os.path.join(folder, "plugins", "noop", "noop")
        os.makedirs(os.path.dirname(noop))
        subprocess.run(["cc", "-O2", "-static", "-o", noop, os.path.join(ROOT, "benches", "noop.c")], check=True)
        write(folder, "plugins/noop/manifest.yaml", "{name: noop, protocol: 1, entrypoint: noop, commands: [handle]}\n")
        write(folder, "config.yaml", CONFIG.format(level="info", secret=SECRET))
        with Ductile(folder) as ductile:
            ductile.fill(options.finished, options.queued)
        with Ductile(folder) as ductile:
            for path, senders in (("/keep", 1), ("/keep", 32), ("/run", 1), ("/run", 32)):
                ductile.load(script, path, senders, options.seconds)
            ductile.latency()
        bare_commit(folder)
        if shutil.which("webhook"):
            peer(folder, script, noop, options.seconds)
        else:
            print("webhook is missing: no peer")


POST = """
wrk.method = "POST"
wrk.headers["X-Hub-Signature-256"] = "sha256=%s"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[%s]]
done = function(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%d %%f\\n", summary.requests, summary.errors.status,
    latency:percentile(50), latency:percentile(99), summary.duration / 1e6))
end
"""


class Ductile:
    """A daemon, from its start to its end by SIGTERM."""

    def __init__(self, folder):
        self.database = os.path.join(folder, "state", "ductile.db")
        self.log = open(os.path.join(folder, "log"), "wb")
        config = os.path.join(folder, "config.yaml")
        self.process = subprocess.Popen([DUCTILE, "start", "--config", config], stdout=self.log)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                self.listen = self.one("SELECT listen FROM service WHERE pid = ?", self.process.pid)
                socket.create_connection(self.listen.split(":")).close()
                return self
            except (sqlite3.Error, OSError, TypeError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()

    def one(self, sql, *parameters):
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute(sql, parameters).fetchone()[0]
        finally:
            connection.close()

    def fill(self, finished, queued):
        connection = sqlite3.connect(self.database)
        for count, plugin, status, ended in ((finished, "noop", "succeeded", "?2"), (queued, "broken", "queued", "NULL")):
            connection.execute(
                f"""
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, submitted_by, hops, created_at,
                                       started_at, completed_at)
                SELECT printf('%08x-0000-7000-8000-%012x', ?1, i), '{plugin}', 'handle', '{status}', 1, 4, 'cli', 0, ?2,
                       {ended}, {ended}
                FROM n WHERE i <= ?1 AND ?1 > 0
                """,
                (count, time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())),
            )
        connection.commit()
        connection.close()

    def latency(self, count=200):
        """From the first byte of a POST to the plugin's main(), nothing else going on."""
        self.drain()
        host, port = self.listen.split(":")
        request = signed_post(f"{host}:{port}", "/run")
        waits = []
        for _ in range(count):
            with socket.create_connection((host, int(port))) as connection:
                sent = time.monotonic_ns()
                connection.sendall(request)
                answer = connection.recv(65536)
            assert b" 202 " in answer, answer
            job = json.loads(answer.partition(b"\r\n\r\n")[2])["job_id"]
            started = self.until("SELECT logs FROM job_log WHERE job_id = ?", job)
            waits.append((int(json.loads(started)[0]["message"]) - sent) / 1e6)
        waits.sort()
        print(f"POST sent -> plugin's main(), idle: p50 {waits[count // 2]:.2f} ms, p99 {waits[count * 99 // 100]:.2f} ms")

    def drain(self):
        """Forgets what the load has left on the queue: running it would take minutes."""
        connection = sqlite3.connect(self.database, timeout=30)
        connection.execute("DELETE FROM job_queue WHERE status = 'queued' AND plugin = 'noop'")
        connection.commit()
        connection.close()
        self.until("SELECT count(*) = 0 FROM job_queue WHERE status = 'running' HAVING count(*) = 0")

    def until(self, sql, *parameters):
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.one(sql, *parameters)
            except TypeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def load(self, script, path, senders, seconds):
        count = "SELECT count(*) FROM job_queue WHERE submitted_by = 'webhook'"
        done = count + " AND status = 'succeeded'"
        before = (self.one(count), self.one(done))
        result = wrk(f"http://{self.listen}{path}", script, senders, seconds)
        jobs = self.one(done) - before[1]
        # Whoever was cut off by the end of wrk was not told of its job.
        stored = self.one(count) - before[0]
        rss = resident(self.process.pid)
        lost = result["requests"] - result["errors"] - stored
        print(
            f"ductile {path:5} {senders:2} senders: {report(result)}; {jobs / result['seconds']:.0f} jobs/s meanwhile; "
            f"{rss:.1f} MB; acknowledged but not stored: {max(lost, 0)}"
        )


def peer(folder, script, noop, seconds):
    """adnanh/webhook with the same check and the same program."""
    rule = {"match": {"type": "payload-hmac-sha256", "secret": SECRET, "parameter": {"source": "header", "name": "X-Hub-Signature-256"}}}
    hooks = write(folder, "hooks.json", json.dumps([{"id": "run", "execute-command": noop, "trigger-rule": rule}]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["webhook", "-hooks", hooks, "-ip", "127.0.0.1", "-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        for senders in (1, 32):
            result = wrk(f"http://127.0.0.1:{port}/hooks/run", script, senders, seconds)
            print(f"webhook       {senders:2} senders: {report(result)}; {resident(process.pid):.1f} MB")
    finally:
        process.terminate()
        process.wait(30)


def signed_post(host, path):
    signature = hmac.new(SECRET.encode(), BODY.encode(), hashlib.sha256).hexdigest()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Hub-Signature-256: sha256={signature}\r\n"
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


def bare_commit(folder):
    """What no durable answer can be faster than: one row, synced."""
    connection = sqlite3.connect(os.path.join(folder, "bare.db"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (x TEXT)")
    times = []
    for _ in range(3000):
        started = time.perf_counter()
        connection.execute("INSERT INTO t VALUES (?)", (BODY,))
        times.append((time.perf_counter() - started) * 1e3)
    connection.close()
    times.sort()
    print(f"bare commit of 10 KB: p50 {times[len(times) // 2]:.2f} ms, p99 {times[len(times) * 99 // 100]:.2f} ms")


def wrk(url, script, senders, seconds):
    command = ["wrk", "-t1", f"-c{senders}", f"-d{seconds}s", "-s", script, url]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) ([\d.]+)", output)
    requests, errors, p50, p99 = (int(value) for value in found.groups()[:4])
    return {"requests": requests, "errors": errors, "p50": p50 / 1e3, "p99": p99 / 1e3, "seconds": float(found[5])}


def report(result):
    accepted = (result["requests"] - result["errors"]) / result["seconds"]
    return (
        f"{accepted:.0f} accepted/s, p50 {result['p50']:.2f} ms, p99 {result['p99']:.2f} ms, "
        f"{result['errors']} refused"
    )


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) / 1024


def wait_for(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text)
    return path


if __name__ == "__main__":
    main()
