#!/usr/bin/env python3
"""Torture: a seeded driver that does to a real ductile all that months do, and a checker that then looks at what is left.

    cargo build --features fault-injection
    tests/torture/run.py [--seed N] [--minutes M | --lives L] [--binary PATH] [--keep]

What it does, what is checked and how a seed is replayed: README.md. Exit code 0 when nothing was found, 1 otherwise.
"""

import argparse
import contextlib
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

import check
import disk

HERE = os.path.dirname(os.path.abspath(__file__))
SECRET = "It's a Secret to Everybody"
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"]
# By what the disk is: a file system on a device is for the real root.
NAMESPACES = {
    "ext4": [*DIES_WITH_US, "unshare", "-mpf", "--kill-child", "--mount-proc"],
    "tmpfs": [*DIES_WITH_US, "unshare", "-rmpf", "--kill-child", "--mount-proc"],
    "plain": [],
}
WITHOUT = {
    "ext4": "power cuts, these need root, ext4 and a loop device",
    "tmpfs": "full disks, this needs namespaces",
}
FAKETIME = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"]

# Those of which jobs are compared for their order: always there, never held back.
PLAIN = ["alpha", "beta", "gamma", "once", "ticker", "flaky", "notify", "twin", "teller", "clerk"]
ONLY_AT_TIMES = {"held": "paused", "optional": "disabled", "fragile": "without manifest", "careful": "has an init"}
# `run` without a daemon runs a job out of its turn: only jobs of this one.
SOLO = "solo"
PLUGINS = [*PLAIN, *ONLY_AT_TIMES, SOLO]
USES = {"twin": "gamma"}
# Of protocol 2: what they declare, and which of it states facts.
COMMANDS = {"teller": ["poll", "handle"], "clerk": ["poll", "handle", "tally"]}
FACTS = {"teller": {"poll": "teller.snapshot"}, "clerk": {"handle": "clerk.snapshot"}}
ENDPOINTS = ["alpha", "beta", "once", "held", "optional", "fragile", "careful", "twin", "teller"]
MAX_ATTEMPTS = {"once": 1, "flaky": 2, "gamma": 6}
CORE_ROUTES = [("ductile", kind, "notify") for kind in ("job.dead", "breaker.opened", "init.failed", "reload.refused")]
# Always there, so that it comes to the limit of hops.
CYCLE = [("alpha", "cycle", "alpha")]
ROUTES = [
    ("alpha", "x", "beta"), ("alpha", "x", "gamma"), ("alpha", "y", "gamma"), ("beta", "x", "alpha"), ("beta", "y", "once"),
    ("gamma", "x", "careful"), ("ticker", "x", "alpha"), ("ticker", "y", "held"), ("flaky", "x", "optional"),
    ("careful", "x", "fragile"), ("solo", "x", "gamma"), ("notify", "x", "once"), ("once", "x", "beta"), ("held", "x", "beta"),
    ("optional", "x", "gamma"), ("fragile", "y", "alpha"), ("gamma", "y", "twin"), ("twin", "x", "clerk"),
    ("teller", "x", "twin"), ("clerk", "y", "teller"),
]  # fmt: skip

# Crash points that a daemon comes to: once in a while, and with every job. Most is at stake between a job's end and the next.
SELDOM = [f"{step}.{side}" for step in ("recovery", "start", "tick", "reload", "stop") for side in ("uncommitted", "committed")]
OFTEN = {
    "settle.committed": 8, "settle.uncommitted": 3, "claim.uncommitted": 1, "claim.committed": 2, "webhook.uncommitted": 1,
    "webhook.committed": 2, "spawn.before": 1, "spawn.after": 1, "group.before_kill": 1, "group.killed": 1,
    "response.before_read": 1, "response.read": 1,
}  # fmt: skip
CLIENT_POINTS = ["enqueue.uncommitted", "enqueue.committed"]

STEPS = {
    "webhook": 30, "burst": 16, "detach": 14, "run": 4, "cancel": 4, "retry": 5, "reset": 2, "pause": 4, "resume": 5,
    "pause_all": 1.5, "resume_all": 6, "reload": 4, "reload_invalid": 2, "hangup": 1, "fragile": 3, "stop_cont": 3, "clock": 4,
    "fill": 2, "meddle": 4, "forged": 2, "look": 2, "spin": 0.6,
}  # fmt: skip
# No more jobs are made while so many wait.
DEEP = 60
# Seconds: for whatever has to end by itself, and for all that is left at the end.
PATIENCE = 40
DRAIN = 240


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="default: drawn")
    parser.add_argument("--minutes", type=float, default=2, help="no new life of the daemon is begun after them")
    parser.add_argument("--lives", type=int, help="so many lives of the daemon instead")
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "..", "target", "debug", "ductile"))
    parser.add_argument("--keep", action="store_true", help="leave the folder with database, journal, actions and logs")
    parser.add_argument("--as", dest="role", choices=["first", "driver"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--disk", choices=disk.KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "first":
        return first_process([sys.executable, *sys.argv, "--as", "driver"])
    if options.role == "driver":
        signal.signal(signal.SIGTERM, interrupted)
        return Torture(options).run()
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"no binary at {options.binary}: cargo build --features fault-injection")
    signal.signal(signal.SIGTERM, interrupted)
    return outside(options)


def interrupted(*_):
    raise KeyboardInterrupt


def outside(options):
    """Runs the driver in namespaces of its own, if it may: with them all processes and mounts end, however it ends."""
    folder = tempfile.mkdtemp(prefix="torture-")
    try:
        command = [sys.executable, os.path.abspath(__file__), "--seed", str(options.seed), "--folder", folder]
        command += ["--binary", os.path.abspath(options.binary), "--minutes", str(options.minutes)]
        command += ["--keep"] * options.keep + (["--lives", str(options.lives)] if options.lives is not None else [])
        os.mkdir(os.path.join(folder, "state"), 0o700)
        kind = disk_that_works(folder)
        command += ["--disk", kind, "--as", "driver" if kind == "plain" else "first"]
        child = subprocess.Popen([*NAMESPACES[kind], *command], start_new_session=True)
        try:
            return child.wait()
        except KeyboardInterrupt:
            # The namespaces end with `unshare`, which blocks other signals; a bare driver has to clean up.
            child.terminate() if kind == "plain" else child.kill()
            child.wait()
            return 130
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def disk_that_works(folder):
    """The first kind of disk that can be had here, each tried in namespaces of its own."""
    for kind in disk.KINDS:
        attempt = [*NAMESPACES[kind], sys.executable, disk.__file__, kind, os.path.join(folder, "state")]
        # By a shell: that a program is missing is a reason like others.
        tried = subprocess.run(["sh", "-c", 'exec "$@"', "sh", *attempt], stderr=subprocess.PIPE, text=True)
        if tried.returncode == 0:
            return kind
        print(f"SKIPPED {WITHOUT[kind]}: {tried.stderr.strip()}", flush=True)
    raise AssertionError("a plain folder is always there")


def first_process(command):
    """The first process of the namespace: it has to collect what the killed leave behind."""
    driver = subprocess.Popen(command)
    while True:
        pid, status = os.wait()
        if pid == driver.pid:
            return os.waitstatus_to_exitcode(status) & 0xFF


class Torture:
    def __init__(self, options):
        self.seed, self.folder, self.minutes, self.lives = options.seed, options.folder, options.minutes, options.lives
        self.keep, self.ductile = options.keep, options.binary
        self.config_file = self.path("config.yaml")
        self.state = self.path("state")
        self.database = os.path.join(self.state, "ductile.db")
        self.disk = disk.Disk(options.disk, self.state)
        self.actions = open(self.path("actions"), "a", buffering=1)
        self.lock = threading.Lock()
        self.senders, self.clients = [], []
        self.daemon = self.log = self.port = self.faketime = self.mark = None
        self.life = self.deliveries = self.version = 0
        self.offset, self.full_steps = 0, 0
        self.counts = {}

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def note(self, act, **what):
        """One line of the journal that the checker reads; what was acknowledged is in here."""
        with self.lock:
            self.counts[act] = self.counts.get(act, 0) + 1
            self.actions.write(json.dumps({"act": act, "life": self.life, "at": time.monotonic_ns()} | what) + "\n")

    # What there is to torture.

    def prepare(self):
        self.disk.make()
        with open(os.path.join(HERE, "plugin.py")) as file:
            text = f"#!{os.path.realpath(sys.executable)} -IS\n{file.read()}"
        for name in sorted(set(PLUGINS) - set(USES)):
            os.makedirs(self.path("plugins", name))
            entrypoint = self.path("plugins", name, "run")
            with open(entrypoint, "w") as file:
                file.write(text)
            os.chmod(entrypoint, 0o755)
            self.write_manifest(name)
        self.look_at_binary()
        self.set_clock(0)
        self.configure(random.Random(f"{self.seed}/first"))

    def look_at_binary(self):
        with open(self.ductile, "rb") as file:
            binary = file.read()
        if b"DUCTILE_CRASH_POINT" not in binary:
            print("SKIPPED crash points: the binary is built without `--features fault-injection`")
        library = next((path for path in FAKETIME if os.path.exists(path)), None)
        if b"/ld-" not in binary[:4096]:
            print("SKIPPED steps of the clock: the binary is static, no library can be put before it")
        elif library is None:
            print("SKIPPED steps of the clock: no libfaketime (Debian: faketime)")
        else:
            self.faketime = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": self.path("clock"), "FAKETIME_NO_CACHE": "1"}
            # File times stay: they are nobody's business here.
            self.faketime |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}

    def write_manifest(self, name):
        commands = COMMANDS.get(name, ["poll", "handle"] + ["init"] * (name == "careful"))
        manifest = {"name": name, "version": "1", "protocol": 1 + (name in COMMANDS), "entrypoint": "run", "commands": commands}
        facts = [
            {"when": {"command": command}, "from": "state_updates", "fact_type": kind, "compatibility_view": "mirror_object"}
            for command, kind in FACTS.get(name, {}).items()
        ]
        manifest |= {"fact_outputs": facts} if facts else {}
        self.replace(self.path("plugins", name, "manifest.yaml"), json.dumps(manifest))

    def replace(self, path, text):
        """At once: whoever reads it sees the old or the new."""
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def configure(self, draw, last=False):
        """Writes a configuration of its own number, which every plugin is told."""
        self.version += 1
        plugins = {}
        for name in PLUGINS:
            plugins[name] = {
                "config": {"version": self.version},
                "env": {"TORTURE_FOLDER": self.folder, "TORTURE_SEED": str(self.seed), "TORTURE_NAME": name},
                "retry": {"max_attempts": MAX_ATTEMPTS.get(name, 4), "backoff_base": draw.choice(["20ms", "100ms", "300ms"])},
                "timeouts": {"poll": "2s", "handle": "2s", "init": "2s"} | {name: "2s" for name in COMMANDS.get(name, [])},
                "circuit_breaker": {"threshold": 2, "reset_after": "2s"},
            }
        for name, used in USES.items():
            plugins[name]["uses"] = used
        schedules = {} if last else self.schedules(draw)
        for name, entries in schedules.items():
            if name == "clerk":
                plugins[name]["schedules"] = entries
            else:
                plugins[name]["schedule"] = {key: entries[0][key] for key in ("every", "jitter")}
        disabled = draw.random() < 0.3 and not last
        plugins["optional"]["enabled"] = not disabled
        routes = CORE_ROUTES + CYCLE + [route for route in ROUTES if draw.random() < 0.8]
        depth = draw.choice([15] + [1000] * 7) if not last else 100_000
        hook = {"secret": SECRET, "signature_header": "X-Signature", "dedupe_header": "X-Delivery"}
        config = {
            "service": {"tick_interval": "1s", "shutdown_grace": draw.choice(["1s", "3s"]), "max_queue_depth": depth},
            "state": {"path": self.database},
            "plugins_dir": self.path("plugins"),
            "plugins": plugins,
            "routes": [{"from": source, "event_type": kind, "to": to} for source, kind, to in routes],
            "webhooks": {
                "listen": "127.0.0.1:0",
                "endpoints": [{"path": f"/hooks/{name}", "plugin": name} | hook for name in ENDPOINTS],
            },
        }
        attempts = {name: plugins[name]["retry"]["max_attempts"] for name in PLUGINS}
        disabled = ["optional"] if disabled else []
        what = {"schedules": schedules, "uses": USES, "facts": FACTS, "protocol_2": list(COMMANDS)}
        self.note("config", version=self.version, routes=routes, attempts=attempts, disabled=disabled, depth=depth, **what)
        # YAML knows all of JSON.
        self.replace(self.config_file, json.dumps(config))

    def schedules(self, draw):
        """By plugin; one of them has two, of commands of its own, and the payload changes now and then."""
        made = {}
        for name in ("ticker", "flaky", "optional", "teller", "clerk"):
            ids = {"default": "poll"} if name != "clerk" else {"look": "poll", "sum": "tally"}
            for id, command in ids.items():
                entry = {"id": id, "command": command}
                every = ["1s", "2s", "1h" if name not in COMMANDS else "3s"]
                entry |= {"every": draw.choice(every), "jitter": draw.choice(["0s", "500ms"])}
                if command == "tally":
                    entry["payload"] = {"of": draw.randrange(3), "text": 'a "quoted" \u2028 one'}
                if draw.random() < 0.8:
                    made.setdefault(name, []).append(entry)
        return made

    # Processes.

    def environment(self, point=None):
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "TZ", "LANG") if name in os.environ}
        environment |= self.faketime or {}
        if point:
            environment |= {"DUCTILE_CRASH_POINT": point[0], "DUCTILE_CRASH_AFTER": str(point[1])}
        return environment

    def start(self, point=None):
        """Starts a daemon and waits until it can be used, or has ended. Whether it runs."""
        self.life += 1
        self.log = self.path(f"log.{self.life}")
        command = [self.ductile, "start", "--config", self.config_file]
        with open(self.log, "wb") as out, open(self.path(f"err.{self.life}"), "wb") as err:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.environment(point))
        self.note("start", pid=self.daemon.pid, point=point)
        deadline = time.monotonic() + PATIENCE
        while self.daemon.poll() is None:
            with open(self.log) as log:
                if '"ductile started"' in log.read() and self.find_port():
                    self.mark = check.mark(self.database)
                    return True
            if time.monotonic() > deadline:
                self.note("stuck", what="the start")
                break
            time.sleep(0.01)
        self.ended("died")
        return False

    def find_port(self):
        listen = self.read("SELECT listen FROM service WHERE pid = ?", self.daemon.pid)
        self.port = int(listen[0][0].split(":")[1]) if listen and listen[0][0] else None
        return self.port

    def read(self, sql, *parameters):
        """Rows, or none when the database cannot be read at the moment."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=1)
        try:
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error:
            return []
        finally:
            connection.close()

    def ended(self, how):
        """The daemon is over: noted with the way it was meant to end. One that is not over yet is killed."""
        if how in ("killed", "cut") or self.daemon.poll() is None:
            self.daemon.kill()
        code = self.daemon.wait()
        self.note("end", how=how, code=code)
        self.daemon = self.port = None

    def stop(self):
        """SIGTERM, and all the time that it may need."""
        self.make_room()
        self.note("terminating")
        self.daemon.terminate()
        try:
            self.daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.note("stuck", what="the stop")
        self.ended("stopped")

    def client(self, *arguments, point=None, kind="cli", wait=True, kill_after=None, **what):
        """A command of ductile, its end noted; without `wait` collected later."""
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        command = [self.ductile, *arguments, "--config", self.config_file]
        environment = self.environment(point)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        what |= {"arguments": arguments, "alone": self.daemon is None, "point": point, "began": time.monotonic_ns()}
        entry = (process, out, err, kind, what)
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        if wait:
            return self.collect(entry)
        self.clients.append(entry)
        return None

    def collect(self, entry):
        process, out, err, kind, what = entry
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
            self.note("stuck", what=what["arguments"])
        out.seek(0)
        err.seek(0)
        text, errors = out.read().decode(), err.read().decode()
        out.close()
        err.close()
        self.note("client", kind=kind, code=code, out=text[:200], err=errors[-1000:], **what)
        if kind == "enqueue" and text:
            # What was printed was acknowledged, whatever came then.
            job = json.loads(text)["job"]["id"] if "--json" in what["arguments"] else text.split()[0]
            self.note("accepted", job=job, how="run", plugin=what.get("plugin"), n=what.get("n"))
        return code, text

    def await_clients(self):
        """Whoever still runs a job by itself has the lock."""
        while self.clients:
            self.collect(self.clients.pop())

    def collect_ended(self):
        still = [entry for entry in self.clients if entry[0].poll() is None]
        for entry in self.clients:
            if entry not in still:
                self.collect(entry)
        self.clients = still
        self.senders = [sender for sender in self.senders if sender.is_alive()]

    # Deliveries.

    def deliver(self, plugin, key=None, forged=False):
        self.deliveries += 1
        if self.port is None or len(self.senders) > 24:
            return
        body = json.dumps({"n": self.deliveries, "depth": 1})
        arguments = (self.port, plugin, body, self.deliveries, key, forged)
        sender = threading.Thread(target=self.send, args=arguments, daemon=True)
        sender.start()
        self.senders.append(sender)

    def send(self, port, plugin, body, n, key, forged):
        secret = SECRET + "?" * forged
        headers = {"X-Signature": "sha256=" + hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()}
        if key is not None:
            headers["X-Delivery"] = key
        sent = time.monotonic_ns()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", f"/hooks/{plugin}", body, headers)
            answer = connection.getresponse()
            job = json.loads(answer.read()).get("job_id")
        except (OSError, http.client.HTTPException, ValueError):
            self.note("unanswered", n=n)
            return
        finally:
            connection.close()
        if answer.status == 202:
            self.note("accepted", job=job, how="webhook", plugin=plugin, n=n, key=key, sent=sent, forged=forged)
        elif answer.status == 200:
            self.note("duplicate", job=job, plugin=plugin, key=key)
        else:
            self.note("refused", status=answer.status, plugin=plugin, forged=forged)

    def deep(self):
        queued = self.read("SELECT count(*) FROM job_queue WHERE completed_at IS NULL AND status = 'queued'")
        return bool(queued) and queued[0][0] > DEEP

    # The steps. Each is told of a generator of its own, so that what one draws changes no other.

    def step_webhook(self, draw):
        plugin, key = draw.choice(ENDPOINTS), draw.choice([None, None, f"delivery {draw.randrange(2)}"])
        if not self.deep():
            self.deliver(plugin, key)

    def step_burst(self, draw):
        plugins = [draw.choice(ENDPOINTS) for _ in range(draw.randrange(4, 16))]
        if not self.deep():
            for plugin in plugins:
                self.deliver(plugin)

    def step_forged(self, draw):
        self.deliver(draw.choice(ENDPOINTS), forged=True)

    def step_detach(self, draw):
        self.enqueue(draw, draw.choice([*PLUGINS, *FACTS, *FACTS, *FACTS]), ["--detach"])

    def step_run(self, draw):
        # Only of this one: where the daemon has just been killed it is run out of its turn.
        self.enqueue(draw, SOLO, draw.choice([["--json"], ["--json", "--wait"]]), wait=False)

    def step_spin(self, draw):
        self.enqueue(draw, "alpha", ["--detach"], payload={"spin": True})

    def enqueue(self, draw, plugin, how, wait=True, payload=None, kill_after=None):
        self.deliveries += 1
        arguments = ["run", plugin, *how]
        poll, key, point = draw.random() < (0.7 if plugin == "teller" else 0.2), draw.random() < 0.1, draw.random() < 0.05
        point = (draw.choice(CLIENT_POINTS), 0) if point else None
        if self.deep() and not payload:
            return
        n = None
        if payload or not poll:
            n = None if payload else self.deliveries
            command = "tally" if plugin == "clerk" and not payload else "handle"
            arguments += ["--command", command, "--payload", json.dumps(payload or {"n": n, "depth": 1})]
            if key:
                arguments += ["--dedupe-key", f"key {draw.randrange(20)}"]
                # The job that is printed may be an older one.
                n = None
        self.client(*arguments, kind="enqueue", plugin=plugin, n=n, point=point, wait=wait, kill_after=kill_after)

    def some_job(self, draw, where):
        pick = draw.random()
        jobs = self.read(f"SELECT id FROM job_queue WHERE {where} ORDER BY seq")
        return jobs[int(pick * len(jobs))][0] if jobs else None

    def step_cancel(self, draw):
        # Without an init its plugin would be run uninitialized: that is for the operator to know.
        job = self.some_job(draw, "status = 'queued' AND command != 'init'")
        if job:
            self.client("queue", "cancel", job, kind="cancel", job=job)

    def step_retry(self, draw):
        job = self.some_job(draw, "status = 'dead' AND command != 'init' AND hops < 30")
        if job and not self.deep():
            self.client("queue", "retry", job, kind="enqueue", job=job)

    def step_reset(self, draw):
        self.client("reset", draw.choice(["flaky", "ticker", "clerk"]))

    def step_pause(self, draw):
        self.client("pause", "held", kind="pause", plugin="held")

    def step_resume(self, draw):
        self.note("resuming", plugin="held")
        self.client("resume", "held")

    def step_pause_all(self, draw):
        self.client("pause", kind="pause", plugin="")

    def step_resume_all(self, draw):
        self.note("resuming", plugin="")
        self.client("resume")

    def step_reload(self, draw):
        self.configure(draw)
        if self.full_steps:
            # It cannot be recorded, and the client would wait for long.
            self.step_hangup(draw)
        elif self.daemon:
            self.client("reload", kind="reload")

    def step_reload_invalid(self, draw):
        with open(self.config_file) as file:
            right = file.read()
        wrong = draw.choice([right[:-20], right.replace('"routes"', '"rotues"'), right.replace("127.0.0.1:0", "127.0.0.1:9")])
        self.note("invalid")
        self.replace(self.config_file, wrong)
        # The others need no more than `state.path`; a file that is none would only fail here.
        if self.daemon:
            self.daemon.send_signal(signal.SIGHUP)
            time.sleep(draw.uniform(0.05, 0.3))
        self.replace(self.config_file, right)

    def step_hangup(self, draw):
        for _ in range(5):
            if self.daemon:
                self.daemon.send_signal(signal.SIGHUP)

    def step_fragile(self, draw):
        manifest = self.path("plugins", "fragile", "manifest.yaml")
        if os.path.exists(manifest):
            self.note("broken", plugin="fragile")
            os.unlink(manifest)
        else:
            self.write_manifest("fragile")
        # Found at a reload with a change; before that each spawn fails.
        self.step_reload(draw)

    def step_stop_cont(self, draw):
        if self.daemon:
            self.daemon.send_signal(signal.SIGSTOP)
            self.note("sigstop")
            for plugin in draw.choices(ENDPOINTS, k=draw.randrange(4)):
                self.deliver(plugin)
            time.sleep(draw.choice([0.05, 0.3, 1, 2.5]))
            if self.daemon.poll() is None:
                self.daemon.send_signal(signal.SIGCONT)

    def step_clock(self, draw):
        step = draw.choice([-86_400, -3_600, -30, -1, 1, 30, 3_600, 86_400])
        # Within days: a month would be for retention, and the checker needs all rows.
        if self.faketime and abs(self.offset + step) < 6 * 86_400:
            self.set_clock(self.offset + step)

    def set_clock(self, offset):
        self.offset = offset
        self.note("clock", offset=offset)
        self.replace(self.path("clock"), f"{offset:+d}\n")

    def step_fill(self, draw):
        if self.disk.kind != "plain" and not self.full_steps:
            self.full_steps = draw.randrange(2, 9)
            self.note("full")
            self.disk.fill()

    def make_room(self):
        if self.full_steps:
            self.full_steps = 0
            self.disk.make_room()
            self.note("room")

    def step_meddle(self, draw):
        """Puts the running job back by hand, as an operator must not: its attempt must not be settled then."""
        if not self.daemon:
            return
        connection = sqlite3.connect(self.database, timeout=1, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute("SELECT seq, id FROM job_queue WHERE completed_at IS NULL AND status = 'running' AND command != 'init'").fetchall()
            if rows:
                connection.execute("UPDATE job_queue SET status = 'queued' WHERE seq = ?", (rows[0][0],))
            connection.execute("COMMIT")
            if rows:
                self.note("meddled", job=rows[0][1])
        except sqlite3.Error:
            # The disk is full, or somebody else writes.
            pass
        finally:
            connection.close()

    def step_look(self, draw):
        self.client(*draw.choice([["status"], ["queue", "--all"], ["logs", "--failed"], ["plugins"], ["status", "--json"]]))

    # Lives.

    def live(self):
        """One life of the daemon: what happens in it is drawn before it begins."""
        draw = random.Random(f"{self.seed}/{self.life + 1}")
        end = draw.choices(["kill", "seldom", "often", "stop", "stop and kill", "cut"], [22, 9, 28, 16, 5, 20])[0]
        point = None
        if end == "seldom":
            point = (draw.choice(SELDOM), draw.choice([0, 0, 1]))
        elif end == "often":
            point = (draw.choices(list(OFTEN), list(OFTEN.values()))[0], draw.randrange(12))
        steps = []
        for _ in range(draw.randrange(5, 50)):
            name = draw.choices(list(STEPS), list(STEPS.values()))[0]
            steps.append((draw.choice([0, 0.01, 0.05, 0.1, 0.2]), name, draw.random()))
        room_first, alone = draw.random() < 0.7, draw.random()
        if room_first:
            self.make_room()
        self.await_clients()
        if self.start(point):
            for pause, name, seed in steps:
                time.sleep(pause)
                self.step(name, seed)
                if self.daemon.poll() is not None:
                    break
            # So that there is something to lose.
            for plugin in draw.choices(ENDPOINTS, k=draw.choice([0, 4, 12])):
                self.deliver(plugin)
            time.sleep(draw.uniform(0, 0.4))
            self.finish(end, draw)
        self.make_room()
        if alone < 0.3:
            self.without_daemon(random.Random(alone))

    def step(self, name, seed):
        if self.full_steps == 1:
            self.make_room()
        self.full_steps = max(self.full_steps - 1, 0)
        self.note("step", step=name, seed=seed)
        getattr(self, f"step_{name}")(random.Random(seed))
        self.collect_ended()

    def finish(self, end, draw):
        if self.daemon.poll() is not None:
            return self.ended("crashed")
        if end == "seldom" and draw.random() < 0.5:
            end = "stop and kill"
        if end == "stop":
            return self.stop()
        if end == "cut":
            return self.cut(draw)
        if end == "stop and kill":
            self.make_room()
            self.note("terminating")
            self.daemon.terminate()
            time.sleep(draw.choice([0, 0.02, 0.1, 0.5]))
        return self.ended("killed")

    def cut(self, draw):
        """The power fails under load: only what was told before has to be there when it is back."""
        stopping, linger = draw.random() < 0.2, draw.choice([0, 0, 0.01, 0.1, 0.5])
        # Some of these are answered before, some are not.
        for plugin in draw.choices(ENDPOINTS, k=draw.randrange(4, 20)):
            self.deliver(plugin)
        time.sleep(draw.uniform(0, 0.03))
        if stopping:
            self.note("terminating")
            self.daemon.terminate()
            time.sleep(draw.choice([0, 0.02, 0.1]))
        if self.disk.kind != "ext4":
            return self.ended("killed")
        self.note("cut")
        self.disk.cut()
        # A daemon that notices it before it is gone.
        time.sleep(linger)
        self.ended("cut")
        for entry in self.clients:
            entry[0].kill()
        self.await_clients()
        for sender in self.senders:
            sender.join()
        self.end_marked()
        self.disk.power_up()
        self.note("power")

    def end_marked(self):
        """Ends what the daemon has left behind, as the loss of power does."""
        while left := check.marked(self.mark):
            for pid in left:
                # It may be gone by itself.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def without_daemon(self, draw):
        for _ in range(draw.randrange(1, 4)):
            name = draw.choice(["detach", "cancel", "retry", "pause", "resume", "run", "run", "kill"])
            self.note("step", step=f"{name} without daemon")
            if name in ("run", "kill"):
                kill_after = draw.choice([0.02, 0.05, 0.1, 0.2]) if name == "kill" else None
                self.enqueue(draw, SOLO, ["--json"], kill_after=kill_after)
            else:
                getattr(self, f"step_{name}")(draw)

    def drain(self):
        """A last, quiet life in which all that is left is run, until an orderly stop."""
        self.make_room()
        self.write_manifest("fragile")
        self.configure(random.Random(0), last=True)
        if not self.start():
            return
        self.step_resume(None)
        self.step_resume_all(None)
        deadline = time.monotonic() + DRAIN
        for sender in self.senders:
            sender.join()
        while self.daemon.poll() is None:
            left = self.read("SELECT count(*) FROM job_queue WHERE completed_at IS NULL")
            if left and not left[0][0]:
                break
            if time.monotonic() > deadline:
                self.note("stuck", what="the drain")
                break
            time.sleep(0.1)
        self.await_clients()
        self.stop()

    def run(self):
        limit = f"{self.lives} lives" if self.lives is not None else f"{self.minutes:g} minutes"
        print(f"seed {self.seed}, {limit}", flush=True)
        began = time.monotonic()
        try:
            self.prepare()
            while self.life < self.lives if self.lives is not None else time.monotonic() < began + self.minutes * 60:
                self.live()
            lived = self.life
            self.drain()
            counts = ", ".join(f"{count} {act}" for act, count in sorted(self.counts.items()))
            print(f"seed {self.seed}: {lived} lives in {time.monotonic() - began:.0f} s: {counts}", flush=True)
            checked = subprocess.run([sys.executable, os.path.join(HERE, "check.py"), self.folder]).returncode
            if checked != 0:
                print(f"FAILED: replay with --seed {self.seed} --lives {lived} --keep")
                self.print_actions()
            return checked
        except KeyboardInterrupt:
            return 130
        finally:
            self.clean_up()

    def print_actions(self):
        """What was done, a life a line; with --keep it is all in the folder."""
        with open(self.path("actions")) as file:
            lines = [json.loads(line) for line in file]
        for life in range(1, self.life + 1):
            acts = [line for line in lines if line["life"] == life and line["act"] in ("start", "step", "end")]
            print(f"  {life}:", *(line.get("step") or line.get("how") or f"start {line['point'] or ''}" for line in acts))

    def clean_up(self):
        for process in [self.daemon, *(entry[0] for entry in self.clients)]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self.disk.kind == "plain":
            # Without a namespace that ends with us: what a killed daemon has left.
            self.end_marked()
        elif self.keep:
            shutil.copytree(self.state, self.path("kept"), ignore=shutil.ignore_patterns("ballast", "lost+found"))
            self.disk.unmount()
            shutil.copytree(self.path("kept"), self.state, dirs_exist_ok=True)
            shutil.rmtree(self.path("kept"))


if __name__ == "__main__":
    sys.exit(main())
