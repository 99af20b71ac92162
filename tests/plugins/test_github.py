"""plugins/github: which webhook becomes which event."""

import copy
import json
import unittest

import schemas
from support import FIXTURES, ROOT, PluginTest, loaded, request, spawn

RUN = loaded("github", "run")
ODD_VALUES = (..., None, True, 0, -1, 2**70, 1.5, "", "x", "\ud800", [], [None, 7, "x", {}], {}, {"a": []})
WEBHOOKS = json.loads((FIXTURES / "github.json").read_text())


def respond(request):
    """In this process: thousands of them would take minutes."""
    answer, _ = RUN.ductile.respond(json.dumps(request))
    return json.loads(answer)


def altered(name, **changes):
    """The webhook of that name with other values at dotted paths (`__` for the dot); `...` removes."""
    body = copy.deepcopy(WEBHOOKS[name])
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = body
        for parent in parents:
            at = at[parent]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return body


class GithubTest(PluginTest):
    plugin = "github"

    def handle(self, kind, body, **config):
        return self.run_plugin("handle", config, {"type": f"webhook.{kind}", "payload": body, "source": "webhook"})

    def event(self, kind, body, **config):
        response = self.handle(kind, body, **config)
        self.assert_ok(response)
        (event,) = response["events"]
        for key in ("title", "text", "url", "repository", "sender"):
            self.assertIsInstance(event["payload"][key], str, key)
            self.assertTrue(event["payload"][key], key)
        return event

    def assert_none(self, response, *words):
        self.assert_ok(response)
        self.assertEqual(response.get("events", []), [])
        for word in words:
            self.assertIn(word, response["logs"][0]["message"])

    def assert_other_key(self, kind, one, other):
        """Redelivered, the same fact has the same key; the other fact has another."""
        keys = [self.event(kind, body)["dedupe_key"] for body in (one, one, other)]
        self.assertEqual(keys[0], keys[1])
        self.assertNotEqual(keys[0], keys[2])

    # Pushes

    def test_push(self):
        event = self.event("push", WEBHOOKS["push"])
        self.assertEqual(event["type"], "github.push")
        self.assertEqual(event["payload"], {
            "repository": "Codertocat/Hello-World", "sender": "Codertocat", "pusher": "Codertocat",
            "ref": "refs/heads/master", "branch": "master", "tag": None,
            "before": "0" * 40, "after": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
            "created": True, "deleted": False, "forced": False,
            "commits": [{
                "id": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", "message": "Initial commit", "author": "Codertocat",
                "url": "https://github.com/Codertocat/Hello-World/commit/6113728f27ae82c7b1a177c8d03f9e96e0adf246",
            }],
            "commit_count": 1,
            "compare_url": "https://github.com/Codertocat/Hello-World/commit/6113728f27ae82c7b1a177c8d03f9e96e0adf246",
            "url": "https://github.com/Codertocat/Hello-World/commit/6113728f27ae82c7b1a177c8d03f9e96e0adf246",
            "title": "[Codertocat/Hello-World] Codertocat pushed 1 commit to new branch master",
            "text": "6113728 Initial commit (Codertocat)",
        })

    def test_tags_and_deletions_have_types_of_their_own(self):
        tag = self.event("push", WEBHOOKS["push_tag"])
        self.assertEqual((tag["type"], tag["payload"]["tag"], tag["payload"]["branch"]),
                         ("github.push.tag", "simple-tag", None))
        deleted = self.event("push", WEBHOOKS["push_deleted"])
        self.assertEqual((deleted["type"], deleted["payload"]["deleted"]), ("github.push.deleted", True))

    def test_a_large_push_is_cut(self):
        commit = {"id": "a" * 40, "message": "x" * 5000 + "\nsecond line", "author": {"name": "A"}, "url": "u"}
        payload = self.event("push", altered("push", commits=[commit] * 2048))["payload"]
        self.assertEqual((len(payload["commits"]), payload["commit_count"]), (20, 2048))
        self.assertEqual(len(payload["commits"][0]["message"]), 200)
        self.assertIn("and 2028 more", payload["text"])

    def test_the_same_commits_pushed_later_are_another_fact(self):
        self.assert_other_key("push", WEBHOOKS["push"], altered("push", repository__pushed_at=1557933999))

    def test_another_branch_at_the_same_commit_is_another_fact(self):
        self.assert_other_key("push", WEBHOOKS["push"], altered("push", ref="refs/heads/other"))

    def test_without_a_time_there_is_no_key(self):
        self.assertNotIn("dedupe_key", self.event("push", altered("push", repository__pushed_at=...)))

    def test_other_refs_are_ignored(self):
        self.assert_none(self.handle("push", altered("push", ref="refs/notes/x")), "neither a branch nor a tag")

    # Pull requests and issues

    def test_pull_request_merged_or_closed(self):
        closed = altered("pull_request", pull_request__merged=False)
        self.assertEqual(self.event("pull_request", closed)["type"], "github.pull_request.closed")
        merged = self.event("pull_request", altered("pull_request", pull_request__merged=True))
        self.assertEqual(merged["type"], "github.pull_request.merged")
        payload = merged["payload"]
        self.assertEqual((payload["action"], payload["number"], payload["merged"]), ("merged", 2, True))
        self.assertEqual((payload["base"], payload["head"]), ("master", "changes"))
        self.assertEqual(payload["subject"], "Update the README with new information.")

    def test_pull_request_actions(self):
        for action in ("opened", "reopened", "synchronize", "ready_for_review", "converted_to_draft"):
            event = self.event("pull_request", altered("pull_request", action=action, before="a", after="b"))
            self.assertEqual(event["type"], f"github.pull_request.{action}")
        self.assert_none(self.handle("pull_request", altered("pull_request", action="locked")), "locked")

    def test_each_push_to_a_pull_request_is_a_fact(self):
        one = altered("pull_request", action="synchronize", before="a", after="b")
        self.assert_other_key("pull_request", one, {**one, "before": "b", "after": "c"})

    def test_reviewers_asked_in_the_same_second_are_two_facts(self):
        person = altered("pull_request", action="review_requested", requested_reviewer={"login": "ops"})
        team = altered("pull_request", action="review_requested", requested_team={"slug": "ops"})
        self.assertEqual(self.event("pull_request", person)["payload"]["reviewer"], "ops")
        self.assert_other_key("pull_request", person, team)

    def test_labels_set_in_the_same_second_are_two_facts(self):
        event = self.event("issues", WEBHOOKS["issues"])
        self.assertEqual((event["type"], event["payload"]["label"]), ("github.issues.labeled", "bug"))
        self.assert_other_key("issues", WEBHOOKS["issues"], altered("issues", label__name="urgent"))

    def test_issue_actions(self):
        for action in ("opened", "closed", "reopened", "assigned"):
            event = self.event("issues", altered("issues", action=action, assignee={"login": "A"}))
            self.assertEqual(event["type"], f"github.issues.{action}")
        self.assertEqual(event["payload"]["assignee"], "A")
        self.assert_none(self.handle("issues", altered("issues", action="pinned")), "pinned")

    def test_a_reopened_issue_can_be_closed_again(self):
        closed = altered("issues", action="closed")
        self.assert_other_key("issues", closed, altered("issues", action="closed", issue__updated_at="2026-01-01"))

    # Releases and runs

    def test_release(self):
        event = self.event("release", WEBHOOKS["release"])
        self.assertEqual((event["type"], event["payload"]["tag"]), ("github.release.published", "0.0.1"))
        self.assert_other_key("release", WEBHOOKS["release"], altered("release", release__published_at="2026-01-01"))
        self.assert_none(self.handle("release", altered("release", action="edited")), "edited")

    def test_workflow_run_is_told_when_it_fails(self):
        for conclusion in ("failure", "timed_out", "startup_failure"):
            event = self.event("workflow_run", altered("workflow_run", workflow_run__conclusion=conclusion))
            self.assertEqual(event["type"], "github.workflow_run.failed")
            self.assertEqual(event["payload"]["conclusion"], conclusion)
        for conclusion in ("success", "cancelled", "skipped", None, 7):
            body = altered("workflow_run", workflow_run__conclusion=conclusion)
            self.assert_none(self.handle("workflow_run", body), "no failure")
        failed = altered("workflow_run", workflow_run__conclusion="failure")
        self.assert_none(self.handle("workflow_run", {**failed, "action": "in_progress"}), "not completed")
        again = altered("workflow_run", workflow_run__conclusion="failure", workflow_run__run_attempt=2)
        self.assert_other_key("workflow_run", failed, again)

    def test_check_run_is_told_when_it_fails(self):
        event = self.event("check_run", WEBHOOKS["check_run"])
        self.assertEqual((event["type"], event["payload"]["check"]), ("github.check_run.failed", "Octocoders-linter"))
        self.assert_none(self.handle("check_run", altered("check_run", check_run__conclusion="neutral")), "no failure")
        later = altered("check_run", check_run__completed_at="2026-01-01")
        self.assert_other_key("check_run", WEBHOOKS["check_run"], later)

    def test_ping_says_that_the_hook_works(self):
        self.assert_none(self.handle("ping", WEBHOOKS["ping"]), "the hook works")
        self.assert_none(self.handle("ping", {"hook_id": 1, "organization": {}}), "the hook works")

    def test_other_types_are_ignored(self):
        self.assert_none(self.handle("star", {"raw": "x"}), "webhook.star")

    # Configuration

    def test_repositories(self):
        for allowed in (["codertocat/hello-world"], ["CoderToCat/*"], "a/b, Codertocat/Hello-World"):
            self.event("push", WEBHOOKS["push"], repositories=allowed)
        for allowed in (["Codertocat/Hello"], "a/b", ["[C]odertocat/Hello-World"]):
            self.assert_none(self.handle("push", WEBHOOKS["push"], repositories=allowed), "config.repositories")

    def test_branches(self):
        failed = altered("workflow_run", workflow_run__conclusion="failure")
        bodies = {"push": WEBHOOKS["push"], "pull_request": WEBHOOKS["pull_request"], "workflow_run": failed}
        for kind, body in {**bodies, "check_run": WEBHOOKS["check_run"]}.items():
            self.event(kind, body, branches=["ma*", "changes"])
            self.assert_none(self.handle(kind, body, branches=["Master", "x"]), "config.branches")
        self.event("push", WEBHOOKS["push_tag"], branches=["x"])
        self.event("release", WEBHOOKS["release"], branches=["x"])

    def test_wrong_configuration(self):
        for key in ("repositories", "branches"):
            for value in ([], " , ", 7, {"a": 1}, [7], True):
                response = respond(request("health", {key: value}))
                self.assert_final(response, f"config.{key} must")
        self.assert_final(self.run_plugin("health", {"branch": "main"}), "config.branch ", "branches")
        self.assert_ok(self.run_plugin("health", {"branches": "main", "repositories": None}))

    # What is broken

    def test_form_encoded_hook(self):
        for body in ({"raw": "payload=%7B%7D"}, {"raw_base64": "/w=="}):
            for kind in ("push", "ping"):
                self.assert_final(self.handle(kind, body), "Content type", "application/json")

    def test_endpoint_without_event_header(self):
        event = {"type": "webhook", "payload": WEBHOOKS["push"]}
        self.assert_final(self.run_plugin("handle", {}, event), "event_header: X-GitHub-Event")

    def test_payload_that_is_no_object(self):
        for payload in (None, [], "text", 7, 1.5, True):
            self.assert_final(self.handle("push", payload), "webhook.push", "not an object")

    def test_missing_field_is_named(self):
        self.assert_final(self.handle("push", altered("push", after=...)), "payload.after")
        self.assert_final(self.handle("issues", altered("issues", issue__number="1")), "payload.issue.number")
        self.assert_final(self.handle("issues", altered("issues", issue__number=True)), "payload.issue.number")
        self.assert_final(self.handle("push", {}), "payload.repository.full_name")

    def test_half_surrogates_and_long_names(self):
        label = "\ud800" + "x" * 3000
        event = self.event("issues", altered("issues", label__name=label, issue__title="a\udfff"))
        event["payload"]["title"].encode()
        self.assertLessEqual(len(event["dedupe_key"].encode()), 1024)
        one, other = (altered("issues", label__name="x" * length) for length in (900, 901))
        self.assert_other_key("issues", one, other)

    def test_what_python_cannot_read(self):
        whole = json.dumps(request("handle", {}, {"type": "webhook.push", "payload": 7}))
        for value in ("[" * 200_000 + "]" * 200_000, "9" * 5000):
            response = self.checked(spawn("github", whole.replace(": 7}", f": {value}}}")))
            self.assert_final(response)

    def test_any_field_of_any_type(self):
        """Each field of each webhook in turn missing or of another type: an answer, and never a traceback."""
        answers = set()
        for name, body in WEBHOOKS.items():
            kind = name.partition("_")[0] if name.startswith("push") else name
            if name == "workflow_run":
                body = altered(name, workflow_run__conclusion="failure")
            for path in paths_of(body):
                for value in ODD_VALUES:
                    event = {"type": f"webhook.{kind}", "payload": replaced(body, path, value)}
                    asked = request("handle", {}, event)
                    response = respond(asked)
                    schemas.check("github", asked, response, 0)
                    for event in response.get("events", []):
                        event.get("dedupe_key", "").encode()
                    if response["status"] == "error":
                        self.assertIs(response["retry"], False)
                    answers.add((response["status"], len(response.get("events", []))))
        self.assertEqual(answers, {("ok", 0), ("ok", 1), ("error", 0)})

    def test_entrypoint_runs_by_itself(self):
        done = spawn("github", json.dumps(request("health", {})), program=[ROOT / "plugins/github/run.py"])
        self.assertEqual(self.checked(done), {"status": "ok"})
        self.assertFalse((ROOT / "plugins/github/__pycache__").exists())

    def test_unknown_command(self):
        self.assert_final(self.run_plugin("poll", {}), "poll")


def paths_of(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths_of(item, (*path, key))


def replaced(body, path, value):
    body = copy.deepcopy(body)
    at = body
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return body


if __name__ == "__main__":
    unittest.main()
