"""plugins/notify by mail, against a real SMTP server with STARTTLS, implicit TLS and authentication."""

import asyncio
import email
import email.policy
import json
import logging
import socket
import threading
import unittest

from aiosmtpd.smtp import SMTP, AuthResult

from support import Certificate, PluginTest, closed_port, loaded

# aiosmtpd tells of every client that goes away.
logging.getLogger("mail").setLevel(logging.CRITICAL)

EVENT = {"type": "t", "payload": {"title": "A title", "text": "Some text", "url": "https://example.com/x"}}
SETTINGS = loaded("notify", "settings")
PASSWORD = "correct horse"


class MailServer:
    """Keeps the mails it takes. `replies` says what to answer instead, by address or for DATA."""

    def __init__(self, context=None, implicit=False, replies=None, **options):
        self.mails, self.passwords, self.replies = [], [], replies or {}
        if context is not None and not implicit:
            options.update(tls_context=context, require_starttls=True)

        def factory():
            return SMTP(self, authenticator=self.authenticate, auth_exclude_mechanism=["CRAM-MD5"], **options)

        self.loop = asyncio.new_event_loop()
        listen = self.loop.create_server(factory, "127.0.0.1", 0, ssl=context if implicit else None)
        self.server = self.loop.run_until_complete(listen)
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def authenticate(self, _server, _session, _envelope, _mechanism, data):
        self.passwords.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):
        if "DATA" in self.replies:
            return self.replies["DATA"]
        self.mails.append(envelope)
        return "250 OK"

    async def stop(self):
        self.server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def mail(self):
        """The only mail."""
        (envelope,) = self.mails
        return email.message_from_bytes(envelope.content, policy=email.policy.default)


class SilentServer:
    """Accepts connections and says `greeting`, and nothing after it."""

    def __init__(self, greeting):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.greeting, self.held = greeting, []
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()

    def accept(self):
        connection, _ = self.socket.accept()
        connection.sendall(self.greeting)
        self.held.append(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join()
        for connection in self.held:
            connection.close()
        self.socket.close()


class SmtpTest(PluginTest):
    plugin = "notify"

    @classmethod
    def setUpClass(cls):
        cls.certificate = Certificate()

    @classmethod
    def tearDownClass(cls):
        cls.certificate.remove()

    def config(self, server, **more):
        return {
            "via": "smtp", "host": "127.0.0.1", "port": str(server.port), "from": "ductile <ductile@example.com>",
            "to": "admin@example.com", "ca_file": self.certificate.file, **more,
        }

    def send(self, server, payload=None, **more):
        event = EVENT if payload is None else {**EVENT, "payload": payload}
        response = self.run_plugin("handle", self.config(server, **more), event)
        self.assertNotIn(PASSWORD, json.dumps(response))
        return response

    def starttls(self, **options):
        return MailServer(self.certificate.context, **options)

    # What arrives

    def test_mail(self):
        with self.starttls() as server:
            self.assert_ok(self.send(server))
            mail, (envelope,) = server.mail(), server.mails
        self.assertEqual((envelope.mail_from, envelope.rcpt_tos), ("ductile@example.com", ["admin@example.com"]))
        self.assertEqual((mail["Subject"], mail["From"]), ("A title", "ductile <ductile@example.com>"))
        self.assertEqual((mail["To"], mail["Auto-Submitted"]), ("admin@example.com", "auto-generated"))
        self.assertIsNotNone(mail["Date"].datetime)
        self.assertEqual(mail.get_content().replace("\r\n", "\n"), "Some text\n\nhttps://example.com/x\n")

    def test_unicode_and_line_feeds_in_the_title(self):
        title = "Grüße 🎉\r\nBcc: evil@example.com\n\nbody" + "ü" * 300
        with self.starttls() as server:
            self.assert_ok(self.send(server, {"title": title, "text": "日本\n.\nline\n" + "x" * 5000}))
            mail, (envelope,) = server.mail(), server.mails
        self.assertEqual(envelope.rcpt_tos, ["admin@example.com"])
        self.assertIsNone(mail["Bcc"])
        self.assertTrue(mail["Subject"].startswith("Grüße 🎉 Bcc: evil@example.com body"))
        self.assertEqual(mail.get_content().replace("\r\n", "\n"), "日本\n.\nline\n" + "x" * 5000 + "\n")

    def test_message_id_is_that_of_the_event(self):
        identities = []
        for event_id in ("e-1", "e-1", "e-2\r\nBcc: a@b"):
            with self.starttls() as server:
                self.assert_ok(self.run_plugin("handle", self.config(server), {**EVENT, "event_id": event_id}))
                identities.append(server.mail()["Message-ID"])
        self.assertEqual(identities[0], identities[1])
        self.assertNotEqual(identities[0], identities[2])
        self.assertRegex(identities[2], r"^<[0-9a-f]{32}@example\.com>$")

    def test_several_recipients(self):
        for to in (["a@example.com", "Bée <b@example.com>"], "a@example.com, B <b@example.com>"):
            with self.starttls() as server:
                self.assert_ok(self.send(server, to=to))
                self.assertEqual(server.mails[0].rcpt_tos, ["a@example.com", "b@example.com"])

    # Encryption and authentication

    def test_starttls_with_login(self):
        with self.starttls(auth_required=True) as server:
            self.assert_ok(self.send(server, username="user", password=PASSWORD))
            self.assertEqual((len(server.mails), server.passwords), (1, [("user", PASSWORD)]))

    def test_implicit_tls_with_login(self):
        options = {"implicit": True, "auth_require_tls": False}
        with MailServer(self.certificate.context, **options) as server:
            self.assert_ok(self.send(server, tls="implicit", username="user", password=PASSWORD))
            self.assertEqual((len(server.mails), server.passwords), (1, [("user", PASSWORD)]))

    def test_without_encryption(self):
        with MailServer() as server:
            self.assert_ok(self.send(server, tls="none"))
            self.assertEqual(len(server.mails), 1)

    def test_wrong_password(self):
        with self.starttls(auth_required=True) as server:
            response = self.send(server, username="user", password="wrong horse")
            self.assertEqual(server.mails, [])
        self.assert_final(response, "config.password", "535")
        self.assertNotIn("wrong horse", response["error"])

    def test_server_without_starttls_gets_nothing(self):
        with MailServer() as server:
            self.assert_final(self.send(server, username="user", password=PASSWORD), "STARTTLS", "config.tls")
            self.assertEqual((server.mails, server.passwords), ([], []))

    def test_certificate_is_checked(self):
        other = Certificate("DNS:other.example")
        self.addCleanup(other.remove)
        for tls, certificate, trusted in (
            ("starttls", self.certificate, None),
            ("implicit", self.certificate, None),
            ("starttls", other, other.file),
        ):
            implicit = tls == "implicit"
            with MailServer(certificate.context, implicit=implicit, auth_require_tls=not implicit) as server:
                response = self.send(server, tls=tls, ca_file=trusted, username="user", password=PASSWORD)
                self.assertEqual((server.mails, server.passwords), ([], []))
            self.assert_retried(response, "certificate verify failed")

    # What is refused

    def test_some_recipients_refused(self):
        replies = {"b@example.com": "550 no such user"}
        with self.starttls(replies=replies) as server:
            response = self.send(server, to=["a@example.com", "b@example.com"])
            self.assertEqual(server.mails[0].rcpt_tos, ["a@example.com"])
        self.assert_ok(response)
        self.assertEqual([entry["level"] for entry in response["logs"]], ["info", "warn"])
        self.assertIn("b@example.com was refused: 550 no such user", response["logs"][1]["message"])

    def test_all_recipients_refused(self):
        to = ["a@example.com", "b@example.com"]
        with self.starttls(replies=dict.fromkeys(to, "550 no such user")) as server:
            self.assert_final(self.send(server, to=to), "config.to", "550 no such user")
        with self.starttls(replies={to[0]: "550 no", to[1]: "451 greylisted"}) as server:
            self.assert_retried(self.send(server, to=to), "451 greylisted")

    def test_mail_refused(self):
        with self.starttls(replies={"DATA": "554 spam"}) as server:
            self.assert_final(self.send(server), "554 spam")
        with self.starttls(replies={"DATA": "452 later"}) as server:
            self.assert_retried(self.send(server), "452 later")

    def test_greeting_that_refuses(self):
        with SilentServer(b"421 busy\r\n") as server:
            self.assert_retried(self.send(server), "421 busy")
        with SilentServer(b"554 go away\r\n") as server:
            self.assert_final(self.send(server), "554 go away")

    def test_no_server_and_no_answer(self):
        with SilentServer(b"") as server:
            response = self.send(server, timeout=0.3)
        self.assert_retried(response)
        self.assertRegex(response["error"], "timed out|no answer within 0.3 s")
        server.port = closed_port()
        self.assert_retried(self.send(server), "refused")

    # Configuration

    def test_health(self):
        with self.starttls(auth_required=True) as server:
            self.assert_ok(self.run_plugin("health", self.config(server, username="user", password=PASSWORD)))
            self.assertEqual((server.mails, len(server.passwords)), ([], 1))

    def test_wrong_configuration(self):
        good = {"via": "smtp", "host": "a", "from": "a@b", "to": "c@d"}
        for key, values in {
            "host": (None, "", "a b", "a:25", "http://a", 7),
            "port": (0, 65536, "x", 1.5, True),
            "tls": ("", "ssl", True),
            "username": ("u", "ü"),
            "password": ("p", 7, "a\nb"),
            "from": (None, "", "x", "a@b, c@d", "a@b\nBcc: c@d", 7, ["a@b", "c@d"]),
            "to": (None, "", "x", [], [7], ["a@b", "x"], "a@b\r\nX: y", "ü@b", {"a": 1}),
            "url": ("http://a",),
        }.items():
            for value in values:
                with self.assertRaises(SETTINGS.BadConfig, msg=f"{key}: {value!r}") as raised:
                    SETTINGS.checked({**good, key: value})
                self.assertIn(f"config.{key}", str(raised.exception))
            self.assert_final(self.run_plugin("health", {**good, key: values[-1]}), f"config.{key}")

    def test_addresses_as_host(self):
        for host in ("mail.example.com", "10.0.0.1", "::1"):
            self.assertEqual(SETTINGS.checked({"via": "smtp", "host": host, "from": "a@b", "to": "c@d"})["host"], host)

    def test_default_ports(self):
        for tls, port in ((None, 587), ("starttls", 587), ("implicit", 465), ("none", 25)):
            settings = SETTINGS.checked({"via": "smtp", "host": "a", "from": "a@b", "to": "c@d", "tls": tls})
            self.assertEqual(settings["port"], port)


if __name__ == "__main__":
    unittest.main()
