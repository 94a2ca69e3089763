"""`audit sql` as it is typed."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.conftest import Cli


def test_a_table_and_what_it_stands_on(user: Cli) -> None:
    ran = user("sql", "SELECT op, actor FROM events WHERE op IS NOT NULL ORDER BY index")
    assert ran.lines == ["op      actor", "create  alice", "update  alice", "delete  bob"]
    assert ran.err.splitlines()[0] == "3 rows"
    assert ran.err.splitlines()[1].startswith("as of HEAD: test.example/log, size 8, root ")


def test_every_form_of_output(user: Cli) -> None:
    statement = "SELECT 1.50::DECIMAL(9,2) AS d, NULL AS x, '' AS x, 'a,\"b' AS t, 2::HUGEINT AS h"
    ran = user("sql", statement, "--csv")
    assert ran.out == 'd,x,x,t,h\n1.50,,"","a,""b",2\n'
    assert user("sql", statement, "--json").json["rows"] == [
        {"d": {"$decimal": "1.50"}, "x": None, "x_2": "", "t": 'a,"b', "h": 2}
    ]
    odd = (
        "SELECT 'nan'::DOUBLE AS f, 'ab'::BLOB AS b, [1, NULL] AS l, {'a': DATE '2026-01-02'} AS s"
    )
    assert user("sql", odd, "--json").json["rows"] == [
        {
            "f": {"$double": "NaN"},
            "b": {"$bytes": "YWI="},
            "l": [1, None],
            "s": {"a": {"$date": "2026-01-02"}},
        }
    ]
    assert user("sql", odd).lines[1].split() == [
        *("NaN", "YWI=", "[1,", "null]", '{"a":', '{"$date":', '"2026-01-02"}}')
    ]
    user("sql", statement, "--csv", "--json", code=2)


def test_as_of_and_stdin(user: Cli) -> None:
    at_6 = "SELECT dpt FROM user"
    assert user("sql", at_6, "--as-of", "6", "--csv").out == "dpt\nISR\n"
    ran = user("sql", "--csv", stdin="SELECT dpt\nFROM asof('user', 5); -- that is all\n")
    assert ran.out == "dpt\nSCS\n"
    assert "user as of 5: test.example/log, size 6, root " in ran.err


def test_what_is_wrong_is_one_line(user: Cli) -> None:
    for statement in ("DROP TABLE user", "SELECT nope FROM user", "SELECT * FROM 'x.csv'", ""):
        assert len(user("sql", statement, code=2).err.splitlines()) == 1
    user("sql", "SELECT 1", "--memory", "lots", code=2)
    user("sql", "SELECT 1", "--threads", "0", code=2)
    user("sql", "SELECT 1", "--store", "sqlite:///nothing.db", code=3)


def test_a_cell_cannot_steer_the_terminal(user: Cli) -> None:
    assert "\x1b" not in user("sql", "SELECT chr(27) || '[2J' AS \"a\x1b\"").out


def test_the_prompt_on_a_terminal(user: Cli, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "audit", "sql", "--csv"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "HOME": str(tmp_path), "TERM": "dumb"},
    )
    os.close(theirs)
    typed = [b"SELECT nope;\n", b"SELECT 40 +\n", b"2 AS answer;\n", b"\\q\n"]
    shown = b""
    until = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < until:
        if typed and shown.endswith((b"audit> ", b"...> ")):
            line = typed.pop(0)
            os.write(ours, line)
            shown += b"|"
        if select.select([ours], [], [], 0.05)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
    assert process.wait(120) == 0, shown
    os.close(ours)
    text = shown.decode()
    assert "answer\r\n42\r\n" in text and "error: " in text
    assert "SELECT 40" in (tmp_path / ".audit_sql_history").read_text()
