"""Items, and the memory of those that were seen: short hashes, bounded, as texts for the state.

seen     base64 of 8 bytes for each item, those that were not in the list for longest first
content  base64 of 6 bytes for each of them, in the same order; only with `updated`
"""

import base64
import hashlib

import ductile

# With 14 bytes for each, the state stays below 1 MB.
MAX_ITEMS = 50_000
KEY_BYTES = 8
MARK_BYTES = 6


def check_count(number):
    """Of the items in a list, before they are made: each takes some hundred bytes of memory."""
    if number > MAX_ITEMS:
        raise ductile.Failure(f"the list has {number} items; at most {MAX_ITEMS} can be remembered", retry=False)


class Item:
    """One item: the text of its id, the JSON text of its payload, and what its content is compared by."""

    def __init__(self, id_text, text, content, without_id=False):
        self.id = id_text
        self.text = text
        self.size = len(text.encode("utf-8", "replace"))
        # A content is never taken for an id.
        self.key = _hash(f"{'content' if without_id else 'id'}:{id_text}", KEY_BYTES)
        self.mark = _hash(content, MARK_BYTES)
        self.without_id = without_id


class Seen:
    def __init__(self, state):
        keys, marks = _pieces(state.get("seen"), KEY_BYTES), _pieces(state.get("content"), MARK_BYTES)
        # Without marks of their own the contents are taken to be those that are found.
        if len(marks or ()) != len(keys or ()):
            marks = None
        self.first = keys is None
        self._marks = dict(zip(keys or (), marks or [None] * len(keys or ())))

    def status(self, item, updated):
        """`new`, `updated`, which it only is if asked for, or `known`."""
        if item.key not in self._marks:
            return "new"
        mark = self._marks[item.key]
        return "updated" if updated and mark is not None and mark != item.mark else "known"

    def remember(self, item):
        self._marks.pop(item.key, None)
        self._marks[item.key] = item.mark

    def keep(self, item):
        """Leaves an item as it is known, or unknown, for the next poll."""
        if item.key in self._marks:
            self._marks[item.key] = self._marks.pop(item.key)

    def state(self, with_content):
        kept = list(self._marks.items())[-MAX_ITEMS:]
        content = b"".join(mark or bytes(MARK_BYTES) for _, mark in kept) if with_content else None
        return {
            "seen": base64.b64encode(b"".join(key for key, _ in kept)).decode(),
            "content": None if content is None else base64.b64encode(content).decode(),
        }


def _pieces(text, length):
    if not isinstance(text, str):
        return None
    whole = base64.b64decode(text)
    return [whole[at : at + length] for at in range(0, len(whole), length)]


def _hash(text, length):
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=length).digest()
