"""plugins/git_sync against real repositories, by path and by HTTP: nothing missed, nothing twice."""

import base64
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

from connector import Connector
from support import PATIENCE, HttpServer, closed_port

ENVIRONMENT = {
    "PATH": os.environ["PATH"], "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com", "GIT_AUTHOR_DATE": "1767225600 +0100",
    "GIT_COMMITTER_NAME": "Bob", "GIT_COMMITTER_EMAIL": "bob@example.com", "GIT_COMMITTER_DATE": "1767225600 +0000",
}
SECRET = "very-secret-token"


class GitSync(Connector):
    plugin = "git_sync"

    def setUp(self):
        super().setUp()
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.remote = f"{self.folder}/remote.git"
        self.mirror = f"{self.folder}/deep/mirror.git"
        self.run_git("init", "--quiet", "--bare", "--initial-branch=main", self.remote, at=None)
        self.config = {"url": self.remote, "path": self.mirror}
        self.made = 0
        self.password = None

    @property
    def program(self):
        # The user's own settings of git are not part of the tests.
        password = [] if self.password is None else [f"GIT_SYNC_PASSWORD={self.password}"]
        return (("env", f"HOME={self.folder}", "GIT_CONFIG_NOSYSTEM=1", *password, sys.executable, "-S", "run.py"),)

    def run_git(self, *arguments, at="", data=b""):
        place = () if at is None else ("--git-dir", at or self.remote)
        done = subprocess.run(("git", *place, *arguments), env=ENVIRONMENT, input=data, capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, *titles, branch="main", parent="", encoding=None):
        """Adds commits with these messages to the branch, or to `parent`."""
        for title in titles:
            self.made += 1
            message = title if isinstance(title, bytes) else title.encode()
            begin = f"from {parent}\n" if parent else f"from refs/heads/{branch}^0\n" if self.at(branch) else ""
            if parent:
                self.run_git("update-ref", f"refs/heads/{branch}", parent)
            head = f"commit refs/heads/{branch}\nauthor Ann <ann@example.com> 1767225600 +0100\n" \
                   f"committer Bob <bob@example.com> {1767225600 + self.made} +0000\n"
            head += f"encoding {encoding}\n" if encoding else ""
            self.run_git("fast-import", "--quiet", "--force",
                         data=head.encode() + b"data %d\n%s\n%s" % (len(message), message, begin.encode()))
            parent = ""
        return self.at(branch)

    def at(self, branch):
        return self.run_git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def many(self, count):
        pieces = [b"commit refs/heads/main\ncommitter Bob <b@example.com> %d +0000\ndata 5\nc%04d\n%s" % (
            1767225600 + number, number, b"from refs/heads/main^0\n" if number == 0 and self.at("main") else b"") for number in range(count)]
        self.run_git("fast-import", "--quiet", data=b"".join(pieces))

    def merge(self, side):
        """Merges it into main."""
        tree = self.run_git("rev-parse", "main^{tree}")
        self.run_git("update-ref", "refs/heads/main", self.run_git("commit-tree", tree, "-p", "main", "-p", side, "-m", "merge"))

    def content(self, title, text):
        """Adds a commit with this file to main."""
        data = f"commit refs/heads/main\ncommitter Bob <bob@example.com> 1767225600 +0000\ndata {len(title)}\n{title}\n"
        data += "from refs/heads/main^0\n" if self.at("main") else ""
        self.run_git("fast-import", "--quiet", data=f"{data}M 100644 inline file\ndata {len(text)}\n{text}\n".encode())

    def titles(self, **config):
        return [event["payload"]["title"] for event in self.events(**config)]

    def test_new_commits_once(self):
        self.commit("one", "two")
        self.assertEqual(self.titles(), [])
        self.assertEqual(self.titles(), [])
        parent = self.at("main")
        sha = self.commit("three\n\nwith a body\nof two lines\n")
        (event,) = self.events()
        self.assertEqual((event["type"], event["dedupe_key"].rpartition(":")[2]), ("git.commit", sha))
        self.assertEqual(event["payload"], {
            "title": "three", "text": "with a body\nof two lines", "commit": sha, "parents": [parent], "repository": self.remote,
            "branch": "main", "author": {"name": "Ann", "email": "ann@example.com", "date": "2026-01-01T01:00:00+01:00"},
            "committer": {"name": "Bob", "email": "bob@example.com", "date": self.run_git("show", "-s", "--format=%cI", sha)}, "rewritten": False,
        })
        self.assertEqual(self.titles(), [])
        self.assertIn("main is at", self.asked("health")["result"])

    def test_a_repeated_attempt_gives_the_same_events(self):
        self.commit("one")
        self.poll()
        self.commit("two", "three")
        before = dict(self.state)
        first = self.events()
        self.state = before
        self.assertEqual(self.events(), first)
        self.assertEqual(len(first), 2)

    def test_existing_commits_if_asked_for(self):
        self.commit("one", "two")
        self.assertEqual(self.titles(emit_existing=True), ["one", "two"])
        self.assertEqual(self.titles(emit_existing=True), [])

    def test_an_empty_repository_is_a_first_poll(self):
        self.assertIn("no commits", self.poll()["result"])
        self.assertIn("no commits", self.asked("health")["result"])
        self.commit("one")
        self.assertEqual(self.titles(), ["one"])

    def test_more_than_a_thousand_while_more_come(self):
        self.commit("first")
        self.poll()
        self.many(2500)
        found = self.titles()
        self.assertEqual(len(found), 1000)
        self.commit("later")
        # The mirror is lost, and the old attempt comes again.
        shutil.rmtree(self.mirror)
        before = dict(self.state)
        again = self.titles()
        self.state = before
        self.assertEqual(self.titles(), again)
        found += again
        found += self.titles()
        self.assertEqual(found, [f"c{number:04}" for number in range(2500)])
        self.assertEqual(self.titles(), ["later"])
        self.assertEqual(self.titles(), [])

    def test_a_merge_brings_its_commits_parents_first(self):
        self.commit("base")
        self.poll()
        side = self.commit("side 1", "side 2", branch="side", parent=self.at("main"))
        self.commit("main 1")
        self.merge(side)
        events = self.events()
        self.assertEqual(sorted(event["payload"]["title"] for event in events), ["main 1", "merge", "side 1", "side 2"])
        seen = [event["payload"]["commit"] for event in events]
        for event in events:
            for parent in event["payload"]["parents"]:
                if parent in seen:
                    self.assertLess(seen.index(parent), seen.index(event["payload"]["commit"]))

    def test_a_forced_push_says_so(self):
        base = self.commit("one")
        old = self.commit("two", "three")
        self.poll()
        new = self.commit("two, better", parent=base)
        (rewritten, commit) = self.events()
        self.assertEqual((rewritten["type"], commit["payload"]["title"], commit["payload"]["rewritten"]), ("git.rewritten", "two, better", True))
        self.assertEqual({**rewritten["payload"], "title": None, "repository": None}, {
            "title": None, "repository": None, "branch": "main", "old": old, "new": new, "base": base, "dropped": 2})
        self.assertEqual(self.titles(), [])
        # There and back again: another event each time.
        keys = {rewritten["dedupe_key"]}
        for target in (old, new, old):
            self.run_git("update-ref", "refs/heads/main", target)
            events = self.events()
            self.assertEqual(events[0]["type"], "git.rewritten")
            keys.add(events[0]["dedupe_key"])
        self.assertEqual(len(keys), 4)
        self.run_git("update-ref", "refs/heads/main", base)
        (event,) = self.events()
        self.assertEqual((event["payload"]["dropped"], event["payload"]["base"]), (2, base))

    def test_a_history_that_has_nothing_in_common(self):
        self.commit("one")
        self.poll()
        self.run_git("update-ref", "-d", "refs/heads/main")
        self.commit("other")
        rewritten, commit = self.events()
        self.assertEqual((rewritten["payload"]["base"], rewritten["payload"]["dropped"], commit["payload"]["title"]), (None, 1, "other"))

    def test_a_forced_push_after_which_the_old_commit_is_nowhere(self):
        self.commit("one")
        self.poll()
        self.run_git("update-ref", "-d", "refs/heads/main")
        self.commit("other")
        self.run_git("reflog", "expire", "--expire=now", "--all")
        self.run_git("prune", "--expire=now")
        self.run_git("gc", "--quiet", "--prune=now")
        shutil.rmtree(self.mirror)
        (event,) = self.events()
        self.assertEqual((event["type"], event["payload"]["dropped"]), ("git.rewritten", None))
        self.assertEqual(self.titles(), [])
        self.commit("next")
        self.assertEqual(self.titles(), ["next"])

    def test_what_was_left_to_emit_is_nowhere(self):
        self.commit("one")
        self.poll()
        self.many(1200)
        self.assertEqual(len(self.titles()), 1000)
        self.run_git("update-ref", "-d", "refs/heads/main")
        self.commit("other")
        self.run_git("gc", "--quiet", "--prune=now")
        shutil.rmtree(self.mirror)
        response = self.poll()
        self.assertEqual([event["type"] for event in response["events"]], ["git.rewritten"])
        self.assertIn("is gone from the repository", response["logs"][0]["message"])
        self.commit("next")
        self.assertEqual(self.titles(), ["next"])

    def test_depth_limits_the_first_fetch_only(self):
        self.many(20)
        config = {"url": f"file://{self.remote}", "depth": 2}
        self.assertEqual(self.titles(emit_existing=True, **config), ["c0018", "c0019"])
        self.commit("a", "b", "c", "d", "e")
        self.assertEqual(self.titles(**config), ["a", "b", "c", "d", "e"])
        self.assertLess(int(self.run_git("rev-list", "--count", "refs/ductile/branch", at=self.mirror)), 10)
        # Without the mirror the old commit is deeper than what is fetched.
        shutil.rmtree(self.mirror)
        self.commit("f", "g", "h")
        self.assertEqual(self.titles(**config), ["f", "g", "h"])

    def test_depth_and_a_merge_of_a_branch_from_before(self):
        self.many(20)
        config = {"url": f"file://{self.remote}", "depth": 1}
        self.poll(**config)
        self.merge(self.commit("side", branch="side", parent=self.run_git("rev-parse", "main~5")))
        self.assertEqual(self.titles(**config), ["side", "merge"])
        self.merge(self.commit("side 2", branch="side", parent=self.run_git("rev-parse", "main~7")))
        self.assertEqual(self.titles(**config), ["side 2", "merge"])

    def test_depth_and_a_forced_push(self):
        self.many(20)
        config = {"url": f"file://{self.remote}", "depth": 1}
        self.poll(**config)
        base = self.run_git("rev-parse", "main~2")
        self.commit("better", parent=base)
        rewritten, commit = self.events(**config)
        self.assertEqual((rewritten["payload"]["base"], rewritten["payload"]["dropped"], commit["payload"]["title"]), (base, 2, "better"))

    def test_depth_and_a_branch_that_goes_back(self):
        self.many(20)
        config = {"url": f"file://{self.remote}", "depth": 1}
        self.poll(**config)
        self.run_git("update-ref", "refs/heads/main", "main~3")
        (event,) = self.events(**config)
        self.assertEqual((event["type"], event["payload"]["dropped"], event["payload"]["base"]), ("git.rewritten", 3, self.at("main")))

    def test_a_named_branch(self):
        self.commit("one")
        self.commit("x", branch="topic/a", parent=self.at("main"))
        self.poll(branch="topic/a")
        self.commit("two")
        self.commit("y", branch="topic/a")
        self.assertEqual(self.titles(branch="topic/a"), ["y"])
        self.assert_final(self.asked("poll", branch="gone"), "no branch 'gone'")
        self.run_git("update-ref", "-d", "refs/heads/topic/a")
        self.assert_final(self.asked("poll", branch="topic/a"), "no branch")
        # As a first poll: it is another branch.
        self.assertEqual(self.titles(branch="main"), [])

    def test_a_head_that_names_no_branch(self):
        sha = self.commit("one")
        pathlib.Path(self.remote, "HEAD").write_text(f"{sha}\n")
        for command in ("poll", "health"):
            self.assert_final(self.asked(command), "HEAD names no branch", "config.branch")
        self.poll(branch="main")

    def test_odd_messages(self):
        self.commit("one")
        self.poll()
        self.commit("", "\u00fc \u65e5\u672c", b"\xff\xfe", b"caf\xe9", "x" * 50_000 + "\n\n" + "y" * 50_000, "\n\nlate", "a\x1eb\x01c")
        events = self.events()
        titles = [event["payload"]["title"] for event in events]
        self.assertEqual(titles[:2] + titles[5:], ["", "\u00fc \u65e5\u672c", "late", "a\x1eb\x01c"])
        self.assertEqual((len(titles[4]), len(events[4]["payload"]["text"])), (1000, 10_000))
        self.commit(b"caf\xe9", encoding="ISO-8859-1")
        self.assertEqual(self.titles(), ["caf\u00e9"])

    def test_more_bytes_than_a_response_may_have(self):
        self.commit("first")
        self.poll()
        pieces = [b"commit refs/heads/main\ncommitter Bob <b@example.com> %d +0000\ndata 30013\nc%05d\n\n%s%s" % (
            1767225600 + n, n, b"\xe6\x97\xa5" * 10_000 + b"zzzzz\n", b"from refs/heads/main^0\n" if n == 0 else b"") for n in range(400)]
        self.run_git("fast-import", "--quiet", data=b"".join(pieces))
        found = []
        for _ in range(5):
            found += self.titles()
            self.assertLess(len(self.stdout), 10_000_000)
        self.assertEqual(found, [f"c{number:05}" for number in range(400)])

    def test_what_a_killed_git_leaves(self):
        self.commit("one")
        self.poll()
        self.commit("two")
        for name in ("shallow.lock", "config.lock", "packed-refs.lock", "refs/ductile/branch.lock", "objects/pack/tmp_pack_x"):
            path = os.path.join(self.mirror, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").close()
        self.assertEqual(self.titles(), ["two"])
        self.assertFalse(os.path.exists(f"{self.mirror}/objects/pack/tmp_pack_x"))
        # Killed while it was made: only the lock file is there.
        shutil.rmtree(self.mirror)
        os.mkdir(self.mirror)
        open(f"{self.mirror}/ductile.lock", "w").close()
        self.commit("three")
        self.assertEqual(self.titles(), ["three"])

    def test_a_damaged_mirror_is_fetched_anew(self):
        text = "".join(f"line {number}\n" for number in range(1000))
        self.content("one", text)
        self.poll()

        def blank(name):
            path = os.path.join(self.mirror, name)
            self.assertTrue(os.path.isfile(path))
            # git makes its objects read-only.
            os.unlink(path)
            open(path, "w").close()

        def stored(revision):
            sha = self.run_git("rev-parse", revision)
            return f"objects/{sha[:2]}/{sha[2:]}"

        for number, damaged in enumerate(("HEAD", "refs/ductile/branch", "main:file")):
            with self.subTest(damaged=damaged):
                name = stored(damaged) if damaged.startswith("main") else damaged
                text += f"and {number}\n"
                self.content(f"new {number}", text)
                blank(name)
                response = self.poll()
                self.assertEqual([event["payload"]["title"] for event in response["events"]], [f"new {number}"])
                self.assertIn("was damaged", response["logs"][0]["message"])
                self.assertEqual(self.titles(), [])

    def test_a_mirror_is_not_given_up_for_what_the_remote_has(self):
        self.commit("one")
        self.poll()
        self.commit("two")
        kept = os.stat(f"{self.mirror}/HEAD").st_ino
        sha = self.at("main")
        path = f"{self.remote}/objects/{sha[:2]}/{sha[2:]}"
        data = pathlib.Path(path).read_bytes()
        os.unlink(path)
        pathlib.Path(path).touch()
        self.assert_retried(self.asked("poll"), "git fetch")
        self.assertEqual(os.stat(f"{self.mirror}/HEAD").st_ino, kept)
        pathlib.Path(path).write_bytes(data)
        self.assertEqual(self.titles(), ["two"])

    def test_a_folder_of_somebody_else(self):
        self.commit("one")
        os.makedirs(self.mirror)
        open(f"{self.mirror}/precious", "w").close()
        self.assert_misconfigured(self.asked("poll"), "config.path", "not made by this plugin")
        self.assertEqual(os.listdir(self.mirror), ["precious"])

    def test_no_repository_and_nobody_there(self):
        self.assert_final(self.asked("poll", url=f"{self.folder}/nothing"), "does not")
        self.assert_retried(self.asked("poll", url=f"http://127.0.0.1:{closed_port()}/x.git"), "git ls-remote", "127.0.0.1")
        self.assertEqual(self.state, {})

    def test_hooks_and_other_programs_are_not_run(self):
        self.commit("one")
        self.poll()
        self.assertFalse(os.path.exists(f"{self.mirror}/hooks"))
        for url in (f"ext::touch {self.folder}/owned", "-upload-pack=x", "fd::7"):
            self.assert_misconfigured(self.asked("poll", url=url), "config.url")
        self.assertFalse(os.path.exists(f"{self.folder}/owned"))

    def test_wrong_configuration(self):
        self.assert_each_misconfigured({
            "url": (..., 7, "", "relative", "https://user:password@example.com/x", "https://user@example.com/x"),
            "path": (..., "relative", "/", "//", "/./.."), "branch": ("a..b", "-x", "a b", "x/", "a.lock", "refs/heads/*"),
            "depth": (0, "x", 1.5), "emit_existing": ("yes",), "timeout": (0,), "pth": ("x",),
        })

    # HTTP

    def serve(self, answer):
        server = HttpServer(answer)
        self.addCleanup(server.__exit__)
        self.config["url"] = f"{server.url}/remote.git"
        return server

    def files(self, handler):
        """The repository as git's plain ("dumb") HTTP has it: its files."""
        name = handler.path.partition("?")[0].removeprefix("/remote.git/")
        path = os.path.join(self.remote, name)
        body = pathlib.Path(path).read_bytes() if os.path.isfile(path) else None
        handler.send_response(404 if body is None else 200)
        handler.send_header("Content-Length", str(len(body or b"")))
        handler.end_headers()
        handler.wfile.write(body or b"")

    def test_over_http_with_credentials(self):
        self.commit("one")
        wanted = "Basic " + base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()

        def answer(handler):
            if handler.headers.get("Authorization") == wanted:
                self.files(handler)
                return
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="x"')
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self.serve(answer)
        self.run_git("update-server-info")
        self.assert_final(self.asked("poll"), "could not read")
        self.password = "wrong" + SECRET
        self.assert_final(self.asked("poll"), "Authentication failed")
        self.assertNotIn(SECRET, self.stdout)
        self.password = SECRET
        self.poll()
        self.commit("two")
        self.run_git("update-server-info")
        self.assertEqual(self.titles(), ["two"])
        self.assertNotIn(SECRET, self.stdout)
        for folder, _, names in os.walk(self.mirror):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertNotIn(SECRET.encode(), file.read())

    def test_credentials_are_for_their_server_only(self):
        def challenge(handler):
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="x"')
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with HttpServer(challenge) as other:
            def redirect(handler):
                handler.send_response(302)
                handler.send_header("Location", f"{other.url}{handler.path}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            self.serve(redirect)
            self.password = SECRET
            self.assert_final(self.asked("poll"))
            self.assertTrue(other.requests)
            for _, _, headers, _ in other.requests:
                self.assertNotIn("Authorization", headers)

    def test_busy_and_broken_servers(self):
        for status, headers in ((429, [("Retry-After", "60")]), (500, []), (503, [])):
            with HttpServer(status, b"", headers) as server:
                self.assert_retried(self.asked("poll", url=f"{server.url}/x.git"), str(status))
        with HttpServer(200, b"no git at all", [("Content-Type", "application/x-git-upload-pack-advertisement")]) as server:
            self.assertEqual(self.asked("poll", url=f"{server.url}/x.git")["status"], "error")
        for status, said in ((403, "403"), (404, "not found")):
            with HttpServer(status, b"") as server:
                self.assert_final(self.asked("poll", url=f"{server.url}/x.git"), said)

    def test_a_slow_server(self):
        release = threading.Event()
        with HttpServer(lambda handler: release.wait(PATIENCE)) as server:
            try:
                self.assert_retried(self.asked("poll", url=f"{server.url}/x.git", timeout=1), "longer than 1 s")
            finally:
                release.set()


if __name__ == "__main__":
    unittest.main()
