import json
from datetime import timedelta
from pathlib import Path

import pytest
from raw_files import HEADER, LINE, NOW, Warehouse, as_text, bounce, write


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"x,B", "the line has 2 fields, not 10"),
        (b"x," + LINE.encode() + b",more", "the line has 11 fields, not 10"),
        (b"x," + LINE.encode() + b",", "the line has 11 fields, not 10"),
        (b'x,"' + LINE.encode(), "the line is not CSV"),
        (b'x"y",' + LINE.encode(), "the line is not CSV"),
        (b'"x"y,' + LINE.encode(), "the line is not CSV"),
        (b"x\ry," + LINE.encode(), "the line is not CSV"),
        (b"\xff\xfe," + LINE.encode(), "the line is not UTF-8"),
        (b'"\xe9",' + LINE.encode(), "the line is not UTF-8"),
        (b"just text", "the line has 1 fields, not 10"),
    ],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_only_the_bad_csv_line_is_rejected(
    warehouse: Warehouse,
    bad: bytes,
    reason: str,
    newline: bytes,
) -> None:
    good = [f'"{name}\n""{name}",{LINE}'.encode() for name in "abc"]
    lines = [HEADER.encode(), good[0], b"", bad, *good[1:], b"x," + LINE.encode()[:-14]]
    warehouse.write("email_bounces.csv", newline.join(lines))
    result = warehouse.load_one()
    assert (result.rows, result.added, result.rejected) == (5, 3, 2)
    assert [row[0] for row in warehouse.rows("email_bounces")] == [f'{x}\n"{x}' for x in "abc"]
    rejects = warehouse.rejects(result)
    assert [reject["line"] for reject in rejects] == [5, 10]
    assert rejects[0]["reason"].startswith(reason)
    assert rejects[0]["raw"] == bad.decode(errors="backslashreplace")
    again = warehouse.load_one(now=NOW + timedelta(days=1))
    assert (again.added, again.present, again.rejected) == (0, 3, 2)


@pytest.mark.parametrize("tail", [b'"never closed', b'"never closed\n' + b"y," * 9 + b"y\n"])
def test_an_unclosed_quote_does_not_hide_other_rows(warehouse: Warehouse, tail: bytes) -> None:
    warehouse.write("email_bounces.csv", f"{HEADER}\na,{LINE}\nb,{LINE}\n".encode() + tail)
    result = warehouse.load_one()
    assert result.added == 2
    assert warehouse.rejects(result)[0]["raw"] == '"never closed'
    assert warehouse.rejects(result)[0]["line"] == 4


def test_line_numbers_are_right_with_mixed_line_endings_and_two_kinds_of_errors(
    warehouse: Warehouse,
) -> None:
    lines = [f"{HEADER}\r\n", f"a,{LINE}\n", "x,y\r\n", f"b,{LINE}\r\n", f",{LINE}\n"]
    warehouse.write("email_bounces.csv", "".join(lines))
    result = warehouse.load_one()
    assert (result.rows, result.added, result.rejected) == (4, 2, 2)
    rejects = [(row["line"], row["reason"]) for row in warehouse.rejects(result)]
    assert rejects == [(3, "the line has 2 fields, not 10"), (5, "event_id is missing")]


def test_a_long_field_next_to_a_bad_line_is_read(warehouse: Warehouse) -> None:
    long = "x" * 200_000  # more than the limit of Python's csv module
    warehouse.write("email_bounces.csv", f"{HEADER}\na,{LINE}{long}\nb,{long}\n")
    result = warehouse.load_one()
    assert (result.rows, result.added, result.rejected) == (2, 1, 1)
    assert warehouse.rejects(result)[0]["reason"] == "the line has 2 fields, not 10"
    assert warehouse.query("select message from raw.email_bounces") == [(f"ok{long}",)]
    assert warehouse.load_one().present == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[1]",
        b"1",
        b'"text"',
        b"null",
        b'{"a": 1} x',
        b'{"a": "\xff"}',
        b"a,b",
        b'{"a": "\t"}',
    ],
)
def test_only_the_bad_json_line_is_rejected(warehouse: Warehouse, bad: bytes) -> None:
    good = [json.dumps(bounce(number), default=as_text).encode() for number in (1, 2)]
    warehouse.write("email_bounces.jsonl", b"\r\n".join([good[0], b"", bad, good[1]]))
    result = warehouse.load_one()
    assert (result.rows, result.added, result.rejected) == (3, 2, 1)
    raw = bad.decode(errors="backslashreplace")
    reason = "the line is not a JSON object in UTF-8"
    assert warehouse.rejects(result) == [
        {"file": "email_bounces.jsonl", "line": 3, "reason": reason, "raw": raw},
    ]


def test_a_line_with_half_a_surrogate_pair_is_rejected(warehouse: Warehouse) -> None:
    good = json.dumps(bounce(), default=as_text)
    warehouse.write("email_bounces.jsonl", f"{good}\n" + good.replace("e1", "cut \\ud83d"))
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (1, 1)
    assert "half of a surrogate pair" in warehouse.rejects(result)[0]["reason"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_only_the_line_that_is_too_long_is_rejected(warehouse: Warehouse, suffix: str) -> None:
    write(warehouse, f"email_bounces.{suffix}", [bounce(1), bounce(2, message="x" * 17_000_000)])
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (1, 1)
    (reject,) = warehouse.rejects(result)
    assert reject["reason"] == "the line has more than 16,000,000 bytes, which load does not read"
    assert len(reject["raw"]) > 17_000_000
