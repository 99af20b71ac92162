"""One child process: fed, read with bounds, and ended in time."""

import os
import selectors
import subprocess
import time

# Of stderr the end counts: there is the error.
MAX_STDERR = 64 * 1024
# After SIGTERM, before SIGKILL.
GRACE = 1.5
# How long a grandchild that still holds the pipes is listened to.
LINGER = 0.5
PIECE = 64 * 1024


class Done:
    def __init__(self):
        self.code = None
        self.stdout = b""
        self.stderr = b""
        self.overflow = False
        self.timed_out = False


def run(command, cwd, environment, stdin, timeout, max_output):
    """Runs the command to its end, `timeout` seconds at the most. More than `max_output` bytes are read and dropped.

    It stays in the plugin's process group, so ductile ends whatever is left of it. OSError if it cannot be started.
    """
    done = Done()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    try:
        with selectors.DefaultSelector() as waiting:
            for pipe in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(pipe.fileno(), False)
            waiting.register(process.stdout, selectors.EVENT_READ)
            waiting.register(process.stderr, selectors.EVENT_READ)
            waiting.register(process.stdin, selectors.EVENT_WRITE)
            _converse(process, waiting, done, memoryview(stdin), time.monotonic() + timeout, max_output)
    finally:
        if process.poll() is None:
            _end(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
    done.code = process.returncode
    return done


def _converse(process, waiting, done, rest, deadline, max_output):
    end = None
    while True:
        now = time.monotonic()
        if end is None and process.poll() is not None:
            end = min(now + LINGER, deadline)
            if any(key.fileobj is process.stdin for key in waiting.get_map().values()):
                waiting.unregister(process.stdin)
        if end is None and now >= deadline:
            done.timed_out = True
            return
        readable = [key for key in waiting.get_map().values() if key.fileobj is not process.stdin]
        if end is not None and (not readable or now >= end):
            return
        if not waiting.get_map():
            # It has closed everything and goes on.
            try:
                process.wait(deadline - now)
            except subprocess.TimeoutExpired:
                done.timed_out = True
            return
        # The end of a process is no event of a pipe that a grandchild holds, so it is looked for now and then.
        for key, _ in waiting.select(min(0.05, max(0.0, (end or deadline) - now))):
            if key.fileobj is process.stdin:
                rest = _fed(process, waiting, rest)
            else:
                _read(key.fileobj, process, waiting, done, max_output)


def _fed(process, waiting, rest):
    try:
        rest = rest[os.write(process.stdin.fileno(), rest[:PIECE]) :] if rest else rest
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        # It does not read its stdin, which is its right.
        rest = rest[:0]
    if not rest:
        waiting.unregister(process.stdin)
        process.stdin.close()
    return rest


def _read(pipe, process, waiting, done, max_output):
    try:
        piece = os.read(pipe.fileno(), PIECE)
    except BlockingIOError:
        return
    if not piece:
        waiting.unregister(pipe)
    elif pipe is process.stderr:
        done.stderr = (done.stderr + piece)[-MAX_STDERR:]
    else:
        free = max_output - len(done.stdout)
        done.overflow = done.overflow or len(piece) > free
        done.stdout += piece[:free]


def _end(process):
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
