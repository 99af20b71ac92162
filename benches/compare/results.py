"""The page with the results: benches/RESULTS.md."""

import os
import platform
import re
import subprocess
import tempfile
import time

import growth
import plot
import world

PAGE = os.path.join(world.ROOT, "benches", "RESULTS.md")


def page(measured, grown):
    bare = {name: world.median(one[name] for one in measured["bare"]) for name in ("spawn", "commit", "both")}
    bare["rate"] = 1e6 / bare["both"]
    parts = [
        "# Results",
        f"Written by `benches/compare/run.py` on {time.strftime('%d %B %Y', time.gmtime()).lstrip('0')}; how to read and repeat it is in [README.md](README.md). Medians of "
        f"{len(measured['bare'])} rounds, in which the tools take turns.",
        machine(measured["versions"]),
        "## Jobs",
        f"Bare spawn of the no-op program with its pipes: {bare['spawn']:.0f} µs. Bare commit of one row, synced: {bare['commit']:.0f} µs. Both in turn: "
        f"**{bare['both']:.0f} µs**, {bare['rate']:,.0f} a second: what a durable job cannot do without.",
        jobs(measured["tools"], bare),
        "## Webhooks",
        "Signed POSTs of 10 KB by `wrk`, on the same cores; ductile while nothing drains its queue, and while it runs the jobs, one at a time.",
        loads(measured["tools"]),
        NOT_LIKE_FOR_LIKE,
        "## Where ductile's time goes",
        f"One no-op job, by the product's own spans, beside a bare spawn and a bare commit in turn; medians of rounds. {measured['breakdown'][1][0].upper()}{measured['breakdown'][1][1:]}.",
        measured["breakdown"][0],
    ]
    if grown:
        parts += ["## Growth", growth_text(grown), growth.table(grown), "![Costs by finished jobs, plugins and bytes](growth.svg)"]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def growth_text(grown):
    odd = [one for one in grown if one.verdict() != "as expected"]
    said = "Nothing grows faster than its theory." if not odd else "**Faster than its theory**: " + ", ".join(one.name for one in odd) + "."
    return (
        f"{said} Theory: `log n`, work on an index, or constant; `n`, in proportion, beside a constant part; `jobs of the last day`, in "
        "proportion to those, as `status` tells their success rate and durations (a day of the history here has 86,400 jobs)."
    )


def write(text, grown):
    with open(PAGE, "w") as file:
        file.write(text)
    if grown:
        plot.write(growth.SVG, grown)


def machine(versions):
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"MemTotal:\s+(\d+)", file.read())[1]) / 1024 / 1024
    temporary = subprocess.run(["stat", "-f", "-c", "%T", tempfile.gettempdir()], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    compiler = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout.split()[1]
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if "by" not in name)
    return (
        f"Machine: {os.cpu_count()} virtual cores ({model[1] if model else platform.machine()}), {memory:.0f} GB, Linux {'.'.join(platform.release().split('.')[:2])}, "
        f"{temporary.replace('ext2/ext3', 'ext4')} on a virtual disk, shared with others. Rust {compiler}. Versions: {known}."
    )


def jobs(tools, bare):
    rows = [
        "| | serial no-op jobs/s | times bare | enqueue → main(), ms: p50, p99 | idle memory, MB | exec → ready, ms | of 200 acknowledged, after kill -9: never ran, ran twice |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, rounds in tools.items():
        if not rounds:
            rows.append(f"| {name} | {'not installed' if rounds is None else 'failed in each round'} | | | | | |")
            continue
        rate = middle(rounds, "jobs")
        cells = [
            f"{rate:,.0f}" if rate and rate >= 10 else f"{rate:.1f}" if rate else "–",
            f"{bare['rate'] / rate:.2f}" if rate else "–",
            f"{middle(rounds, 'start_p50'):.1f}, {middle(rounds, 'start_p99'):.1f}",
            number(middle(rounds, "memory"), ".1f"),
            number(middle(rounds, "ready_ms"), ".0f"),
            lost(rounds),
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def lost(rounds):
    if "lost" not in rounds[0]:
        return "as above"
    never, twice = ([one[key] for one in rounds] for key in ("lost", "twice"))
    return f"{span(never)}, {span(twice)}"


def span(values):
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def loads(tools):
    rows = ["| | senders | accepted/s | times webhook | p50, p99, ms | refused | peak memory, MB | jobs/s meanwhile | acknowledged but not stored |"]
    rows.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    peer = tools.get("webhook")
    for name, key, title in (("ductile", "/keep", "ductile, nothing drains"), ("ductile", "/run", "ductile, draining"), ("webhook", "/run", "webhook")):
        if not tools[name]:
            rows.append(f"| {title} | {'not installed' if tools[name] is None else 'failed'} | | | | | | | |")
            continue
        for senders in (1, 32):
            found = [one[f"{key} {senders}"] for one in tools[name]]
            rate, p50, p99, peak = (middle(found, what) for what in ("rate", "p50", "p99", "peak"))
            times = number(rate / middle([one[f"/run {senders}"] for one in peer], "rate") if peer else None, ".1f")
            meanwhile = number(middle(found, "jobs"), ".0f")
            unstored = str(max(one["lost"] for one in found)) if "lost" in found[0] else "nothing is"
            refused = sum(one["refused"] for one in found)
            rows.append(f"| {title} | {senders} | {rate:,.0f} | {times} | {p50:.2f}, {p99:.1f} | {refused} | {peak:.0f} | {meanwhile} | {unstored} |")
    return "\n".join(rows)


def load_line(name, senders, found):
    more = f"; {found['jobs']:.0f} jobs/s meanwhile; acknowledged but not stored: {found['lost']}" if "jobs" in found else ""
    return (
        f"{name:13} {senders:2} senders: {found['rate']:.0f} accepted/s, p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms, "
        f"{found['refused']} refused; peak {found['peak']:.1f} MB{more}"
    )


def middle(rounds, key):
    values = [one[key] for one in rounds if one.get(key) is not None]
    return world.median(values) if values else None


def number(value, form):
    return "–" if value is None else format(value, form)


NOT_LIKE_FOR_LIKE = """
## Not like for like

| | ductile | webhook | task-spooler | nq | pueue |
|---|---|---|---|---|---|
| acknowledged means | on disk, synced | the request was read | in the daemon's memory | a process waits for its turn | in the daemon's memory, then in a file, not synced |
| queues | yes, in SQLite | no: each request starts a process at once | yes, in memory, one process for each job that waits | yes, one process for each job that waits | yes, in a JSON file that is rewritten |
| most at once | one | no limit | one here, as configured | one | one here, as configured |
| passes to the job | the event, settings and state, as JSON on stdin | arguments picked from the body | arguments | arguments | arguments |
| keeps of the result | exit code, output, logs, duration, in SQLite | nothing | exit code in memory, output in a file | output in a file | exit code and output in files |
| ends grandchildren with the job | yes, its process group | no | no | no | on request |
| time limit, retries | yes, yes | no, no | no, no | no, no | no, no |
| after its own kill -9 | recovers the queue, runs the interrupted job again | forgets what had not started | forgets the queue | forgets nothing but the processes: killed with them here, as by the end of a session or the machine | keeps the queue, comes back paused; the running job is not run again |

- *Enqueue → main()*: a POST for ductile and webhook; for the others, and for ductile by its command line, one command, whose own start is in the time.
- *Serial jobs*: out of a queue that was full before, by the times at which the jobs start; each appends its time to a file. webhook has no queue. pueue looks at
  its queue every 300 ms.
- *kill -9*: 200 jobs of 25 ms, killed right after the last was acknowledged; ductile, webhook, task-spooler and pueue lose their daemon, nq its waiting
  processes. ductile may run the interrupted job twice: it promises at least once. After the restart pueue is told to go on, 50 at once.
- *Memory*: of the daemon at rest, after its jobs; nq has none, and one process for each job that waits.
- ductile's 32 senders share commits; its dispatcher commits once a job. webhook starts its processes while it answers: many of them
  at once take the cores from the answers.
"""
