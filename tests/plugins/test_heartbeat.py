"""plugins/heartbeat against a real HTTP server."""

import json
import threading
import unittest

from connector import Connector
from support import HttpServer, closed_port

SECRET = "0a1b2c3d-4e5f-6789"
DEAD = {"type": "job.dead", "source": "ductile", "payload": {"plugin": "backup", "error": "no spacé", "attempt": 4}}


class Heartbeat(Connector):
    plugin = "heartbeat"

    def test_ping(self):
        for method in ("GET", "HEAD", "POST"):
            with HttpServer() as server:
                response = self.poll(url=f"{server.url}/ping/{SECRET}", method=method, headers={"X-Key": "k3y-of-mine"})
                ((asked, path, headers, body),) = server.requests
            self.assertEqual((asked, path, headers["X-Key"], body), (method, f"/ping/{SECRET}", "k3y-of-mine", b""))
            self.assertIn("HTTP 200", response["result"])
            self.assertNotIn(SECRET, self.stdout)

    def test_failure_is_told_with_its_reason(self):
        with HttpServer() as server:
            config = {"url": server.url + "/a", "fail_url": f"{server.url}/{SECRET}/fail"}
            self.assert_ok(self.asked("handle", DEAD, **config))
            ((asked, path, _, body),) = server.requests
        self.assertEqual((asked, path), ("POST", f"/{SECRET}/fail"))
        self.assertEqual(body.decode(), "job.dead\nplugin: backup\nerror: no spacé\nattempt: 4")

    def test_failure_without_an_address_for_it(self):
        self.assert_misconfigured(self.asked("handle", DEAD, url="http://127.0.0.1:1/"), "config.fail_url")

    def test_every_other_answer_is_retried(self):
        for status in (302, 404, 429, 500):
            with HttpServer(status, headers=[("Retry-After", "60"), ("Location", "/other")]) as server:
                response = self.asked("poll", url=f"{server.url}/{SECRET}")
                self.assertEqual(len(server.requests), 1)
            self.assert_retried(response, f"HTTP {status}")
            self.assertNotIn(SECRET, self.stdout)

    def test_nobody_listens(self):
        self.assert_retried(self.asked("poll", url=f"http://127.0.0.1:{closed_port()}/{SECRET}"), "refused")
        self.assertNotIn(SECRET, self.stdout)

    def test_a_token_that_the_server_repeats_is_hidden(self):
        with HttpServer(lambda handler: handler.wfile.write(b"no t0k3n\r\n")) as server:
            self.assert_retried(self.asked("poll", url=server.url, headers={"Authorization": "Bearer t0k3n"}), "no ***")

    def test_server_that_answers_byte_by_byte(self):
        done = threading.Event()

        def trickle(handler):
            while not done.wait(0.02):
                handler.wfile.write(b"H")

        with HttpServer(trickle) as server:
            try:
                response = self.asked("poll", url=server.url, timeout=0.3)
            finally:
                done.set()
        self.assert_retried(response, "within 0.3 s")

    def test_health_pings_nothing(self):
        with HttpServer() as server:
            self.assert_ok(self.asked("health", url=server.url))
            self.assertEqual(server.requests, [])

    def test_wrong_configuration(self):
        self.config = {"url": "http://127.0.0.1:1/"}
        self.assert_each_misconfigured({
            "url": (..., 7, "", "ftp://a/", "http://", "http://u:secret@a/", "http://a b/"), "fail_url": ("x",),
            "method": ("PUT", 7), "timeout": (0, "x", True), "headers": (7, {"a b": "x"}, {"A": "x\ny"}),
            "ulr": ("x",),
        })
        self.assertNotIn("u:secret", json.dumps(self.asked("health", url="http://u:secret@a/")))


if __name__ == "__main__":
    unittest.main()
