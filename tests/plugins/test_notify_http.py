"""plugins/notify by ntfy, Slack and Discord, against a real HTTP server; and what it says of which event."""

import json
import threading
import unittest

from support import Certificate, HttpServer, PluginTest, closed_port, loaded, request, spawn

EVENT = {"type": "github.push", "payload": {"title": "A title", "text": "Some text", "url": "https://example.com/x"}}
SETTINGS = loaded("notify", "settings")
MESSAGE = loaded("notify", "message")
SECRET = "T0000000/B0000000/abcdefghijklmnop"


class NotifyTest(PluginTest):
    plugin = "notify"

    def send(self, config, payload=None, **event):
        event = {**EVENT, **event}
        if payload is not None:
            event["payload"] = payload
        return self.run_plugin("handle", config, event)

    def assert_bad_config(self, config, words):
        with self.assertRaises(SETTINGS.BadConfig) as raised:
            SETTINGS.checked(config)
        self.assertIn(words, str(raised.exception))
        self.assertNotIn("pw", str(raised.exception))

    def sent(self, via, event, **config):
        """The body that the server got for the event."""
        with HttpServer() as server:
            config = {"via": via, "url": server.url + "/hook", **config}
            self.assert_ok(self.run_plugin("handle", config, event))
            return server.body()


class Message(NotifyTest):
    """What is said, seen by ntfy because it has fields of its own."""

    def said(self, payload, **event):
        with HttpServer() as server:
            config = {"via": "ntfy", "url": server.url, "topic": "alerts"}
            self.assert_ok(self.run_plugin("handle", config, {"type": "a.b", "payload": payload, **event}))
            body = server.body()
        self.assertEqual(body.pop("topic"), "alerts")
        return body

    def test_core_event(self):
        payload = {"plugin": "backup", "command": "poll", "job_id": "019a", "error": "exit 1\nno space", "attempt": 4}
        self.assertEqual(self.said(payload, type="job.dead", source="ductile"), {
            "title": "job.dead: backup poll",
            "message": "plugin: backup\ncommand: poll\njob_id: 019a\nerror: exit 1\nno space\nattempt: 4",
        })
        self.assertEqual(self.said({"error": "e"}, type="reload.refused", source="ductile")["title"], "reload.refused")

    def test_log_only(self):
        response = self.send({"via": "log"})
        self.assert_ok(response)
        self.assertEqual(
            response["logs"], [{"level": "info", "message": "A title: Some text\nhttps://example.com/x"}]
        )
        self.assert_ok(self.run_plugin("health", {"via": "log"}))
        self.assert_bad_config({"via": "log", "url": "https://example.com"}, "config.url is not known")

    def test_event_without_title_and_text(self):
        self.assertEqual(self.said({"a": {"b": [1, "é"]}}), {"title": "a.b", "message": '{"a":{"b":[1,"é"]}}'})
        self.assertEqual(self.said([1, 2]), {"title": "a.b", "message": "[1,2]"})
        self.assertEqual(self.said("text"), {"title": "a.b", "message": '"text"'})
        for nothing in ({}, None):
            self.assertEqual(self.said(nothing), {"message": "a.b"})

    def test_title_or_text_alone(self):
        self.assertEqual(self.said({"title": "T", "n": 1}), {"message": "T"})
        self.assertEqual(self.said({"text": "x", "n": 1}), {"title": "a.b", "message": "x"})
        self.assertEqual(self.said({"title": 7, "text": ["x"]})["title"], "a.b")

    def test_url_is_clickable_or_left_out(self):
        for url, click in {
            "https://example.com/ä b\r\nX: y": "https://example.com/%C3%A4%20b%0AX:%20y",
            "http://example.com/?a=%20&b#c": "http://example.com/?a=%20&b#c",
        }.items():
            self.assertEqual(self.said({"title": "t", "url": url})["click"], click)
        self.assertNotIn("click", self.said({"title": "t", "url": "javascript:alert(1)"}))
        for url in ("file:///etc/passwd", "https://", "x", 7, None, "https://a/" + "x" * 2000):
            event = {"type": "a", "event_id": "e", "payload": {"title": "t", "url": url}}
            self.assertEqual(MESSAGE.describe(event)["url"], "", url)

    def test_title_is_one_line_without_control_characters(self):
        body = self.said({"title": "a\r\nTags: x\x00\x1b[31m\ud800  b\u2028c", "text": "x\x07y\nz"})
        self.assertEqual(body, {"title": "a Tags: x [31m? b c", "message": "x y\nz"})


class Ntfy(NotifyTest):
    def test_request(self):
        with HttpServer() as server:
            config = {"via": "ntfy", "url": server.url + "/", "topic": "alerts", "token": "tk_secret",
                      "priority": "4", "tags": "a, b"}
            self.assert_ok(self.send(config, {"title": "Ünïcode 🎉", "text": "日本", "url": "https://example.com"}))
            ((method, path, headers, _),) = server.requests
            self.assertEqual((method, path), ("POST", "/"))
            self.assertEqual(headers["Authorization"], "Bearer tk_secret")
            self.assertEqual(headers["Content-Type"], "application/json; charset=utf-8")
            self.assertEqual(server.body(), {
                "topic": "alerts", "title": "Ünïcode 🎉", "message": "日本", "click": "https://example.com",
                "priority": 4, "tags": ["a", "b"],
            })

    def test_priority(self):
        for value, number in {"max": 5, 3: 3, "1": 1}.items():
            self.assertEqual(self.sent("ntfy", EVENT, topic="t", priority=value)["priority"], number)

    def test_size(self):
        for text in ('"' * 20_000, "🎉" * 20_000, "x" * 20_000):
            with HttpServer() as server:
                config = {"via": "ntfy", "url": server.url, "topic": "t"}
                self.assert_ok(self.send(config, {"title": text, "text": text, "url": "https://a/" + "&" * 900}))
                ((_, _, _, raw),) = server.requests
                message = server.body()["message"]
            self.assertLess(len(raw), 8192)
            self.assertLess(len(message.encode()), 4096)
            self.assertGreater(len(message.encode()), 2900)
            self.assertTrue(message.endswith("..."))

    def test_wrong_configuration(self):
        good = {"via": "ntfy", "url": "http://127.0.0.1:1", "topic": "t"}
        for key, values in {
            "via": (None, "", "irc", 7, ["ntfy"]),
            "url": (None, "", "127.0.0.1", "ftp://a/", "http://", "http://a:x/", "http://u:pw@a/", "http://a b/", 7,
                    "http://a/?x=1", "http://[1/"),
            "topic": (None, "", "a/b", "a b", "x" * 65, 7, "ä"),
            "token": ("a b", "a\nb", "ü", 7),
            "priority": (0, 6, "x", 1.5, True, [1]),
            "tags": ([7], {"a": 1}, [""]),
            "timeout": (0, 101, "x", "1_0", "nan", "inf", True, []),
            "ca_file": (7, ["a"], "a\nb"),
            "topik": ("x",),
        }.items():
            for value in values:
                self.assert_bad_config({**good, key: value}, f"config.{key}")
            self.assert_final(self.run_plugin("health", {**good, key: values[-1]}), f"config.{key}")
        for file in ("run.py", "no/such/file"):
            response = self.run_plugin("health", {**good, "url": "https://127.0.0.1:1", "ca_file": file})
            self.assert_final(response, "config.ca_file")


class Slack(NotifyTest):
    def test_text_is_escaped(self):
        payload = {"title": "<!channel> & <@U1>", "text": "a<b>c", "url": "https://a/?x&y"}
        body = self.sent("slack", {"type": "t", "payload": payload})
        self.assertEqual(body, {"text": "&lt;!channel&gt; &amp; &lt;@U1&gt;\na&lt;b&gt;c\nhttps://a/?x&amp;y"})

    def test_text_is_cut_and_the_url_kept(self):
        payload = {"title": "x", "text": "y" * 9000, "url": "https://a/b"}
        text = self.sent("slack", {"type": "t", "payload": payload})["text"]
        self.assertEqual(len(text), 4000)
        self.assertTrue(text.endswith("y...\nhttps://a/b"))


class Discord(NotifyTest):
    def test_nobody_is_mentioned(self):
        body = self.sent("discord", {"type": "t", "payload": {"title": "@everyone", "text": "x"}})
        self.assertEqual(body, {"content": "@everyone\nx", "allowed_mentions": {"parse": []}})

    def test_content_is_cut_and_the_url_kept(self):
        for letter in "x🎉":
            payload = {"title": letter * 3000, "text": letter * 3000, "url": "https://a/b"}
            content = self.sent("discord", {"type": "t", "payload": payload})["content"]
            self.assertLessEqual(len(content.encode("utf-16-le")) // 2, 2000)
            self.assertGreater(len(content.encode("utf-16-le")) // 2, 1950)
            self.assertTrue(content.endswith("...\nhttps://a/b"))


class Answers(NotifyTest):
    """How the server answers, and what becomes of it. Slack stands for the three."""

    def answered(self, answer, **kind):
        with HttpServer(answer, **kind) as server:
            response = self.send({"via": "slack", "url": f"{server.url}/services/{SECRET}"})
            self.assertEqual(len(server.requests), 1)
        self.assert_no_secret(response)
        return response

    def assert_no_secret(self, response):
        for part in ("T0000000", "B0000000", "abcdefghijklmnop"):
            self.assertNotIn(part, json.dumps(response))

    def test_accepted(self):
        for status in (200, 204):
            self.assert_ok(self.answered(status))

    def test_refused_for_good(self):
        for status in (400, 401, 404, 413):
            self.assert_final(self.answered(status, reply=b"invalid_payload"), f"HTTP {status} invalid_payload")

    def test_not_now(self):
        for status in (408, 425, 429, 500, 503):
            self.assert_retried(self.answered(status), f"HTTP {status}")

    def test_secret_that_the_server_repeats_is_hidden(self):
        response = self.answered(404, reply=f"no /services/{SECRET} here, nor abcdefghijklmnop".encode())
        self.assert_final(response, "***")

    def test_reply_is_bounded_and_readable(self):
        response = self.answered(400, reply=b"<p>\x00\xff\n" * 100_000)
        self.assertLess(len(response["error"]), 300)

    def test_redirects_are_not_followed(self):
        with HttpServer() as other:
            for status in (301, 303, 308):
                response = self.answered(status, headers=[("Location", other.url + "/")])
                self.assert_final(response, "redirects are not followed", "config.url")
            self.assertEqual(other.requests, [])

    def test_nobody_listens(self):
        response = self.send({"via": "slack", "url": f"http://127.0.0.1:{closed_port()}/{SECRET}"})
        self.assert_retried(response, "refused")
        self.assert_no_secret(response)

    def test_unknown_host(self):
        response = self.send({"via": "slack", "url": f"http://no-such-host.invalid/{SECRET}", "timeout": 20})
        self.assert_retried(response, "no-such-host.invalid")
        self.assert_no_secret(response)

    def test_connection_broken_before_the_answer(self):
        self.assert_retried(self.answered(lambda handler: handler.connection.shutdown(2)))

    def test_what_is_not_http(self):
        self.assert_retried(self.answered(lambda handler: handler.wfile.write(f"{SECRET}\r\n\r\n".encode())))

    def test_server_that_does_not_answer(self):
        self.assert_held("timeout", lambda handler, done: done.wait(30))

    def test_server_that_answers_byte_by_byte(self):
        def trickle(handler, done):
            while not done.wait(0.05):
                handler.wfile.write(b"H")

        self.assert_held("timeout", trickle)

    def assert_held(self, key, behave):
        """The server keeps the connection until the plugin has given up."""
        done = threading.Event()
        with HttpServer(lambda handler: behave(handler, done)) as server:
            try:
                response = self.send({"via": "slack", "url": server.url, key: "0.3"})
            finally:
                done.set()
        self.assert_retried(response)
        self.assertRegex(response["error"], "timed out|no answer within 0.3 s")

    def test_accepted_without_waiting_for_the_body(self):
        def short(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()

        self.assert_ok(self.answered(short))


class Encrypted(NotifyTest):
    @classmethod
    def setUpClass(cls):
        cls.certificate = Certificate()
        cls.other = Certificate("DNS:other.example")

    @classmethod
    def tearDownClass(cls):
        cls.certificate.remove()
        cls.other.remove()

    def test_trusted_certificate(self):
        with HttpServer(context=self.certificate.context) as server:
            config = {"via": "slack", "url": server.url, "ca_file": self.certificate.file}
            self.assert_ok(self.run_plugin("health", config))
            self.assert_ok(self.send(config))
            self.assertEqual([request[0] for request in server.requests], ["HEAD", "POST"])

    def test_unknown_authority_or_name(self):
        for config, certificate in (({}, self.certificate), ({"ca_file": self.other.file}, self.other)):
            with HttpServer(context=certificate.context) as server:
                response = self.send({"via": "slack", "url": server.url, **config})
                self.assertEqual(server.requests, [])
            self.assert_retried(response, "certificate verify failed")


class Health(NotifyTest):
    def test_sends_nothing_and_no_secret(self):
        for status in (200, 404, 302):
            with HttpServer(status, headers=[("Location", "http://127.0.0.1:1/")]) as server:
                config = {"via": "ntfy", "url": f"{server.url}/path", "topic": "t", "token": "tk_secret"}
                self.assert_ok(self.run_plugin("health", config))
                ((method, path, headers, body),) = server.requests
            self.assertEqual((method, path, body), ("HEAD", "/", b""))
            self.assertNotIn("tk_secret", str(headers))

    def test_nobody_listens(self):
        config = {"via": "discord", "url": f"http://127.0.0.1:{closed_port()}/{SECRET}"}
        self.assert_retried(self.run_plugin("health", config), "refused")


class Protocol(NotifyTest):
    def test_unknown_command(self):
        self.assert_final(self.run_plugin("poll", {"via": "slack"}), "poll")

    def test_what_python_cannot_read(self):
        whole = json.dumps(request("handle", {}, {"type": "a", "payload": 7}))
        for value in ("[" * 200_000 + "]" * 200_000, "9" * 5000):
            self.checked(spawn("notify", whole.replace(": 7}", f": {value}}}")))

    def test_unforeseen_fault_shows_no_secret(self):
        config = {"via": "slack", "url": f"http://127.0.0.1/{SECRET}"}
        done = spawn("notify", json.dumps(request("handle", config, {})))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"KeyError", done.stderr)
        self.assertEqual(json.loads(done.stdout)["error"], "KeyError: 'type'")
        self.assertNotIn(SECRET.encode(), done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
