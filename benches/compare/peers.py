"""What a user would pick instead. Each is set up as its own manual says, and asked as its user asks it."""

import json
import os
import re
import shlex
import socket
import subprocess
import time

import world


class Webhook:
    """adnanh/webhook: an HTTP server that starts a command for each request. It has no queue."""

    name = "webhook"
    unit = "POST"
    stays = True
    jobs = None
    latencies = 150

    def __init__(self, folder):
        self.world = world.World(folder)
        self.process = None

    @staticmethod
    def version():
        output = subprocess.run([world.find("webhook"), "-version"], stdout=subprocess.PIPE, check=True, text=True).stdout
        return output.split()[-1]

    def start(self, record=True, wait_ms=None):
        check = {"type": "payload-hmac-sha256", "secret": world.SECRET, "parameter": {"source": "header", "name": world.HEADER}}
        hook = {"execute-command": self.world.noop, "trigger-rule": {"match": check}}
        number = [{"source": "payload", "name": "number"}]
        hooks = [{"id": "run", **hook}, {"id": "number", "pass-arguments-to-command": number, **hook}]
        hooks = self.world.write("hooks.json", json.dumps(hooks))
        self.port = world.free_port()
        self.noop = noop_environment(self.world, record, wait_ms)
        self.command = [world.find("webhook"), "-hooks", hooks, "-ip", "127.0.0.1", "-port", str(self.port)]
        begun = time.monotonic()
        self.again()
        return (time.monotonic() - begun) * 1e3

    def again(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, env=self.world.environment(self.noop), **quiet)
        world.wait(lambda: world.answers(self.port), "webhook to answer", 30, 0.0002)

    def pid(self):
        return self.process.pid

    def add(self, number):
        world.post(self.port, "/hooks/number", json.dumps({"number": number}))

    def load(self, _, senders, seconds):
        result = world.wrk(self.world, self.port, "/hooks/run", senders, seconds)
        result["peak"] = world.memory(self.pid(), "VmHWM")
        return result

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def idle(self):
        return not running(self.world)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


class Spooled:
    """A tool whose jobs wait behind one that reads a pipe until they are let go."""

    unit = "exec"

    def __init__(self, folder):
        self.world = world.World(folder)
        self.gate = self.world.path("gate")

    def hold(self):
        os.mkfifo(self.gate)
        self.put("sh", "-c", f"read line < {self.gate}")

    def release(self):
        with open(self.gate, "w") as gate:
            gate.write("\n")

    def add(self, number):
        self.put(self.world.noop, str(number))

    def run(self, *command):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run(command, env=self.variables, cwd=self.world.folder, check=True, **quiet)


class Nq(Spooled):
    """nq: each job is a process that waits for the locks of those before it. There is no daemon."""

    name = "nq"
    stays = False
    jobs = 200
    latencies = 100

    @staticmethod
    def version():
        world.find("nq")
        return package_version("nq")

    def start(self, record=True, wait_ms=None):
        noop = noop_environment(self.world, record, wait_ms)
        self.variables = {**self.world.environment(noop), "NQDIR": self.world.path("queue")}
        os.makedirs(self.world.path("queue"), exist_ok=True)

    def put(self, *command):
        self.run(world.find("nq"), "-q", *command)

    def kill(self):
        world.end(waiting("nq"))

    def again(self):
        """Nothing is left that could be started again."""

    def idle(self):
        return not waiting("nq") and not running(self.world)

    def stop(self):
        pass


class TaskSpooler(Spooled):
    """task-spooler: a daemon in memory; each job that waits is a process."""

    name = "task-spooler"
    stays = True
    jobs = 400
    latencies = 100

    @staticmethod
    def version():
        world.find("tsp")
        return package_version("task-spooler")

    def start(self, record=True, wait_ms=None):
        noop = noop_environment(self.world, record, wait_ms)
        folder = self.world.folder
        self.variables = {**self.world.environment(noop), "TS_SOCKET": os.path.join(folder, "socket"), "TMPDIR": folder}
        begun = time.monotonic()
        self.again()
        ready = (time.monotonic() - begun) * 1e3
        # It leads a session of its own.
        self.server = next(pid for pid, (name, session) in world.marked().items() if name == "tsp" and pid == session)
        return ready

    def again(self):
        # That of a killed one is still there, and may be held open by its last job.
        if os.path.exists(self.variables["TS_SOCKET"]):
            os.remove(self.variables["TS_SOCKET"])
        self.run(world.find("tsp"))

    def pid(self):
        return self.server

    def put(self, *command):
        self.run(world.find("tsp"), *command)

    def kill(self):
        world.end([self.server])

    def idle(self):
        return not running(self.world)

    def stop(self):
        self.run(world.find("tsp"), "-K")


class Pueue(Spooled):
    """pueue: a daemon that looks at its queue at intervals and stores it as JSON."""

    name = "pueue"
    stays = True
    jobs = 15
    latencies = 15

    @staticmethod
    def version():
        command = [world.find("pueue"), "--version"]
        world.find("pueued")
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()[-1]

    def start(self, record=True, wait_ms=None):
        self.variables = self.world.environment(noop_environment(self.world, record, wait_ms))
        folder = self.world.folder
        self.socket = os.path.join(folder, "socket")
        shared = {"pueue_directory": folder, "runtime_directory": folder, "use_unix_socket": True, "unix_socket_path": self.socket}
        # JSON is YAML.
        self.config = self.world.write("pueue.yml", json.dumps({"client": {}, "daemon": {}, "shared": shared}))
        begun = time.monotonic()
        self.launch()
        return (time.monotonic() - begun) * 1e3

    def launch(self):
        if os.path.exists(self.socket):
            os.remove(self.socket)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([world.find("pueued"), "-c", self.config], env=self.variables, **quiet)
        world.wait(self.connects, "pueued to listen", 30, 0.0002)

    def connects(self):
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(self.socket) == 0

    def pid(self):
        return self.process.pid

    def ask(self, *arguments):
        self.run(world.find("pueue"), "-c", self.config, *arguments)

    def put(self, *command):
        # It hands a line to a shell, with a stdin that stays open.
        self.ask("add", "--", shlex.join(command) + " < /dev/null")

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def again(self):
        """It comes back paused. Its jobs would take a minute one by one."""
        self.launch()
        self.ask("parallel", "50")
        self.ask("start")

    def idle(self):
        command = [world.find("pueue"), "-c", self.config, "status", "--json"]
        status = subprocess.run(command, stdout=subprocess.PIPE, env=self.variables, check=True, text=True).stdout
        return all("Done" in task["status"] for task in json.loads(status)["tasks"].values())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


ALL = (Webhook, TaskSpooler, Nq, Pueue)


def noop_environment(place, record, wait_ms):
    noop = {"NOOP_FILE": place.record} if record else {}
    return {**noop, "NOOP_WAIT_MS": str(wait_ms)} if wait_ms else noop


def waiting(name):
    return [pid for pid, (found, _) in world.marked().items() if found == name]


def running(place):
    return waiting(os.path.basename(place.noop))


def package_version(package):
    """Of a Debian package, as the program does not tell; without what Debian has added."""
    command = ["dpkg-query", "-W", "-f", "${Version}", package]
    try:
        version = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown version"
    return re.match(r"[0-9.]*", version)[0]
