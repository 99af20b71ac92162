"""plugins/http_poll against a real HTTP server: nothing missed, nothing twice."""

import base64
import email.utils
import json
import sys
import threading
import time
import unittest

from connector import Connector
from support import HttpServer, closed_port

RSS = """<?xml version="1.0"?>
<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:atom="http://www.w3.org/2005/Atom">
<channel><title>News</title><atom:link href="/self"/><link>http://example.com/</link>
<item><title>Second &amp; last</title><link>/two</link><guid isPermaLink="false">id-2</guid>
 <description>&lt;p&gt;One&lt;/p&gt;&lt;script&gt;x&lt;/script&gt;two &lt;b&gt;bold&lt;/b&gt;</description>
 <dc:creator>Ann</dc:creator><pubDate>Fri, 02 Jan 2026 00:00:00 GMT</pubDate><category>a</category><category>b</category>
 <enclosure url="http://example.com/a.mp3" type="audio/mpeg"/></item>
<item><title>First</title><link>javascript:alert(1)</link></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Blog</title>
<entry><id>urn:2</id><title type="html">B &lt;i&gt;new&lt;/i&gt;</title><link rel="enclosure" href="/e"/><link href="/b"/>
 <updated>2026-01-02T00:00:00Z</updated><author><name>Bob</name></author>
 <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">some <b>text</b></div></content></entry>
<entry><id>urn:1</id><title>A</title><summary>s</summary><category term="x"/></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><title>Old</title></channel><item rdf:about="x"><title>T</title><link>http://example.com/x</link></item></rdf:RDF>"""


class Site(HttpServer):
    """Serves `content`, with ETag and Last-Modified if it is to; `answer` stands in for it once or always."""

    def __init__(self, content=b"[]", validators=True, **headers):
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.validators = validators
        self.headers = headers
        self.instead = None
        self.not_modified = 0
        super().__init__(self.serve)

    def set(self, content):
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()

    def serve(self, handler):
        if self.instead is not None:
            self.instead(handler)
            return
        tag = f'"{hash(self.content)}"'
        if self.validators and handler.headers.get("If-None-Match") == tag:
            self.not_modified += 1
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(200)
        if self.validators:
            handler.send_header("ETag", tag)
            handler.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        for name, value in self.headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        handler.wfile.write(self.content)

    def answer(self, status, headers=(), body=b"", length=None):
        def instead(handler):
            handler.send_response(status)
            for name, value in headers:
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body) if length is None else length))
            handler.end_headers()
            handler.wfile.write(body)

        self.instead = instead


def items(*numbers):
    return [{"id": number, "name": f"item {number}"} for number in numbers]


class HttpPoll(Connector):
    plugin = "http_poll"

    def watch(self, content=b"[]", **options):
        site = Site(content, **options)
        self.addCleanup(site.__exit__)
        self.config = {"url": f"{site.url}/list?key=very-secret-key"}
        return site

    def ids(self, **config):
        return [event["payload"]["id"] for event in self.events(**config)]

    # JSON

    def test_new_items_once(self):
        site = self.watch(items(1, 2))
        self.assertEqual(self.ids(), [])
        self.assertEqual(self.ids(), [])
        self.assertEqual(site.not_modified, 1)
        site.set(items(1, 2, 3, 4))
        (first, second) = self.events()
        self.assertEqual((first["type"], first["payload"]), ("http.item", {"id": 3, "name": "item 3"}))
        self.assertNotEqual(first["dedupe_key"], second["dedupe_key"])
        site.set(items(4, 3, 5, 5))
        self.assertEqual(self.ids(event_type="mine"), [5])
        site.set(items(1, 2))
        self.assertEqual(self.ids(), [])

    def test_a_repeated_attempt_gives_the_same_keys(self):
        site = self.watch(items(1))
        self.poll()
        site.set(items(1, 2, 3))
        before = dict(self.state)
        first = self.events()
        self.state = before
        self.assertEqual(self.events(), first)

    def test_existing_items_if_asked_for(self):
        self.watch(items(1, 2))
        self.assertEqual(self.ids(emit_existing="true"), [1, 2])
        self.assertEqual(self.ids(emit_existing=True), [])

    def test_an_empty_first_list_is_a_first_poll(self):
        site = self.watch([])
        self.assertEqual(self.ids(), [])
        site.set(items(1))
        self.assertEqual(self.ids(), [1])

    def test_ten_thousand_items_a_thousand_a_poll(self):
        site = self.watch(items(*range(10_000)))
        seen = []
        for _ in range(10):
            self.assertEqual(len(seen) % 1000, 0)
            seen += self.ids(emit_existing=True)
        self.assertEqual(seen, list(range(10_000)))
        # With nothing left, the list is not sent again.
        self.assertEqual((self.ids(), site.not_modified), ([], 1))
        self.assertLess(len(json.dumps(self.state)), 150_000)

    def test_more_bytes_than_a_response_may_have(self):
        site = self.watch([])
        self.poll()
        site.set([{"id": number, "x": "y" * 900_000} for number in range(12)])
        first = self.ids(max_body="20MB")
        self.assertLess(len(self.stdout.encode()), 10_000_000)
        self.assertEqual(first + self.ids(max_body="20MB"), list(range(12)))

    def test_a_huge_item_is_told_without_its_content(self):
        site = self.watch([])
        self.poll()
        site.set([{"id": "a", "x": "y" * 9_000_000}, {"id": "b"}])
        (huge, small) = self.events()
        self.assertEqual((huge["payload"]["id"], small["payload"]), ("a", {"id": "b"}))
        self.assertIn("1048576", huge["payload"]["omitted"])

    def test_the_memory_is_bounded(self):
        site = self.watch(items(*range(50_000)))
        self.poll(updated=True)
        site.set(items(*range(25_000, 74_999)) + items(1))
        self.poll(updated=True)
        self.assertGreater(len(json.dumps(self.state)), 900_000)
        for content in (items(*range(50_001)), b"<rss><channel>" + b"<item/>" * 50_001 + b"</channel></rss>"):
            site.set(content)
            self.assert_final(self.asked("poll"), "50001 items")

    def test_a_list_that_is_too_long_takes_little_memory(self):
        # The items would take 600 MB.
        self.watch(b"[" + b"0," * 2_000_000 + b"0]")
        limited = f"ulimit -v {400 * 1024}; exec {sys.executable} -S run.py"
        self.program = [("sh", "-c", limited)]
        self.assert_final(self.asked("poll"), "2000001 items")

    def test_updated_items(self):
        site = self.watch(items(1, 2))
        self.poll(updated=True)
        keys = set()
        for name in ("new", "item 2", "new"):
            site.set([{"name": "item 1", "id": 1}, {"id": 2, "name": name}])
            (event,) = self.events(updated=True)
            self.assertEqual((event["type"], event["payload"]["name"]), ("http.item.updated", name))
            keys.add(event["dedupe_key"])
        self.assertEqual(len(keys), 3)
        site.set(items(1, 2, 3))
        self.assertEqual(self.ids(updated=False), [3])
        site.set(items(3, 2, 1))
        self.assertEqual(self.ids(updated=True), [])
        site.set([{"id": 1, "name": "else"}])
        self.assertEqual(self.ids(updated=True), [1])

    def test_updated_turned_on_later_looks_at_the_whole_list_once(self):
        site = self.watch(items(1))
        self.poll()
        self.poll(updated=True)
        self.assertEqual(site.not_modified, 0)
        site.set([{"id": 1, "name": "else"}])
        self.assertEqual(self.ids(updated=True), [1])

    def test_items_and_ids_by_path(self):
        site = self.watch({"data": {"list": []}, "other": [1]})
        config = {"items": "data.list", "id": "meta.key"}
        self.poll(**config)
        site.set({"data": {"list": [{"meta": {"key": "a"}}, {"meta": {"key": 7}}, {"meta": {}}, "text", 7, None]}})
        response = self.poll(**config)
        self.assertEqual(len(response["events"]), 6)
        self.assertIn("4 items have no 'meta.key'", response["logs"][0]["message"])
        self.assertEqual(self.events(**config), [])

    def test_payload_as_the_server_wrote_it(self):
        site = self.watch([])
        self.poll()
        text = '{"id": 12345678901234567890123, "d": 1.10, "e": 1E400, "t": "\\ud83d\\ude00 ü",  "l": [ ] }'
        site.set(b"\xef\xbb\xbf [" + text.encode() + b"]")
        self.events()
        self.assertIn(text, self.stdout)

    def test_another_source_begins_anew(self):
        site = self.watch(items(1))
        self.poll()
        site.set({"a": items(2)})
        self.assertEqual(self.ids(items="a"), [])

    # Feeds

    def feed(self, text, **config):
        site = self.watch(text.encode())
        return self.events(emit_existing=True, **config), site

    def test_rss(self):
        (first, second), site = self.feed(RSS)
        self.assertEqual(second["payload"], {
            "id": "id-2", "title": "Second & last", "text": "One\ntwo bold", "url": f"{site.url}/two", "author": "Ann",
            "published": "Fri, 02 Jan 2026 00:00:00 GMT", "updated": None, "categories": ["a", "b"],
            "enclosures": ["http://example.com/a.mp3"], "feed": "News",
        })
        # The oldest first; one without guid and link is told apart by its content.
        self.assertEqual((first["payload"]["title"], first["payload"]["url"]), ("First", None))
        self.assertEqual(self.events(), [])

    def test_atom_and_rss_1(self):
        (first, second), site = self.feed(ATOM, format="atom")
        self.assertEqual(second["payload"], {
            "id": "urn:2", "title": "B new", "text": "some text", "url": f"{site.url}/b", "author": "Bob", "published": None,
            "updated": "2026-01-02T00:00:00Z", "categories": [], "enclosures": [f"{site.url}/e"], "feed": "Blog",
        })
        self.assertEqual((first["payload"]["id"], first["payload"]["categories"]), ("urn:1", ["x"]))
        (only,), _ = self.feed(RDF)
        self.assertEqual((only["payload"]["id"], only["payload"]["feed"]), ("http://example.com/x", "Old"))

    def test_relative_links_have_nothing_of_the_query(self):
        links = {"#c1": None, " #c2": None, "": None, "?a=1#b": "/list?a=1#b", "?": "/list", "./": "/", "two": "/two"}
        for text in (
            "".join(f"<item><title>{link}</title><link>{link}</link></item>" for link in links),
            "".join(f'<entry><title>{link}</title><link href="{link}"/></entry>' for link in links),
        ):
            self.state = {}
            events, site = self.feed(f"<rss><channel>{text}</channel></rss>" if "item" in text else f"<feed>{text}</feed>")
            expected = [url and site.url + url for url in links.values()][::-1]
            self.assertEqual([event["payload"]["url"] for event in events], expected)
            self.assertEqual([event["payload"]["id"] for event in events], expected)

    def test_items_that_take_long_to_read(self):
        item = "<item><guid>1</guid><description>" + "&lt;a " * 20_000 + "</description></item>"
        (event,), _ = self.feed(f"<rss><channel>{item}</channel></rss>")
        self.assertEqual(event["payload"]["text"], ("<a " * 20_000)[:10_000])

    def test_encodings(self):
        text = "<rss><channel><item><guid>1</guid><title>ä</title></item></channel></rss>"
        for body, headers in (
            (text.encode("utf-16"), {}), (b"\xef\xbb\xbf" + text.encode(), {}),
            (b'<?xml version="1.0" encoding="iso-8859-1"?>' + text.encode("latin-1"), {}),
            (text.encode("latin-1"), {"Content_Type": "text/xml; charset=iso-8859-1"}),
        ):
            self.state = {}
            self.watch(body, **headers)
            (event,) = self.events(emit_existing=True)
            self.assertEqual(event["payload"]["title"], "ä")

    def test_dtds_are_refused(self):
        bomb = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><rss><channel>&b;</channel></rss>'
        local = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><channel><title>&x;</title></channel></rss>'
        for text in (bomb, local):
            self.watch(text.encode())
            self.assert_final(self.asked("poll"), "DTD")

    def test_malformed_answers(self):
        deep = "<rss>" + "<a>" * 200_000
        for text, config, words, final in (
            ("[1, 2", {}, "not JSON", False), ("", {}, "not JSON", False), ("[NaN]", {}, "NaN", False), ("[" * 200_000, {}, "JSON", False),
            ("\xff", {"format": "json"}, "not JSON", False), ("{}", {}, "config.items", True), ('{"a": []}', {}, "lists at a", True),
            ('{"b": []}', {"items": "a"}, "'a'", True), ("7", {}, "config.items", True), ("<rss><channel>", {}, "well-formed", False),
            ("<html></html>", {}, "<html>", True), (ATOM, {"format": "rss"}, "no RSS", True), (RSS, {"format": "atom"}, "no Atom", True),
            ("<rss>&nope;</rss>", {}, "well-formed", False), (deep, {}, "deep", True),
        ):
            with self.subTest(text=text[:20]):
                self.state = {}
                self.watch(text.encode("latin-1"))
                (self.assert_final if final else self.assert_retried)(self.asked("poll", **config), words)
                self.assertEqual(self.state, {})

    # Answers

    def test_refusals(self):
        site = self.watch()
        for status, final in ((401, True), (404, True), (410, True), (304, True), (408, False), (429, False), (500, False), (503, False)):
            site.answer(status)
            check = self.assert_final if final else self.assert_retried
            check(self.asked("poll"), f"HTTP {status}")
            self.assertNotIn("very-secret-key", self.stdout)

    def test_retry_after_is_kept_to(self):
        for value, least in (("1000", 990), (email.utils.formatdate(time.time() + 1000, usegmt=True), 900), ("999999999", 86_000)):
            self.state = {}
            site = self.watch(items(1))
            self.poll()
            site.set(items(1, 2))
            site.answer(429, [("Retry-After", value)])
            self.assertIn("asks to wait", self.poll()["result"])
            site.instead = None
            asked = len(site.requests)
            self.assertIn("not asked", self.poll()["result"])
            self.assertEqual(len(site.requests), asked)
            self.assertGreater(self.state["not_before"] - time.time(), least)
            # Then nothing was missed.
            self.state["not_before"] = time.time() - 1
            self.assertEqual(self.ids(), [2])
            self.assertEqual(self.ids(), [])

    def test_retry_after_at_the_first_poll(self):
        site = self.watch(items(1))
        site.answer(503, [("Retry-After", "0")])
        self.poll()
        site.instead = None
        self.assertIn("first poll", self.poll()["result"])

    def test_a_server_that_never_stops_asking_to_wait_is_told_of(self):
        site = self.watch(items(1))
        site.answer(429, [("Retry-After", "0")])
        for _ in range(10):
            self.poll()
        self.assert_final(self.asked("poll"), "HTTP 429", "11 times")

    def test_broken_connections(self):
        site = self.watch(items(1))
        self.poll()
        state = dict(self.state)
        site.set(items(1, 2))
        for instead in (lambda handler: handler.connection.shutdown(2), lambda handler: handler.wfile.write(b"what?\r\n\r\n")):
            site.instead = instead
            self.assert_retried(self.asked("poll"))
        site.answer(200, body=b"[]", length=100)
        self.assert_retried(self.asked("poll"), "ends after 2 of 100 bytes")
        site.answer(200, [("Transfer-Encoding", "chunked")], b"5\r\n[1]")
        self.assert_retried(self.asked("poll"))
        site.answer(200, [("Content-Encoding", "gzip")], b"x")
        self.assert_retried(self.asked("poll"), "compressed")
        self.assertEqual(self.state, state)
        site.instead = None
        self.assertEqual(self.ids(), [2])
        self.assert_retried(self.asked("poll", url=f"http://127.0.0.1:{closed_port()}/"), "refused")
        self.assert_retried(self.asked("poll", url="http://no-such-host.invalid/"), "no-such-host.invalid")

    def test_headers_that_the_server_repeats_are_hidden(self):
        site = self.watch()
        for header, secret in (
            ("Bearer t0k3n", "t0k3n"), ("Basic " + base64.b64encode(b"ann:geheim").decode(), "geheim"), ("Basic not-base64", "not-base64"),
            ("theme=dark; session=0123456789", "0123456789"),
        ):
            site.instead = lambda handler: handler.wfile.write(f"{header}, {header.split(' ')[1]}, {secret}\r\n".encode())
            with self.subTest(header=header):
                self.assert_retried(self.asked("poll", headers={"Authorization": header}), "BadStatusLine: ***, ***, ***")

    def test_slow_servers(self):
        site = self.watch()
        done = threading.Event()

        def trickle(handler):
            handler.send_response(200)
            handler.end_headers()
            while not done.wait(0.02):
                handler.wfile.write(b" ")

        for instead in (lambda _: done.wait(30), trickle):
            done.clear()
            site.instead = instead
            try:
                # The shorter counts: what is configured, or the deadline.
                self.assert_retried(self.asked("poll", timeout=0.3), "127.0.0.1")
                self.assert_retried(self.asked("poll", seconds=5.3), "127.0.0.1")
            finally:
                done.set()

    def test_size_limit(self):
        self.watch(items(*range(1000)))
        self.assert_final(self.asked("poll", max_body="1KB"), "1024 bytes")

    def test_redirects(self):
        site, other = self.watch(items(1)), Site(items(1, 2))
        self.addCleanup(other.__exit__)
        self.poll(headers={"Authorization": "Bearer abc"})
        site.answer(302, [("Location", other.url + "/there")])
        self.assertEqual(self.ids(headers={"Authorization": "Bearer abc"}), [2])
        self.assertEqual(site.requests[-1][2]["Authorization"], "Bearer abc")
        self.assertNotIn("Authorization", other.requests[-1][2])
        site.answer(301, [("Location", site.url + "/list")])
        self.assert_final(self.asked("poll"), "HTTP 301")
        site.answer(302, [("Location", "file:///etc/passwd")])
        self.assert_final(self.asked("poll"), "not followed")

    # The rest

    def test_health_changes_nothing(self):
        site = self.watch(items(1, 2, 3))
        response = self.asked("health")
        self.assertEqual((response["result"], response.get("state_updates")), ("3 items", None))
        site.answer(404)
        self.assert_final(self.asked("health"), "HTTP 404")

    def test_wrong_configuration(self):
        self.config = {"url": "http://127.0.0.1:1/"}
        self.assert_each_misconfigured({
            "url": (..., "x", 7), "format": ("xml",), "items": (7, ""), "id": (7,), "max_body": ("1GB", -1, "x", True),
            "headers": ({"If-None-Match": "x"}, {"A": 7}), "event_type": ("", "x" * 201), "emit_existing": ("yes",),
            "updated": (1.5,), "timeout": (0,), "ca_file": (7,), "unknown": (1,),
        })
        self.assert_misconfigured(self.asked("poll", format="rss", items="a"), "config.items")
        self.assert_misconfigured(self.asked("poll", url="https://127.0.0.1:1/", ca_file="/no/such"), "config.ca_file")


if __name__ == "__main__":
    unittest.main()
