#!/usr/bin/env python3
"""github: turns the webhooks of GitHub into typed events that routes can tell apart.

Python 3 standard library only. Nothing is asked of GitHub; all that is known is in the webhook. README.md
has the table of events and their payload.

Takes `webhook.push`, `webhook.pull_request`, `webhook.issues`, `webhook.release`, `webhook.workflow_run`,
`webhook.check_run` and `webhook.ping`. Each makes one event or none; what makes none is logged.

Configuration, all optional; a list, or one text with commas; `*` stands for any characters:
  repositories  owner/name of those to report; upper and lower case are the same. Default: all
  branches      branches to report. Holds for pushes to branches, for the base of pull requests, and for the
                branch of workflow and check runs (of whichever fork); not for tags, issues and releases.
                Default: all

State: none.

Exit codes: 0, also for `status: error`. A webhook that cannot be read and a wrong configuration are answered
with `"retry": false`: neither gets better by itself.
"""

import fnmatch
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
# The modules in here and in there need no folders of compiled ones beside them.
sys.dont_write_bytecode = True

import ductile
from fields import BadEvent, clean, cut, find, first_line, need

PULL_REQUEST_ACTIONS = frozenset(
    "opened closed reopened synchronize ready_for_review converted_to_draft review_requested assigned labeled".split()
)
ISSUE_ACTIONS = frozenset("opened closed reopened assigned labeled".split())
# Whom or what the action adds. Several of these may happen within a second, so the key needs them.
ABOUT = {
    "labeled": ("label.name",),
    "assigned": ("assignee.login",),
    "review_requested": ("requested_reviewer.login", "requested_team.slug"),
}
RELEASE_ACTIONS = frozenset("created published released prereleased deleted".split())
# Not `cancelled` (somebody did it), `action_required` (somebody is asked), `stale`, `skipped`, `neutral`.
FAILING = frozenset(("failure", "timed_out", "startup_failure"))

MAX_COMMITS = 20
MAX_LABELS = 100
MAX_BODY = 500
MAX_KEY = 500


class BadConfig(ductile.Failure):
    """Only a change of the configuration can help."""

    def __init__(self, message):
        super().__init__(message, retry=False)


class Ignored(Exception):
    """Nothing to report. The message is logged."""


@ductile.command("health")
def health(request):
    """Say whether the configuration is right; there is nothing else to look at."""
    settings(request.config)
    return ductile.ok()


@ductile.command("handle")
def handle(request):
    """Emit the event that the webhook stands for, or say in the log why there is none."""
    allowed = settings(request.config)
    source_type = request.event["type"]
    if source_type == "webhook":
        raise BadEvent("the event does not name GitHub's event: set `event_header: X-GitHub-Event` at the endpoint")
    convert = CONVERTERS.get(source_type)
    if convert is None:
        ductile.log("info", f"{clean(source_type)}: not a type that is reported")
        return ductile.ok()
    try:
        event = emitted(convert, checked_body(request.payload), allowed)
    except Ignored as reason:
        ductile.log("info", f"{source_type}: {reason}")
        return ductile.ok()
    except BadEvent as error:
        raise BadEvent(f"{source_type}: {error}") from None
    ductile.log("info", f"{event['type']}: {event['payload']['title']}")
    return ductile.ok(events=[event])


def emitted(convert, body, allowed):
    """The event, with what all of them have."""
    # The ping of an organisation's hook has no repository, and needs none.
    repository = ping(body) if convert is ping else need(body, "repository.full_name", str)
    if not matches(repository.lower(), allowed["repositories"]):
        raise Ignored(f"{repository} is not in config.repositories")
    kind, branch, key, payload = convert(body)
    if branch is not None and not matches(branch, allowed["branches"]):
        raise Ignored(f"{repository}: branch {branch} is not in config.branches")
    payload["title"] = f"[{repository}] {payload['title']}"
    event = {
        "type": f"github.{kind}",
        "payload": {"repository": repository, "sender": find(body, "sender.login", str), **payload},
    }
    dedupe_key = joined_key([kind, repository, *key])
    if dedupe_key is not None:
        event["dedupe_key"] = dedupe_key
    return event


# Each converter returns what follows `github.` in the type, the branch to look up in config.branches (or None),
# the facts that make the event different from every other, and the payload.


def push(body):
    ref = need(body, "ref", str)
    before, after, deleted = need(body, "before", str), need(body, "after", str), need(body, "deleted", bool)
    created, forced = bool(find(body, "created", bool)), bool(find(body, "forced", bool))
    branch = ref[len("refs/heads/") :] if ref.startswith("refs/heads/") else None
    tag = ref[len("refs/tags/") :] if ref.startswith("refs/tags/") else None
    if branch is None and tag is None:
        raise Ignored(f"{ref} is neither a branch nor a tag")
    all_commits = need(body, "commits", list)
    commits = [commit_of(commit) for commit in all_commits[:MAX_COMMITS]]
    pusher = find(body, "pusher.name", str) or find(body, "sender.login", str) or "somebody"
    what = f"branch {branch}" if tag is None else f"tag {tag}"
    lines = [f"{commit['id'][:7]} {commit['message']} ({commit['author']})" for commit in commits]
    if len(all_commits) > len(commits):
        lines.append(f"and {len(all_commits) - len(commits)} more")
    if deleted:
        kind, title = "push.deleted", f"deleted {what}"
    elif tag is not None:
        kind, title = "push.tag", f"{'created' if created else 'moved'} {what}"
    else:
        number = "1 commit" if len(all_commits) == 1 else f"{len(all_commits)} commits"
        verb = "force-pushed" if forced else "pushed"
        kind, title = "push", f"{verb} {number} to {'new ' if created else ''}{what}"
    compare_url = find(body, "compare", str)
    # A branch may be moved back and forth between two commits, hence the time (a number in pushes).
    pushed_at = find(body, "repository.pushed_at", int) or find(body, "repository.pushed_at", str)
    return kind, branch, [ref, before, after, pushed_at], {
        "ref": ref, "branch": branch, "tag": tag, "before": before, "after": after,
        "created": created, "deleted": deleted, "forced": forced, "pusher": pusher,
        "commits": commits, "commit_count": len(all_commits), "compare_url": compare_url,
        "url": find(body, "repository.html_url", str) if deleted else compare_url,
        "title": f"{pusher} {title}", "text": "\n".join(lines) or f"{before[:7]} -> {after[:7]}",
    }


def commit_of(commit):
    return {
        "id": find(commit, "id", str) or "",
        "message": first_line(find(commit, "message", str)),
        "author": find(commit, "author.username", str) or find(commit, "author.name", str) or "somebody",
        "url": find(commit, "url", str),
    }


def pull_request(body):
    action = known_action(body, PULL_REQUEST_ACTIONS)
    base, head = need(body, "pull_request.base.ref", str), need(body, "pull_request.head.ref", str)
    merged = bool(find(body, "pull_request.merged", bool))
    if action == "closed" and merged:
        action = "merged"
    payload, key = ticket(body, "pull_request", action, "Pull request")
    before, after = find(body, "before", str), find(body, "after", str)
    if action == "synchronize":
        key += [before, after]
    payload["text"] = f"{head} -> {base}, by {payload['author']}\n{payload['text']}".rstrip()
    return f"pull_request.{action}", base, key, {
        **payload, "base": base, "head": head,
        "head_repository": find(body, "pull_request.head.repo.full_name", str),
        "head_sha": find(body, "pull_request.head.sha", str),
        "before": before, "after": after,
        "draft": bool(find(body, "pull_request.draft", bool)), "merged": merged,
        "merged_by": find(body, "pull_request.merged_by.login", str),
        "merge_commit_sha": find(body, "pull_request.merge_commit_sha", str),
    }


def issues(body):
    action = known_action(body, ISSUE_ACTIONS)
    payload, key = ticket(body, "issue", action, "Issue")
    payload["text"] = f"by {payload['author']}\n{payload['text']}".rstrip()
    return f"issues.{action}", None, key, {**payload, "state_reason": find(body, "issue.state_reason", str)}


def ticket(body, name, action, noun):
    """What pull requests and issues have in common: the payload, and the facts of the key."""
    number, subject = need(body, f"{name}.number", int), need(body, f"{name}.title", str)
    labels = [find(label, "name", str) for label in (find(body, f"{name}.labels", list) or [])[:MAX_LABELS]]
    updated_at = find(body, f"{name}.updated_at", str)
    key = [need(body, f"{name}.id", int), updated_at]
    paths = ABOUT.get(action, ())
    path, about = next(((path, value) for path in paths if (value := find(body, path, str))), (None, None))
    if paths:
        key.append(about and f"{path}:{about}")
    verb = "updated" if action == "synchronize" else action.replace("_", " ")
    return {
        "action": action, "number": number, "subject": subject,
        "state": find(body, f"{name}.state", str), "author": find(body, f"{name}.user.login", str) or "somebody",
        "labels": [label for label in labels if label is not None],
        "label": about if action == "labeled" else None,
        "assignee": about if action == "assigned" else None,
        "reviewer": about if action == "review_requested" else None,
        "created_at": find(body, f"{name}.created_at", str), "updated_at": updated_at,
        "url": find(body, f"{name}.html_url", str),
        "title": f"{noun} #{number} {verb}{f' ({about})' if about else ''}: {subject}",
        "text": cut(find(body, f"{name}.body", str) or "", MAX_BODY) if action == "opened" else "",
    }, key


def release(body):
    action = known_action(body, RELEASE_ACTIONS)
    number, tag = need(body, "release.id", int), need(body, "release.tag_name", str)
    name = find(body, "release.name", str) or tag
    created_at, published_at = find(body, "release.created_at", str), find(body, "release.published_at", str)
    prerelease = bool(find(body, "release.prerelease", bool))
    # Only these times change whenever the same happens again to the same release.
    moments = {"created": created_at, "published": published_at, "deleted": ""}
    moment = moments.get(action, find(body, "release.updated_at", str))
    return f"release.{action}", None, [number, moment], {
        "action": action, "tag": tag, "name": name, "draft": bool(find(body, "release.draft", bool)),
        "prerelease": prerelease, "author": find(body, "release.author.login", str),
        "created_at": created_at, "published_at": published_at, "url": find(body, "release.html_url", str),
        "title": f"{'Pre-release' if prerelease else 'Release'} {name} {action}",
        "text": cut(find(body, "release.body", str) or "", MAX_BODY) or f"tag {tag}",
    }


def workflow_run(body):
    conclusion = failing_conclusion(body, "workflow_run")
    number = need(body, "workflow_run.id", int)
    attempt = find(body, "workflow_run.run_attempt", int)
    branch = find(body, "workflow_run.head_branch", str)
    name = find(body, "workflow_run.name", str) or find(body, "workflow.name", str) or f"run {number}"
    sha = need(body, "workflow_run.head_sha", str)
    # GitHub Enterprise Server of before 2022 does not count attempts.
    moment = attempt if attempt is not None else find(body, "workflow_run.updated_at", str)
    return "workflow_run.failed", branch, [number, moment], {
        "workflow": name, "run_id": number, "run_number": find(body, "workflow_run.run_number", int),
        "run_attempt": attempt, "conclusion": conclusion, "branch": branch, "head_sha": sha,
        "head_repository": find(body, "workflow_run.head_repository.full_name", str),
        "trigger": find(body, "workflow_run.event", str), "actor": find(body, "workflow_run.actor.login", str),
        "url": find(body, "workflow_run.html_url", str),
        "title": f"Workflow {name} failed on {branch or sha[:7]}",
        "text": outcome(conclusion, sha, find(body, "workflow_run.head_commit.message", str)),
    }


def check_run(body):
    conclusion = failing_conclusion(body, "check_run")
    number, name = need(body, "check_run.id", int), need(body, "check_run.name", str)
    branch, sha = find(body, "check_run.check_suite.head_branch", str), need(body, "check_run.head_sha", str)
    completed_at = find(body, "check_run.completed_at", str)
    return "check_run.failed", branch, [number, completed_at, conclusion], {
        "check": name, "check_run_id": number, "conclusion": conclusion, "branch": branch, "head_sha": sha,
        "app": find(body, "check_run.app.slug", str), "completed_at": completed_at,
        "url": find(body, "check_run.html_url", str) or find(body, "check_run.details_url", str),
        "title": f"Check {name} failed on {branch or sha[:7]}",
        "text": outcome(conclusion, sha, find(body, "check_run.output.title", str)),
    }


def ping(body):
    """Sent when a hook is made: proof that it works, and nothing to report."""
    zen = find(body, "zen", str)
    raise Ignored(f"the hook works{f' ({zen})' if zen else ''}")


CONVERTERS = {
    f"webhook.{convert.__name__}": convert
    for convert in (push, pull_request, issues, release, workflow_run, check_run, ping)
}


def known_action(body, actions):
    action = need(body, "action", str)
    if action not in actions:
        raise Ignored(f"action {action} is not reported")
    return action


def failing_conclusion(body, name):
    if need(body, "action", str) != "completed":
        raise Ignored("not completed")
    conclusion = find(body, f"{name}.conclusion", str)
    if conclusion not in FAILING:
        raise Ignored(f"completed with {conclusion}, which is no failure")
    return conclusion


def checked_body(payload):
    """The webhook's body, if it can be one of GitHub's."""
    if isinstance(payload, dict) and len(payload) == 1 and ("raw" in payload or "raw_base64" in payload):
        raise BadEvent("the body is not JSON: set Content type to application/json in the hook's settings on GitHub")
    if not isinstance(payload, dict):
        raise BadEvent("the payload is not an object: is this a webhook of GitHub?")
    return payload


def settings(config):
    """The configuration, checked: `{key: list of patterns, or None for all}`."""
    for key in config:
        if key not in ("repositories", "branches"):
            raise BadConfig(f"config.{clean(key)} is not known; there are repositories and branches")
    return {
        "repositories": patterns(config, "repositories", str.lower),
        "branches": patterns(config, "branches", str),
    }


def patterns(config, key, spelling):
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadConfig(f"config.{key} must be a list of texts")
    value = [spelling(item.strip()) for item in value if item.strip()]
    if not value:
        raise BadConfig(f"config.{key} must not be empty; leave it out to allow all")
    return value


def matches(name, allowed):
    # `[` is a letter like others here.
    return allowed is None or any(fnmatch.fnmatchcase(name, item.replace("[", "[[]")) for item in allowed)


def outcome(conclusion, sha, about):
    return f"{conclusion} at {sha[:7]} {first_line(about)}".rstrip()


def joined_key(facts):
    """The dedupe key, or None if a fact is missing: better told twice than not at all."""
    if any(fact is None for fact in facts):
        return None
    key = ":".join(str(fact) for fact in facts)
    if len(key.encode()) > MAX_KEY:
        key = f"{facts[0]}:{hashlib.sha256(key.encode()).hexdigest()}"
    return key


if __name__ == "__main__":
    ductile.main()
