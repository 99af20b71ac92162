"""What every tool is measured with: a temporary folder, the no-op program, waiting, HTTP, wrk, processes."""

import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = os.path.join(ROOT, "target", "peers")
SECRET = "It's a Secret to Everybody"
HEADER = "X-Hub-Signature-256"
BODY = json.dumps({"text": "x" * (10_240 - len('{"text": ""}'))})
# In the environment of everything that is started here, so that it can be found and ended, and nothing else is.
MARK = f"DUCTILE_BENCH={uuid.uuid4()}"


class Missing(Exception):
    """A program that is not installed."""


def find(program):
    """Where a program is: installed by `--install`, or in the PATH."""
    found = shutil.which(os.path.join(PEERS, "bin", program)) or shutil.which(program)
    if not found:
        raise Missing(program)
    return found


class World:
    """A folder for one tool: the no-op program, and the record of the jobs that ran."""

    def __init__(self, folder):
        self.folder = folder
        # In memory where the system has that: what the jobs write down must not wait for the disk.
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else folder
        self.recording = tempfile.TemporaryDirectory(dir=shared)
        self.record = os.path.join(self.recording.name, "record")
        self.noop = os.path.join(folder, "plugins", "noop", "noop")
        os.makedirs(os.path.dirname(self.noop))
        compile_noop(self.noop)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def path(self, name):
        return os.path.join(self.folder, name)

    def environment(self, noop):
        """That of this process, the mark, and what the no-op program is told."""
        name, _, value = MARK.partition("=")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NOOP_")}
        return {**kept, **noop, name: value}

    def ran(self):
        """The jobs that have started: (nanoseconds, number), in the order of their records."""
        try:
            with open(self.record) as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return []
        return [tuple(int(word) for word in line.split()) for line in lines[:-1]]

    def wait_ran(self, count, seconds=120, pause=0.002):
        """Until that many jobs have started."""
        wait(lambda: lines(self.record) >= count, f"{count} jobs to start", seconds, pause)
        return self.ran()

    def forget(self):
        if os.path.exists(self.record):
            os.remove(self.record)


def lines(path):
    try:
        with open(path, "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


def compile_noop(to):
    source = os.path.join(ROOT, "benches", "noop.c")
    subprocess.run([find("cc"), "-O2", "-static", "-o", to, source], check=True)


def wait(condition, what, seconds=30, pause=0.002):
    """The value of `condition` once it is true."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(pause)


def marked():
    """The processes that were started here and still are: {pid: (name, session)}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if MARK.encode() not in file.read().split(b"\0"):
                    continue
            with open(f"/proc/{pid}/stat") as file:
                name, rest = re.fullmatch(r"\d+ \((.*)\) (.*)", file.read(), re.DOTALL).groups()
        except (OSError, AttributeError):
            continue
        found[int(pid)] = (name, int(rest.split()[3]))
    return found


def end(pids):
    """Kills these processes and waits until they are gone."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait(lambda: not set(pids) & set(marked()), "killed processes to go")


def end_all():
    """Ends whatever was started here, also what a process starts while it is being ended."""
    while left := set(marked()):
        end(left)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port):
    """Whether an HTTP server answers, whatever it answers."""
    try:
        get(port, "/healthz")
        return True
    except (OSError, http.client.HTTPException):
        return False


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def post(port, path, body):
    """Sends a signed body; OSError unless the answer is that all is well."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(signed(path, body))
        answer = connection.recv(65536)
    if answer.split(b" ")[1:2] not in ([b"200"], [b"202"]):
        raise OSError(f"POST {path}: {answer[:100]!r}")


def signature(body):
    return hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()


def signed(path, body):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}{HEADER}: sha256={signature(body)}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


LUA = """
wrk.method = "POST"
wrk.headers["%s"] = "sha256=%s"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[%s]]
done = function(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%d %%f\\n", summary.requests, summary.errors.status,
    latency:percentile(50), latency:percentile(99), summary.duration / 1e6))
end
"""


def wrk(world, port, path, senders, seconds):
    """Signed webhooks of 10 KB for a while: accepted, refused, per second, p50 and p99 in milliseconds."""
    script = world.write("post.lua", LUA % (HEADER, signature(BODY), BODY))
    command = [find("wrk"), "-t1", f"-c{senders}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}{path}"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) ([\d.]+)", output)
    requests, refused, p50, p99 = (int(value) for value in found.groups()[:4])
    accepted, seconds = requests - refused, float(found[5])
    rate = accepted / seconds
    return {"accepted": accepted, "refused": refused, "rate": rate, "seconds": seconds, "p50": p50 / 1e3, "p99": p99 / 1e3}


def memory(pid, kind="VmRSS"):
    """Resident memory in MB: now, or with VmHWM at its peak."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(rf"{kind}:\s+(\d+)", status.read())[1]) / 1024


def quantile(values, share):
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * share)]


median = statistics.median
