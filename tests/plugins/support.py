"""What the tests of the plugins share: running one as ductile does, and servers on ports that the system chooses."""

import http.server
import importlib.util
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

import schemas

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
# Far above what a job needs; only to end a test that hangs.
PATIENCE = 60


def request(command, config, event=None):
    """A request of protocol 1."""
    request = {"protocol": 1, "job_id": "job", "command": command, "config": config, "state": {}}
    if event is not None:
        request["event"] = {"source": "test", "timestamp": "2026-01-01T12:00:00.000Z", "event_id": "e-1", **event}
    request["deadline_at"] = "2026-01-01T12:02:00.000Z"
    return request


def spawn(plugin, stdin, program=(sys.executable, "-S", "run.py")):
    """One process for one request, with next to no environment: no locale, no proxies."""
    return subprocess.run(
        program,
        cwd=ROOT / "plugins" / plugin,
        input=stdin.encode(),
        env={"PATH": os.environ["PATH"], "LANG": "C", "LC_ALL": "C"},
        capture_output=True,
        timeout=PATIENCE,
    )


def loaded(plugin, name):
    """A module of a plugin, in this process: thousands of processes would take minutes."""
    folder = ROOT / "plugins" / plugin
    path = [str(folder), str(ROOT / "plugins/lib")]
    sys.path[:0] = path
    try:
        spec = importlib.util.spec_from_file_location(f"{plugin}_{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for entry in path:
            sys.path.remove(entry)
    return module


class PluginTest(unittest.TestCase):
    plugin = None

    def run_plugin(self, command, config, event=None):
        """The response, after checking what holds for all of them."""
        asked = request(command, config, event)
        response = self.checked(spawn(self.plugin, json.dumps(asked)))
        schemas.check(self.plugin, asked, response, 0)
        return response

    def checked(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, b"")
        self.assertTrue(done.stdout.isascii())
        self.assertEqual(done.stdout.count(b"\n"), 1)
        response = json.loads(done.stdout)
        self.assertIn(response["status"], ("ok", "error"))
        return response

    def assert_ok(self, response):
        self.assertEqual(response["status"], "ok", response)

    def assert_final(self, response, *words):
        """An error that is not retried, and says these words."""
        self.assertEqual((response["status"], response.get("retry")), ("error", False), response)
        self.assert_says(response, words)

    def assert_retried(self, response, *words):
        self.assertEqual(response["status"], "error", response)
        self.assertNotEqual(response.get("retry"), False, response)
        self.assert_says(response, words)

    def assert_says(self, response, words):
        for word in words:
            self.assertIn(word, response["error"])


class HttpServer:
    """Records requests and answers as told: a status, or a function of the handler."""

    def __init__(self, answer=200, reply=b"ok", headers=(), context=None):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, dict(self.headers.items()), body))
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply)

            do_POST = do_GET = do_HEAD = serve

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *_):
                """A client that goes away is part of some tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def body(self):
        """The JSON of the only request."""
        ((_, _, _, body),) = self.requests
        return json.loads(body)


def closed_port():
    """A port of this machine where nobody listens."""
    with HttpServer() as server:
        return server.port


class Certificate:
    """A certificate of its own authority, made now, valid for one name or address."""

    def __init__(self, name="IP:127.0.0.1"):
        self.folder = tempfile.TemporaryDirectory()
        self.file = os.path.join(self.folder.name, "cert.pem")
        key = os.path.join(self.folder.name, "key.pem")
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        command = [*command.split(), "-addext", f"subjectAltName={name}", "-keyout", key, "-out", self.file]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file, key)

    def remove(self):
        self.folder.cleanup()
