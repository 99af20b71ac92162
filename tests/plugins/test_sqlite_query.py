"""plugins/sqlite_query with real databases: nothing missed, nothing twice."""

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

from connector import Connector
from support import PATIENCE, ROOT, loaded

sys.path.append(str(ROOT / "plugins" / "lib"))
ROWS = loaded("sqlite_query", "rows")


class SqliteQuery(Connector):
    plugin = "sqlite_query"

    def setUp(self):
        super().setUp()
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.file = f"{self.folder}/a b?c#d%.db"
        self.database = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        self.addCleanup(self.database.close)
        self.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name, value)")
        self.config = {"database": self.file, "query": "SELECT id, name, value FROM t ORDER BY id", "key": "id"}

    def sql(self, text, *values):
        self.database.execute(text, values)

    def insert(self, *numbers):
        rows = json.dumps(numbers)
        self.sql("INSERT INTO t SELECT value, 'n' || value, 1 FROM json_each(?)", rows)

    def changes(self, **config):
        return [(event["type"][7:], event["payload"]["key"]["id"]) for event in self.events(**config)]

    def test_life_of_rows(self):
        self.insert(1, 2)
        self.assertEqual(self.changes(), [])
        self.assertEqual(self.changes(), [])
        self.insert(3)
        (event,) = self.events()
        self.assertEqual({**event["payload"], "key_id": None}, {
            "title": "added: id=3", "key": {"id": 3}, "key_id": None, "row": {"id": 3, "name": "n3", "value": 1}})
        self.sql("UPDATE t SET value = 2 WHERE id = 1")
        self.sql("DELETE FROM t WHERE id = 2")
        self.insert(4)
        self.assertEqual(self.changes(), [("removed", 2), ("changed", 1), ("added", 4)])
        self.assertNotIn("state_updates", self.poll())
        self.assertIn("id, name, value", self.asked("health")["result"])

    def test_a_repeated_attempt_gives_the_same_keys_and_a_repeated_change_another(self):
        self.poll()
        keys = set()
        for _ in range(2):
            self.insert(1)
            before = dict(self.state)
            first = self.events()
            self.state = before
            self.assertEqual(self.events(), first)
            self.sql("DELETE FROM t")
            keys |= {first[0]["dedupe_key"], self.events()[0]["dedupe_key"]}
        self.assertEqual(len(keys), 4)

    def test_existing_rows_if_asked_for(self):
        self.insert(1, 2)
        self.assertEqual(self.changes(emit_existing=True), [("added", 1), ("added", 2)])
        self.assertEqual(self.changes(emit_existing=True), [])

    def test_more_than_a_thousand_changes(self):
        self.poll()
        self.insert(*range(2500))
        found = [self.changes() for _ in range(2)]
        # One that comes while they are emitted, one that goes before it was.
        self.insert(2500)
        self.sql("DELETE FROM t WHERE id = 2400")
        found += [self.changes() for _ in range(2)]
        self.assertEqual([len(some) for some in found], [1000, 1000, 500, 0])
        self.assertEqual(sum(found, []), [("added", number) for number in range(2501) if number != 2400])
        self.sql("DELETE FROM t")
        self.assertEqual(sum((self.changes() for _ in range(4)), []), [("removed", number) for number in range(2501) if number != 2400])
        # Of two kinds.
        self.insert(*range(600))
        self.assertEqual(len(self.changes()), 600)
        self.sql("DELETE FROM t")
        self.insert(*range(600, 1200))
        self.assertEqual(self.changes(), [("removed", number) for number in range(600)] + [("added", number) for number in range(600, 1000)])
        self.assertEqual(self.changes(), [("added", number) for number in range(1000, 1200)])

    def test_more_bytes_than_a_response_may_have(self):
        self.poll()
        for number in range(30):
            self.sql("INSERT INTO t VALUES (?, ?, 1)", number, "\u65e5" * 150_000)
        self.sql("INSERT INTO t VALUES (100, ?, 1)", "x" * 2_000_000)
        found = []
        for _ in range(5):
            events = self.events()
            self.assertLess(len(self.stdout), 10_000_000)
            found += events
        self.assertEqual([event["payload"]["key"]["id"] for event in found], [*range(30), 100])
        self.assertIn("1048576", found[-1]["payload"]["omitted"])

    def test_values_of_all_kinds(self):
        self.poll()
        self.sql("INSERT INTO t VALUES (?, ?, ?)", 2**63 - 1, b"\x00\xff", 0.1)
        self.sql("INSERT INTO t VALUES (?, ?, ?)", -(2**63), None, float("-inf"))
        self.sql("INSERT INTO t VALUES (1, CAST(x'ff61' AS TEXT), ?)", b"z" * 70_000)
        self.sql("INSERT INTO t VALUES (2, 'a' || char(0) || 'b', '\u00fc')")
        by_id = {event["payload"]["key"]["id"]: event["payload"]["row"] for event in self.events()}
        self.assertEqual(by_id[2**63 - 1], {"id": 2**63 - 1, "name": {"base64": "AP8="}, "value": 0.1})
        self.assertIn(str(2**63 - 1), self.stdout)
        self.assertEqual(by_id[-(2**63)], {"id": -(2**63), "name": None, "value": {"float": "-inf"}})
        self.assertEqual(by_id[1]["name"], {"text_base64": base64.b64encode(b"\xffa").decode()})
        self.assertEqual(by_id[1]["value"]["omitted"], "a blob of 70000 bytes")
        self.assertEqual(by_id[2], {"id": 2, "name": "a\0b", "value": "\u00fc"})
        self.assertEqual(self.changes(), [])
        # A change of the type alone, of the last byte of a blob, of a byte that is no UTF-8.
        self.sql("UPDATE t SET value = ? WHERE id = 1", b"z" * 69_999 + b"y")
        self.sql("UPDATE t SET value = CAST(value AS BLOB) WHERE id = 2")
        self.assertEqual(self.changes(), [("changed", 1), ("changed", 2)])
        self.sql("UPDATE t SET name = CAST(x'fe61' AS TEXT) WHERE id = 1")
        self.assertEqual(self.changes(), [("changed", 1)])

    def test_keys_of_several_columns_and_of_all_kinds(self):
        config = {"key": ["name", "value"]}
        self.poll(**config)
        self.sql("INSERT INTO t VALUES (1, ?, ?), (2, ?, ?), (3, NULL, '1'), (4, NULL, 1)", b"\xff", "x", b"\xff", "y")
        self.assertEqual([event["payload"]["title"] for event in self.events(**config)], [
            'added: name={"base64": "/w=="}, value=x', 'added: name={"base64": "/w=="}, value=y', "added: name=null, value=1",
            "added: name=null, value=1"])
        self.sql("DELETE FROM t WHERE id IN (1, 4)")
        self.assertEqual([event["payload"]["key"] for event in self.events(**config)],
                         [{"name": {"base64": "/w=="}, "value": "x"}, {"name": None, "value": 1}])

    def test_without_a_key_the_whole_row_counts(self):
        config = {"key": ..., "query": "SELECT name FROM t"}
        self.poll(**config)
        self.sql("INSERT INTO t VALUES (1, 'a', 1), (2, 'a', 1)")
        self.assertEqual([event["payload"]["row"] for event in self.events(**config)], [{"name": "a"}])
        self.sql("UPDATE t SET name = 'b' WHERE id = 1")
        self.sql("UPDATE t SET name = 'c' WHERE id = 2")
        self.assertEqual([event["payload"]["title"] for event in self.events(**config)], ["removed: name=a", "added: name=b", "added: name=c"])

    def test_two_rows_with_the_same_key(self):
        self.poll(key="name")
        self.sql("INSERT INTO t VALUES (1, 'a', 1), (2, 'a', 2)")
        self.assert_final(self.asked("poll", key="name"), "same key", "name=a")

    def test_only_the_kinds_that_are_asked_for(self):
        self.insert(1, 2)
        config = {"events": "removed"}
        self.poll(**config)
        self.sql("UPDATE t SET value = 7")
        self.insert(3)
        self.assertEqual(self.changes(**config), [])
        self.sql("DELETE FROM t WHERE id = 3")
        self.assertEqual(self.changes(**config), [("removed", 3)])
        self.assertEqual(self.changes(), [])

    def test_a_database_that_is_written_to(self):
        for mode in ("DELETE", "WAL"):
            with self.subTest(mode=mode):
                self.sql(f"PRAGMA journal_mode = {mode}")
                self.sql("DELETE FROM t")
                self.poll()
                self.sql("BEGIN IMMEDIATE")
                self.insert(1)
                # Not committed.
                self.assertEqual(self.changes(), [])
                self.sql("COMMIT")
                self.assertEqual(self.changes(), [("added", 1)])
        self.assertEqual(self.database.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    def test_a_locked_database_is_tried_again(self):
        self.insert(1)
        self.poll()
        self.sql("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        self.assert_retried(self.asked("poll", busy_timeout=0.2), "locked", "busy_timeout")
        self.assertGreater(time.monotonic() - begin, 0.2)
        self.insert(2)
        self.sql("COMMIT")
        self.assertEqual(self.changes(), [("added", 2)])

    def test_a_file_that_is_gone_or_no_database_removes_nothing(self):
        self.insert(1)
        self.poll()
        self.database.close()
        os.rename(self.file, self.file + ".away")
        self.assert_retried(self.asked("poll"), "unable to open")
        self.assertFalse(os.path.exists(self.file))
        for content, word in ((b"", "no such table"), (b"no database at all" * 1000, "not a database")):
            with open(self.file, "wb") as file:
                file.write(content)
            self.assert_final(self.asked("poll"), word)
            self.assert_final(self.asked("health"), word)
        os.rename(self.file + ".away", self.file)
        self.assertEqual(self.changes(), [])

    def test_a_damaged_database(self):
        self.insert(*range(5000))
        self.poll()
        self.database.close()
        with open(self.file, "r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * 20_000)
        self.assert_final(self.asked("poll"), "malformed")

    def test_it_never_writes(self):
        self.insert(1)
        with open(self.file, "rb") as before:
            content = before.read()
        for query in ("DELETE FROM t", "INSERT INTO t VALUES (9, 9, 9) RETURNING id", "SELECT 1; SELECT 2", "CREATE TABLE x (y)", "PRAGMA user_version = 7"):
            with self.subTest(query=query):
                self.assert_misconfigured(self.asked("poll", query=query, key=...), "config.query")
        with open(self.file, "rb") as after:
            self.assertEqual(after.read(), content)
        for query in (f"VACUUM INTO '{self.folder}/copy.db'", f"ATTACH '{self.folder}/copy.db' AS copy"):
            with self.subTest(query=query):
                self.assert_misconfigured(self.asked("poll", query=query, key=...), "config.query", "authoriz")
        self.assertEqual(len(os.listdir(self.folder)), 1)

    def test_functions_that_are_tables_are_allowed(self):
        self.poll(query="SELECT value AS id FROM json_each('[1]')")
        self.poll(query="SELECT name AS id FROM pragma_table_info('t')")

    def test_a_transaction_that_a_crash_left_unfinished_is_tried_again(self):
        self.insert(1)
        self.poll()
        self.database.close()
        program = """if True:
            import os, sqlite3, sys
            database = sqlite3.connect(sys.argv[1], isolation_level=None)
            database.executescript("PRAGMA cache_size = 2; BEGIN; UPDATE t SET value = 7")
            database.execute("INSERT INTO t SELECT value + 10, zeroblob(5000), 1 FROM json_each(?)", ("[1,2,3,4,5,6,7,8,9]",))
            os._exit(9)
        """
        subprocess.run([sys.executable, "-c", program, self.file], timeout=PATIENCE)
        for command in ("poll", "health"):
            self.assert_retried(self.asked(command), self.file, "unfinished transaction")
        writer = sqlite3.connect(self.file)
        self.addCleanup(writer.close)
        self.assertEqual(writer.execute("SELECT count(*) FROM t").fetchone(), (1,))
        self.assertEqual(self.changes(), [])

    @unittest.skipUnless(sys.platform == "linux", "ulimit -v 50000is not known everywhere")
    def test_many_large_rows_in_little_memory(self):
        # All rows together have 60 MB.
        self.program = (("sh", "-c", 'ulimit -v 50000; exec "$0" -S run.py', sys.executable),)
        query = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 400) SELECT id, hex(zeroblob(75000)) AS text FROM n"
        self.assertEqual(self.changes(query=query), [])
        # The whole rows as keys.
        response = self.poll(query=query, key=...)
        self.assertIn("do not fit into the state", response["logs"][0]["message"])

    def test_a_query_without_end(self):
        query = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT max(id) AS id FROM n"
        self.assert_retried(self.asked("poll", query=query, seconds=6), "not finished in time")
        query = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n"
        self.assert_final(self.asked("poll", query=query, seconds=60), "more than 200000 rows")

    def test_another_query_begins_anew(self):
        self.insert(1)
        self.poll()
        self.insert(2)
        self.assertEqual(self.changes(query="SELECT id FROM t"), [])

    def test_wrong_configuration(self):
        self.assert_each_misconfigured({
            "database": (..., "relative", 7, ""), "query": (..., "", 7, "SELEC 1", "SELECT (", "SELECT id, id FROM t", "DELETE FROM t"),
            "key": ("nope", ["id", "id"], 7), "events": (["moved"], []), "emit_existing": ("yes",), "busy_timeout": (-1,), "pth": ("x",),
        })
        self.assert_final(self.asked("poll", query="SELECT id FROM nowhere"), "no such table")


class Rows(unittest.TestCase):
    """Tens of thousands of rows in the state."""

    def stored(self, keys):
        known = {}
        for key in keys:
            row = ROWS.Row.made(["k", "v"], [0], (key, str(key)))
            ROWS.apply(known, "added", row)
        state = ROWS.write(known)
        self.assertLess(len(json.dumps(state)), 1_048_000)
        read = ROWS.read(json.loads(json.dumps(state)))
        self.assertEqual({key: row.mark for key, row in read.items()}, {key: row.mark for key, row in known.items()})
        return [row.values for row in read.values()]

    def test_short_keys(self):
        self.assertEqual(self.stored(range(100_000)), [[number] for number in range(100_000)])
        self.assertEqual(self.stored([]), [])

    def test_keys_that_do_not_compress(self):
        self.assertEqual(set(map(str, self.stored(str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(60_000)))), {"None"})
        with self.assertRaises(ROWS.ductile.Failure) as raised:
            self.stored(str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(70_000))
        self.assertIn("70000 rows", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
