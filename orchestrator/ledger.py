"""The ledger: what was delivered, when, to where, byte for byte."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    RowMapping,
    create_engine,
    event,
    exists,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import ExportError
from orchestrator.ledger_tables import DELIVERIES, METADATA, WINDOWS
from orchestrator.windows import Window

PLANNED, WRITTEN, DELIVERED = "planned", "written", "delivered"


@dataclass(frozen=True)
class Entry:
    """One revision of one export's window."""

    export: str
    window: Window
    revision: int
    state: str = PLANNED
    scheduled: bool = True  # found due, not asked for by date
    activity_rows: int | None = None
    broadcast_rows: int | None = None


@dataclass(frozen=True)
class Delivery:
    """One file of an entry at one destination; `delivered_at` is None until it is there."""

    kind: str
    destination: str
    path: str
    size: int
    sha256: str
    delivered_at: datetime | None = None
    rename_sent: bool = False


class Ledger:
    """Remembers windows and deliveries in any database that SQLAlchemy reaches.

    Every method raises ExportError where the database fails.
    """

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        """Open the ledger, and make its tables where there are none.

        With `read_only` a ledger that does not exist is empty, and stays away.
        """
        self._name = url.render_as_string(hide_password=True)
        with self._explained():
            if url.get_backend_name() == "sqlite":
                file = Path(str(url.database))
                if read_only and not file.exists():
                    url = make_url("sqlite://")
                else:
                    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._engine = create_engine(url)
            if url.get_backend_name() == "sqlite":
                event.listen(self._engine, "connect", _set_up_sqlite)
            METADATA.create_all(self._engine)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def spans(self) -> dict[str, Window]:
        """Return, by export, the time from its first scheduled window to the end of its last."""
        start, end = func.min(WINDOWS.c.window_start), func.max(WINDOWS.c.window_end)
        query = select(WINDOWS.c.export, start, end).where(WINDOWS.c.scheduled)
        with self._begin() as connection:
            rows = connection.execute(query.group_by(WINDOWS.c.export)).all()
        return {str(row[0]): Window(row[1], row[2]) for row in rows}

    def open_entries(self) -> list[Entry]:
        """Return the newest revisions that are planned or written, and not everywhere yet."""
        newer = WINDOWS.alias()
        replaced = exists().where(
            newer.c.export == WINDOWS.c.export,
            newer.c.window_start == WINDOWS.c.window_start,
            newer.c.window_end == WINDOWS.c.window_end,
            newer.c.revision > WINDOWS.c.revision,
        )
        query = select(WINDOWS).where(WINDOWS.c.state != DELIVERED, ~replaced)
        with self._begin() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def entries(
        self, *, window: Window | None = None, since: datetime | None = None
    ) -> dict[tuple[str, Window], Entry]:
        """Return the newest revision of each export's window: of one window, or since a moment."""
        query = select(WINDOWS).order_by(WINDOWS.c.revision)
        if window:
            query = query.filter_by(window_start=window.start, window_end=window.end)
        if since:
            query = query.where(WINDOWS.c.window_end > since)
        with self._begin() as connection:
            found = [_entry(row) for row in connection.execute(query).mappings()]
        return {(entry.export, entry.window): entry for entry in found}

    def deliveries(self, entry: Entry) -> list[Delivery]:
        """Return the files of an entry, in the order of their delivery."""
        query = select(DELIVERIES).filter_by(**_key(entry)).order_by(DELIVERIES.c.position)
        with self._begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Delivery(
                row["kind"],
                row["destination"],
                row["path"],
                row["bytes"],
                row["sha256"],
                row["delivered_at"],
                row["rename_sent"],
            )
            for row in rows
        ]

    def plan(self, entries: Iterable[Entry]) -> None:
        """Note what is due, so that what fails is caught up later.

        What was asked for by date and comes due as well counts as scheduled from then on.
        """
        with self._begin() as connection:
            for entry in entries:
                known = select(WINDOWS.c.scheduled).filter_by(**_key(entry))
                scheduled = connection.scalar(known)
                if scheduled is None:
                    connection.execute(WINDOWS.insert().values(**_values(entry)))
                elif entry.scheduled and not scheduled:
                    raised = WINDOWS.update().filter_by(**_key(entry)).values(scheduled=True)
                    connection.execute(raised)

    def write(self, entries: Iterable[tuple[Entry, Sequence[Delivery]]]) -> None:
        """Note the files of revisions before the first of them is delivered."""
        with self._begin() as connection:
            for entry, deliveries in entries:
                connection.execute(WINDOWS.delete().filter_by(**_key(entry)))
                connection.execute(DELIVERIES.delete().filter_by(**_key(entry)))
                connection.execute(WINDOWS.insert().values(**_values(entry)))
                for position, delivery in enumerate(deliveries):
                    connection.execute(
                        DELIVERIES.insert().values(
                            **_key(entry),
                            kind=delivery.kind,
                            destination=delivery.destination,
                            path=delivery.path,
                            position=position,
                            bytes=delivery.size,
                            sha256=delivery.sha256,
                            delivered_at=delivery.delivered_at,
                            rename_sent=delivery.rename_sent,
                        )
                    )

    def arrived(self, entry: Entry, destination: str, path: str) -> None:
        """Note that a file is at its destination."""
        self._note(entry, destination, path, delivered_at=datetime.now(UTC))

    def renaming(self, entry: Entry, destination: str, path: str, *, sent: bool) -> None:
        """Note that a file may have got its final name, or that it has not."""
        self._note(entry, destination, path, rename_sent=sent)

    def _note(self, entry: Entry, destination: str, path: str, **values: object) -> None:
        key = {**_key(entry), "destination": destination, "path": path}
        with self._begin() as connection:
            connection.execute(DELIVERIES.update().filter_by(**key).values(**values))

    def finish(self, entries: Iterable[Entry]) -> None:
        """Note that every file of these entries is at every destination."""
        with self._begin() as connection:
            for entry in entries:
                done = replace(entry, state=DELIVERED)
                connection.execute(WINDOWS.delete().filter_by(**_key(entry)))
                connection.execute(WINDOWS.insert().values(**_values(done)))

    def is_delivered(self, path: str) -> bool:
        """Tell whether the ledger knows this path, and it waits for no destination."""
        paths = (path, f"/{path}")  # on a server a path may start at its root
        query = select(DELIVERIES.c.delivered_at).where(DELIVERIES.c.path.in_(paths))
        with self._begin() as connection:
            moments: Sequence[datetime | None] = connection.scalars(query).all()
        return bool(moments) and None not in moments

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ImportError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise ExportError(f"the ledger {self._name} failed: {cause}") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    # In this mode a commit costs no flush; after a power cut the ledger is sound, and what was
    # not flushed is sent again.
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")


def _key(entry: Entry) -> dict[str, Any]:
    return {
        "export": entry.export,
        "window_start": entry.window.start,
        "window_end": entry.window.end,
        "revision": entry.revision,
    }


def _values(entry: Entry) -> dict[str, Any]:
    return {
        **_key(entry),
        "state": entry.state,
        "scheduled": entry.scheduled,
        "activity_rows": entry.activity_rows,
        "broadcast_rows": entry.broadcast_rows,
        "updated_at": datetime.now(UTC),
    }


def _entry(row: RowMapping) -> Entry:
    return Entry(
        row["export"],
        Window(row["window_start"], row["window_end"]),
        row["revision"],
        row["state"],
        row["scheduled"],
        row["activity_rows"],
        row["broadcast_rows"],
    )
