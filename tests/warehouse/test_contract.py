from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.warehouse.contract import SOURCES, Column, read_contract

PROJECT = Path(__file__).parents[2] / "dbt_project"
GOOD = """
sources:
  - name: other
  - name: raw
    database: "{{ var('raw_database', target.database) }}"
    tables:
      - name: bounces
        config: {meta: {kind: event, key: [brand, event_id], labels: {en: Bounces}}}
        columns:
          - {name: brand, data_type: text, description: "{{ doc('brand') }}"}
          - {name: event_id, data_type: text}
          - name: bounce_type
            data_type: text
            config: {meta: {nullable: true, accepted_values: [soft, hard]}}
          - {name: received_at, data_type: timestamp}
          - {name: is_test, data_type: boolean, config: {meta: {nullable: true}}}
"""


def project(tmp_path: Path, text: str) -> Path:
    path = tmp_path / SOURCES
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return tmp_path


def test_the_contract_is_read(tmp_path: Path) -> None:
    (table,) = read_contract(project(tmp_path, GOOD)).tables
    assert (table.name, table.kind, table.key) == ("bounces", "event", ("brand", "event_id"))
    assert table.columns == (
        Column("brand", "text"),
        Column("event_id", "text"),
        Column("bounce_type", "text", nullable=True, accepted_values=("soft", "hard")),
        Column("received_at", "timestamp"),
        Column("is_test", "boolean", nullable=True),
    )


def test_the_contract_of_the_project_has_the_eight_raw_tables() -> None:
    tables = {table.name: table for table in read_contract(PROJECT).tables}
    events = {f"email_{name}" for name in ("sends", "opens", "clicks", "bounces")}
    events |= {"email_complaints", "email_unsubscribes"}
    assert set(tables) == events | {"broadcasts", "customers"}
    assert {name for name, table in tables.items() if table.kind == "event"} == events
    for name in events:
        assert tables[name].key == ("brand", "event_id")
        columns = {column.name: column for column in tables[name].columns}
        assert columns["received_at"] == Column("received_at", "timestamp")
        assert columns["is_test"] == Column("is_test", "boolean", nullable=True)
    assert tables["broadcasts"].key == ("brand", "broadcast_id")
    assert tables["customers"].key == ("brand", "customer_id")
    accepted = {
        column.name: column.accepted_values
        for table in tables.values()
        for column in table.columns
        if column.accepted_values
    }
    assert accepted == {"bounce_type": ("soft", "hard")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: raw", "name: rwa", "expected one source named 'raw', found 0"),
        ("name: other", "name: raw", "expected one source named 'raw', found 2"),
        (
            "kind: event",
            "kind: fact",
            "tables[bounces].config.meta.kind: 'fact': expected 'event' or 'entity'",
        ),
        ("kind: event", "knd: event", "config.meta.knd is unknown; did you mean kind?"),
        (
            "key: [brand, event_id]",
            "key: [id]",
            "tables[bounces]: config.meta.key names id, which is not a column of the table",
        ),
        ("key: [brand, event_id]", "key: []", "tables[bounces].config.meta.key: "),
        (
            "data_type: timestamp",
            "data_type: date",
            "columns[received_at].data_type: 'date': expected 'text', 'timestamp' or 'boolean'",
        ),
        (
            "name: event_id, data_type: text",
            "name: event_id",
            "columns[event_id]: 'data_type' is missing",
        ),
        (
            "{nullable: true, acc",
            "{nullable: 'no', acc",
            "columns[bounce_type].config.meta.nullable: 'no': expected true or false",
        ),
        ("{nullable: true, acc", "{nulable: true, acc", "unknown; did you mean nullable?"),
        ("[soft, hard]", "soft", "accepted_values: 'soft': expected a list"),
        (
            "[soft, hard]",
            "[1, 2]",
            "accepted_values[0]: expected text, and YAML reads this as a number",
        ),
        (
            "{nullable: true}}}",
            "{accepted_values: [a]}}}",
            "[is_test]: config.meta.accepted_values is for columns of type text",
        ),
        ("name: event_id", 'name: "a; b"', "name: 'a; b': String should match pattern"),
        ("name: is_test", "name: brand", "tables[bounces]: column named more than once: brand"),
        ("sources:", "models:", "_sources.yml:1: 'sources' is missing"),
        (
            "- {name: event_id, data_type: text}",
            "- event_id",
            "_sources.yml:11: sources[raw].tables[bounces].columns[1]: 'event_id': expected keys",
        ),
        ("sources:", "sources: [", "_sources.yml:3: this is not YAML"),
        (
            "{meta: {kind",
            "{meta: [kind], x: {kind",
            "tables[bounces]: config.meta must be a mapping",
        ),
    ],
)
def test_an_invalid_contract_is_reported_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    folder = project(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_contract(folder)
    assert message in str(caught.value)
    assert str(folder / SOURCES) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_that_is_not_a_dbt_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"_sources\.yml does not exist: is .* the folder of the dbt project"
    ):
        read_contract(tmp_path)
