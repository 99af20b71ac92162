"""What is asked of the soak, and the report of it."""

import json
import os
import platform
import statistics
import subprocess
import time

# From src/state/checkpoint.rs: a log of PIECE pages is folded by the thread, and begins anew once no more than REST of
# them are left. (MOST, 4,096 pages, is for a thread that falls behind, for which this load gives no reason.) A page has
# 4,096 bytes and a header of 24, the log one of 32. The limit is twice that.
PIECE, REST = 1_000, 400
WAL_LIMIT = 2 * ((PIECE + REST) * (4096 + 24) + 32)

# The children of a succeeded job: each of its events is routed once.
EVENTS = {("work", "handle"): 1, ("flaky", "handle"): 2, ("slow", "handle"): 1, ("clock", "poll"): 1}


class Audit:
    """All jobs and attempts that were ever in the database. It never empties one of the tables, so their numbers go on."""

    def __init__(self):
        self.jobs, self.attempts = {}, {}
        self.last_job = self.last_attempt = self.gaps = 0

    def look(self, read):
        rows = read("SELECT seq, id, plugin, command, parent_job_id, source_event_id FROM job_queue WHERE seq > ?", self.last_job)
        for seq, job, *rest in rows:
            self.jobs[job] = rest
            self.gaps += seq - self.last_job - 1
            self.last_job = seq
        rows = read("SELECT id, job_id, attempt, status, error FROM job_log WHERE id > ?", self.last_attempt)
        for number, job, attempt, status, error in rows:
            self.attempts.setdefault(job, {})[attempt] = (status, error or "")
            self.gaps += number - self.last_attempt - 1
            self.last_attempt = number

    def succeeded(self, job):
        """By its last attempt."""
        attempts = self.attempts.get(job)
        return bool(attempts) and attempts[max(attempts)][0] == "succeeded"

    def children(self):
        """How many are missing, and how many are too many."""
        found = {}
        for _, _, parent, event in self.jobs.values():
            found.setdefault(parent, []).append(event)
        missing = surplus = 0
        for job, (plugin, command, _, _) in self.jobs.items():
            if self.succeeded(job):
                expected = EVENTS.get((plugin, command), 0)
            else:
                # Its second attempt was its last: then `alarm` is told.
                expected = int(plugin == "doomed" and 2 in self.attempts.get(job, {}))
            events = found.get(job, [])
            missing += max(0, expected - len(set(events)))
            surplus += max(0, len(events) - expected)
        return missing, surplus


def series(steady, killed, minute):
    """Memory and descriptors: of `steady` from this minute to the last, of `killed` from process to process."""
    first = [sample for sample in steady.samples if minute <= sample["minute"] < minute + 1]
    last = steady.samples[-6:]
    rss, fds = ([statistics.median(sample[key] for sample in part) for part in (first, last)] for key in ("rss", "fds"))
    lives = {}
    for sample in killed.samples:
        lives.setdefault(sample["life"], []).append(sample["fds"])
    # Not that of the moment before the sender had its connection again.
    lives = sorted({statistics.mode(life) for life in lives.values() if len(life) > 1})
    return [
        (f"steady: resident memory in minute {minute:.3g} and in the last, MB",
         f"{rss[0]:.2f}, {rss[1]:.2f} ({rss[1] / rss[0]:.3f})", "<= 1.1 times", rss[1] <= 1.1 * rss[0]),
        (f"steady: file descriptors in minute {minute:.3g} and in the last", f"{fds[0]:g}, {fds[1]:g}", "equal", fds[0] == fds[1]),
        ("killed: file descriptors of its processes", ", ".join(map(str, lives)), "all equal", len(lives) == 1),
    ]


def judge(daemon, seconds, rate, retention):
    """(what, figure, limit, whether it is met) of all that is asked of both, when their processes have ended."""
    audit, read = daemon.audit, daemon.read
    with open(os.path.join(daemon.folder, "journal")) as journal:
        ran = set(journal.read().split())
    jobs = audit.jobs.keys()
    succeeded = {job for job in jobs if audit.succeeded(job)}
    failed = [job for job in jobs - succeeded if audit.jobs[job][0] != "doomed"]
    counted = sum(audit.jobs[job][0] == "count" for job in succeeded)
    state = json.loads(read("SELECT state FROM plugin_state WHERE plugin_name = 'count'")[0][0])["n"]
    interrupted = sum("interrupted" in error for attempts in audit.attempts.values() for _, error in attempts.values())
    missing, surplus = audit.children()
    limit = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - retention - 60))
    old = sum(read(f"SELECT count(*) FROM {table} WHERE completed_at < ?", limit)[0][0] for table in ("job_queue", "job_log"))
    open_jobs = read("SELECT count(*) FROM job_queue WHERE completed_at IS NULL")[0][0]
    wal, check = max(sample["wal"] for sample in daemon.samples), read("PRAGMA integrity_check")[0][0]
    figures = [
        ("jobs that ended, per second", f"{len(jobs) / seconds:.2f} ({len(jobs):,})", f">= {0.95 * rate:.2f}",
         len(jobs) >= 0.95 * rate * seconds),
        ("acknowledged jobs", f"{len(daemon.acknowledged):,}", "> 0", bool(daemon.acknowledged)),
        ("reloads", str(daemon.reloads), "> 0", daemon.reloads > 0),
        ("state, and settled updates of it", f"{state:,}, {counted:,}", "equal", state == counted),
        ("largest WAL, bytes", f"{wal:,}", f"<= {WAL_LIMIT:,}", wal <= WAL_LIMIT),
        ("integrity_check", check, "ok", check == "ok"),
        # A plugin that had ended just before the kill has left its job running all the same.
        ("kills while a plugin ran, attempts interrupted, kills", f"{daemon.hits}, {interrupted}, {daemon.kills}",
         "in this order", daemon.hits <= interrupted <= daemon.kills),
    ]
    for what, count in (
        ("acknowledged jobs that were never in the database", len(daemon.acknowledged - jobs)),
        ("acknowledged jobs that never ran, by the journal", len(daemon.acknowledged - ran)),
        ("jobs that did not end as they should", len(failed)),
        ("jobs left queued or running", open_jobs),
        ("succeeded jobs that never ran, by the journal", len(succeeded - ran)),
        ("children missing", missing),
        ("children too many", surplus),
        ("rows that the auditor has missed", audit.gaps),
        ("rows a minute older than retention", old),
        ("zombies that stayed for a second", max(sample["zombies"] for sample in daemon.samples)),
        ("stray processes after a restart", daemon.strays),
        ("processes left at the end", len(daemon.plugins())),
        ("reloads refused", daemon.refused),
        ("unexpected errors in the log", len(errors(daemon))),
        ("refused, degraded or failed otherwise", len(daemon.problems)),
    ):
        figures.append((what, str(count), "0", count == 0))
    return [(f"{daemon.name}: {what}", *rest) for what, *rest in figures]


def errors(daemon):
    """Lines of the log that nobody has planned: that `doomed` is dead is the only error, and what is no JSON a panic."""
    found = []
    with open(os.path.join(daemon.folder, "log")) as log:
        for line in log:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"level": "ERROR"}
            if entry["level"] == "ERROR" and entry.get("plugin") != "doomed":
                found.append(line.rstrip())
    return found


def table(daemon, minutes):
    """One line for each of twelve parts of the time: its last sample, and the most of what goes up and down."""
    yield f"### {daemon.name}\n"
    yield "| minute | process | RSS, MB | fds | threads | most WAL, KB | most depth | database, MB |"
    yield "|---|---|---|---|---|---|---|---|"
    part = max(1, minutes / 12)
    for number in range(int(minutes / part) + 1):
        samples = [sample for sample in daemon.samples if number * part <= sample["minute"] < (number + 1) * part]
        if samples:
            wal, depth, last = max(s["wal"] for s in samples), max(s["depth"] for s in samples), samples[-1]
            yield (f"| {last['minute']:.1f} | {last['life'] + 1} | {last['rss']:.2f} | {last['fds']} | {last['threads']} | "
                   f"{wal / 1024:,.0f} | {depth} | {last['database'] / 2**20:.2f} |")
    yield ""


def report(options, daemons, figures, started):
    """The Markdown, and whether all is within its limit."""
    passed = all(met for *_, met in figures)
    version = subprocess.run([options.binary, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    kernel = platform.release().partition("-")[0]
    with open("/proc/meminfo") as meminfo:
        memory = int(meminfo.readline().split()[1]) / 2**20
    lines = [
        "# Soak\n",
        f"**{'Passed' if passed else 'FAILED'}**: {options.minutes:g} minutes from {started}, {options.rate:g} jobs a second for each of",
        f"two daemons, seed {options.seed}. {version}; Linux {kernel}, {os.cpu_count()} cores, {memory:.0f} GB of memory,",
        f"Python {platform.python_version()}. What is done and why is at the top of `tests/soak/run.py`.\n",
        "| | figure | limit | |\n|---|---|---|---|",
    ]
    lines += [f"| {what} | {figure} | {limit} | {'pass' if met else '**FAIL**'} |" for what, figure, limit, met in figures]
    lines.append(f"\nThe limit of the WAL is twice {PIECE:,} + {REST} pages with their headers: `PIECE` and `REST` of")
    lines.append("`src/state/checkpoint.rs`, the size at which the log begins anew.\n")
    for daemon in daemons:
        lines += table(daemon, options.minutes)
        # The first ones say why there are more. Nobody else knows the folder.
        for problem in (daemon.problems + errors(daemon))[:20]:
            lines.append(f"- `{problem.replace(daemon.folder, daemon.name)}`\n")
    return "\n".join(lines).rstrip() + "\n", passed
