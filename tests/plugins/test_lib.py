"""plugins/lib: the helpers for Python, Ruby and shell answer alike. The shell's with each shell and awk of this machine."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from support import FIXTURES, PATIENCE, ROOT, loaded, request

TEXT = loaded("lib", "ductile_text")

TEXTS = ("", "plain", 'q"u\\o\\"te', "l\nf\ttab\r\b\f\x01\x1f\x7f", "ü€😀\uffff", "\\u0041 \\", "{[,:]}", "-n", "%s $HOME `id`")
NUMBERS = ("0", "-1", "9223372036854775807", "123456789012345678901234567890")


def every(*commands):
    """Those of the commands that are there."""
    return [command for command in commands if shutil.which(command.split()[0])]


class Lib:
    """What holds in each language. `program` is the fixture with its interpreter."""

    name = None
    interpreter = None

    @classmethod
    def setUpClass(cls):
        if not shutil.which(cls.interpreter.split()[0]):
            raise unittest.SkipTest(f"no {cls.interpreter.split()[0]}")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        root = pathlib.Path(cls.folder.name)
        shutil.copytree(ROOT / "plugins/lib", root / "plugins/lib", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "plugins/under test").mkdir()
        shutil.copy(FIXTURES / "lib" / cls.name, root / "plugins/under test")
        (root / "bin").mkdir()
        cls.root = root

    def spawn(self, stdin):
        # In an empty folder for temporary files, of which nothing may be left.
        with tempfile.TemporaryDirectory(dir=self.root) as temporary:
            done = subprocess.run(
                [*self.interpreter.split(), f"./{self.name}"],
                cwd=self.root / "plugins/under test",
                input=stdin.encode(),
                env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "LC_ALL": "C", "TMPDIR": temporary},
                capture_output=True,
                timeout=PATIENCE,
            )
            self.assertEqual(os.listdir(temporary), [])
        return done

    def asked(self, code=0, command="poll", protocol=2, state=None, event=None, **config):
        """The response to a request, and what stands on stderr."""
        asked = {**request(command, config, event), "protocol": protocol, "state": state or {}}
        done = self.spawn(json.dumps(asked))
        self.assertEqual(done.returncode, code, done.stderr)
        # Exactly one object, on one line.
        self.assertEqual(done.stdout.count(b"\n"), 1, done.stdout)
        return json.loads(done.stdout), done.stderr.decode()

    def test_success(self):
        text = [*TEXTS, None, True, 1.5, ["a", {"b": []}]]
        response, _ = self.asked(text=text, state={"count": 3})
        events = [
            {"type": "plain", "payload": {}},
            {"type": "keyed", "payload": {"text": text}, "dedupe_key": "k\n1"},
        ]
        self.assertEqual(
            response,
            {
                "status": "ok",
                "result": "done ü",
                "events": events,
                "state_updates": {"count": 3, "gone": None},
                "logs": [{"level": "debug", "message": "began"}],
            },
        )

    def test_numbers_are_exact(self):
        for number in NUMBERS:
            response, _ = self.asked(state={"count": int(number)})
            self.assertEqual(response["state_updates"]["count"], int(number))

    def test_events(self):
        for text in ("-n", "".join(TEXTS)):
            with self.subTest(text=text):
                event = {"type": text, "payload": {"text": text, "list": [0, {"x": text}]}}
                response, _ = self.asked(command="handle", event=event)
                self.assertEqual(response["result"], text)
                self.assertEqual(response["logs"], [{"level": "info", "message": f"{text} {text}"}])

    def test_failures(self):
        for task, code, expected in (
            ("fail", 0, {"error": 'not "now"'}),
            ("refuse", 0, {"error": "never", "retry": False}),
            ("misconfigured", 78, {"error": "config.task is wrong", "retry": False}),
        ):
            response, _ = self.asked(code, task=task)
            logs = [{"level": "debug", "message": "began"}]
            self.assertEqual(response, {"status": "error", **expected, "logs": logs})

    def test_faults_of_the_plugin(self):
        for task, code, words in self.faults:
            with self.subTest(task=task):
                response, _ = self.asked(code, task=task)
                self.assertEqual(response["status"], "error")
                self.assertNotIn("retry", response)
                self.assertIn(words, response["error"])
                self.assertEqual(response["logs"][0]["message"], "began")

    def test_stray_prints_do_not_reach_stdout(self):
        response, stderr = self.asked(task="noise")
        self.assertEqual(response["status"], "ok")
        self.assertIn("printed", stderr)
        self.assertIn("child", stderr)

    def test_protocol_2_requires_a_result(self):
        response, _ = self.asked(self.silent_code, task="silent")
        self.assertIn("protocol 2 requires", response["error"])
        response, _ = self.asked(task="silent", protocol=1)
        self.assertEqual(response["status"], "ok")
        self.assertNotIn("result", response)

    def test_unknown_command(self):
        response, _ = self.asked(command="dance")
        self.assertEqual((response["status"], response["retry"]), ("error", False))
        self.assertIn("unknown command", response["error"])
        self.assertIn("dance", response["error"])

    def test_what_is_no_request(self):
        for text in ("", "{}", '{"command": null}'):
            done = self.spawn(text)
            response = json.loads(done.stdout)
            self.assertEqual((done.returncode, response["status"], response["retry"]), (0, "error", False), text)
            self.assertIn("request", response["error"])


class InProgram(Lib):
    """What the two of them can do that have exceptions."""

    silent_code = 1

    def test_secrets_are_hidden(self):
        response, stderr = self.asked(1, task="hide")
        self.assertEqual(response["error"], f"{self.value_error}: ***")
        self.assertEqual([entry["message"] for entry in response["logs"]], ["began", "***"])
        self.assertIn("***", stderr)
        # It is a word of the source, too, which Python's traceback shows.
        self.assertNotIn("s3cret", stderr)

    def test_an_unreadable_request_is_not_shown(self):
        done = self.spawn('{"command": "poll", "config": {"token": "s3cret"}, oops')
        self.assertEqual(done.returncode, 0)
        self.assertNotIn(b"s3cret", done.stdout + done.stderr)

    def test_what_is_no_json(self):
        for text in ("[", "[]", "7", '{"command": "poll", "config": []}', '{"command": "handle"}', "[" * 100_000):
            done = self.spawn(text)
            response = json.loads(done.stdout)
            self.assertEqual((done.returncode, response["status"], response["retry"]), (0, "error", False), text[:50])


class Python(InProgram, unittest.TestCase):
    name = "run.py"
    interpreter = f"{sys.executable} -B -S"
    value_error = "ValueError"
    faults = (("crash", 1, "KeyError: 'oops'"), ("leave", 1, "SystemExit: 3"))


class Ruby(InProgram, unittest.TestCase):
    name = "run.rb"
    interpreter = "ruby"
    value_error = "ArgumentError"
    faults = (("crash", 1, "KeyError: oops"), ("leave", 1, "SystemExit"))


class Shell(Lib):
    name = "run.sh"
    silent_code = 0
    awk = "awk"
    faults = (("crash", 1, "exit code 1"), ("leave", 3, "exit code 3"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # One that looks at the name it was called by will see awk.
        (cls.root / "bin/awk").symlink_to(shutil.which(cls.awk))

    def test_unset_variable(self):
        # dash exits with 2, others with 1.
        done = self.spawn(json.dumps(request("poll", {"task": "unset"})))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("without an answer", json.loads(done.stdout)["error"])

    def test_subshells(self):
        response, _ = self.asked(task="pipe")
        self.assertEqual([event["payload"] for event in response["events"]], [1, 2, {}, {"text": None}])
        response, _ = self.asked(task="pipe_fails")
        self.assertEqual((response["status"], response["error"]), ("error", "in 1"))

    def test_paths(self):
        inner = {"text": "z", "empty": {}, "list": [[], ["a"], {"b": "c,}]"}], "no": None, "0": "zero", "q\"": 1}
        sent = json.dumps({"a": inner, "text": "t", "num": 1.50, "yes": True}, separators=(" , ", " : "))
        sent = sent.replace("1.5", "1.50E+3")
        for path, value, literal in (
            ("a.text", "z", '"z"'),
            ("text", "t", '"t"'),
            ("num", "1.50E+3", "1.50E+3"),
            ("yes", "true", "true"),
            ("a.no", "default", "default"),
            ("a.list.1.0", "a", '"a"'),
            ("a.list.2.b", "c,}]", '"c,}]"'),
            ("a.0", "zero", '"zero"'),
            ("a.list.3", "default", "default"),
            ("a.list.0", "[]", "[]"),
            ("a.empty", "{}", "{}"),
            ("a.text.x", "default", "default"),
            ("b", "default", "default"),
            ("tex", "default", "default"),
        ):
            for command, expected in (("get", value), ("json", literal)):
                whole = f'{{"data": {sent}, "payload": {{"path": "data.{path}"}}, "command": "{command}"}}'
                self.assertEqual(self.spawn(whole).stdout.decode(), expected, path)

    def test_escapes(self):
        for written, text in (
            (r"\"\\\/\n\t\r\b\f.", '"\\/\n\t\r\b\f.'),
            (r"\u0041\u00e9\u20AC\ud83d\ude00", "Aé€😀"),
            (r"\ud83dx\ude00\u0000", "\ufffdx\ufffd\ufffd"),
            (r"\\u0041\\", "\\u0041\\"),
        ):
            whole = f'{{"data": "{written}", "payload": {{"path": "data"}}, "command": "get"}}'
            self.assertEqual(self.spawn(whole).stdout.decode(), text)

    def test_bytes_that_are_no_utf8(self):
        # What a program printed, say.
        for given, expected in ((b"a\xffb", "a\ufffdb"), (b"\xc3\xa9\xc3", "é\ufffd"), (b"\xed\xa0\x80", "\ufffd" * 3)):
            script = b'. "$1"; ductile_quote "$2"'
            command = [*self.interpreter.split(), "-c", script, "sh", ROOT / "plugins/lib/ductile.sh", given]
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env={"PATH": f"{self.root}/bin:/usr/bin:/bin"})
            self.assertEqual(json.loads(done.stdout), expected)

    def test_a_large_request(self):
        event = {"type": "t", "payload": {"list": [0, {"x": "y"}], "many": [{"a": "b" * 20}] * 20_000, "text": "late"}}
        response, _ = self.asked(command="handle", event=event)
        self.assertEqual(response["result"], "late")


class TextOfHtml(unittest.TestCase):
    def test_text(self):
        for html, expected in (
            ("", None), ("<p> </p>", None), ("a < b & c <3 <>", "a < b & c <3 <>"), ("a <b", "a <b"), ("<", "<"),
            ("<p>One<br/>two</P >three", "One\ntwo\nthree"), ("a<b>b</b><i\n>c", "abc"), ("<a title='x>y' href=z?q='>a</a>", "a"),
            ("<a b='c>d", "d"), ("<A title=\"it's>\">a", "a"), ("<a b = 'it>' c>a", "a"), ("a<!-- > <b> -->b<!-->c<!--d", "abc"),
            ("<!DOCTYPE html><?xml ?></ x>a<![if x]>b", "ab"), ("<script>a</scripty>'</SCRIPT >b<style>c", "b"), ("<script", "<script"),
            ("&lt;b&gt; &amp;amp; &#39;&#x263A;&eacute &nope; &", "<b> &amp; '☺é &nope; &"), ("&#99999999999;", "\ufffd9;"),
        ):
            with self.subTest(html=html):
                self.assertEqual(TEXT.plain(html, 100), expected)
        self.assertEqual(TEXT.plain("<b>" + "a" * 20, 10), "a" * 10)

    def test_no_text_takes_long(self):
        for piece in ("<a ", "<a", "<", "</", "</a", "<!--", "<!-->", "<!a", "<?", "<a x='", "<a x=''", "<a x='>", "<a x=\"'", "<a = ", "=",
                      "<script>", "</script", "<style></script>", "&", "&#", "&#1", "&a", "<br>"):
            # Some 20 ms; where the time is not linear, minutes.
            with self.subTest(piece=piece):
                begin = time.process_time()
                TEXT.plain(piece * (100_000 // len(piece)), 10_000)
                self.assertLess(time.process_time() - begin, 2)


def same(command):
    """One program may have several names."""
    program, *arguments = command.split()
    return os.path.realpath(shutil.which(program)), *arguments


# Each shell with the system's awk, and each awk with the system's shell.
COMBINATIONS = [(shell, "awk") for shell in every("sh", "dash", "bash", "busybox sh", "ksh", "yash")]
COMBINATIONS += [("sh", awk) for awk in every("mawk", "gawk", "busybox", "original-awk", "goawk")]
for _shell, _awk in {(same(shell), same(awk)): (shell, awk) for shell, awk in COMBINATIONS}.values():
    _name = "_".join(f"Shell {_shell} {_awk}".replace("-", " ").split())
    globals()[_name] = type(_name, (Shell, unittest.TestCase), {"interpreter": _shell, "awk": _awk})

if __name__ == "__main__":
    unittest.main()
