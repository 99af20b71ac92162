"""The disk with the state folder: one whose power can be cut, one that is only small, or the folder as it is.

The first is ext4 in a file on a loop device, and the cut `FS_IOC_SHUTDOWN` without flushing the journal: whatever the
kernel had not put on the disk by then is gone. Loop devices and this call need root, the mounts a namespace of their own.

The cut is not one moment as in nature: while the call runs, ext4 lets some `fdatasync` succeed whose data are lost. Hence
only what was told before the call counts as acknowledged.
"""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import time

KINDS = ["ext4", "tmpfs", "plain"]
SIZE_MB = 256
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2
# Seconds, for whoever was killed to let go of the disk.
PATIENCE = 20


class Disk:
    def __init__(self, kind, at):
        self.kind, self.at = kind, at
        self.below = f"{at}.below"
        self.image = os.path.join(self.below, "image")
        self.ballast = os.path.join(at, "ballast")

    def make(self):
        """Puts it at its place, empty; the folder is there."""
        if self.kind == "plain":
            return
        if self.kind == "tmpfs":
            tool("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "tmpfs", self.at)
            return
        # Nothing of this disk is to outlive the namespace, or to wait for a disk of the machine.
        os.makedirs(self.below, exist_ok=True)
        tool("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB + 8}m,mode=700", "tmpfs", self.below)
        with open(self.image, "wb") as image:
            image.truncate(SIZE_MB << 20)
        tool("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0", self.image)
        self.mount()
        os.chmod(self.at, 0o700)
        sync(self.at)

    def mount(self):
        # The loop device goes with the mount.
        tool("mount", "-o", "loop", self.image, self.at)

    def unmount(self):
        """Nobody may use it any more; whoever was killed just now has a moment to be gone."""
        deadline = time.monotonic() + PATIENCE
        while self.kind != "plain":
            try:
                return tool("umount", self.at)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def cut(self):
        """The power fails: from now on each access fails, and what was not on the disk is gone."""
        folder = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(folder)

    def power_up(self):
        self.unmount()
        self.mount()


    def fill(self):
        """Takes all the room that is left."""
        with open(self.ballast, "ab", buffering=0) as ballast:
            free = os.statvfs(self.at)
            # Not all of it may be had in one piece.
            with contextlib.suppress(OSError):
                os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_bsize)
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(4096))

    def make_room(self):
        # A cut may have taken it.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.ballast)
        # None may bring it back.
        sync(self.at)


def tool(*command):
    """Runs it; its last words are the error if it fails."""
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        raise OSError(f"{command[0]}: {ran.stderr.strip()}")


def sync(folder):
    """Puts the names in it on the disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def main():
    """disk.py KIND FOLDER: tries it, in the namespace that the caller has made."""
    disk = Disk(sys.argv[1], sys.argv[2])
    try:
        disk.make()
        if disk.kind == "ext4":
            disk.cut()
            disk.power_up()
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
