"""Windows with wide rows are exported within the default memory limit."""

import pytest
from forked_commands import orchestrate
from workspace import Workspace

DAY = "2026-11-19"


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [1, 40_000], ids=["at one moment", "in a day"])
def test_a_hundred_thousand_rows_of_five_kilobytes_are_exported(
    workspace: Workspace, seconds: int
) -> None:
    workspace.mailing("ACME", DAY)
    workspace.mailing("BETA", DAY)
    workspace.query(
        f"""
        set TimeZone = 'UTC';
        insert into raw.email_bounces by name
        select
            'X' || i as event_id, 'ACME' as brand, 'ACME-1' as broadcast_id,
            'C' || i as customer_id, 'hard' as bounce_type,
            timestamptz '{DAY} 11:00:00' + to_seconds(i % {seconds}) as occurred_at,
            timestamptz '{DAY} 11:30:00' as received_at,
            repeat(md5(i::varchar), 156) as message
        from range(100000) as numbers (i)
        """
    )
    workspace.configure('  - {brand: "*"}')
    workspace.monkeypatch.delenv("DUCKDB_MEMORY_LIMIT", raising=False)
    ran = orchestrate(workspace.folder, "daily", "--date", DAY)
    assert ran.returncode == 0, ran.stderr
    path = workspace.folder / f"there/activity_ACME_{DAY.replace('-', '')}.csv"
    with path.open(encoding="utf-8") as file:
        next(file)
        keys = [(row[5], row[1]) for row in (line.split(",", 6) for line in file)]
    assert len(keys) == 100_001
    assert keys == sorted(keys)
