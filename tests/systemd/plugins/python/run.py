#!/usr/bin/python3
"""What Python programs do must work under the unit's hardening; what it forbids must be an error, not a death."""

import ctypes
import errno
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

request = json.load(sys.stdin)
problems = []

REFUSALS = (errno.EPERM, errno.EACCES, errno.EROFS, errno.EAFNOSUPPORT)


def must_work(name, act):
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result of the test
        problems.append(f"{name}: {error!r}")


def must_fail(name, act):
    try:
        act()
    except OSError as error:
        if error.errno not in REFUSALS:
            problems.append(f"{name}: {error!r}")
    else:
        problems.append(f"{name} is allowed")


def in_a_thread():
    done = []
    thread = threading.Thread(target=lambda: done.append(1))
    thread.start()
    thread.join()
    assert done


def callback():
    # Needs memory that is writable and executable.
    kind = ctypes.CFUNCTYPE(ctypes.c_int)
    assert kind(lambda: 7)() == 7


def write(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")


def mount():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/mnt", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")


must_work("threads", in_a_thread)
must_work("ctypes", callback)
must_work("TLS", ssl.create_default_context)
must_work("subprocess", lambda: subprocess.run(["/bin/sh", "-c", "ulimit -n"], check=True, capture_output=True))
must_work("temporary files", lambda: tempfile.TemporaryFile().write(b"x"))
must_work("the home folder", lambda: write(os.path.expanduser("~/python")))
must_work("resolving", lambda: socket.getaddrinfo("localhost", 80))
must_work("interfaces", socket.if_nameindex)
must_work("limits", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)))
must_work("priorities", lambda: os.nice(1))
must_work("processors", lambda: os.sched_getaffinity(0))
must_fail("writing to /etc", lambda: write("/etc/ductile-was-here"))
must_fail("writing to /usr", lambda: write("/usr/ductile-was-here"))
must_fail("reading /root", lambda: os.listdir("/root"))
must_fail("reading the environment file", lambda: open("/etc/ductile/environment", encoding="utf-8"))
must_fail("mounting", mount)
must_fail("raw sockets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "TOKEN"):
    if name in os.environ:
        problems.append(f"{name} is in the environment")
if problems:
    json.dump({"status": "error", "error": "; ".join(problems), "retry": False}, sys.stdout)
else:
    message = f"{request['config']['token']}, {request['config']['variable']}"
    json.dump({"status": "ok", "logs": [{"level": "info", "message": message}]}, sys.stdout)
