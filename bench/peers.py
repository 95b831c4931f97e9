"""The two files, written by other libraries, each used as its manual shows.

Usage: python bench/peers.py PEER FOLDER: reads the views `activity` and `broadcast` in the schema
`bench_built` of the PostgreSQL database that libpq's variables name, and writes a file of each to
the folder. It runs in a separate environment, without this product.
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote

_KINDS = ("activity", "broadcast")


def with_pandas(folder: Path) -> None:
    """Use pandas.read_sql and DataFrame.to_csv."""
    import pandas as pd  # noqa: PLC0415 - one peer runs in a process
    import sqlalchemy  # noqa: PLC0415

    engine = sqlalchemy.create_engine("postgresql+psycopg://")
    for kind in _KINDS:
        frame = pd.read_sql(f"select * from bench_built.{kind}", engine)
        frame.to_csv(folder / f"{kind}.csv", index=False)


def with_polars(folder: Path) -> None:
    """Use polars.read_database_uri with its default engine, connectorx, and DataFrame.write_csv."""
    import polars as pl  # noqa: PLC0415

    for kind in _KINDS:
        frame = pl.read_database_uri(f"select * from bench_built.{kind}", _uri())
        frame.write_csv(folder / f"{kind}.csv")


def with_dlt(folder: Path) -> None:
    """Use dlt.sources.sql_database and the destination `filesystem`, with files in CSV."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt  # noqa: PLC0415
    from dlt.sources.sql_database import sql_database  # noqa: PLC0415

    source = sql_database(
        f"postgresql+psycopg://postgres@/{os.environ['PGDATABASE']}?host={os.environ['PGHOST']}",
        schema="bench_built",
        table_names=list(_KINDS),
        backend="pyarrow",  # the fastest that needs no other engine
        include_views=True,
    )
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "dlt"),
        destination=dlt.destinations.filesystem(str(folder / "files")),
        dataset_name="files",
    )
    pipeline.run(source, loader_file_format="csv", write_disposition="replace")


def _uri() -> str:
    host, port = quote(os.environ["PGHOST"], safe=""), os.environ["PGPORT"]
    return f"postgresql://{os.environ['PGUSER']}@{host}:{port}/{os.environ['PGDATABASE']}"


PEERS = {"pandas": with_pandas, "polars": with_polars, "dlt": with_dlt}

if __name__ == "__main__":
    PEERS[sys.argv[1]](Path(sys.argv[2]))
