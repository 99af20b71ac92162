"""The bare repository that the plugin keeps for itself, and the git commands that it runs in it."""

import contextlib
import fcntl
import glob
import os
import re
import shutil
import subprocess
import urllib.parse

import ductile

OURS = "ductile.lock"
REF = "refs/ductile/branch"
# What another program may not be asked for by a URL.
PROTOCOLS = "file:git:http:https:ssh"
# The name that hosts take beside a token.
USERNAME = "x-access-token"
HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$GIT_SYNC_USERNAME" "$GIT_SYNC_PASSWORD"; }; f'
# What trying again does not change.
FINAL = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|returned error: 403|not found"
    r"|does not appear to be a git repository", re.I
)
# What git says of an object here that it cannot read; its own check leaves out the files of the commits.
UNREADABLE = re.compile(r"is empty|is corrupt|failed to read delta-pack base object")
FIELDS = 9
FORMAT = "%x00".join(("%H", "%P", "%an", "%ae", "%aI", "%cn", "%ce", "%cI", "%B"))


class Damaged(ductile.Failure):
    """The repository here is not what git has written; it can be made anew."""


class Mirror:
    """`seconds` gives how long the next command may take."""

    def __init__(self, url, path, seconds):
        self.url = url
        self.path = path
        self.seconds = seconds
        # Whether there was nothing before; then nothing can be damaged.
        self.fresh = False

    def git(self, *arguments, data=None, missing_ok=False):
        """The output of git, as bytes. Failure if it fails; None instead with `missing_ok`, unless it was killed."""
        command = ["git", *_settings(self.url), *arguments]
        seconds = self.seconds()
        try:
            done = subprocess.run(
                command, input=data or b"", capture_output=True, timeout=seconds, env=_environment(), cwd="/"
            )
        except FileNotFoundError:
            raise ductile.Misconfigured("config: the program git is not installed, or not in PATH") from None
        except subprocess.TimeoutExpired:
            raise ductile.Failure(
                f"git {_verb(arguments)} took longer than {seconds:.0f} s; a large first fetch needs `timeouts: {{poll: ...}}`, or `depth`"
            ) from None
        if done.returncode == 0:
            return done.stdout
        if missing_ok and done.returncode > 0:
            return None
        said = done.stderr.decode("utf-8", "replace")
        raise ductile.Failure(f"git {_verb(arguments)}: {_cause(said, done.returncode)}", retry=not FINAL.search(said))

    def here(self, *arguments, **options):
        return self.git("--git-dir", self.path, *arguments, **options)

    def remote(self, branch):
        """(name, commit) of the branch, by default the one that HEAD names; the commit is None in an empty repository."""
        wanted = "HEAD" if branch is None else f"refs/heads/{branch}"
        lines = self.git("ls-remote", "--symref", "--", self.url, wanted).decode("utf-8", "replace").splitlines()
        name, commit = branch, None
        for line in lines:
            left, _, right = line.partition("\t")
            if left.startswith("ref: refs/heads/") and right == "HEAD":
                name = left[len("ref: refs/heads/") :]
            elif right == wanted:
                commit = left
        if commit is not None and name is None:
            raise ductile.Failure(f"{shown(self.url)}: HEAD names no branch; set config.branch", retry=False)
        if commit is None and self.git("ls-remote", "--heads", "--", self.url).strip():
            what = "HEAD names no branch that is there" if branch is None else f"there is no branch {branch!r}"
            raise ductile.Failure(f"{shown(self.url)}: {what}; set config.branch to one that is", retry=False)
        return name, commit

    @contextlib.contextmanager
    def ready(self):
        """Makes the folder if it is not there, and keeps it from other processes."""
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            names = os.listdir(self.path)
            if names and OURS not in names:
                raise ductile.Misconfigured(f"config.path: {self.path} is not empty and was not made by this plugin; give it a folder of its own")
            lock = open(os.path.join(self.path, OURS), "a", encoding="ascii")
        except OSError as error:
            raise ductile.Failure(f"cannot use {self.path}: {error.strerror}", retry=False) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ductile.Failure(f"{self.path} is used by another process; each alias needs a path of its own") from None
            self._clean()
            yield

    def make(self):
        """Makes the repository. It does no harm to one that is there, and completes one that was being made."""
        self.fresh = os.listdir(self.path) == [OURS]
        self.git("init", "--quiet", "--bare", "--template=", "--", self.path)

    def empty(self):
        """Removes the repository; the lock stays."""
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    elif entry.name != OURS:
                        os.unlink(entry.path)
        except OSError as error:
            raise ductile.Failure(f"{self.path} is damaged and cannot be emptied: {error.strerror}", retry=False) from None

    def check(self):
        """Raises Damaged if git finds the repository broken."""
        if not self.fresh and self.here("fsck", "--connectivity-only", "--no-dangling", missing_ok=True) is None:
            raise Damaged(f"{self.path} is damaged")

    def is_cause(self, failure):
        """Whether this happened because the repository here is damaged."""
        if isinstance(failure, Damaged) or (self.path in str(failure) and UNREADABLE.search(str(failure))):
            return True
        if not failure.retry:
            return False
        try:
            self.check()
        except Damaged:
            return True
        except ductile.Failure:
            # No time left to look.
            pass
        return False

    def _clean(self):
        """Removes what a git that was killed leaves behind; we have the lock, so nobody uses it."""
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/pack/*.lock", "objects/*/tmp_obj_*"):
            for name in glob.glob(os.path.join(glob.escape(self.path), pattern), recursive=True):
                if os.path.basename(name) != OURS:
                    with contextlib.suppress(OSError):
                        os.unlink(name)

    def has(self, commit):
        return self.here("cat-file", "-e", f"{commit}^{{commit}}", missing_ok=True) is not None

    def fetch(self, branch, depth=None):
        """The commit that the branch is at. Without `depth` all that is missing here is fetched."""
        limit = () if depth is None else (f"--depth={depth}",)
        refspec = f"+refs/heads/{branch}:{REF}"
        self.here("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *limit, "--", self.url, refspec)
        return self.here("rev-parse", "--verify", REF).decode().strip()

    def fetch_commit(self, commit):
        """Tries to get one that the branch may no longer have. Whether it is there now. Damaged if it may have been lost here."""
        if not self.has(commit):
            self.here("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", self.url, commit, missing_ok=True)
        if self.has(commit):
            return True
        self.check()
        return False

    def complete(self, branch, old, new):
        """Fetches what a `depth` has cut off, if `new` brought history to its very beginning that `old` may have, too."""
        if not os.path.exists(os.path.join(self.path, "shallow")):
            return
        if self.here("rev-list", "--max-parents=0", "--max-count=1", new, f"^{old}", "--"):
            self.here("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--unshallow", "--", self.url, f"refs/heads/{branch}")

    def base(self, one, other):
        """The newest commit that both descend from, or None. Damaged if there may be one."""
        found = self.here("merge-base", one, other, missing_ok=True)
        if found is None:
            self.check()
            return None
        return found.decode().split()[0]

    def between(self, old, new):
        """The commits of `new` that `old` does not have, parents first, always in the same order."""
        revisions = [new] if old is None else [new, f"^{old}"]
        return self.here("rev-list", "--reverse", "--topo-order", *revisions, "--").decode().split()

    def read(self, commits):
        """For each commit: sha, parents, author's name, email, date, committer's name, email, date, message."""
        if not commits:
            return []
        output = self.here(
            "log", "--no-walk=unsorted", "--stdin", "-z", "--encoding=UTF-8", "--no-show-signature", "--no-patch", "--no-color",
            f"--format=tformat:{FORMAT}", data="".join(f"{commit}\n" for commit in commits).encode(),
        )
        fields = output.decode("utf-8", "replace").split("\0")[:-1]
        return [fields[at : at + FIELDS] for at in range(0, len(fields), FIELDS)]


def shown(url):
    """A URL without what may be a secret in it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("http", "https", "ssh", "git") and "@" in parts.netloc:
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return url


def _settings(url):
    # Objects must not go while the state names them, nor with a power loss; and nothing may go on in the background.
    pairs = ["gc.auto=0", "maintenance.auto=false", "core.fsync=all", "core.hooksPath=/dev/null", "core.askPass="]
    pairs += ["log.showSignature=false", "log.mailmap=false"]
    parts = urllib.parse.urlsplit(url)
    if os.environ.get("GIT_SYNC_PASSWORD") and parts.scheme in ("http", "https"):
        # For this server only, wherever it may redirect to.
        place = f"credential.{parts.scheme}://{parts.netloc.rpartition('@')[2]}.helper"
        pairs += [f"{place}=", f"{place}={HELPER}"]
    return [text for pair in pairs for text in ("-c", pair)]


def _environment():
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    environment.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_ALLOW_PROTOCOL=PROTOCOLS, GIT_ASKPASS="", SSH_ASKPASS="")
    environment.setdefault("GIT_SYNC_USERNAME", USERNAME)
    environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=15")
    return environment


def _verb(arguments):
    return arguments[2] if arguments[0] == "--git-dir" else arguments[0]


def _cause(said, code):
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # `fatal:` has the cause; what ssh and the server said before it often more of it.
    chosen = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERROR:"))] or lines[-1:]
    return "; ".join(chosen)[:1000] or f"ended with {code}"
