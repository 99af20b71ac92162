"""The cookbook in plugins/README.md: each recipe, just as it is written, with the real daemon and stand-ins for the servers."""

import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest
import urllib.request

import dovecot
from support import FIXTURES, PATIENCE, ROOT, HttpServer

DUCTILE = pathlib.Path(os.environ.get("DUCTILE") or pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug" / "ductile").absolute()
COOKBOOK = (ROOT / "plugins" / "README.md").read_text().partition("\n## Cookbook\n")[2]
RECIPES = dict(re.findall(r"^### (.*?)\n.*?^```yaml\n(.*?)^```", COOKBOOK, re.MULTILINE | re.DOTALL))
FEED = "<rss><channel><title>News</title>%s</channel></rss>"
ITEM = "<item><guid>%d</guid><title>Item %d</title><link>http://example.com/%d</link></item>"


def needed(*programs):
    return unittest.skipIf(missing := [program for program in programs if shutil.which(program) is None], f"no {' and no '.join(missing)}")


@unittest.skipUnless(DUCTILE.is_file(), f"no {DUCTILE}: cargo build, or name it by DUCTILE")
class Cookbook(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, recipe, **variables):
        """The daemon, with that recipe and these variables."""
        (self.folder / "config.yaml").write_text(RECIPES[recipe])
        (self.folder / "plugins").symlink_to(ROOT / "plugins")
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", **{name: str(value) for name, value in variables.items()}}
        self.ductile("check")
        with open(self.folder / "log", "wb") as log:
            daemon = subprocess.Popen([DUCTILE, "start"], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(self.stop, daemon)
        self.until(lambda: daemon.poll() is not None or self.status()["holder_pid"] == daemon.pid)

    def stop(self, daemon):
        daemon.send_signal(signal.SIGTERM)
        try:
            self.assertEqual(daemon.wait(PATIENCE), 0, self.log())
        finally:
            daemon.kill()

    def log(self):
        return (self.folder / "log").read_text()

    def ductile(self, *arguments, code=0):
        done = subprocess.run([DUCTILE, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        return done.stdout

    def status(self):
        done = subprocess.run([DUCTILE, "status", "--json"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=PATIENCE)
        return json.loads(done.stdout) if done.returncode == 0 else {"holder_pid": None}

    def attempts(self, plugin):
        return json.loads(self.ductile("logs", plugin, "--json"))

    def polled(self, plugin):
        """Waits for the first poll, which the schedule asks for."""
        self.until(lambda: [attempt for attempt in self.attempts(plugin) if attempt["status"] == "succeeded"])

    def settled(self):
        self.until(lambda: self.ductile("queue", "--json").strip() == "[]")

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.log())
            time.sleep(0.02)

    def server(self, *arguments, **options):
        server = HttpServer(*arguments, **options)
        self.addCleanup(server.__exit__)
        return server

    def test_every_recipe_has_a_test(self):
        self.assertEqual(list(RECIPES), ["CI failure to notification", "Feed to chat", "Folder to git commit", "Withings to CSV",
                                         "Mail to webhook", "Nightly backup"])

    def test_ci_failure_to_notification(self):
        ntfy = self.server()
        self.start("CI failure to notification", WEBHOOK_LISTEN="127.0.0.1:0", GITHUB_WEBHOOK_SECRET="secret", NTFY_URL=ntfy.url, NTFY_TOPIC="mine")
        listen = re.search(r"^webhooks *(http://\S+)", self.ductile("status"), re.MULTILINE)[1]
        failed = json.loads((FIXTURES / "github.json").read_text())["workflow_run"]
        failed["action"], failed["workflow_run"]["conclusion"] = "completed", "failure"
        passed = json.loads(json.dumps(failed))
        passed["workflow_run"]["conclusion"] = "success"
        for delivery, body in (("1", failed), ("2", passed)):
            data = json.dumps(body).encode()
            signature = hmac.new(b"secret", data, hashlib.sha256).hexdigest()
            headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": "workflow_run", "X-GitHub-Delivery": delivery}
            with urllib.request.urlopen(urllib.request.Request(f"{listen}/hooks/github", data, headers), timeout=PATIENCE) as answer:
                self.assertEqual(answer.status, 202)
        self.until(lambda: len(self.attempts("github")) == 2)
        self.settled()
        self.assertEqual(len(ntfy.requests), 1)
        self.assertIn(failed["repository"]["full_name"], json.dumps(ntfy.body()))

    def test_feed_to_chat(self):
        numbers = [1]

        def feed(handler):
            body = (FEED % "".join(ITEM % (number, number, number) for number in reversed(numbers))).encode()
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        slack = self.server()
        self.start("Feed to chat", FEED_URL=self.server(feed).url, SLACK_WEBHOOK_URL=f"{slack.url}/services/x")
        self.polled("http_poll")
        numbers += [2, 3]
        self.ductile("run", "http_poll")
        self.ductile("run", "http_poll")
        self.settled()
        said = [json.loads(body)["text"] for _, _, _, body in slack.requests]
        self.assertEqual([re.search(r"Item \d", text)[0] for text in said], ["Item 2", "Item 3"])

    @needed("git")
    def test_folder_to_git_commit(self):
        notes = self.folder / "notes"
        notes.mkdir()
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}

        def git(*arguments):
            return subprocess.run(["git", *arguments], cwd=notes, env=self.env, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

        git("init", "--quiet")
        self.start("Folder to git commit", NOTES_DIR=notes)
        self.polled("notes")
        for name in ("a.md", "b.md"):
            (notes / name).write_text("x")
            os.utime(notes / name, (1_700_000_000, 1_700_000_000))
        self.ductile("run", "notes")
        self.settled()
        self.assertEqual(git("log", "--format=%an", "--name-only").split(), ["notes", "a.md", "b.md"])
        (notes / "a.md").unlink()
        self.ductile("run", "notes")
        self.settled()
        self.assertEqual(git("log", "--format=%an", "--name-status", "-1").split(), ["notes", "D", "a.md"])
        self.assertEqual({attempt["status"] for attempt in self.attempts("commit")}, {"succeeded"})

    @unittest.skipUnless((ROOT / "plugins" / "withings").is_dir(), "no plugins/withings")
    def test_withings_to_csv(self):
        from test_withings import Withings

        withings = Withings()
        self.addCleanup(withings.__exit__)
        file = self.folder / "weights.csv"
        self.start("Withings to CSV", WITHINGS_CLIENT_ID="me", WITHINGS_SECRET="very-secret", WITHINGS_REFRESH_TOKEN="first-refresh-token",
                   WITHINGS_URL=withings.url, CSV_FILE=file)
        self.polled("withings")
        self.ductile("run", "withings")
        withings.weight(7)
        self.ductile("run", "withings")
        self.ductile("run", "withings")
        self.settled()
        self.assertEqual(file.read_text(), "2026-01-01T00:00:00.000Z,7,72.345\n")

    @unittest.skipIf(dovecot.missing(), dovecot.missing())
    @needed("curl")
    def test_mail_to_webhook(self):
        mail, target = dovecot.Dovecot(), self.server()
        self.addCleanup(mail.remove)
        self.start("Mail to webhook", IMAP_HOST="127.0.0.1", IMAP_PORT=mail.tls_port, IMAP_USER=mail.user, IMAP_PASSWORD=dovecot.PASSWORD,
                   IMAP_CA_FILE=mail.certificate.file, TARGET_URL=f"{target.url}/in")
        self.polled("email_in")
        mail.deliver(b"From: Ann <ann@example.com>\r\nSubject: Hi\r\n\r\nHello\r\n")
        self.ductile("run", "email_in")
        self.ductile("run", "email_in")
        self.settled()
        ((method, path, headers, body),) = target.requests
        event = json.loads(body)
        self.assertEqual((method, path, headers["Content-Type"], headers["Idempotency-Key"]), ("POST", "/in", "application/json", event["event_id"]))
        self.assertEqual((event["payload"]["subject"], event["payload"]["from_address"]), ("Hi", "ann@example.com"))

    @needed("tar")
    def test_nightly_backup_and_a_call_for_help(self):
        ntfy = self.server()
        source, target = self.folder / "from", self.folder / "to"
        for folder in (source, target):
            folder.mkdir()
        (source / "file").write_text("content")
        old = target / "backup-2020-01-01.tar.gz"
        old.write_text("")
        os.utime(old, (1_600_000_000, 1_600_000_000))
        self.start("Nightly backup", BACKUP_FROM=source, BACKUP_TO=target, NTFY_URL=ntfy.url, NTFY_TOPIC="mine")
        self.ductile("run", "backup")
        (archive,) = target.iterdir()
        with tarfile.open(archive) as packed:
            self.assertEqual(packed.extractfile("./file").read(), b"content")
        self.assertEqual(ntfy.requests, [])
        shutil.rmtree(target)
        self.ductile("run", "backup", code=1)
        self.until(lambda: ntfy.requests)
        said = json.dumps(ntfy.body(), ensure_ascii=False)
        self.assertIn("job.dead: backup poll", said)
        self.assertIn("exit code", said)


if __name__ == "__main__":
    unittest.main()
