#!/usr/bin/env python3
"""git_sync: follows a branch of a git repository; one event for each new commit.

Python 3 standard library and git. README.md has the configuration, the events and an example.

State:
  source   identifies url and branch; another one begins anew
  tip      the commit up to which all was emitted; null: nothing yet
  target, offset   only while more than one poll is needed: what is emitted is tip..target, of which `offset` commits are done
  rewrites counts how often the history was rewritten

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import hashlib
import json
import os
import re
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
from ductile_settings import Settings
from mirror import Mirror, shown

KEYS = ("url", "path", "branch", "depth", "emit_existing", "timeout")
MAX_EVENTS = 1000
# Of the 10 MB of a response.
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_TEXT = 10_000
# Kept for the answer, of the time until the deadline.
SPARE = 5.0
# As in `git check-ref-format`, a little stricter.
BRANCH = re.compile(r"(?!.*(\.\.|//|@\{|\.lock(/|$)))(?![-./])[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])")


def settings(request):
    read = Settings(request.config, KEYS)
    checked = {
        "url": read.text("url"),
        "path": read.text("path"),
        "branch": read.text("branch", None),
        "depth": read.number("depth", 1, 1_000_000, None, whole=True),
        "emit_existing": read.flag("emit_existing", False),
        "timeout": read.number("timeout", 1, 86_400, None),
    }
    checked["source"] = hashlib.sha256(f"{checked['url']}\n{checked['branch']}".encode()).hexdigest()[:16]
    ductile.hide(os.environ.get("GIT_SYNC_PASSWORD"))
    _check_url(read, checked["url"])
    if not os.path.isabs(checked["path"]) or not os.path.normpath(checked["path"]).strip("/"):
        read.wrong("path", "must be a whole path of a folder of its own, from /")
    if checked["branch"] is not None and not BRANCH.fullmatch(checked["branch"]):
        read.wrong("branch", "cannot be the name of a branch; write it without refs/heads/")
    return checked


def _check_url(read, url):
    try:
        parts = urllib.parse.urlsplit(url)
        password = parts.password
    except ValueError:
        read.wrong("url", "is no address")
    if password is not None or (parts.scheme in ("http", "https") and parts.username):
        read.wrong("url", "must not hold a user's name or password; give GIT_SYNC_USERNAME and GIT_SYNC_PASSWORD in the plugin's `env`")
    short = re.fullmatch(r"[\w.-]+@[\w.-]+:[^:].*", url)
    if not (short or os.path.isabs(url) or parts.scheme in ("http", "https", "ssh", "git", "file")):
        read.wrong("url", "must be an address of http, https, ssh, git or file, user@host:path, or a whole path from /")


def opened(request, checked):
    def seconds():
        left = request.seconds_left() - SPARE
        return max(0.1, left if checked["timeout"] is None else min(left, checked["timeout"]))

    return Mirror(checked["url"], checked["path"], seconds)


@ductile.command("health")
def health(request):
    checked = settings(request)
    name, commit = opened(request, checked).remote(checked["branch"])
    return ductile.ok(f"{name} is at {commit[:12]}" if commit else "the repository has no commits")


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    state = request.state if request.state.get("source") == checked["source"] else {}
    mirror = opened(request, checked)
    if state.get("target") is None:
        name, commit = mirror.remote(checked["branch"])
        if commit is None or ("tip" in state and state["tip"] == commit):
            fresh = {**begun(checked), "tip": None} if commit is None and not state else None
            return ductile.ok("nothing new" if commit else "the repository has no commits", state=fresh)
    else:
        name = state.get("branch") or checked["branch"]
    with mirror.ready():
        try:
            mirror.make()
            return emitted(mirror, name, state, checked)
        except ductile.Failure as failure:
            if not mirror.is_cause(failure):
                raise
            ductile.log("warn", f"{checked['path']} was damaged and is fetched anew: {failure}")
        mirror.empty()
        mirror.make()
        return emitted(mirror, name, state, checked)


def begun(checked):
    return {"source": checked["source"], "branch": None, "target": None, "offset": 0, "rewrites": 0}


def emitted(mirror, name, state, checked):
    """What is new since the tip; or what is left of that from the poll before."""
    first = "tip" not in state
    tip, target, offset, rewrites = state.get("tip"), state.get("target"), int(state.get("offset") or 0), int(state.get("rewrites") or 0)
    if target is not None and not mirror.fetch_commit(target):
        # The mirror was removed and the branch rewritten in between: what was left of it is nowhere.
        ductile.log("warn", f"{target} is gone from the repository; what was left to emit of it cannot be")
        target, offset = None, 0
    if target is None:
        # Only the first time: later, a depth could cut off what is new.
        target = mirror.fetch(name, checked["depth"] if tip is None else None)
        if first and not checked["emit_existing"]:
            return ductile.ok(f"first poll: {name} is at {target[:12]}, nothing emitted", state={**begun(checked), "tip": target})
    known = tip is None or mirror.fetch_commit(tip)
    if not known:
        offset = 0
    elif tip is not None and offset == 0:
        mirror.complete(name, tip, target)
    events = []
    base = tip if tip is None or not known else mirror.base(tip, target)
    rewritten = tip is not None and (not known or base != tip)
    if rewritten and offset == 0:
        rewrites += 1
        events.append(rewrite(mirror, name, tip, target, base if known else None, known, checked, rewrites))
    # What the old history was is not known, so neither is what is new.
    commits = mirror.between(tip, target) if known else []
    done = fill(events, mirror, commits, offset, name, rewritten, checked)
    left = max(0, len(commits) - offset - done)
    update = {"source": checked["source"], "rewrites": rewrites}
    if left:
        update.update(tip=tip, target=target, offset=offset + done, branch=name)
    else:
        update.update(tip=target, target=None, offset=0, branch=None)
    result = f"{done} new commits on {name}" + (f", {left} left for the next poll" if left else "")
    return ductile.ok(result + (", history rewritten" if rewritten else ""), events=events, state=update)


def fill(events, mirror, commits, offset, name, rewritten, checked):
    """Appends events until there are no more, or as many as a response may have. How many."""
    size, count = 0, 0
    for fields in mirror.read(commits[offset : offset + MAX_EVENTS - len(events)]):
        made = commit_event(fields, name, rewritten, checked)
        size += len(json.dumps(made))
        if count and size > MAX_EVENT_BYTES:
            break
        events.append(made)
        count += 1
    return count


def commit_event(fields, name, rewritten, checked):
    sha, parents, author, author_email, authored, committer, committer_email, committed, message = fields
    title, _, text = message.strip("\n").partition("\n")
    payload = {
        "title": title[:1000],
        "text": text.strip("\n")[:MAX_TEXT],
        "commit": sha,
        "parents": parents.split(),
        "repository": shown(checked["url"]),
        "branch": name,
        "author": {"name": author[:1000], "email": author_email[:1000], "date": authored},
        "committer": {"name": committer[:1000], "email": committer_email[:1000], "date": committed},
        "rewritten": rewritten,
    }
    return ductile.event("git.commit", payload, f"{checked['source']}:{sha}")


def rewrite(mirror, name, old, new, base, known, checked, rewrites):
    dropped = len(mirror.between(new, old)) if known else None
    lost = "an unknown number of" if dropped is None else dropped
    payload = {
        "title": f"{name}: history rewritten, {lost} commits dropped",
        "repository": shown(checked["url"]),
        "branch": name,
        "old": old,
        "new": new,
        "base": base,
        "dropped": dropped,
    }
    ductile.log("warn", f"{name} was rewritten from {old[:12]} to {new[:12]}")
    # The counter: a branch may be moved to and fro.
    return ductile.event("git.rewritten", payload, f"{checked['source']}:rewritten:{old}:{new}:{rewrites}")


if __name__ == "__main__":
    ductile.main()
