"""The URLs that `state` accepts, how they are displayed, and the parameters for libpq."""

from pathlib import Path

import pytest

from orchestrator.config.ledger_url import parse

HERE = Path("/here")


@pytest.mark.parametrize(
    ("text", "file", "name"),
    [
        ("sqlite:///state/ledger.db", "/here/state/ledger.db", "sqlite:////here/state/ledger.db"),
        ("sqlite:////there/a b.db", "/there/a b.db", "sqlite:////there/a b.db"),
        ("sqlite+pysqlite:///a%3Fb.db", "/here/a?b.db", "sqlite+pysqlite:////here/a%3Fb.db"),
        ("sqlite:///~/l.db", str(Path.home() / "l.db"), f"sqlite:///{Path.home()}/l.db"),
    ],
)
def test_a_url_of_sqlite_names_a_file(text: str, file: str, name: str) -> None:
    url = parse(text, HERE)
    assert (url.file, url.name, url.server) == (Path(file), name, {})


@pytest.mark.parametrize(
    ("text", "server", "name"),
    [
        (
            "postgresql://u:p%40s%2Fs@h:5433/a%20b?sslmode=require",
            "user=u password=p@s/s host=h port=5433 dbname=a b sslmode=require",
            "postgresql://u:***@h:5433/a%20b",
        ),
        (
            "postgresql+psycopg://us%3Aer@/x?host=%2Frun%2Fpg&port=5&password=hush",
            "user=us:er host=/run/pg port=5 dbname=x password=hush",
            "postgresql+psycopg://us%3Aer@/x?host=%2Frun%2Fpg&port=5",
        ),
        (
            "postgresql+psycopg2://u:#a?b/c@[::1]:5432/x",
            "user=u password=#a?b/c host=::1 port=5432 dbname=x",
            "postgresql+psycopg2://u:***@[::1]:5432/x",
        ),
        (
            "postgresql:///x?host=one:5432&host=two",
            "host=one,two port=5432, dbname=x",
            "postgresql:///x?host=one%3A5432%2Ctwo",
        ),
        ("postgresql://", "", "postgresql://"),
    ],
)
def test_a_url_of_postgresql_gives_the_parameters_for_libpq(
    text: str, server: str, name: str
) -> None:
    url = parse(text, HERE)
    given = " ".join(f"{key}={value}" for key, value in url.server.items())
    assert (url.file, url.name) == (None, name)
    assert sorted(given.split()) == sorted(server.split())
    assert "hush" not in repr(url)
    assert "#a" not in repr(url)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ledger.db", "expected sqlite:///FILE, or"),
        ("mysql://u:hush@h/x", "no lock that ends with the process"),
        ("postgres://u:hush@h/x", "expected sqlite:///FILE, or"),
        ("sqlite://state/ledger.db", "expected sqlite:///FILE, or"),
        ("postgresql://u:hush@h:port/x", "expected sqlite:///FILE, or"),
        ("postgresql://u:hu@sh@h/x", "in a password write '@' as %40"),
        ("sqlite:////usr", "is a folder; name a file in it"),
        ("sqlite:///a\nb.db", "cannot contain control characters"),
        ("postgresql://u:hush@h h/x", "a host without blanks"),
        ("postgresql://u:hush@h:99999/x", "a port from 1 to 65535"),
        ("sqlite://", "a ledger in memory is lost at the end of the run; name a file"),
        ("sqlite:///:memory:", "a ledger in memory is lost at the end of the run; name a file"),
        ("sqlite:///ledger.db?timeout=5", "sqlite takes no options after"),
    ],
)
def test_an_invalid_url_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text, HERE)
    assert "hush" not in str(caught.value)
