import logging
import os
from pathlib import Path

import pytest
from raw_files import HEADER, LINE, Warehouse, bounce, broadcast, every_format, write

from orchestrator.errors import UsageError


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("email_bounces.csv", b"", "is empty: a CSV file starts with a line of column names"),
        ("email_bounces.csv", b"\n\n", "is empty"),
        ("email_bounces.csv", b"PAR1\x00\x01\xff\xff", "is not a CSV file in UTF-8"),
        ("email_bounces.csv", f"{HEADER}\n".encode("utf-16"), "is not a CSV file"),
        ("email_bounces.csv", b'"open\nand so on', "its first line is not a header"),
        ("email_bounces.csv", b'{"event_id": 1}\n', "is not a CSV file"),
        (
            "email_bounces.csv",
            HEADER.replace(",", ";").encode(),
            "required columns of email_bounces are missing: event_id, brand",
        ),
        ("email_bounces.csv", f"{HEADER},brand\n".encode(), "named more than once: brand"),
        ("email_bounces.csv", f"{HEADER},Brand\n".encode(), "named more than once: brand"),
        (
            "email_bounces.csv",
            HEADER.replace("brand,", "brnad,").encode(),
            "required columns of email_bounces are missing: brand. Is 'brnad' meant as brand?",
        ),
        ("email_bounces.parquet", b"", "is not a complete Parquet file: export it again"),
        ("email_bounces.parquet", b"garbage" * 100, "is not a complete Parquet file"),
        ("email_bounces.parquet", HEADER.encode(), "is not a complete Parquet file"),
        ("email_bounces.jsonl", HEADER.encode(), "is not a JSON Lines file: write one JSON object"),
        (
            "email_bounces.jsonl",
            b'[\n{"event_id": "1"},\n{"event_id": "2"}\n]',
            "is not a JSON Lines",
        ),
        ("email_bounces.jsonl", b"PAR1\x00\xff\n\xfe", "is not a JSON Lines file"),
        (
            "email_bounces.jsonl",
            b'{"brand": "B"}',
            "are missing: event_id, broadcast_id, customer_id",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_loaded(
    warehouse: Warehouse,
    name: str,
    content: bytes,
    message: str,
) -> None:
    write(warehouse, "email_bounces/a.csv", [bounce()])
    path = warehouse.write(f"email_bounces/{name}", content)
    with pytest.raises(UsageError) as caught:
        warehouse.load()
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert warehouse.tables() == []
    path.unlink()
    assert warehouse.load_one().added == 1


def test_a_parquet_file_cut_in_its_pages_is_refused(warehouse: Warehouse) -> None:
    path = write(warehouse, "email_bounces.parquet", [bounce(number) for number in range(2000)])
    data = path.read_bytes()
    path.write_bytes(data[:100])
    with pytest.raises(UsageError, match="is not a complete Parquet file"):
        warehouse.load()
    path.write_bytes(data[:200] + b"\xff" * (len(data) - 6000) + data[len(data) - 5800 :])
    with pytest.raises(UsageError, match=r"email_bounces\.parquet is not a valid parquet file"):
        warehouse.load()
    assert warehouse.tables() == []
    path.write_bytes(data)
    assert warehouse.load_one().added == 2000


@pytest.mark.parametrize("name", ["email_bounce.csv", "email_bounce/1.parquet", "customer.jsonl"])
def test_the_name_of_an_unknown_table_stops_the_load(warehouse: Warehouse, name: str) -> None:
    write(warehouse, "broadcasts.csv", [broadcast()])
    write(warehouse, name, [bounce()])
    with pytest.raises(UsageError) as caught:
        warehouse.load()
    nearest = "customers" if name.startswith("customer") else "email_bounces"
    assert f"is not named after a raw table. Did you mean {nearest}?" in str(caught.value)
    assert "The raw tables are broadcasts, customers, email_bounces," in str(caught.value)
    assert warehouse.tables() == []


def test_nothing_to_load_is_an_error(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.write("README.txt", "nothing here")
    with pytest.raises(
        UsageError, match=r"contains no raw files: expected <table>\.parquet, \.csv"
    ):
        warehouse.load()
    warehouse.folder = tmp_path / "nowhere"
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        warehouse.load()


def test_files_deeper_than_the_tables_folder_are_refused(warehouse: Warehouse) -> None:
    (warehouse.folder / "email_bounces/brand=A").mkdir(parents=True)
    write(warehouse, "email_bounces/brand=A/1.parquet", [bounce()])
    with pytest.raises(UsageError, match="directly into its folder, not into a subfolder"):
        warehouse.load()


def test_a_compressed_file_is_skipped_with_a_warning(
    warehouse: Warehouse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(warehouse, "broadcasts.csv", [broadcast()])
    warehouse.write("email_sends.csv.gz", b"\x1f\x8b")
    with caplog.at_level(logging.WARNING):
        assert warehouse.load_one().table == "broadcasts"
    assert "email_sends.csv.gz is skipped: load reads only .parquet, .csv, .jsonl" in caplog.text


@every_format
def test_unknown_columns_are_ignored_with_a_warning_and_nullable_ones_are_optional(
    warehouse: Warehouse,
    suffix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = bounce(colour="red")
    bad = bounce(2, colour="blue", bounce_type="x")
    for name in ("message", "is_test", "email_address"):
        del row[name], bad[name]
    write(warehouse, f"email_bounces.{suffix}", [row, bad])
    with caplog.at_level(logging.WARNING):
        result = warehouse.load_one()
    assert (
        f"email_bounces.{suffix}: columns that email_bounces does not have are ignored"
        in caplog.text
    )
    assert "colour" in caplog.text
    assert (result.added, result.rejected) == (1, 1)
    (loaded,) = warehouse.rows("email_bounces")
    assert (loaded[4], loaded[7], loaded[9]) == (None, None, None)
    assert warehouse.rejects(result)[0]["row"]["colour"] == "blue"


@pytest.mark.parametrize("content", [f"{HEADER}\n", HEADER, f"{HEADER}\r\n"])
def test_a_csv_of_only_a_header_has_no_rows(warehouse: Warehouse, content: str) -> None:
    warehouse.write("email_bounces.csv", content)
    assert (warehouse.load_one().rows, warehouse.rows("email_bounces")) == (0, [])


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_jsonl_has_no_rows(warehouse: Warehouse, content: str) -> None:
    warehouse.write("email_bounces.jsonl", content)
    assert (warehouse.load_one().rows, warehouse.rows("email_bounces")) == (0, [])


def test_special_characters_in_paths_are_not_read_as_a_pattern(tmp_path: Path) -> None:
    home = tmp_path / "it's [1] *"
    home.mkdir()
    warehouse = Warehouse(home)
    write(warehouse, "email_bounces/a[1].csv", [bounce(1), bounce(9, brand=None)])
    write(warehouse, "email_bounces/b*.parquet", [bounce(2)])
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (2, 1)
    assert warehouse.rejects(result)[0]["file"] == "email_bounces/a[1].csv"


@every_format
def test_a_broken_symlink_is_named(warehouse: Warehouse, suffix: str) -> None:
    write(warehouse, "broadcasts.csv", [broadcast()])
    path = warehouse.folder / f"customers.{suffix}"
    path.symlink_to("nowhere")
    with pytest.raises(UsageError, match=rf"customers\.{suffix} cannot be read: .*No such file"):
        warehouse.load()
    assert warehouse.tables() == []
    path.unlink()
    assert warehouse.load_one().added == 1


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (HEADER.upper(), "Is 'EVENT_ID' meant as event_id?"),
        (HEADER.replace(",", ";"), "Its fields are separated by ;: write commas"),
        (HEADER.replace(",", "\t"), "Its fields are separated by a tab: write commas"),
        (f"sep=,\n{HEADER}", "The first line is 'sep=' for a spreadsheet: remove it."),
        (HEADER.replace(",", ", "), "Is ' brand' meant as brand?"),
        (HEADER.replace("is_test", "isTest"), "Is 'isTest' meant as is_test? Rename them."),
    ],
)
def test_a_header_that_nearly_fits_is_refused_with_a_hint(
    warehouse: Warehouse, content: str, hint: str
) -> None:
    warehouse.write("email_bounces.csv", f"{content}\n")
    with pytest.raises(UsageError) as caught:
        warehouse.load()
    assert hint in str(caught.value)


def test_keys_that_nearly_fit_are_refused_in_json_too(warehouse: Warehouse) -> None:
    row = bounce(isTest=True)
    del row["is_test"]
    write(warehouse, "email_bounces.jsonl", [row])
    with pytest.raises(UsageError, match="Is 'isTest' meant as is_test"):
        warehouse.load()


def test_many_unknown_columns_and_columns_without_a_name_are_one_short_warning(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    more = "," + ",".join(f"column_{'x' * at}" for at in range(1, 600))
    warehouse.write("email_bounces.csv", f"{HEADER},,{more}\na,{LINE},,{',' * 599}\n")
    assert warehouse.load_one().added == 1
    (record,) = [each for each in caplog.records if each.name.startswith("orchestrator")]
    assert "and 589 more" in record.getMessage()
    assert len(record.getMessage()) < 400


def test_an_empty_folder_is_a_warning_and_not_an_error(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    assert warehouse.load().tables == ()
    assert (
        f"{warehouse.folder} is empty and nothing is loaded: expected <table>.parquet"
        in caplog.text
    )


def test_a_named_pipe_is_refused(warehouse: Warehouse) -> None:
    os.mkfifo(warehouse.folder / "customers.csv")
    with pytest.raises(UsageError, match=r"customers\.csv is not a regular file"):
        warehouse.load()


def test_a_warehouse_file_can_have_the_name_of_the_schema(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    warehouse.path = tmp_path / "raw.duckdb"
    write(warehouse, "email_bounces.csv", [bounce()])
    assert (warehouse.load_one().added, warehouse.load_one().present) == (1, 1)
