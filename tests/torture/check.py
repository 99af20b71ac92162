#!/usr/bin/env python3
"""Looks at what a torture has left, and says what SPEC.md does not allow.

    tests/torture/check.py FOLDER

It knows nothing of the driver but FOLDER/actions, where that noted what it did and what it was told, one JSON object a
line. The rest it takes from FOLDER/journal, to which the plugins wrote, the logs of the daemons, and the database after
the last orderly stop. Exit code 0 when all is as it has to be, 1 otherwise.
"""

import bisect
import collections
import glob
import json
import os
import re
import sqlite3
import sys
import time
import uuid

# Whoever is dead for one of these has not been run to its end on purpose.
CANCELLED = re.compile(r"cancelled by .* with `ductile queue cancel`|plugin `\w+` is disabled|another init, or none, ")
HOPS = re.compile(r"more than 32 hops ")
NO_ROOM = re.compile(r"its \d+ routed jobs do not fit on the queue")
# Of each kind of finding so many are shown.
SHOWN = 8


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    checker = Checker(sys.argv[1])
    for check in CHECKS:
        check(checker)
    return checker.report()


class Checker:
    def __init__(self, folder):
        self.folder = folder
        self.found = collections.defaultdict(list)
        self.database = os.path.join(folder, "state", "ductile.db")
        self.connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        self.connection.row_factory = sqlite3.Row
        self.actions = lines(os.path.join(folder, "actions"))
        self.acts = collections.defaultdict(list)
        for line in self.actions:
            self.acts[line["act"]].append(line)
        self.journal, self.cut_lines = journal_lines(os.path.join(folder, "journal"))
        self.jobs = {row["id"]: row for row in self.rows("SELECT * FROM jobs ORDER BY seq")}
        self.log = self.rows("SELECT * FROM job_log ORDER BY id")
        self.attempts = collections.defaultdict(list)
        for row in self.log:
            self.attempts[row["job_id"]].append(row)
        self.children = collections.defaultdict(list)
        for job in self.jobs.values():
            if job["submitted_by"] == "route":
                self.children[job["parent_job_id"]].append(job)
        self.ends = {line["end"]: line for line in self.journal if "end" in line}
        # Of each job, in order: what each of its runs noted at its beginning, and where.
        self.runs = collections.defaultdict(list)
        for place, line in enumerate(self.journal):
            if "start" in line:
                self.runs[line["job"]].append(line | {"place": place})
        self.configs = {line["version"]: line for line in self.did("config")}
        self.cuts = self.power_cuts()
        self.compared = 0

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()

    def did(self, act, **what):
        return [line for line in self.acts[act] if what.items() <= line.items()]

    def complain(self, kind, what):
        self.found[kind].append(what)

    def power_cuts(self):
        """When each cut of the power began, and when the power was back."""
        cuts = []
        for line in self.actions:
            if line["act"] == "cut":
                cuts.append((line["at"], float("inf")))
            elif line["act"] == "power":
                cuts[-1] = (cuts[-1][0], line["at"])
        return cuts

    def during_a_cut(self, line):
        """Whether it was noted then. What was told or begun by that time need not be on the disk."""
        return any(begin <= line["at"] <= end for begin, end in self.cuts)

    def latest(self, key):
        """What the last configuration says of it; these do not change."""
        return self.acts["config"][-1][key]

    def last_end(self, job):
        """What the job's last run was going to say; `None` if it did not come to that."""
        runs = self.runs[job]
        return self.ends.get(runs[-1]["start"]) if runs else None

    def report(self):
        states = collections.Counter(job["status"] for job in self.jobs.values())
        summary = ", ".join(f"{count} {status}" for status, count in sorted(states.items()))
        acknowledged = len({line["job"] for line in self.did("accepted")})
        print(f"{len(self.jobs)} jobs ({summary}), {acknowledged} of them acknowledged; {len(self.log)} attempts, "
              f"{sum(map(len, self.runs.values()))} runs; {self.compared} pairs compared for their order; "
              f"{len(self.rows('SELECT 1 FROM plugin_facts'))} facts; {len(self.cuts)} power cuts; {self.cut_lines} lines of the journal cut")  # fmt: skip
        for kind, found in self.found.items():
            print(f"VIOLATED {kind}: {len(found)}")
            for what in found[:SHOWN]:
                print(f"  {what}")
        return 1 if self.found else 0


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def journal_lines(path):
    """The records of the journal, and how many lines are but the beginning of one: a plugin may be killed while it writes.
    Anything else that is no record is an error."""
    records, cut = [], 0
    with open(path) as file:
        for line in filter(str.strip, file):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                if not line.startswith("{"):
                    raise
                cut += 1
    return records, cut


def text(row):
    return ", ".join(f"{name} {row[name]}" for name in row.keys() if row[name] is not None and name != "payload")


def sound_database(checker):
    for (found,) in checker.rows("PRAGMA integrity_check"):
        if found != "ok":
            checker.complain("integrity", found)
    for sql in (
        "SELECT seq FROM job_payload WHERE seq NOT IN (SELECT seq FROM job_queue)",
        "SELECT job_id FROM job_log WHERE job_id NOT IN (SELECT id FROM job_queue)",
    ):
        for row in checker.rows(sql):
            checker.complain("orphaned row", text(row))


def lives_end_as_meant(checker):
    ends = {line["life"]: line for line in checker.did("end")}
    for start in checker.did("start"):
        end = ends.get(start["life"])
        if end is None:
            checker.complain("life", f"{start['life']} has no end")
            continue
        # One that is killed while it ends may be faster.
        allowed = {"stopped": {0}, "killed": {-9, 0}, "cut": {-9, 0, 1}, "crashed": set(), "died": set()}[end["how"]]
        if start["point"]:
            allowed |= {-6}
        if end["how"] == "died" and full_between(checker, start["at"], end["at"]):
            allowed |= {1}
        if end["code"] not in allowed:
            with open(os.path.join(checker.folder, f"err.{start['life']}")) as file:
                checker.complain("end of the daemon", f"life {start['life']}: {end}, stderr {file.read()[-500:]}")
    for line in checker.did("stuck"):
        checker.complain("stuck", line)


def full_between(checker, begin, end):
    full = False
    for line in checker.actions:
        if line["at"] > end:
            break
        full = {"full": True, "room": False}.get(line["act"], full)
        if line["at"] >= begin and (full or line["act"] in ("full", "room")):
            return True
    return full


def acknowledged_is_done(checker):
    for line in checker.did("accepted"):
        job = checker.jobs.get(line["job"])
        if job is None:
            if not checker.during_a_cut(line):
                checker.complain("acknowledged job lost", line)
            continue
        if line.get("forged"):
            checker.complain("forged delivery accepted", line)
        if line.get("plugin") and job["plugin"] != line["plugin"]:
            checker.complain("acknowledged for another plugin", f"{line}: {text(job)}")
        if line.get("n") is not None:
            payload = json.loads(job["payload"])
            payload = payload["payload"] if job["command"] == "handle" else payload
            if payload.get("n") != line["n"]:
                checker.complain("acknowledged with another payload", f"{line}: {payload}")
    for line in checker.did("duplicate"):
        job = checker.jobs.get(line["job"])
        if checker.during_a_cut(line):
            continue
        if job is None or job["status"] != "succeeded" or job["dedupe_key"] != line["key"] or job["plugin"] != line["plugin"]:
            checker.complain("duplicate of something else", f"{line}: {text(job) if job else None}")
    for job in checker.jobs.values():
        runs, end = checker.runs[job["id"]], checker.last_end(job["id"])
        for run in runs:
            if run["job"] != run["environment"] or run["plugin"] != job["plugin"] or run["command"] != job["command"]:
                checker.complain("run as another job", f"{run}: {text(job)}")
            given_as_stored(checker, job, run)
        if job["status"] == "succeeded" and (end is None or end["says"] != "ok"):
            checker.complain("succeeded without a run that did", f"{text(job)}: {end}")
        if job["status"] == "dead":
            dead_for_a_reason(checker, job, runs, end)
    for job, runs in checker.runs.items():
        if job not in checker.jobs and not all(map(checker.during_a_cut, runs)):
            checker.complain("run of no job", job)


def given_as_stored(checker, job, run):
    """A run gets the job's event or payload, from the folder that its plugin uses, in the protocol of that."""
    stored = json.loads(job["payload"]) if job["payload"] else {}
    event, payload = (stored["event_id"], stored["payload"]) if job["command"] == "handle" else (None, stored)
    if run["event"] != event:
        checker.complain("run with another event", f"{run}: {text(job)}")
    protocol = 2 if job["plugin"] in checker.latest("protocol_2") else 1
    if run["protocol"] != protocol or run["folder"] != checker.latest("uses").get(job["plugin"], job["plugin"]):
        checker.complain("run as another plugin", f"{run}: {text(job)}")
    if protocol == 2 and run["payload"] != payload:
        checker.complain("run with another payload", f"{run}: {text(job)}, {stored}")


def dead_for_a_reason(checker, job, runs, end):
    reason = job["last_error"]
    if reason.startswith("cancelled by "):
        allowed = any(line["job"] == job["id"] for line in checker.did("client", kind="cancel"))
    elif CANCELLED.match(reason):
        disabled = any(job["plugin"] in config["disabled"] for config in checker.configs.values())
        allowed = disabled if "disabled" in reason else job["command"] == "init"
    elif HOPS.match(reason):
        allowed = job["hops"] > 32
    else:
        final = end is not None and end["says"] in ("fatal", "config")
        allowed = final or job["attempt"] == job["max_attempts"]
        if end is not None and end["says"] == "ok" and reason != "interrupted" and not NO_ROOM.match(reason):
            # It may have been killed on its way out, or its end have come too late.
            allowed = allowed and "timed out" in reason
    if not allowed:
        checker.complain("dead without a reason", f"{text(job)}: {end}")


def duplicates_are_found(checker):
    """No delivery is taken whose key had succeeded before it was sent, unless the clock was moved meanwhile."""
    starts = [line["at"] for line in checker.journal if "start" in line]
    steps = [line["at"] for line in checker.did("clock")]
    done = collections.defaultdict(list)
    for job in checker.jobs.values():
        end = checker.last_end(job["id"])
        if job["dedupe_key"] and job["status"] == "succeeded" and end:
            # Whoever begins next does so after the commit of this success.
            next_start = bisect.bisect(starts, end["at"])
            if next_start < len(starts):
                done[job["plugin"], job["command"], job["dedupe_key"]].append((end["at"], starts[next_start], job["id"]))
    for line in checker.did("accepted", how="webhook"):
        for ended, settled, older in done[line["plugin"], "handle", line["key"]]:
            if older != line["job"] and settled < line["sent"] and bisect.bisect(steps, ended) == bisect.bisect(steps, line["at"]):
                checker.complain("duplicate", f"{line} although {older} had succeeded")


def one_at_a_time(checker):
    open_runs = {}
    for line in checker.journal:
        if "start" in line:
            open_runs[line["start"]] = line
            last = line["start"]
        elif "end" in line:
            if line["end"] != last:
                checker.complain("two at a time", f"{line['end']} ended after {last} had begun")
        else:
            checker.complain("two at a time", line)


def first_in_first_out(checker):
    """Nobody may begin before an older job that has always been free to run: a claim takes the first that is due.

    Of jobs that wait for a retry, or that something may have held back at the time, nothing can be said from here.
    """
    held = {line["plugin"] for line in checker.did("client", kind="pause")} | {line["plugin"] for line in checker.did("broken")}
    held |= {name for config in checker.configs.values() for name in config["disabled"]}
    held |= {line["plugin"] for line in checker.journal if line.get("command") == "init"}
    by_hand = [line["arguments"] for line in checker.did("client") if line["arguments"][0] == "run"]
    out_of_turn = {arguments[1] for arguments in by_hand if "--detach" not in arguments}
    put_back = requeues(checker)
    latest = None
    for job in checker.jobs.values():
        runs = checker.runs[job["id"]]
        if not runs:
            continue
        if latest is not None and job["plugin"] not in out_of_turn:
            checker.compared += 1
            if runs[0]["place"] < latest[0]:
                checker.complain("order", f"{job['id']} ({job['seq']}) began before {latest[1]['id']} ({latest[1]['seq']})")
        # An attempt may be charged without a run, as when the daemon was stopped for longer than its time: then the job has
        # waited for a retry before its first one. What was interrupted or put back has runs that were not charged.
        rows = checker.attempts[job["id"]]
        charged = [row for row in rows if row["error"] != "interrupted"]
        seen = len(runs) - put_back[job["id"]] - (len(rows) - len(charged))
        surely_ran = len(charged) <= seen or all(row["exit_code"] is not None for row in charged)
        if job["plugin"] not in held and surely_ran and (latest is None or runs[0]["place"] > latest[0]):
            latest = (runs[0]["place"], job)


def attempts_are_charged(checker):
    """Each attempt that ended has one row, none is left out, and the job's last state is that of the last one."""
    put_back = requeues(checker)
    interrupted = unsaid = 0
    for job in checker.jobs.values():
        rows, runs = checker.attempts[job["id"]], checker.runs[job["id"]]
        numbers = [row["attempt"] for row in rows]
        if sorted(numbers) != list(range(1, len(rows) + 1)) or numbers != sorted(numbers):
            checker.complain("attempts", f"{text(job)}: {numbers}")
            continue
        last = rows[-1] if rows else None
        early = [row for row in rows[:-1] if row["status"] == "succeeded"]
        if job["status"] == "succeeded":
            fits = len(rows) == job["attempt"] and last["status"] == "succeeded" and not early
        elif CANCELLED.match(job["last_error"] or ""):
            fits = len(rows) == job["attempt"] - 1 and not [row for row in rows if row["status"] == "succeeded"]
        elif HOPS.match(job["last_error"] or ""):
            fits = not rows and job["attempt"] == 1
        else:
            fits = len(rows) == job["attempt"] and last["status"] != "succeeded" and not early
            fits = fits and last["error"] == job["last_error"]
        if not fits:
            checker.complain("attempts", f"{text(job)}: {[(row['attempt'], row['status'], row['error']) for row in rows]}")
        here = sum(row["error"] == "interrupted" for row in rows)
        interrupted += here
        if job["command"] == "init":
            if job["attempt"] > 1 + here:
                checker.complain("attempts of an init", text(job))
        elif job["max_attempts"] not in {config["attempts"][job["plugin"]] for config in checker.configs.values()}:
            checker.complain("maximum of attempts", text(job))
        ran = [row for row in rows if row["exit_code"] is not None and row["status"] != "timed_out"]
        # Its claim may be lost, with all that came after it.
        torn = sum(map(checker.during_a_cut, runs))
        unsaid += max(0, len(runs) - len(rows) - put_back[job["id"]] - torn)
        if len(runs) < len(ran):
            checker.complain("attempts without a run", f"{text(job)}: {len(runs)} runs, {len(rows)} attempts")
        # What a plugin calls a success is none only when its children found no room, or it ended too late.
        failed = [row for row in ran if row["status"] == "failed" and not NO_ROOM.match(row["error"])]
        failed = [row for row in failed if row["error"] != "interrupted"]
        if len(failed) > sum(checker.ends.get(run["start"], {}).get("says") != "ok" for run in runs):
            checker.complain("success charged as a failure", f"{text(job)}: {[row['error'] for row in failed]}")
    killed = [line for line in checker.did("end") if line["how"] != "stopped"]
    killed += [line for line in checker.did("client") if line["code"] < 0]
    if interrupted > len(killed):
        checker.complain("interrupted attempts", f"{interrupted} by {len(killed)} kills")
    # A daemon that was killed while it ended may have put its job back and not have come to say so.
    told = {line["life"] for line in checker.did("terminating")} - {line["life"] for line in checker.did("end", how="stopped")}
    if unsaid > len(told):
        checker.complain("runs that were not charged", f"{unsaid}, and {len(told)} daemons killed while they ended")


def requeues(checker):
    """How often each job was put back uncharged: by an orderly stop, and by hand."""
    put_back = collections.Counter(line["job"] for line in checker.did("meddled"))
    for _, line in log_lines(checker):
        if line["message"] == "job interrupted by shutdown, back on the queue":
            put_back[line["job_id"]] += 1
    return put_back


def children_exactly_once(checker):
    for job in checker.jobs.values():
        wanted = collections.Counter()
        events = {}
        if job["status"] == "succeeded":
            end, run = checker.last_end(job["id"]), checker.runs[job["id"]][-1:]
            if not end or not run:
                continue
            for index, event in enumerate(end.get("events", [])):
                event_id = str(uuid.uuid5(uuid.UUID(job["id"]), str(index)))
                events[event_id] = event
                config = checker.configs[run[0]["version"]]
                for source, kind, to in config["routes"]:
                    # Nothing new is taken for a disabled plugin.
                    if (source, kind) == (job["plugin"], event["type"]) and to not in config["disabled"]:
                        wanted[(to, event_id)] += 1
        core = core_children(checker, job)
        got = collections.Counter((child["plugin"], child["source_event_id"]) for child in checker.children[job["id"]])
        for child in checker.children[job["id"]]:
            where = (child["plugin"], child["source_event_id"])
            if where in core:
                if (child["hops"], child["from_core"]) != (0, 1):
                    checker.complain("core event", text(child))
                continue
            if child["hops"] != job["hops"] + 1 or child["from_core"] != job["from_core"]:
                checker.complain("lineage", f"{text(child)} of {text(job)}")
            same_event(checker, job, child, events.get(child["source_event_id"]))
        for where, least_most in core.items():
            if not least_most[0] <= got.pop(where, 0) <= least_most[1]:
                checker.complain("core event", f"{where} of {text(job)}: {least_most}")
        for where in wanted | got:
            missing = wanted[where] - got[where]
            key = events.get(where[1], {}).get("dedupe_key")
            if missing == 1 and key and is_done(checker, where[0], key):
                continue
            if missing:
                checker.complain("children", f"{wanted[where]} wanted and {got[where]} there of {where}: {text(job)}")
    for child in checker.children[None]:
        if not child["from_core"]:
            checker.complain("child without parent", text(child))


def core_children(checker, job):
    """By target and event id: how many children a job must and may have that tell of it."""
    own = job["status"] == "dead" and not CANCELLED.match(job["last_error"])
    told = own and not job["from_core"]
    failed_init = told and job["command"] == "init" and job["last_error"] != "interrupted"
    scheduled = told and job["schedule"] is not None
    counts = {"job.dead": (told, told), "init.failed": (failed_init, failed_init), "breaker.opened": (False, scheduled)}
    return {("notify", str(uuid.uuid5(uuid.UUID(job["id"]), kind))): count for kind, count in counts.items()}


def is_done(checker, plugin, key):
    return any(
        job["plugin"] == plugin and job["dedupe_key"] == key and job["status"] == "succeeded" for job in checker.jobs.values()
    )


def same_event(checker, job, child, event):
    if event is None:
        return
    payload = json.loads(child["payload"])
    expected = {"type": event["type"], "payload": event.get("payload", {}), "source": job["plugin"]}
    expected["event_id"] = child["source_event_id"]
    if any(payload.get(name) != value for name, value in expected.items()):
        checker.complain("event", f"{payload} is not {expected}")
    if child["dedupe_key"] != event.get("dedupe_key"):
        checker.complain("dedupe key", f"{text(child)}: {event}")


def states_and_facts(checker):
    """The state that each success was given, the last one, and what was stated, are the fold of the successes before."""
    states, facts = collections.defaultdict(dict), []
    rules = checker.latest("facts")
    for row in checker.log:
        if row["status"] != "succeeded":
            continue
        end, run = checker.last_end(row["job_id"]), checker.runs[row["job_id"]][-1:]
        if not end or not run or end["says"] != "ok":
            continue
        state = states[row["plugin"]]
        if run[0]["state"] != state:
            checker.complain("state given", f"{run[0]['start']}: {short(run[0]['state'])}, not {short(state)}")
            # Once wrong, the rest would only follow.
            state.clear()
            state.update(run[0]["state"])
        kind = rules.get(row["plugin"], {}).get(row["command"])
        if kind and end["updates"]:
            # A snapshot takes the place of all that was there.
            state.clear()
            facts.append((row["plugin"], kind, row["job_id"], row["command"], end["updates"]))
        state.update(end["updates"])
    stored = {row["plugin_name"]: json.loads(row["state"]) for row in checker.rows("SELECT * FROM plugin_state")}
    for plugin in states.keys() | stored.keys():
        if stored.get(plugin, {}) != states[plugin]:
            checker.complain("state kept", f"{plugin}: {short(stored.get(plugin))}, not {short(states[plugin])}")
    facts_are_these(checker, facts)


def facts_are_these(checker, wanted):
    """One row for each settled snapshot, in the order in which they were settled, and no other."""
    columns = "plugin_name, fact_type, job_id, command, fact_json"
    got = [(*row[:4], json.loads(row[4])) for row in checker.rows(f"SELECT {columns} FROM plugin_facts ORDER BY seq")]
    counts = collections.Counter(fact[2] for fact in got)
    for fact in wanted:
        if counts[fact[2]] != 1:
            checker.complain("fact", f"{counts[fact[2]]} rows of {fact}")
    for fact in got:
        if fact not in wanted:
            checker.complain("fact", f"not of a settled snapshot: {fact}")
    if "fact" not in checker.found and got != wanted:
        place = next(place for place, fact in enumerate(got) if fact != wanted[place])
        checker.complain("order of facts", f"{got[place]} where {wanted[place]} should be")


def schedules_are_kept(checker):
    """A scheduled job is as its schedule says; the next one is made only when it is over."""
    declared = collections.defaultdict(list)
    for config in checker.configs.values():
        for plugin, entries in config["schedules"].items():
            for entry in entries:
                declared[plugin, entry["id"]].append((entry["command"], entry.get("payload")))
    last = {}
    for job in checker.jobs.values():
        if job["submitted_by"] != "scheduler" or job["command"] == "init":
            if job["schedule"] is not None:
                checker.complain("schedule of something else", text(job))
            continue
        where, payload = (job["plugin"], job["schedule"]), json.loads(job["payload"]) if job["payload"] else None
        if (job["command"], payload) not in declared[where]:
            checker.complain("scheduled otherwise", f"{text(job)}, {payload}: {declared[where]}")
        runs = checker.runs[job["id"]]
        if runs and where in last and runs[0]["place"] < last[where][0]:
            checker.complain("two of a schedule", f"{job['id']} began before {last[where][1]} was over")
        if runs:
            last[where] = (runs[-1]["place"], job["id"])


def short(state):
    return {name: value if name != "pad" else len(value) for name, value in (state or {}).items()}


def pauses_hold(checker):
    """After a pause was acknowledged only the job that had been claimed before may still begin."""
    paused = {}
    events = [(line["at"], line) for line in checker.actions if line["act"] in ("client", "resuming")]
    events += [(line["at"], line) for line in checker.journal if "start" in line]
    began = collections.Counter()
    for _, line in sorted(events, key=lambda event: event[0]):
        if line.get("act") == "resuming":
            paused.pop(line["plugin"], None)
        elif line.get("act") == "client":
            if line["kind"] == "pause" and line["code"] == 0 and not checker.during_a_cut(line):
                paused.setdefault(line["plugin"], line)
                began[line["plugin"]] = 0
        else:
            for what in paused:
                if what in ("", line["plugin"]):
                    began[what] += 1
                    if began[what] > 1:
                        checker.complain("pause", f"{line['start']} began although {what or 'the queue'} is paused")


def init_comes_first(checker):
    """Of a plugin with an init, its first run with a configuration is the init."""
    with_init = {line["plugin"] for line in checker.journal if line.get("command") == "init"}
    seen = set()
    for line in checker.journal:
        if "start" in line and line["plugin"] in with_init:
            which = (line["plugin"], line["version"])
            if which not in seen and line["command"] != "init":
                checker.complain("init", f"{line['start']} ran as the first with version {line['version']}")
            seen.add(which)


def nothing_is_stuck(checker):
    for job in checker.jobs.values():
        if job["status"] not in ("succeeded", "dead"):
            checker.complain("stuck job", text(job))


def no_stray_process(checker):
    # Whoever has a session of its own ends by itself.
    deadline, instance = time.monotonic() + 5, mark(checker.database)
    while time.monotonic() < deadline and marked(instance):
        time.sleep(0.1)
    for pid in marked(instance):
        checker.complain("stray process", pid)


def mark(database):
    """What each plugin of this database has in its environment; none if it cannot be read."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        instance = connection.execute("SELECT instance FROM service").fetchone()[0]
        connection.close()
    except sqlite3.Error:
        return None
    return f"DUCTILE_INSTANCE={instance}".encode()


def marked(mark):
    """The processes that carry it."""
    found = []
    for environment in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(environment, "rb") as file:
                if mark and mark in file.read().split(b"\0"):
                    found.append(int(environment.split("/")[2]))
        except OSError:
            continue
    return found


def log_lines(checker):
    for start in checker.did("start"):
        with open(os.path.join(checker.folder, f"log.{start['life']}")) as file:
            for line in file:
                # The last one of a daemon that was killed may be cut.
                if line.endswith("\n"):
                    yield start["life"], json.loads(line)


def errors_are_explained(checker):
    did = collections.defaultdict(set)
    for line in checker.actions:
        did[line["life"]].add(line["act"])
    full_lives = {start["life"] for start in checker.did("start") if full_between(checker, start["at"], life_end(checker, start))}
    disabled = any(config["disabled"] for config in checker.configs.values())
    small = any(config["depth"] < 100 for config in checker.configs.values())
    meddled = {line["job"] for line in checker.did("meddled")}
    unsettled = collections.defaultdict(list)
    for life, line in log_lines(checker):
        if line["level"] != "ERROR":
            continue
        message, job = line["message"], checker.jobs.get(line.get("job_id"))
        # A disk without power fails as one does that is full.
        full = life in full_lives or "cut" in did[life]
        if message.startswith("attempt not settled"):
            about = next((job for job in meddled if job in line["reason"]), None)
            unsettled[life].append(about)
            explained = about is not None
        else:
            explained = {
                "job is dead, ": lambda: job is not None and job["status"] == "dead",
                "attempt ended, job is dead: it would": lambda: disabled,
                "circuit breaker opened": lambda: job is not None and job["schedule"] is not None,
                "init failed": lambda: job is not None and job["command"] == "init" and job["status"] == "dead",
                # A hang-up may meet a manifest that is not there, too.
                "reload refused": lambda: "invalid" in did[life] or full,
                "the refused reload could not be recorded": lambda: full,
                "plugin is not loaded": lambda: line["plugin"] in {broken["plugin"] for broken in checker.did("broken")},
                "write failed, kept in memory": lambda: full,
                "tick failed": lambda: full,
                # SQLite calls a database damaged whose file cannot be read.
                "ductile ended": lambda: "cut" in did[life] and "is damaged" in line["error"],
                "webhook refused: it could not be stored": lambda: full,
                "webhook refused: the disk took": lambda: full,
                "webhook refused: the queue is full": lambda: small,
            }
            explained = next((why() for begin, why in explained.items() if message.startswith(begin)), False)
        if not explained:
            checker.complain("ERROR without an explanation", f"life {life}: {line}")
    # The other way round: an attempt whose row was changed meanwhile must not be settled.
    orderly = {line["life"] for line in checker.did("end", how="stopped")}
    for line in checker.did("meddled"):
        if line["life"] in orderly and line["job"] not in unsettled[line["life"]]:
            checker.complain("settled although it was not running", line)
    for path in glob.glob(os.path.join(checker.folder, "err.*")):
        with open(path) as file:
            said = file.read()
        if "panic" in said:
            checker.complain("panic", said[-1000:])
    for line in checker.did("client"):
        if "panic" in line["err"] or line["code"] not in (0, 1, 2, 78, -9, -6):
            checker.complain("client", line)


def life_end(checker, start):
    return next((line["at"] for line in checker.did("end") if line["life"] == start["life"]), start["at"])


CHECKS = [
    sound_database,
    lives_end_as_meant,
    acknowledged_is_done,
    duplicates_are_found,
    one_at_a_time,
    first_in_first_out,
    attempts_are_charged,
    children_exactly_once,
    states_and_facts,
    schedules_are_kept,
    pauses_hold,
    init_comes_first,
    nothing_is_stuck,
    no_stray_process,
    errors_are_explained,
]

if __name__ == "__main__":
    sys.exit(main())
