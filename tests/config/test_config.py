import traceback
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from orchestrator import config as configs
from orchestrator.config import Config
from orchestrator.config.destinations import Directory, Sftp
from orchestrator.config.exports import Export
from orchestrator.errors import ConfigError, UsageError
from orchestrator.windows import Days, Interval

MINIMAL = """\
destinations:
  archive: {directory: files}
exports:
  - {brand: ACME}
"""


def load(folder: Path, text: str) -> Config:
    path = folder / "exports.yml"
    path.write_text(text, encoding="utf-8")
    return configs.read(path)


def with_line(line: str) -> str:
    """Return a config whose first export, on line 4, has these keys too."""
    return MINIMAL.replace("{brand: ACME}", f"{{brand: ACME, {line}}}")


def test_every_default_is_as_specified(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    (export,) = config.exports
    keys = export.model_dump()
    keys |= keys.pop("content") | keys.pop("dialect")
    assert {k: v for k, v in keys.items() if k not in ("additional_fields", "timezone")} == {
        "brand": "ACME",
        "destination": ["archive"],
        "interval": Interval.DAILY,
        "at": time(6),
        "settle": timedelta(minutes=15),
        "wait": timedelta(days=1),
        "start": None,
        "directory": "",
        "activity_file": "activity_{brand}_{window_start:%Y%m%d}",
        "broadcast_file": "broadcast_{brand}_{window_start:%Y%m%d}",
        "extension": "csv",
        "delimiter": ",",
        "header": True,
        "labels": "en",
        "quoting": "minimal",
        "null": "",
        "newlines": "keep",
        "formulas": "keep",
        "line_ending": "lf",
        "encoding": "utf-8",
        "timestamp_format": "%Y-%m-%d %H:%M:%S",
        "compression": "none",
        "encrypt_for": None,
        "sign_with": None,
        "sign_passphrase": None,
        "completion": "none",
        "empty": "header",
        "late_rows": "warn",
        "activity_fields": "default",
        "broadcast_fields": "default",
        "activity_types": "all",
        "machine_activity": "include",
    }
    assert export.timezone.key == "UTC"
    assert config.keep_local == timedelta(days=14)
    assert config.outbox == tmp_path / "outbox"
    assert config.state.file == tmp_path / "state/ledger.db"


def test_an_export_overrides_the_defaults(tmp_path: Path) -> None:
    text = MINIMAL + "  - {brand: OTHER, interval: hourly, delimiter: ';'}\n"
    text += "defaults: {delimiter: '|', timezone: Europe/Amsterdam, at: 12:00}\n"
    first, second = load(tmp_path, text).exports
    assert (first.dialect.delimiter, second.dialect.delimiter) == ("|", ";")
    assert first.at == time(12)
    assert second.activity_file == "activity_{brand}_{window_start:%Y%m%d_%H%M}"
    assert {export.timezone.key for export in (first, second)} == {"Europe/Amsterdam"}


def test_words_and_numbers_of_yaml_stay_text(tmp_path: Path) -> None:
    text = MINIMAL.replace("ACME", "NO") + "  - {brand: 007, null: '\\N', header: no}\n"
    first, second = load(tmp_path, text).exports
    assert (first.brand, second.brand) == ("NO", "007")
    assert (second.dialect.null, second.dialect.header) == (r"\N", False)


def test_paths_of_destinations_are_relative_to_the_config_file(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "  archive: {directory: files}",
        "  archive: {directory: files}\n"
        "  sftp: {sftp: {host: h, username: u, private_key: ~/key, known_hosts: hosts, "
        "timeout: 5s}}",
    ).replace("{brand: ACME}", "{brand: ACME, destination: [archive, sftp]}")
    config = load(tmp_path, text)
    assert config.destinations["archive"] == Directory(directory=tmp_path / "files")
    sftp = config.destinations["sftp"]
    assert isinstance(sftp, Sftp)
    assert sftp.private_key == Path.home() / "key"
    assert sftp.known_hosts == tmp_path / "hosts"
    assert (sftp.port, sftp.timeout) == (22, timedelta(seconds=5))


def test_env_var_gives_the_variable_or_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = with_line("delimiter: \"{{ env_var('SEP', ';') }}\"")
    assert load(tmp_path, text).exports[0].dialect.delimiter == ";"
    monkeypatch.setenv("SEP", "|")
    assert load(tmp_path, text).exports[0].dialect.delimiter == "|"


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"exports.yml:4: exports\[0\].null: .* NOPE is not set"):
        load(tmp_path, with_line("null: \"{{ env_var('NOPE') }}\""))


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "{directory: files}", "{sftp: {host: h, username: u, password: hush, passphrase: [hush]}}"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert "passphrase" in str(caught.value)
    assert "hush" not in str(caught.value)
    good = load(tmp_path, text.replace("[hush]", "hush"))
    assert "hush" not in repr(good)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("delimeter: ;", r"delimeter: unknown key; did you mean delimiter\?; valid: .*activity"),
        (
            "dialect: {labels: nl}",
            r"exports\[0\].dialect: unknown key; .*valid: .*delimiter.*labels",
        ),
        ("content: all", r"exports\[0\].content: unknown key; valid: activity_fields"),
        ("timezone: Europe/Amsterdm", r"timezone: .*did you mean Europe/Amsterdam\?"),
        ("interval: dayly", "interval: 'dayly': expected '15m', '30m', 'hourly', 'daily'"),
        ("at: 6 o'clock", "at: .*expected a time of day"),
        ("at: '25:00'", "at: .*expected a time of day"),
        ("settle: 15", "settle: .*such as 15m"),
        ("delimiter: ''", "delimiter: .*expected one or more characters"),
        (r"delimiter: '\t'", "delimiter: .*double quotes"),
        ("null: ','", "null must not contain the delimiter"),
        ("null: 'x|', delimiter: '||'", "null must not contain the delimiter, nor end in"),
        ("header: perhaps", "header: .*expected a valid boolean"),
        ("labels: d!", "labels: 'd!': expected a language such as en, nl or pt-BR, or names"),
        ("quoting: some", "quoting: 'some': expected 'minimal' or 'all'"),
        ("newlines: drop", "newlines: 'drop': expected 'keep' or 'space'"),
        ("line_ending: cr", "line_ending: 'cr': expected 'lf' or 'crlf'"),
        ("encoding: utf8000", "encoding: .*expected an encoding"),
        ("encoding: base64", "encoding: .*expected an encoding"),
        ("encoding: latin-1, delimiter: €", "latin-1 cannot encode delimiter or null"),
        ("timestamp_format: '%Q'", "timestamp_format: .*expected the codes"),
        ("extension: .csv", "extension: .*without a leading dot"),
        ("empty: never", "empty: 'never': expected 'header' or 'skip'"),
        ("machine_activity: no", "machine_activity: 'no': expected 'include' or 'exclude'"),
        ("destination: nowhere", "destination: no destination 'nowhere'; valid: archive"),
        ("destination: []", "destination: .*must not be empty"),
        ("activity_file: same", r"activity_file: two daily windows would share one path"),
        ("activity_file: 'a_{window_start:%m%d}'", "two daily windows would share one path"),
        ("interval: hourly, activity_file: 'a{window_start:%Y%m%d}'", "two hourly windows"),
        (
            "activity_file: 'a{brnd}{window_start:%Y%m%d}'",
            r"unknown \{brnd\}; a pattern may contain",
        ),
        ("activity_file: 'a{window_start}'", "needs a format"),
        ("activity_file: 'a{window_start:%Y%m%d}_{revision:02}'", "{revision} takes no format"),
        (
            "activity_file: 'a{window_start:%Y%m%d}_{revision}'",
            "{revision} must be in both activity_file and broadcast_file, or in directory",
        ),
        (
            "activity_file: 'a{window_start:%Y%m%-d}{revision}', "  # noqa: ISC004 - one line of YAML
            "broadcast_file: 'b{window_start:%Y%m%d}{revision}'",
            "activity_file: two daily windows would share one path",
        ),
        ("activity_file: 'x/a{window_start:%Y%m%d}'", "cannot contain a slash"),
        ("directory: '../{brand}'", r"no '\.' or '\.\.'"),
        ("interval: hourly, at: 06:00", "at: has no meaning for the interval hourly"),
        ("activity_fields: []", "activity_fields: .*must not be empty"),
        ("activity_fields: [{column: a, hsh: sha256}]", r"hsh: unknown key; did you mean hash\?"),
        ("additional_fields: {activity: [os]}", "activity: unknown key; did you mean activities"),
        ("destination: [archive, archive]", "destination: .*listed twice"),
        ("directory: a//b", "directory: .*two slashes follow each other"),
        ("directory: /srv", "directory: must be below the folder of destination 'archive'"),
        ("activity_file: 'a{window_start:%Y%m%d%R}'", "'%Y%m%d%R' has a code other than"),
        ("interval: weekly, activity_file: 'a{window_start:%Y%V}'", "two weekly windows"),
        ("start: 0001-01-01", "start: '0001-01-01': expected greater than"),
        ("settle: 999999d", "settle: .*no more than a hundred years"),
        ("start: yesterday", "start: 'yesterday': expected a valid date"),
        ("compression: gz", "compression: 'gz': expected 'none', 'gzip', 'zstd' or 'zip'"),
        ("encrypt_for: key.asc", r"encrypt_for: /.*/key.asc: cannot be read \(No such file"),
        ("encrypt_for: ''", "encrypt_for: expected the path of a file"),
        ("completion: done", "completion: 'done': expected 'none', 'ready', 'manifest' or 'both'"),
        (
            "completion: ready, extension: ready, "  # noqa: ISC004 - one line of YAML
            "activity_file: 'a{window_start:%Y%m%d}', "
            "broadcast_file: 'a{window_start:%Y%m%d}.ready'",
            r"the same path as another of its files \(such as 'a20270201.ready.ready'\)",
        ),
        (
            "completion: manifest, activity_file: '" + "a" * 180 + "{window_start:%Y%m%d}'",
            "is longer than 200 bytes",
        ),
        ("late_rows: send", "late_rows: .*'warn' or 'resend'"),
    ],
)
def test_an_invalid_value_is_reported_with_file_line_and_key(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, with_line(line))
    assert str(caught.value).startswith(f"{tmp_path}/exports.yml:4: exports[0]")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"exports.yml:1: expected keys and values"),
        ("- a", r"exports.yml:1: expected keys and values"),
        ("a: b: c", r"exports.yml:1: this is not YAML"),
        ("exports: [", r"exports.yml:1: this is not YAML"),
        (MINIMAL + "exports: []\n", r"exports.yml:5: the key 'exports' is given twice"),
        (MINIMAL + "outbx: x\n", r"exports.yml:5: outbx: unknown key; did you mean outbox\?"),
        (MINIMAL + "keep_local: 14\n", r"exports.yml:5: keep_local: '14': expected a whole"),
        (MINIMAL + "state: ledger.db\n", r"exports.yml:5: state: expected sqlite:///FILE, or"),
        (MINIMAL + "state: mysql://h/x\n", r"5: state: expected .*; other databases have no lock"),
        (MINIMAL + "state: postgresql+asyncpg://h/x\n", r"5: state: expected .*; other databases"),
        (MINIMAL + "state: postgresql://u:p@ss@h/x\n", r"5: state: in a password write '@' as"),
        (MINIMAL + "state: 'sqlite://'\n", r"exports.yml:5: state: a ledger in memory"),
        (MINIMAL + "state: postgresql://u:p@h:port/x\n", r"exports.yml:5: state: expected sql"),
        (
            MINIMAL + "outbox: ~nosuchuser/x\n",
            r"exports.yml:5: outbox: .*home folder of that user is unknown",
        ),
        (
            MINIMAL + "  - {brand: ACME, directory: x/}\n  - {brand: ACME, directory: x}\n",
            r"exports.yml:6: exports.2.: would write the same path as exports\[1\]",
        ),
        (MINIMAL + "notify: ['jsn://h']\n", r"exports.yml:5: notify.0.: expected a URL that Appri"),
        (MINIMAL + "notify: json://h\n", r"exports.yml:5: notify: expected a list"),
        (
            "destinations: {managed: null}\ndefaults: {directory: /in}\nexports: [{brand: A}]\n",
            r"exports.yml:1: destinations.managed: expected",
        ),
        (MINIMAL + "defaults: {brand: X}\n", r"exports.yml:5: defaults.brand: belongs under"),
        (MINIMAL + "defaults: {header: x}\n", r"exports.yml:5: defaults.header: 'x': expected"),
        (MINIMAL.replace("brand: ACME", "brand: a/b"), r"exports.yml:4: .*brand: 'a/b': a brand"),
        (MINIMAL.replace("brand: ACME", "brand: '..'"), r"exports.yml:4: .*brand: '..': a brand"),
        (MINIMAL.replace("brand: ACME", ""), r"exports.yml:4: exports.0.: 'brand' is missing"),
        (MINIMAL.replace("exports:", "defaults:\n  at: 06:00\nexport:"), "'exports' is missing"),
        ("destinations: {a: {directory: x}}\nexports: []\n", "'exports' has no entry"),
        (MINIMAL.replace("{directory: files}", "{ftp: x}"), r"archive.ftp: unknown key"),
        (MINIMAL.replace("directory: files", ""), "either 'sftp' or 'directory'"),
        (
            MINIMAL.replace("directory: files", "directory: x, retention: 0d"),
            r"exports.yml:2: destinations.archive.retention: expected more than zero",
        ),
        (
            MINIMAL.replace("directory: files", "sftp: {host: h, username: u, port: 70000}"),
            r"exports.yml:2: destinations.archive.sftp.port: '70000': expected less than",
        ),
        (
            MINIMAL.replace("directory: files", "sftp: {host: h, user: u}"),
            r"sftp.user: unknown key; did you mean username\?; valid: algorithms, host",
        ),
        (
            MINIMAL + "  - {brand: ACME, interval: weekly}\n",
            r"exports.yml:5: exports.1.: would write the same path as exports\[0\]",
        ),
        (
            MINIMAL + "  - {brand: '*', activity_file: 'x{window_start:%Y%m%d}'}\n",
            r"exports.yml:5: .*for every brand \(\*\) the path must contain \{brand\}",
        ),
    ],
)
def test_an_invalid_file_is_reported_with_line_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL + "pasword: hush\n",
        MINIMAL.replace("{directory: files}", "{sftp: 'sftp://u:hush@h'}"),
        MINIMAL.replace("{directory: files}", "{sftp: {host: h, username: u, password: *hush}}"),
        MINIMAL.replace(
            "{directory: files}",
            '{sftp: {host: h, username: u, private_key: "-----BEGIN KEY-----\\nhush"}}',
        ),
    ],
)
def test_a_secret_in_a_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hush" not in shown.replace(text, "")


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    text = with_line("labels: d!, quoting: some") + "  - {brand: B, empty: never}\n"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 3


def test_defaults_that_are_written_out_are_accepted(tmp_path: Path) -> None:
    text = with_line("compression: none, completion: none, encrypt_for: null, late_rows: warn")
    text = text.replace("directory: files", "directory: files, retention: null")
    assert load(tmp_path, text + "notify: []\n").exports[0].brand == "ACME"


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        ("compression: gzip", "extension: csv.gz", "broadcast_ACME_20270201.csv.gz"),
        ("completion: ready", "extension: csv.ready", "broadcast_ACME_20270201.csv.ready"),
        (
            "completion: both, compression: zip",
            "extension: csv.zip.manifest.json",
            "activity_ACME_20270201.csv.zip.manifest.json",
        ),
    ],
)
def test_derived_file_names_that_collide_are_refused(
    tmp_path: Path, first: str, second: str, path: str
) -> None:
    lines = f"{{brand: ACME, {first}}}", f"{{brand: ACME, {second}}}"
    for text in (lines, lines[::-1]):
        exports = MINIMAL.replace("{brand: ACME}", "\n  - ".join(text))
        with pytest.raises(ConfigError, match=f"the same path as .*'{path}'"):
            load(tmp_path, exports)


def test_exports_that_share_paths_are_reported_once_per_pair(tmp_path: Path) -> None:
    text = MINIMAL + "  - {brand: ACME, interval: weekly}\n  - {brand: ACME, interval: monthly}\n"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text + "defaults: {completion: both}\n")
    messages = str(caught.value).splitlines()
    assert len(messages) == 2
    assert all("path as exports[0] (such as 'broadcast_ACME_" in line for line in messages)


def test_the_config_is_found_in_the_folder_or_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATE_CONFIG", raising=False)
    with pytest.raises(UsageError, match="no such file; name it with --config"):
        configs.read(None)
    (tmp_path / "exports.yml").write_text(MINIMAL, encoding="utf-8")
    assert configs.read(None).exports[0].brand == "ACME"
    other = tmp_path / "other.yml"
    other.write_text(MINIMAL.replace("ACME", "VIA"), encoding="utf-8")
    monkeypatch.setenv("ORCHESTRATE_CONFIG", str(other))
    assert configs.read(None).exports[0].brand == "VIA"


def test_an_error_after_loading_names_line_and_key(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL + "defaults:\n  activity_fields: [nope]\n")
    error = config.error(config.exports[0], "activity_fields", "no column 'nope'")
    assert str(error) == f"{tmp_path}/exports.yml:6: defaults.activity_fields: no column 'nope'"


def test_the_repeated_hour_gets_a_separate_file_name(tmp_path: Path) -> None:
    export: Export = load(
        tmp_path, with_line("interval: hourly, timezone: Europe/Amsterdam")
    ).exports[0]
    day = date(2026, 10, 25)
    windows = list(export.calendar.tiles(*export.calendar.bounds(Days(day, day))))
    names = [export.path("activity", brand="ACME", window=window) for window in windows]
    assert len(set(names)) == 25
    assert names[2] == "activity_ACME_20261025_0200.csv"
    assert names[3] == "activity_ACME_20261025_0200+0100.csv"


def test_a_month_of_retention_is_31_days(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL.replace("files}", "files, retention: 2mo}"))
    assert config.retention == {"archive": timedelta(days=62)}


COLLIDING = [
    # A brand of `*` would write the file that this pattern names.
    ("{brand: ACME, activity_file: 'activity_BETA_{window_start:%Y%m%d}'}", "{brand: '*'}"),
    (
        "{brand: ACME, directory: x, activity_file: 'a_{window_start:%Y%m%d}'}",
        "{brand: '*', directory: '{brand}', activity_file: 'a_{window_start:%Y%m%d}'}",
    ),
    # One day's activity file has the name of the next day's broadcast file.
    (
        (
            "{brand: A, broadcast_file: 'm_{window_start:%Y%m%d}', "
            "activity_file: 'm_{window_end:%Y%m%d}'}"
        ),
    ),
    # Equal only in a month whose 15th is a Monday, and below only on one day.
    (
        "{brand: A, interval: weekly, activity_file: 'a_{window_start:%Y%m%d}'}",
        "{brand: B, interval: monthly, activity_file: 'a_{window_start:%Y%m}15'}",
    ),
    (
        "{brand: A, activity_file: 'a_{window_start:%Y%m%d}_20290503'}",
        "{brand: B, activity_file: 'a_20290503_{window_start:%Y%m%d}'}",
    ),
    # Equal on a file system that ignores case, on one that normalizes Unicode, and on Windows.
    ("{brand: ACME}", "{brand: acme}"),
    ("{brand: caf\u00e9}", "{brand: cafe\u0301}"),
    ("{brand: A, directory: 'x.'}", "{brand: A, directory: 'x '}"),
    ("{brand: stra\u00dfe}", "{brand: STRASSE}"),
]


@pytest.mark.parametrize("exports", COLLIDING)
def test_patterns_that_can_give_the_same_path_are_refused(
    tmp_path: Path, exports: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match="would write the same path as"):
        load(tmp_path, MINIMAL.replace("{brand: ACME}", "\n  - ".join(exports)))


DISTINCT = [
    ("{brand: ACME}", "{brand: '*'}", "{brand: ACME, interval: hourly}"),
    ("{brand: ACME, directory: full}", "{brand: '*'}", "{brand: '*', interval: hourly}"),
    (
        (
            "{brand: '*', activity_file: '{brand}_{window_start:%Y%m%d}', "
            "broadcast_file: '{brand}_broadcast_{window_start:%Y%m%d}'}"
        ),
    ),
    (
        "{brand: A, activity_file: 'a_{window_start:%-d_%-m_%Y}'}",
        "{brand: B, activity_file: 'a_{window_start:%d%m_%Y}'}",
    ),
    (
        "{brand: A, activity_file: 'a_{window_start:%Y%m%d}_2027'}",
        "{brand: B, activity_file: 'a_20270201-{window_start:%Y%m%d}'}",
    ),
]


@pytest.mark.parametrize("exports", DISTINCT)
def test_patterns_that_never_give_the_same_path_are_accepted(
    tmp_path: Path, exports: tuple[str, ...]
) -> None:
    assert len(load(tmp_path, MINIMAL.replace("{brand: ACME}", "\n  - ".join(exports))).exports)


def sftp_host(folder: Path, host: str) -> Sftp:
    config = load(
        folder, MINIMAL.replace("directory: files", f"sftp: {{host: {host}, username: u}}")
    )
    found = config.destinations["archive"]
    assert isinstance(found, Sftp)
    return found


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("sftp.example.org", "sftp.example.org:22"),
        ("127.0.0.1", "127.0.0.1:22"),
        ("'::1'", "[::1]:22"),
        ("'[::1]'", "[::1]:22"),
        ("'fe80::1%eth0'", "[fe80::1%eth0]:22"),
    ],
)
def test_a_host_is_a_name_or_an_address(tmp_path: Path, host: str, address: str) -> None:
    assert sftp_host(tmp_path, host).address == address


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("sftp://h", "without the '…://' of a URL"),
        ("' h'", "without blanks"),
        ("h/x", "without blanks, '/'"),
        ("u@h", "without blanks, '/', '@'"),
        ("h:22", "its port is in 'port'"),
        ("'[::1]:22'", "without blanks, '/', '@' or brackets"),
        ("'[h]:22'", "without blanks, '/', '@' or brackets"),
        ('"a\\u200bb"', "without blanks"),
    ],
)
def test_an_invalid_host_is_refused(tmp_path: Path, host: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=r"exports.yml:2: destinations.archive.sftp.host: ") as e:
        sftp_host(tmp_path, host)
    assert reason in str(e.value)
