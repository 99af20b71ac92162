"""The files under a folder, and which of them are meant."""

import os
import re
import stat

MAX_DEPTH = 500


class Globs:
    """Patterns over paths below the folder, with `/`: `*` and `?` stop at a `/`, `**` does not; `?` and `[a-z]` are one character.

    One without a `/` is for the name alone, in whichever folder. What is excluded, files or whole folders, is out; of the
    files that are left those that match an include are in, or all if there is none.
    """

    def __init__(self, include, exclude):
        self._include = [_compiled(glob) for glob in include]
        self._exclude = [_compiled(glob) for glob in exclude]

    def out(self, path):
        return _matches(self._exclude, path)

    def wanted(self, path):
        return not self._include or _matches(self._include, path)


def _matches(globs, path):
    # A character may be several bytes; one that is not UTF-8 counts as a character.
    text = path.decode("utf-8", "surrogateescape")
    return any(glob.fullmatch(text) for glob in globs)


def _compiled(glob):
    glob = glob.rstrip("/")
    pieces = []
    if "/" not in glob:
        pieces.append("(?:.*/)?")
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", glob.lstrip("/"), re.DOTALL):
        if token == "**/":
            pieces.append("(?:.*/)?")
        elif token == "**":
            pieces.append(".*")
        elif token == "*":
            pieces.append("[^/]*")
        elif token == "?":
            pieces.append("[^/]")
        elif len(token) > 1:
            inner = token[1:-1]
            negated, inner = ("^/", inner[1:]) if inner.startswith("!") else ("", inner)
            pieces.append("[" + negated + re.sub(r"([\\\[\]^&~|])", r"\\\1", inner) + "]")
        else:
            pieces.append(re.escape(token))
    try:
        return re.compile("".join(pieces), re.DOTALL)
    except re.error:
        # A range that ends before it begins: then it is meant literally.
        return re.compile(re.escape(glob))


def files(root, globs, recursive):
    """{path below root, bytes: (size, mtime_ns)} of the regular files. Symbolic links are neither files nor followed.

    What is gone while this looks is gone. OSError if a folder or a file cannot be looked at for another reason.
    """
    found = {}
    folders = [(b"", 0)]
    while folders:
        folder, depth = folders.pop()
        try:
            entries = os.scandir(os.path.join(root, folder))
        except (FileNotFoundError, NotADirectoryError):
            if folder:
                continue
            raise
        with entries:
            for entry in entries:
                path = folder + b"/" + entry.name if folder else entry.name
                if globs.out(path):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if recursive:
                        if depth == MAX_DEPTH:
                            raise OSError(0, f"more than {MAX_DEPTH} folders inside of each other", path)
                        folders.append((path, depth + 1))
                elif entry.is_file(follow_symlinks=False) and globs.wanted(path):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        found[path] = (status.st_size, status.st_mtime_ns)
    return found
