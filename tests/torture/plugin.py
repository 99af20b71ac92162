"""The plugin of the torture test, under each of its names: what a run does is drawn from seed, name and its number.

Each run appends a line to the journal when it begins and one when it knows what it is going to say, both flushed
by a single write. The driver puts a `#!` line before this text.
"""

import fcntl
import json
import os
import random
import signal
import sys
import time

FOLDER = os.environ["TORTURE_FOLDER"]
MOODS = {
    "ok": 820, "slow": 100, "error": 30, "exit": 20, "signal": 10, "fatal": 10, "config": 5, "hang": 14, "stubborn": 1,
    "flood": 4, "garbage": 10, "stderr": 10, "children": 6,
}  # fmt: skip
BAD_MOODS = {"ok": 40, "error": 30, "exit": 20, "fatal": 10}
# What makes a run one that succeeds.
FINE = ("ok", "slow", "stderr", "children")
MAX_DEPTH = 3
SNAPSHOTS = (("teller", "poll"), ("clerk", "handle"))


def main():
    request = json.loads(sys.stdin.buffer.read())
    name, command = os.environ["TORTURE_NAME"], request["command"]
    key = f"{name}-{next_number(name)}"
    draw = random.Random(f"{os.environ['TORTURE_SEED']}/{key}")
    event = request.get("event") or {}
    payload = request.get("payload") or event.get("payload") or {}
    start = {"start": key, "job": request["job_id"], "plugin": name, "command": command, "pid": os.getpid()}
    start |= {"environment": os.environ["DUCTILE_JOB_ID"], "version": request["config"]["version"]}
    start |= {"state": request["state"], "event": event.get("event_id"), "payload": request.get("payload")}
    start |= {"protocol": request["protocol"], "folder": os.path.basename(os.getcwd())}
    note(start)
    alone(key)
    mood = pick(draw, BAD_MOODS if name == "flaky" or command == "init" else MOODS)
    changes = snapshot(draw, key) if (name, command) in SNAPSHOTS else updates(draw, request["state"], key)
    says = {"status": "ok", "events": [], "state_updates": changes}
    if payload.get("spin"):
        mood = "ok"
        says["events"] = [{"type": "cycle", "payload": {"spin": True}}]
    elif payload.get("depth", 0) < MAX_DEPTH and command != "init":
        says["events"] = events(draw, payload.get("depth", 0) + 1)
    act(mood, draw)
    if mood in FINE:
        note({"end": key, "says": "ok", "events": says["events"], "updates": says["state_updates"]})
    else:
        note({"end": key, "says": mood})
        # An error with effects: they have to be ignored.
        says |= {"status": "error", "error": f"{mood} of {key}", "retry": mood != "fatal"}
    if request["protocol"] == 2:
        says["result"] = f"{key} did {command}"
    if mood in ("exit", "config", "signal"):
        if mood == "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(78 if mood == "config" else 1)
    print("no JSON" if mood == "garbage" else json.dumps(says), flush=True)


def next_number(name):
    """The number of this run among all of the plugin."""
    file = os.open(os.path.join(FOLDER, f"runs.{name}"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, b".")
    return os.fstat(file).st_size


def note(line):
    journal = os.open(os.path.join(FOLDER, "journal"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # On a line of its own, whatever a plugin that was killed in the middle of its line has left.
    os.write(journal, ("\n" + json.dumps(line | {"at": time.monotonic_ns()}) + "\n").encode())
    os.close(journal)


def alone(key):
    """Holds a lock until this process has ended; notes it if another run has it and does not end."""
    global held
    held = os.open(os.path.join(FOLDER, "alone"), os.O_RDWR | os.O_CREAT, 0o600)
    # A process that was killed is gone from /proc a moment before its files are closed.
    for _ in range(100):
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(held, key.encode().ljust(64), 0)
            return
        except BlockingIOError:
            time.sleep(0.01)
    note({"overlap": key, "with": os.pread(held, 64, 0).decode().strip()})


def pick(draw, weights):
    return draw.choices(list(weights), list(weights.values()))[0]


def updates(draw, state, key):
    """Never all keys: what was there before has to stay."""
    changes = {"n": state.get("n", 0) + 1, f"k{draw.randrange(5)}": key}
    if draw.random() < 0.05:
        changes["pad"] = "x" * draw.randrange(20_000)
    if draw.random() < 0.1:
        changes[f"k{draw.randrange(5)}"] = None
    return changes


def snapshot(draw, key):
    """All that there is to say now; at times nothing, which is no fact."""
    keys = draw.sample("abcd", draw.choices([0, 1, 2, 3], [20, 30, 30, 20])[0])
    return {name: draw.choice([key, None, draw.randrange(100), {"of": [key]}]) for name in keys}


def events(draw, depth):
    made = []
    for _ in range(draw.choices([0, 1, 2, 5], [35, 38, 22, 5])[0]):
        event = {"type": draw.choice("xy"), "payload": {"depth": depth, "n": draw.randrange(1 << 40)}}
        if draw.random() < 0.1:
            event["dedupe_key"] = f"key {draw.randrange(20)}"
        made.append(event)
    return made


def act(mood, draw):
    if mood == "slow":
        time.sleep(draw.uniform(0.05, 0.4))
    elif mood == "stderr":
        sys.stderr.write("of no importance\n" * draw.randrange(1, 2_000))
    elif mood == "flood":
        sys.stdout.write("x" * (11 << 20))
    elif mood == "children":
        # One within the group and one with a session of its own, both with our pipes.
        os.posix_spawnp("sleep", ["sleep", "600"], os.environ)
        os.posix_spawnp("sleep", ["sleep", "1"], os.environ, setsid=True)
    elif mood in ("hang", "stubborn"):
        if mood == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)


if __name__ == "__main__":
    main()
