"""plugins/file_watch with real files: nothing missed, nothing twice."""

import base64
import json
import os
import shutil
import sys
import tempfile
import time
import unittest
import uuid

from connector import Connector
from support import ROOT, loaded

sys.path.append(str(ROOT / "plugins" / "lib"))
TABLE = loaded("file_watch", "table")
OLD = 1_700_000_000


class FileWatch(Connector):
    plugin = "file_watch"

    def setUp(self):
        super().setUp()
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = {"path": self.folder}
        self.time = OLD

    def write(self, *names, text="x", modified=None):
        for name in names:
            path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
            self.time += 1
            os.utime(path, (OLD, modified or self.time))

    def remove(self, *names):
        for name in names:
            os.unlink(os.path.join(self.folder, name))

    def changes(self, **config):
        return [(event["type"][5:], event["payload"]["relative_path"]) for event in self.events(**config)]

    def test_life_of_files(self):
        self.write("a", "sub/b")
        self.assertEqual(self.changes(), [])
        self.assertEqual(self.changes(), [])
        self.write("c", "sub/deep/d")
        (first, second) = self.events()
        self.assertEqual(first["type"], "file.created")
        self.assertEqual({**first["payload"], "path_id": None}, {
            "title": "created: c", "path": f"{self.folder}/c", "relative_path": "c", "path_id": None,
            "modified": "2023-11-14T22:13:23.000Z", "size": 1,
        })
        self.assertEqual(second["payload"]["path"], f"{self.folder}/sub/deep/d")
        self.write("a", text="longer")
        self.remove("c")
        shutil.rmtree(os.path.join(self.folder, "sub"))
        self.assertEqual(self.changes(), [("removed", "c"), ("removed", "sub/b"), ("removed", "sub/deep/d"), ("changed", "a")])
        os.rename(os.path.join(self.folder, "a"), os.path.join(self.folder, "z"))
        self.assertEqual(self.changes(), [("removed", "a"), ("created", "z")])
        self.assertNotIn("state_updates", self.poll())

    def test_same_size_and_another_time_is_a_change(self):
        self.write("a")
        self.poll()
        self.write("a", text="y")
        self.assertEqual(self.changes(), [("changed", "a")])

    def test_a_repeated_attempt_gives_the_same_keys_and_a_repeated_change_another(self):
        self.poll()
        keys = []
        for _ in range(2):
            self.write("a", modified=OLD)
            before = dict(self.state)
            first = self.events()
            self.state = before
            self.assertEqual(self.events(), first)
            self.remove("a")
            keys += [first[0]["dedupe_key"], self.events()[0]["dedupe_key"]]
        self.assertEqual(len(set(keys)), 4)

    def test_existing_files_if_asked_for(self):
        self.write("a", "b")
        self.assertEqual(self.changes(emit_existing=True), [("created", "a"), ("created", "b")])
        self.assertEqual(self.changes(emit_existing=True), [])

    def test_more_than_a_thousand_changes(self):
        self.poll()
        names = [f"f{number:04}" for number in range(2500)]
        self.write(*names)
        found = [self.changes() for _ in range(4)]
        self.assertEqual([len(some) for some in found], [1000, 1000, 500, 0])
        self.assertEqual(sum(found, []), [("created", name) for name in names])
        self.remove(*names)
        found = [self.changes() for _ in range(4)]
        self.assertEqual(sum(found, []), [("removed", name) for name in names])

    def test_a_file_that_is_still_written_waits(self):
        self.write("done")
        self.poll()
        now = time.time()
        self.write("new", modified=now)
        self.write("done", text="more", modified=now)
        config = {"stable_age": 3600}
        self.assertEqual(self.changes(**config), [])
        self.assertIn("2 not yet stable", self.poll(**config)["result"])
        self.write("new", "done", text="complete", modified=now - 3700)
        self.assertEqual(self.changes(**config), [("changed", "done"), ("created", "new")])
        # Of the clock of another machine: far in the future is no sign of writing.
        self.write("odd", modified=now + 10 * 86_400)
        self.assertEqual(self.changes(**config), [("created", "odd")])
        self.write("now", modified=time.time())
        self.assertEqual(self.changes(stable_age=0), [("created", "now")])

    def test_globs(self):
        self.write("a.txt", "a.log", "sub/b.txt", "sub/deep/c.txt", "node_modules/x/d.txt", "e[1].txt", ".hidden", "f1.dat", "fx.dat")
        for config, names in (
            ({"include": ["*.txt"]}, "a.txt e[1].txt node_modules/x/d.txt sub/b.txt sub/deep/c.txt"),
            ({"include": "*.txt", "exclude": "node_modules/"}, "a.txt e[1].txt sub/b.txt sub/deep/c.txt"),
            ({"include": ["/a.*"]}, "a.log a.txt"), ({"include": ["sub/*.txt"]}, "sub/b.txt"),
            ({"include": ["sub/**"]}, "sub/b.txt sub/deep/c.txt"), ({"include": ["sub/**/c.txt"]}, "sub/deep/c.txt"),
            ({"include": ["**/?.txt"], "exclude": ["sub/deep", "node_modules/**"]}, "a.txt sub/b.txt"),
            ({"include": ["f[0-9].dat"]}, "f1.dat"), ({"include": ["f[!0-9].dat"]}, "fx.dat"), ({"include": ["e[[]1].txt"]}, "e[1].txt"),
            ({"recursive": False, "exclude": [".*"]}, "a.log a.txt e[1].txt f1.dat fx.dat"), ({"include": ["[z-a]"]}, ""),
        ):
            with self.subTest(config=config):
                self.state = {}
                self.assertEqual([name for _, name in self.changes(emit_existing=True, **config)], names.split())

    def test_globs_match_characters_not_bytes(self):
        self.write("ä.txt", "日.txt", "ab.txt", b"\xff.txt")
        for glob, names in (
            ("?.txt", "\ufffd.txt ä.txt 日.txt"), ("[ä-ö].txt", "ä.txt"), ("[!ä].txt", "\ufffd.txt 日.txt"), ("??.txt", "ab.txt"),
            ("日*", "日.txt"),
        ):
            with self.subTest(glob=glob):
                self.state = {}
                self.assertEqual(sorted(name for _, name in self.changes(emit_existing=True, include=[glob])), sorted(names.split()))

    def test_only_the_kinds_that_are_asked_for(self):
        self.write("a", "b")
        config = {"events": ["removed"]}
        self.poll(**config)
        self.write("a", "c", text="other")
        self.assertEqual(self.changes(**config), [])
        self.remove("b")
        self.assertEqual(self.changes(**config), [("removed", "b")])
        self.assertEqual(self.changes(), [])

    def test_links_and_what_is_no_file(self):
        self.write("real/a")
        self.poll()
        os.symlink("/etc", os.path.join(self.folder, "etc"))
        os.symlink("real/a", os.path.join(self.folder, "link"))
        os.symlink(".", os.path.join(self.folder, "loop"))
        os.mkfifo(os.path.join(self.folder, "pipe"))
        self.assertEqual(self.changes(), [])

    def test_odd_names(self):
        self.poll()
        self.write(b"\xff\xfe", "new\nline", "ü 日本", '"quoted" \\')
        events = self.events()
        names = {event["payload"]["relative_path"] for event in events}
        self.assertEqual(names, {"\ufffd\ufffd", "new\nline", "ü 日本", '"quoted" \\'})
        (encoded,) = [event["payload"]["path_base64"] for event in events if "path_base64" in event["payload"]]
        self.assertEqual(base64.b64decode(encoded), os.fsencode(self.folder) + b"/\xff\xfe")
        for name in os.listdir(os.fsencode(self.folder)):
            os.unlink(os.path.join(os.fsencode(self.folder), name))
        self.assertEqual({event["payload"]["relative_path"] for event in self.events()}, names)

    def test_a_folder_that_is_gone_removes_nothing(self):
        self.write("a", "mounted")
        self.poll(must_exist="mounted")
        os.rename(self.folder, self.folder + ".away")
        self.assert_retried(self.asked("poll"), "not there")
        self.assert_retried(self.asked("health"), "cannot read")
        os.mkdir(self.folder)
        self.assert_retried(self.asked("poll", must_exist="mounted"), "must_exist")
        os.rmdir(self.folder)
        os.rename(self.folder + ".away", self.folder)
        self.assertEqual(self.changes(must_exist="mounted"), [])

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_folder_that_cannot_be_read_removes_nothing(self):
        self.write("sub/a")
        self.poll()
        os.chmod(os.path.join(self.folder, "sub"), 0)
        try:
            self.assert_retried(self.asked("poll"), "cannot read", "sub")
        finally:
            os.chmod(os.path.join(self.folder, "sub"), 0o700)
        self.assertEqual(self.changes(), [])

    def test_another_path_begins_anew(self):
        self.write("a/x", "b/y")
        self.poll(path=self.folder + "/a")
        self.assertEqual(self.changes(path=self.folder + "/b"), [])

    def test_wrong_configuration(self):
        self.assert_each_misconfigured({
            "path": (..., "relative", 7, ""), "include": (7, [""], [7]), "exclude": ({},), "events": (["moved"], []),
            "recursive": ("yes",), "stable_age": (-1, "x"), "must_exist": (7,), "pth": ("x",),
        })


class Table(unittest.TestCase):
    """100,000 files in the state; their names would take a minute to make on disk, and there is nothing else to them."""

    def known(self, names):
        entries = (TABLE.Entry(name.encode(), size, 10**18 + 7919 * size) for size, name in enumerate(names))
        return {entry.key: entry for entry in entries}

    def stored(self, names):
        known = self.known(names)
        text = json.dumps(TABLE.write(known))
        self.assertLess(len(text), 1_048_000)
        read = TABLE.read(json.loads(text))
        self.assertEqual({key: entry.mark for key, entry in read.items()}, {key: entry.mark for key, entry in known.items()})
        return [entry.path for entry in read.values()]

    def test_a_hundred_thousand_names_that_compress(self):
        names = [f"archive/{year}/{month:02}/IMG_{year}{month:02}_{number:05}.jpg" for year in range(2000, 2025)
                 for month in range(1, 11) for number in range(400)]
        self.assertEqual(sorted(self.stored(names)), sorted(name.encode() for name in names))

    def test_a_hundred_thousand_names_that_do_not(self):
        names = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(100_000)]
        self.assertEqual(set(self.stored(names)), {None})

    def test_too_many(self):
        names = (str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(150_000))
        with self.assertRaises(TABLE.ductile.Failure) as raised:
            TABLE.write(self.known(names))
        self.assertIn("150000 files", str(raised.exception))

    def test_nothing_and_long_names(self):
        self.assertEqual(self.stored([]), [])
        names = ["x" * 300 + str(number) for number in range(20)] + ["y/" * 1000 + "z"]
        self.assertEqual(sorted(self.stored(names)), sorted(name.encode() for name in names))


if __name__ == "__main__":
    unittest.main()
