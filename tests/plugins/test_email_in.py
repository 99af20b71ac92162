"""plugins/email_in against a real Dovecot, and against servers that are none."""

import base64
import email.message
import re
import signal
import socket
import sys
import threading
import time
import unittest

import dovecot
from connector import Connector
from support import Certificate, closed_port, loaded

MAILBOX = loaded("email_in", "mailbox")
# The plugin with less time for a message.
IMPATIENT = "import sys; sys.path.insert(0, '../lib'); import message, run; message.SECONDS = 0.3; run.ductile.main()"

PLAIN = b"From: Ann <ann@example.com>\r\nTo: Bob <bob@example.com>, c@example.com\r\nSubject: %s\r\n" \
        b"Message-ID: <%s@example.com>\r\nDate: Fri, 02 Jan 2026 10:00:00 +0100\r\n\r\nHello\r\nworld\r\n"


def mail(name):
    return PLAIN % (name.encode(), name.encode())


def mails(*numbers):
    return [mail(f"m{number}") for number in numbers]


@unittest.skipIf(MISSING := dovecot.missing(), MISSING)
class EmailIn(Connector):
    plugin = "email_in"

    @classmethod
    def setUpClass(cls):
        cls.server = dovecot.Dovecot()
        cls.addClassCleanup(cls.server.remove)

    def setUp(self):
        super().setUp()
        # Each test has a folder of its own.
        self.folder = self.id().rpartition(".")[2]
        self.config = {"host": "127.0.0.1", "port": self.server.tls_port, "user": "ann", "password": dovecot.PASSWORD,
                       "ca_file": self.server.certificate.file, "folder": self.folder}
        self.deliver()

    def deliver(self, *sources, **options):
        self.server.deliver(*sources, folder=self.folder, **options)

    def subjects(self, **config):
        return [event["payload"]["subject"] for event in self.events(**config)]

    def only(self, source, **config):
        self.deliver(source)
        (event,) = self.events(emit_existing=True, **config)
        return event["payload"]

    def answered(self, request):
        response = super().answered(request)
        self.assertNotIn("gehe!m", self.stdout)
        return response

    # What is new

    def test_new_messages_once(self):
        self.deliver(*mails(1, 2))
        self.assertEqual(self.subjects(), [])
        self.assertEqual(self.subjects(), [])
        self.deliver(*mails(3, 4))
        self.assertEqual(self.subjects(), ["m3", "m4"])
        self.assertEqual(self.subjects(), [])

    def test_an_unchanged_folder_changes_no_state(self):
        self.deliver(*mails(1))
        self.poll()
        self.assertNotIn("state_updates", self.poll())

    def test_an_empty_folder_is_a_first_poll(self):
        self.assertEqual(self.subjects(), [])
        self.deliver(*mails(1))
        self.assertEqual(self.subjects(), ["m1"])

    def test_existing_messages_if_asked_for_so_many_a_poll(self):
        self.deliver(*mails(*range(7)))
        seen = [self.subjects(emit_existing=True, max_messages="3") for _ in range(4)]
        self.assertEqual(seen, [["m0", "m1", "m2"], ["m3", "m4", "m5"], ["m6"], []])

    def test_a_repeated_attempt_gives_the_same_events(self):
        self.poll()
        self.deliver(*mails(1, 2))
        before = dict(self.state)
        first = self.events(mark_seen=True)
        self.state = before
        self.assertEqual(self.events(mark_seen=True), first)

    def test_messages_that_were_moved_or_deleted_meanwhile(self):
        self.deliver(*mails(1, 2, 3))
        self.poll()
        self.deliver(*mails(4, 5))
        with self.server.session(self.folder) as imap:
            imap.store("1:4", "+FLAGS", r"(\Deleted)")
            imap.expunge()
        self.assertEqual(self.subjects(), ["m5"])
        with self.server.session(self.folder) as imap:
            imap.store("1:*", "+FLAGS", r"(\Deleted)")
            imap.expunge()
        self.assertEqual(self.subjects(), [])
        self.deliver(*mails(6))
        self.assertEqual(self.subjects(), ["m6"])

    def test_nothing_is_marked_unless_asked_for(self):
        self.poll()
        self.deliver(*mails(1, 2))
        self.assertEqual(len(self.events()), 2)
        self.assertEqual(self.server.flags(self.folder), [False, False])
        self.deliver(*mails(3))
        self.assertEqual(len(self.events(mark_seen="true")), 1)
        self.assertEqual(self.server.flags(self.folder), [False, False, True])

    def test_a_server_that_was_away_misses_nothing(self):
        self.deliver(*mails(1))
        self.poll()
        self.deliver(*mails(2))
        self.server.stop()
        self.assert_retried(self.asked("poll"), "refused")
        self.server.start()
        self.assertEqual(self.subjects(), ["m2"])
        self.assertEqual(self.subjects(), [])

    def renumbered(self):
        """Moves the folder, as a migration does: same messages and times, new UIDs and UIDVALIDITY."""
        old = f"{self.folder}-old-{self.state['uidvalidity']}"
        with self.server.session() as imap:
            imap.rename(self.folder, old)
            imap.create(self.folder)
            imap.select(old)
            kept = imap.fetch("1:*", "(INTERNALDATE BODY.PEEK[])")[1]
            for part in kept:
                if isinstance(part, tuple):
                    arrived = re.search(rb'INTERNALDATE ("[^"]*")', part[0])[1].decode()
                    self.assertEqual(imap.append(self.folder, "", arrived, part[1])[0], "OK")

    def test_a_folder_that_was_numbered_anew(self):
        self.deliver(*mails(*range(5)), arrived='"01-Jan-2020 00:00:00 +0000"')
        self.deliver(*mails(5, 6))
        self.poll()
        before = self.state["uidvalidity"]
        self.deliver(*mails(7, 8, 9))
        self.renumbered()
        # Between, a repeated attempt.
        state = dict(self.state)
        first = self.events(max_messages=2)
        self.state = state
        self.assertEqual(self.events(max_messages=2), first)
        self.assertEqual([event["payload"]["subject"] for event in first], ["m7", "m8"])
        self.assertNotEqual(self.state["uidvalidity"], before)
        self.deliver(*mails(10))
        self.assertEqual(self.subjects(), ["m9", "m10"])
        # From here on a UID is enough again: an equal message is another one.
        self.deliver(*mails(10))
        self.assertEqual(self.subjects(), ["m10"])

    def test_another_folder_begins_anew(self):
        self.deliver(*mails(1))
        self.poll()
        self.server.deliver(*mails(2, 3), folder="Elsewhere")
        self.assertEqual(self.subjects(folder="Elsewhere"), [])
        self.server.deliver(*mails(4), folder="Elsewhere")
        self.assertEqual(self.subjects(folder="Elsewhere"), ["m4"])

    def test_names_of_folders(self):
        name = 'Re&ch"nungen Müller 日本'
        encoded = '"Re&-ch\\"nungen M&APw-ller &ZeVnLA-"'
        self.server.deliver(*mails(2), folder=encoded)
        self.assertEqual(self.subjects(folder=name, emit_existing=True), ["m2"])

    # What is in them

    def test_fields(self):
        payload = self.only(PLAIN % (b"Hi", b"x"))
        self.assertRegex(payload.pop("received"), r"\A2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z\Z")
        self.assertEqual(payload, {
            "title": "Hi", "text": "Hello\nworld\n", "from": "Ann <ann@example.com>", "from_address": "ann@example.com",
            "to": ["bob@example.com", "c@example.com"], "cc": [], "reply_to": None, "subject": "Hi",
            "date": "2026-01-02T09:00:00.000Z", "message_id": "<x@example.com>", "in_reply_to": None, "attachments": [],
            "text_cut": False, "whole": True, "folder": self.folder, "uid": 1, "size": len(PLAIN % (b"Hi", b"x")),
        })

    def test_multipart_with_attachments(self):
        message = email.message.EmailMessage()
        message["Subject"], message["From"] = "Größe ✓", "Jürgen <j@example.com>"
        message.set_content("Grüße")
        message.add_alternative("<p>no</p>", subtype="html")
        message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Rechnung ä.pdf")
        inner = email.message.EmailMessage()
        inner.set_content("inner text")
        message.add_attachment(inner)
        payload = self.only(message.as_bytes())
        self.assertEqual((payload["subject"], payload["text"], payload["from"]), ("Größe ✓", "Grüße\n", "Jürgen <j@example.com>"))
        self.assertEqual(payload["attachments"], [{"name": "Rechnung ä.pdf", "type": "application/pdf"}, {"name": None, "type": "message/rfc822"}])

    def test_html_alone_becomes_text(self):
        payload = self.only(b"Subject: x\r\nContent-Type: text/html\r\n\r\n<style>a</style><p>One<br>two</p><p>&amp; three</p>")
        self.assertEqual(payload["text"], "One\ntwo\n& three")

    def test_charsets_that_are_wrong(self):
        for headers, body, subject, text in (
            (b"Subject: caf\xe9\r\nContent-Type: text/plain", b"caf\xe9", "café", "café"),
            (b"Subject: =?iso-8859-1?q?caf=E9?=\r\nContent-Type: text/plain; charset=no-such-charset", "é".encode(), "café", "é"),
            (b"Subject: =?no-such?b?YWJj?= =?utf-8?b?YWJj\r\nContent-Type: text/plain; charset=utf-8", b"a\xffb", None, "a\ufffdb"),
            (b"Subject: =?utf-8?b?a?=\r\nContent-Type: text/plain; charset=undefined", b"a", None, "a"),
            (b"Subject: =?utf-7?q?+2AA-?=\r\nContent-Type: text/plain; charset=utf-7", b"+2AA-x", None, None),
            (b"Subject: a\x00b\r\nContent-Type: text/plain; charset=iso-2022-jp", "日本".encode("iso-2022-jp"), None, "日本"),
            (b"Subject: \r\nContent-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64", b"x!x=\xff", None, None),
            (b"Content-Type: multipart/mixed; boundary=b", b"--b\r\n\r\nfirst\r\n--", None, "first\n--"),
            (b"Content-Type: multipart/mixed", b"no boundary", None, None),
            (b"Content-Type: ;;;=\xff\r\nDate: 99 Foo\r\nFrom: <<>,;:\xff\r\nTo: undisclosed-recipients:;", b"x", None, None),
        ):
            with self.subTest(headers=headers):
                self.state, self.folder = {}, f"charsets{self.state_number()}"
                self.config["folder"] = self.folder
                # Dovecot does not take NUL.
                payload = self.only(headers.replace(b"\x00", b"\x01") + b"\r\n\r\n" + body)
                self.assertTrue(payload["title"])
                self.stdout.encode("utf-8")
                if subject is not None:
                    self.assertEqual(payload["subject"], subject)
                if text is not None:
                    self.assertEqual(payload["text"], text)

    numbers = iter(range(1000))

    def state_number(self):
        return next(self.numbers)

    def test_messages_without_anything(self):
        payload = self.only(b"\r\n\r\n")
        self.assertEqual((payload["title"], payload["subject"], payload["from"], payload["date"]), ("mail without a subject", None, None, None))

    def test_a_hostile_message_does_not_stop_the_next(self):
        self.poll()
        deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5000))
        self.deliver(b"Subject: deep\r\n" + deep, b"Subject: many\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\na\r\n" * 20_000,
                     mail("after"))
        titles = self.subjects()
        self.assertEqual((len(titles), titles[-1]), (3, "after"))

    def test_messages_that_take_long_to_read_do_not_stop_the_next(self):
        self.poll()
        self.deliver(
            b"From: a@example.com\r\nSubject: " + b"=?x?q?a" * 60_000 + b"\r\n\r\n",
            b"Subject: parameters\r\nContent-Type: text/plain" + b";a" * 100_000 + b"\r\n\r\nhi",
            b"Subject: tags\r\nContent-Type: text/html\r\n\r\n" + b"<a " * 20_000,
            mail("after"),
        )
        events = self.events(timeout=20)
        self.assertEqual([event["payload"]["subject"] for event in events][1:], ["parameters", "tags", "after"])
        self.assertEqual(events[0]["payload"]["from"], "a@example.com")

    def test_a_message_has_a_time_limit_of_its_own(self):
        self.poll()
        nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(100))
        self.deliver(b"Subject: slow\r\n" + nested + b"\r\n" + b"\n" * 300_000, mail("after"))
        self.program = [(sys.executable, "-B", "-S", "-c", IMPATIENT)]
        response = self.poll()
        self.assertEqual([event["payload"]["title"] for event in response["events"]], ["mail without a subject", "after"])
        self.assertIn("not read within 0.3 s", response["logs"][0]["message"])
        self.assertEqual(self.subjects(), [])

    def test_long_texts_and_large_messages(self):
        self.assertEqual(self.only(b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "ä".encode() * 200, max_text=100)["text"], "ä" * 100)
        self.deliver(b"Subject: y\r\n\r\n" + b"z" * 900_000)
        (event,) = self.events(max_message="500KB", max_text=300_000)
        payload = event["payload"]
        self.assertEqual((payload["whole"], payload["subject"]), (False, "y"))
        self.assertTrue(200_000 < len(payload["text"]) <= 262_144)
        self.assertGreater(payload["size"], 900_000)

    def test_more_bytes_than_a_response_may_have(self):
        self.poll()
        # Six bytes of JSON for each.
        self.deliver(*(b"Subject: s%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" % n + "ä".encode() * 400_000 for n in range(5)))
        first = self.subjects(max_text=500_000)
        self.assertLess(len(self.stdout), 10_000_000)
        self.assertEqual(first + self.subjects(max_text=500_000), ["s0", "s1", "s2", "s3", "s4"])

    # Connections

    def test_starttls(self):
        self.deliver(*mails(1))
        config = {"tls": "starttls", "port": str(self.server.port)}
        self.assertEqual(self.subjects(emit_existing=True, **config), ["m1"])

    def test_certificates_are_checked(self):
        other = Certificate("IP:127.0.0.1")
        self.addCleanup(other.remove)
        for tls, port in (("implicit", self.server.tls_port), ("starttls", self.server.port)):
            for wrong in ({"ca_file": other.file}, {"ca_file": ...}, {"host": "localhost"}):
                with self.subTest(tls=tls, **{"wrong": wrong}):
                    self.assert_retried(self.asked("poll", tls=tls, port=port, **wrong), "certificate")

    def test_what_the_server_refuses(self):
        self.assert_misconfigured(self.asked("poll", password="gehe!m wrong"), "config.user", "config.password")
        self.assert_misconfigured(self.asked("poll", folder="none of this name"), "config.folder")

    def test_wrong_configuration(self):
        self.assert_each_misconfigured({
            "host": [..., "a b", "imaps://x", 5], "user": [..., ""], "password": [..., ""], "port": [0, "x", 65536], "tls": ["none", True],
            "folder": ["", "a\nb"], "emit_existing": ["yes"], "mark_seen": [1.5], "max_messages": [0, 501, "many"], "max_text": ["1GB"],
            "max_message": ["1KB"], "timeout": [0], "ca_file": ["/none"], "event_type": ["x" * 201], "passwort": ["x"],
        })

    def test_health(self):
        self.deliver(*mails(1, 2))
        response = self.asked("health", mark_seen=True)
        self.assertIn("2 messages", response["result"])
        self.assert_misconfigured(self.asked("health", password="gehe!m wrong"), "config.password")

    def test_nobody_listens(self):
        self.assert_retried(self.asked("poll", port=closed_port()), "refused")


class Script:
    """Sends lines over TLS as told: each `bytes` at once, each `str` after a command that contains it; then it ends, or waits."""

    def __init__(self, test, *steps, hang=False):
        self.certificate = Certificate("IP:127.0.0.1")
        test.addCleanup(self.certificate.remove)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(steps, hang))
        self.thread.start()
        test.addCleanup(self.close)

    def serve(self, steps, hang):
        try:
            with self.certificate.context.wrap_socket(self.listener.accept()[0], server_side=True) as connection:
                lines = connection.makefile("rb")
                tag = b""
                for step in steps:
                    if isinstance(step, str):
                        line = lines.readline()
                        while line and step.encode() not in line:
                            line = lines.readline()
                        # An empty step is for what continues a command.
                        tag = line.split()[0] if step else tag
                    else:
                        connection.sendall(step.replace(b"TAG", tag))
                if hang:
                    self.done.wait(dovecot.PATIENCE)
        except (OSError, IndexError):
            pass

    def close(self):
        self.done.set()
        self.listener.close()
        self.thread.join()


GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"
HELLO = (GREETING, "CAPABILITY", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK x\r\n")
IN = (*HELLO, "AUTHENTICATE", b"+ \r\n", "", b"TAG OK in\r\n")


class NoServer(Connector):
    plugin = "email_in"

    def asked_of(self, *steps, hang=False, timeout=3, **config):
        server = Script(self, *steps, hang=hang)
        return self.asked("poll", host="127.0.0.1", port=server.port, ca_file=server.certificate.file, user="ann",
                          timeout=timeout, **{"password": "very-secret", **config})

    def test_greetings_that_are_none(self):
        for greeting in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"* BYE busy\r\n", b"\x00\xff\r\n", b"* OK" + b" x" * 100):
            with self.subTest(greeting=greeting[:20]):
                self.assert_retried(self.asked_of(greeting), "127.0.0.1:")
                self.assertNotIn("very-secret", self.stdout)

    def test_a_slow_server(self):
        for steps in ((), (GREETING[:10],), (GREETING,)):
            with self.subTest(steps=steps):
                self.assert_retried(self.asked_of(*steps, hang=True, timeout=0.5), "within 0.5 s")

    def test_a_login_that_is_refused_for_now(self):
        response = self.asked_of(*HELLO, "AUTHENTICATE", b"+ \r\n", "", b"TAG NO [UNAVAILABLE] later\r\n")
        self.assert_retried(response, "later")

    def test_a_password_that_the_server_repeats_is_hidden(self):
        login = (b"* OK [CAPABILITY IMAP4rev1] hi\r\n", "CAPABILITY", b"* CAPABILITY IMAP4rev1\r\nTAG OK x\r\n", "LOGIN")
        password = "gehe'\\\"im"
        quoted = b"gehe'\\\\\\\"im"
        encoded = base64.b64encode(b"\0ann\0" + password.encode())
        for steps in (
            # imaplib shows the bytes of the first two; the next one is cut.
            (*login, b'TAG BAD syntax: LOGIN ann "%s"\r\n' % quoted), (*login, b"what '%s'\r\n" % quoted),
            (*login, b"TAG NO %s %s\r\n" % (b"x" * 160, quoted * 9)),
            (*HELLO, "AUTHENTICATE", b"+ \r\n", "", b"TAG BAD near %s\r\n" % encoded),
        ):
            with self.subTest(last=steps[-1]):
                response = self.asked_of(*steps, password=password)
                self.assertIn("***", response["error"])
                for part in ("gehe", "im", encoded.decode()[:8]):
                    self.assertNotIn(part, response["error"])

    def test_malformed_answers(self):
        selected = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n"
        search = (*IN, "EXAMINE", selected + b"TAG OK x\r\n", "UID SEARCH")
        fetch = (*search, b"* SEARCH 1\r\nTAG OK x\r\n", "UID FETCH")
        for steps, words in (
            ((*IN, "EXAMINE", b"* 1 EXISTS\r\n* OK [UIDNEXT 2] x\r\nTAG OK x\r\n"), "UIDVALIDITY"),
            ((*IN, "EXAMINE", b"* 1 EXISTS\r\n* OK [UIDVALIDITY x] x\r\nTAG OK x\r\n"), "127.0.0.1"),
            ((*IN, "EXAMINE", selected), "127.0.0.1"),
            ((*search, b"* SEARCH one two\r\nTAG OK x\r\n"), "127.0.0.1"),
            ((*search, b"TAG NO nope\r\n"), "nope"),
            ((*fetch, b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS] {99999999999}\r\n"), "99999999999 bytes"),
            ((*fetch, b"* 1 FETCH (UID 1 RFC822.SIZE 20 BODY[HEADER.FIELDS] {20}\r\nabc"), "127.0.0.1"),
        ):
            with self.subTest(last=steps[-1]):
                self.assert_retried(self.asked_of(*steps, emit_existing=True), words)
                self.assertEqual(self.state, {})

    def test_what_was_read_before_the_time_was_over_counts(self):
        for mark, select in ((False, "EXAMINE"), (True, "SELECT")):
            with self.subTest(mark=mark):
                self.state = {}
                self.late(mark, select)

    def late(self, mark, select):
        selected = b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 3] x\r\n"
        lines = b"".join(b'* %d FETCH (UID %d RFC822.SIZE 14 INTERNALDATE "02-Jan-2026 10:00:00 +0000" BODY[HEADER.FIELDS (X)] {2}\r\n\r\n)\r\n'
                         % (n, n) for n in (1, 2))
        response = self.asked_of(
            *IN, select, selected + b"TAG OK x\r\n", "UID SEARCH", b"* SEARCH 1 2\r\nTAG OK x\r\n", "UID FETCH", lines + b"TAG OK x\r\n",
            "UID FETCH 1", b"* 1 FETCH (UID 1 BODY[]<0> {14}\r\nSubject: a\r\n\r\n)\r\nTAG OK x\r\n", "UID FETCH 2", b"* 2 FETCH",
            hang=True, timeout=2, emit_existing=True, mark_seen=mark)
        self.assert_ok(response)
        self.assertEqual([event["payload"]["subject"] for event in response["events"]], ["a"])
        self.assertEqual(self.state["cursor"], 1)
        self.assertIn("1 left", response["result"])
        self.assertEqual(len(response["logs"]), 2 if mark else 1)


class TimeLimit(unittest.TestCase):
    def setUp(self):
        self.mailbox = MAILBOX.Mailbox({"host": "h", "port": 1, "max_message": 0}, 0.05)

    def test_what_is_done_in_a_pause_is_done_even_if_the_time_is_over(self):
        end = time.monotonic() + 0.06
        done = False
        with self.assertRaises(MAILBOX.Late), self.mailbox._time_limit(), self.mailbox.paused():
            while time.monotonic() < end:
                pass
            done = True
        self.assertTrue(done)
        self.assertEqual(signal.getitimer(signal.ITIMER_REAL), (0, 0))

    def test_behind_a_pause_the_limit_goes_on(self):
        with self.assertRaises(MAILBOX.Late), self.mailbox._time_limit():
            with self.mailbox.paused():
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.pause()


if __name__ == "__main__":
    unittest.main()
