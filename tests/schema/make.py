#!/usr/bin/env python3
"""Writes the fixture of a schema: `make.py target/release/ductile > tests/schema/N.sql`, until the schema is released.

A daemon runs plugins until there are jobs of every kind, a state, a fact, an open breaker, an init and a pause; then it is
killed in the middle of a job. What it leaves is printed as SQL, with a folder that no machine has, and all times on one
day. `src/state/open/tests.rs` migrates it, `tests/it/schema.rs` runs what was queued in it.
"""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

OK = """echo '{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}'"""
PLUGINS = {
    "work": ("poll, handle, init", 1, OK, "", "schedules: [{id: weekly, every: 7d}]"),
    "sink": ("handle", 1, """echo '{"status": "error", "error": "no", "retry": false}'""", "", "retry: {max_attempts: 1}"),
    "later": ("handle", 1, """echo '{"status": "error", "error": "busy"}'""", "", "retry: {backoff_base: 1h}"),
    "resting": ("handle", 1, OK, "", ""),
    "sick": ("poll", 1, "echo no; exit 1", "", "schedules: [{id: often, every: 1s}], retry: {max_attempts: 1}, "
             "circuit_breaker: {threshold: 1, reset_after: 24h}"),
    "watch": ("poll", 2, """echo '{"status": "ok", "result": "looked", "state_updates": {"n": 1}}'""",
              "fact_outputs:\n  - {when: {command: poll}, from: state_updates, fact_type: watch.snapshot, "
              "compatibility_view: mirror_object}", ""),
    "slow": ("handle", 1, "sleep 60", "", ""),
}
FOLDER = "/srv/ductile"
DAY = "2000-01-01T"


def write(folder):
    settings = []
    for name, (commands, protocol, script, more, own) in PLUGINS.items():
        plugin = folder / "plugins" / name
        plugin.mkdir(parents=True)
        (plugin / "manifest.yaml").write_text(
            f"name: {name}\nversion: 1.0.0\nprotocol: {protocol}\nentrypoint: run\ncommands: [{commands}]\n{more}\n")
        (plugin / "run").write_text(f"#!/bin/sh\n{script}\n")
        (plugin / "run").chmod(0o755)
        settings.append(f"  {name}: {{{own}}}\n")
    (folder / "config.yaml").write_text(
        "state: {path: ductile.db}\nplugins_dir: plugins\nservice: {tick_interval: 1s}\n"
        f"plugins:\n{''.join(settings)}routes: [{{from: work, event_type: seen, to: sink}}]\n")


def main(binary):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        database = folder / "ductile.db"
        environment = {"PATH": os.environ["PATH"], "HOME": name}

        def ductile(*arguments):
            subprocess.run([binary, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)

        def wait(condition):
            for _ in range(300):
                time.sleep(0.1)
                try:
                    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
                        if connection.execute(f"SELECT 1 FROM {condition}").fetchone():
                            return
                except sqlite3.OperationalError:
                    pass  # not there yet
            sys.exit(f"nothing came of {condition}")

        daemon = subprocess.Popen([binary, "start"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait("circuit_breaker WHERE opened_at IS NOT NULL")
            handle = ("--command", "handle", "--payload", '{"text": "Grüße\\n", "number": 12345678901234567890.25}')
            ductile("run", "work", *handle, "--dedupe-key", "once")
            ductile("run", "watch")
            wait("job_queue WHERE plugin = 'sink' AND status = 'dead'")
            ductile("run", "--detach", "later", *handle)
            wait("job_queue WHERE plugin = 'later' AND next_retry_at IS NOT NULL")
            ductile("pause", "resting")
            ductile("run", "--detach", "resting", *handle)
            ductile("run", "--detach", "slow", *handle)
            wait("job_queue WHERE plugin = 'slow' AND status = 'running'")
            ductile("run", "--detach", "work", *handle)
        finally:
            daemon.kill()
            daemon.wait()
        with closing(sqlite3.connect(database)) as connection:
            print("-- Made by tests/schema/make.py; never changed once its schema is released.")
            for pragma in ("application_id", "user_version"):
                print(f"PRAGMA {pragma} = {connection.execute(f'PRAGMA {pragma}').fetchone()[0]};")
            dump = "\n".join(connection.iterdump()).replace(name, FOLDER)
            print(re.sub(r"\d{4}-\d\d-\d\dT", DAY, dump))
        # Ends what the killed daemon has left running.
        ductile("run", "watch")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
