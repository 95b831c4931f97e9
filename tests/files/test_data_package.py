"""The manifest is a Data Package: frictionless accepts every delivery, and no broken copy."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from awkward_rows import IDS, TEXTS
from gpg import Gpg
from workspace import ROOT, Workspace, days

NOW = "2026-11-20 07:00"
PAGE = (ROOT / "docs/receiving.md").read_text(encoding="utf-8")
ALL = "[event_id, received_at, os, url, is_machine]"
Json = dict[str, Any]

DIALECTS = (
    "",
    "delimiter: ';'",
    'delimiter: "\\t", line_ending: crlf, extension: txt',
    "delimiter: '|', quoting: all",
    "delimiter: '||'",
    "delimiter: ' ', null: 'NULL'",
    "delimiter: '¦', null: '\\N', quoting: all",
    "header: false",
    "header: false, quoting: all, null: 'NULL', encoding: utf-16",
    "encoding: utf-8-sig, labels: nl",
    "encoding: utf-16-le, labels: names",
    "encoding: gb18030, compression: gzip",
    "compression: gzip, extension: data",
    "compression: zip",
    "compression: zip, delimiter: ';', encoding: utf-16, header: false",
    "compression: zstd",
    "compression: gzip, encrypt_for: key.asc",
    "newlines: space, formulas: escape",
    "formulas: escape, activity_fields: [{column: description, as: '=x'}, activity_date]",
    "timestamp_format: '%-d-%-m-%y %I:%M %p %z'",
    "timestamp_format: '%A %d %B %Y, %H.%M.%S.%f %%'",
    "timestamp_format: '%G-W%V'",  # strptime does not read it without a day
    "timestamp_format: '%d/%m'",
    f"additional_fields: {{activities: {ALL}, broadcasts: [is_touched]}}",
    f"additional_fields: {{activities: {ALL}}}, newlines: space",
    "activity_fields: [{column: email_address, as: mail, hash: sha256, salt: s}, activity, url]",
    "activity_fields: [{column: activity, hash: sha256}, {column: broadcast_id, as: ' spaced '}]",
    "activity_fields: [os, url], broadcast_fields: [subject]",
    "activity_types: [click, open]",
    "completion: both",
)


def recipe(folder: Path, name: str) -> Path:
    """Write a recipe of docs/receiving.md to a file."""
    (text,) = (
        block.split("```\n")[0]
        for block in PAGE.split("```python\n")[1:]
        if block.startswith(f'"""{name} ')
    )
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def check(tmp_path: Path, *folders: Path) -> list[str]:
    """Return the lines that the recipe prints about folders."""
    command = [sys.executable, "-X", "utf8", str(recipe(tmp_path, "check.py")), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    assert done.returncode == bool(done.stdout), done.stderr
    return done.stdout.splitlines()


def manifests(root: Path) -> Iterator[tuple[Path, Json]]:
    for path in sorted(root.rglob("*.manifest.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def add_awkward_rows(workspace: Workspace, brand: str = "Café & Söhne") -> str:
    """Add a day of rows with every awkward text, some of them as ids; return the brand."""
    moment = "2026-11-19 1{}:00:00"
    ids = (*IDS, "")
    workspace.add(
        "broadcasts",
        *(
            {
                "brand": brand,
                "broadcast_id": ids[number] if number < len(ids) else f"B{number}",
                "description": text,
                "subject": TEXTS[-number],
                "sent_on": moment.format(number % 10),
                "received_at": moment.format(0),
            }
            for number, text in enumerate(TEXTS)
        ),
    )
    workspace.add(
        "email_clicks",
        *(
            {
                "brand": brand,
                "event_id": f"E{number}" if number else "",
                "broadcast_id": ids[number % len(ids)],
                "customer_id": ids[-number % len(ids)],
                "email_address": TEXTS[-number],
                "received_at": moment.format(number % 10),
                "url": text,
                "os": TEXTS[(number * 7) % len(TEXTS)],
                "is_machine": (None, True, False)[number % 3],
            }
            for number, text in enumerate(TEXTS)
        ),
    )
    workspace.opened(brand, moment.format(5), "unknown", event_id="E1")
    return brand


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One window in each dialect, of a brand with awkward texts and of one without rows."""
    gpg = Gpg()
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("delivered"), monkeypatch)
        fingerprint = gpg.make_key("receiver@example.com", subkey="never")
        (workspace.folder / "key.asc").write_bytes(gpg.export(fingerprint))
        brands = [add_awkward_rows(workspace), "Nobody"]
        lines = [
            f"  - {{brand: '{brand}', directory: '{brand[:1]}{number}', {dialect}}}"
            for brand in brands
            for number, dialect in enumerate(DIALECTS)
        ]
        workspace.configure("\n".join(lines), defaults="{completion: manifest}")
        result = workspace.run(NOW)
        assert [window.error for window in result.windows] == [None] * len(lines)
        yield workspace.folder / "there"
    gpg.stop()


def test_frictionless_accepts_every_delivery(delivered: Path, tmp_path: Path) -> None:
    found = list(manifests(delivered))
    assert len(found) == 2 * len(DIALECTS)
    assert check(tmp_path, *{path.parent for path, _ in found}) == []
    tables = [
        {resource["type"] for resource in manifest["resources"] if "type" in resource}
        for path, manifest in found
        if path.is_relative_to(delivered / "C0") or path.is_relative_to(delivered / "C13")
    ]
    assert tables == [{"table"}, {"table"}]  # the tables were really validated


def test_the_command_of_frictionless_accepts_a_manifest(delivered: Path) -> None:
    (path,) = (delivered / "C12").glob("*.manifest.json")
    program = Path(sys.executable).with_name("frictionless")
    command = [str(program), "validate", path.name, "--json"]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    tasks = json.loads(done.stdout)["tasks"]
    assert [task["type"] for task in tasks] == ["table", "table"]
    assert [task["stats"]["rows"] for task in tasks] == [len(TEXTS), len(TEXTS) + 1]
    (file,) = (delivered / "C12").glob("activity*.data.gz")
    complete = file.read_bytes()
    file.write_bytes(complete[:-1] + bytes([complete[-1] ^ 1]))
    done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    file.write_bytes(complete)
    assert done.returncode == 1


def test_the_manifest_describes_the_columns(delivered: Path) -> None:
    def table(number: int, kind: str) -> tuple[Json, dict[str, Json]]:
        (path,) = (delivered / f"C{number}").rglob("*.manifest.json")
        resources = json.loads(path.read_text(encoding="utf-8"))["resources"]
        (resource,) = (each for each in resources if each["name"] == kind)
        return resource, {field["column"]: field for field in resource["schema"]["fields"]}

    dutch, fields = table(9, "activity")
    assert fields["activity"]["name"] == fields["activity"]["title"] == "Activiteit"
    assert fields["activity"]["constraints"]["enum"][3:5] == ["Softbounces", "Hardbounces"]
    assert fields["activity"]["constraints"]["required"]
    assert fields["activity_date"]["type"] == "datetime"
    assert fields["activity_date"]["format"] == "%Y-%m-%d %H:%M:%S"
    assert "constraints" not in fields["external_customer_number"]
    assert "e-mail address that was used" in fields["email_address"]["description"]
    assert dutch["encoding"] == "utf-8-sig"
    assert "primaryKey" not in dutch["schema"]  # the file lacks event_id
    broadcasts, _ = table(9, "broadcast")
    assert broadcasts["schema"]["primaryKey"] == ["Broadcastid"]
    names, fields = table(10, "activity")
    assert [field["name"] for field in names["schema"]["fields"]] == [*fields]
    assert fields["activity"]["constraints"]["enum"][3:5] == ["soft_bounce", "hard_bounce"]
    assert "title" not in fields["activity"]
    more, fields = table(DIALECTS.index(next(d for d in DIALECTS if ALL in d)), "activity")
    assert more["schema"]["primaryKey"] == ["Event ID", "Activity"]
    assert fields["is_machine"]["type"] == "boolean"
    null, _ = table(5, "activity")
    assert null["schema"]["missingValues"] == [null["dialect"]["nullSequence"]] == ["NULL"]
    hashed, fields = table(25, "activity")
    assert hashed["schema"]["fields"][0] == {
        "name": "mail",
        "title": "E-mail address",
        "description": fields["email_address"]["description"],
        "column": "email_address",
        "type": "string",
        "hashed": "sha256",
        "constraints": {"pattern": "[0-9a-f]{64}"},
    }
    patterns = [table(number, "activity")[1]["activity_date"] for number in (19, 20, 21, 22)]
    assert [each.get("format") for each in patterns] == [
        "%d-%m-%y %I:%M %p %z",
        "%A %d %B %Y, %H.%M.%S.%f %%",
        None,
        None,
    ]
    _, fields = table(28, "activity")
    assert fields["activity"]["constraints"]["enum"] == ["Opens", "Clicks"]
    packed, _ = table(15, "activity")
    assert (packed["format"], packed["mediatype"]) == ("zst", "application/zstd")
    assert "type" not in packed


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of three exports; the first two days were delivered again, as revision 2."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("chain"), monkeypatch)
        for number, day in enumerate(("2026-11-17", "2026-11-18", "2026-11-19")):
            workspace.mailing("ACME", day, number=number)
            for event in range(4):
                number_and = f"{number}-{event}"
                moment = f"{day} 1{event}:30:00"
                workspace.opened("ACME", moment, f"ACME-{number}", event_id=f"M{number_and}")
        workspace.configure(
            "\n".join(
                f"  - {{brand: ACME, directory: '{folder}', {more}}}"
                for folder, more in (
                    ("plain", "delimiter: ','"),
                    ("packed", "compression: gzip, labels: nl"),
                    ("bare", "compression: zip, header: false, quoting: all"),
                )
            ),
            defaults="{completion: manifest, start: 2026-11-17, activity_fields: [broadcast_id,"
            " customer_id, activity, activity_date], broadcast_fields: [broadcast_id, sent_on]}",
        )
        workspace.run("2026-11-19 07:00")
        workspace.opened("ACME", "2026-11-17 20:00:00", "ACME-0", event_id="late")
        workspace.run("2026-11-19 07:00", days=days("2026-11-17"), force=True)
        shutil.copytree(workspace.folder / "there", workspace.folder / "earlier")
        workspace.run(NOW)
        workspace.opened("ACME", "2026-11-18 20:00:00", "ACME-1", event_id="later")
        workspace.run(NOW, days=days("2026-11-18"), force=True)
    return workspace.folder


def test_manifests_show_their_order_and_a_missing_one(chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(chain / "there/plain", folder)
    assert check(tmp_path, folder) == []
    found = {m["sequence"]: (path, m) for path, m in manifests(folder)}
    assert [
        (number, m["window_start"][8:10], m["revision"]) for number, (_, m) in sorted(found.items())
    ] == [
        (3, "17", 2),
        (4, "19", 1),
        (5, "18", 2),
    ]
    hashes = {
        n: f"sha256:{hashlib.sha256(p.read_bytes()).hexdigest()}" for n, (p, _) in found.items()
    }
    assert found[5][1]["previous"] == hashes[4]
    assert found[4][1]["previous"] == hashes[3]
    (replaced,) = found[3][1]["replaces"]
    older = chain / "earlier/plain/activity_ACME_20261118.csv.manifest.json"
    was = json.loads(older.read_text())
    assert (was["sequence"], was["previous"]) == (2, replaced)
    assert found[5][1]["replaces"] == [f"sha256:{hashlib.sha256(older.read_bytes()).hexdigest()}"]
    # Remove a manifest; then restore it, with the files of an earlier revision of the 18th.
    found[4][0].unlink()
    (reported,) = check(tmp_path, folder)
    assert "ACME daily: chain: the manifest before that of 2026-11-18" in reported
    for path in (chain / "earlier/plain").glob("*_20261118*"):
        shutil.copy(path, folder)
    shutil.copy(chain / "there/plain" / found[4][0].name, folder)
    shutil.copy(chain / "there/plain" / found[3][0].name, folder)
    assert (
        check(tmp_path, folder) == []
    )  # only the next manifest shows that revision 2 of the 18th is missing


def _byte(random: Random, folder: Path) -> str:
    path = random.choice(_data(folder))
    content = bytearray(path.read_bytes())
    at = random.randrange(len(content))
    content[at] ^= random.randrange(1, 256)
    path.write_bytes(content)
    return "frictionless"


def _length(random: Random, folder: Path) -> str:
    path = random.choice(_data(folder))
    content = path.read_bytes()
    at = random.randrange(len(content))
    path.write_bytes(random.choice((content[:at], content[:at] + b"x" + content[at:], b"")))
    return "frictionless"


def _row(random: Random, folder: Path) -> str:
    """Drop, repeat or reverse a row; in a compressed file, change a byte."""
    if not (plain := sorted(folder.glob("*.csv"))):
        return _byte(random, folder)
    path = random.choice(plain)
    rows = path.read_bytes().split(b"\n")
    at = random.randrange(len(rows) - 1)
    turned = b",".join(reversed(rows[at].split(b",")))
    changed: tuple[list[bytes], ...] = ([], [rows[at]] * 2, [turned])
    rows[at : at + 1] = random.choice(changed)
    path.write_bytes(b"\n".join(rows))
    return "frictionless"


def _columns(random: Random, folder: Path) -> str:
    """Swap two columns with their headings; in a compressed file, change its length."""
    if not (plain := sorted(folder.glob("*.csv"))):
        return _length(random, folder)
    path = random.choice(plain)
    rows = [row.split(b",") for row in path.read_bytes().split(b"\n")]
    one, two = random.sample(range(len(rows[0])), 2)
    for row in rows[:-1]:
        row[one], row[two] = row[two], row[one]
    path.write_bytes(b"\n".join(b",".join(row) for row in rows))
    return "frictionless"


def _swapped(random: Random, folder: Path) -> str:
    one, two = random.sample(_data(folder), 2)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    return "frictionless"


def _missing(random: Random, folder: Path) -> str:
    random.choice(_data(folder)).unlink()
    return "frictionless"


def _value(random: Random, folder: Path) -> str:
    path = random.choice(sorted(folder.glob("*.manifest.json")))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:  # noqa: ANN401 - any JSON
        for key in [*node] if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(manifest)
    node, key = random.choice(places)
    old = node[key]
    if isinstance(old, bool) or old is None:
        node[key] = not old
    elif isinstance(old, int):
        node[key] = old + random.choice((-1, 1, 2**40))
    elif isinstance(old, str):
        node[key] = old[1:] + random.choice("abc0 ")
    elif isinstance(old, list) and len(old) > 1:
        one, two = random.sample(range(len(old)), 2)
        old[one], old[two] = old[two], old[one]
    else:
        del node[key]
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return ""


def _revision(random: Random, folder: Path) -> str:
    path = random.choice(sorted(folder.glob("*.manifest.json")))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["revision"] += random.randrange(1, 9)
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return "id"


def _earlier_revision(random: Random, folder: Path) -> str:
    """Replace a file by that of an earlier revision."""
    earlier = folder.parent / f"earlier-{folder.name.partition('-')[0]}"
    (path,) = (p for p in _data(folder) if "activity" in p.name and "1118" in p.name)
    shutil.copy(earlier / path.name, path)
    del random
    return "frictionless"


def _forged(random: Random, folder: Path) -> str:
    """Change a manifest and recompute its id."""
    path = random.choice(sorted(folder.glob("*.manifest.json"))[::2])  # 17 and 19: not the last
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["id"]
    manifest["revision"] += 1
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest["id"] = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return "chain"


def _data(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.endswith(".json"))


MUTATIONS: tuple[Callable[[Random, Path], str], ...] = (
    _byte,
    _length,
    _row,
    _columns,
    _swapped,
    _missing,
    _value,
    _revision,
    _earlier_revision,
    _forged,
)


ONCE = """
import sys
from pathlib import Path

import check
from frictionless import Package

found = {}


class Once:
    def __init__(self, path: str) -> None:
        self.path = path

    def validate(self):
        day = Path(self.path).name.split("_")[-1][:8]
        files = sorted(Path(self.path).parent.glob(f"*_{day}*"))
        key = tuple((file.name, file.read_bytes()) for file in files)
        if key not in found:
            found[key] = Package(self.path).validate()
        return found[key]


check.Package = Once  # unchanged windows need no second validation
for folder in sys.stdin.read().splitlines():
    for text in check.problems(Path(folder)):
        print(f"{folder}: {text}")
"""


def test_hundreds_of_broken_copies_are_refused(chain: Path, tmp_path: Path) -> None:
    random = Random(20261120)  # noqa: S311 - the same mistakes each time
    folders: dict[str, str] = {}
    for kind in ("plain", "packed", "bare"):
        shutil.copytree(chain / "earlier" / kind, tmp_path / f"earlier-{kind}")
    while len(folders) < 300:
        kind = ("plain", "packed", "bare")[len(folders) % 3]
        folder = tmp_path / f"{kind}-{len(folders)}"
        shutil.copytree(chain / "there" / kind, folder)
        before = {path: path.read_bytes() for path in folder.iterdir()}
        seen_by = MUTATIONS[len(folders) % len(MUTATIONS)](random, folder)
        if {path: path.read_bytes() for path in folder.iterdir()} != before:
            folders[str(folder)] = seen_by
        else:  # for example, two equal rows were swapped
            shutil.rmtree(folder)
            folders[str(folder)] = _byte(
                random, Path(shutil.copytree(chain / "there" / kind, folder))
            )
    reported: dict[str, list[str]] = {folder: [] for folder in folders}
    recipe(tmp_path, "check.py")
    (tmp_path / "once.py").write_text(ONCE, encoding="utf-8")
    command = [sys.executable, "-X", "utf8", str(tmp_path / "once.py")]
    done = subprocess.run(
        command, input="\n".join(folders), capture_output=True, check=True, encoding="utf-8"
    )
    for line in done.stdout.splitlines():
        reported[line.partition(": ")[0]].append(line)
    accepted = [folder for folder, lines in reported.items() if not lines]
    assert accepted == []
    by_another = {
        folder: (seen_by, reported[folder])
        for folder, seen_by in folders.items()
        if not any(f": {seen_by}" in line for line in reported[folder])
    }
    assert by_another == {}
