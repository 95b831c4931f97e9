"""exports.yml is data: nothing in it is executed, and no size of it blocks the command."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import config
from orchestrator.config import yaml_source
from orchestrator.errors import ConfigError
from orchestrator.warehouse import project

ONLY = r"the only Jinja allowed here is \{\{ env_var\('NAME', 'default'\) \}\}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ env_var.__globals__['os'].system('true') }}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__ }}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 1 + 1 }}",
        "{% for i in range(10 ** 10) %}{% endfor %}",
        "{% set x = 1 %}",
        "{% include '/etc/passwd' %}",
        "{{ env_var }}",
        "{{ env_var() }}",
        "{{ env_var('A', 'b', 'c') }}",
        "{{ env_var(name='HOME') }}",
        "{{ env_var(*['HOME']) }}",
        "{{ env_var('HO' ~ 'ME') }}",
        "{{ env_var(env_var('HOME')) }}",
        "{{ env_var('HOME') | upper }}",
        "{{ 'x'.join(env_var('HOME')) }}",
        "{{ caller.env_var('HOME') }}",
        "kanarie{{!kanarie",
        "{{ kanarie }}",
        "{{" + "(" * 5000,
    ],
)
def test_only_env_var_is_rendered(text: str) -> None:
    with pytest.raises(ConfigError, match=ONLY) as caught:
        yaml_source.render(text)
    assert "kanarie" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_value_of_a_variable_is_inserted_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "{{ env_var('TWO') }}\n")
    assert yaml_source.render("<{{ env_var('ONE') }}>\n") == "<{{ env_var('TWO') }}\n>\n"
    assert yaml_source.render("{{env_var('NONE_SUCH', \"it's\")}}") == "it's"
    assert yaml_source.render("a } b {# c") == "a } b {# c"


@given(st.text(alphabet="{}%#'\"()env_var .|[]ab\n", max_size=40))
def test_any_text_is_rendered_or_refused(text: str) -> None:
    try:
        rendered = yaml_source.render(text)
    except ConfigError:
        return
    assert "env_var" in text or rendered == text


def read(folder: Path, text: str | bytes) -> yaml_source.Source:
    path = folder / "exports.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return yaml_source.read_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
                for before, name in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "more than 200,000 values",
        ),
        (
            "a: &a {x: 1}\n"
            + "".join(
                f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 10)}]}}\n"
                for before, name in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "more than 200,000 values",
        ),
        ("a: &a [*a]", "exports.yml:1: this alias contains itself"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "{b: " * 5000, "nested too deeply"),
        ("a: 1\na: 2\n", "exports.yml:2: the key 'a' is given twice"),
        (
            "a: !!python/object/apply:os.system ['true']",
            "exports.yml:1: a '!' here begins an unknown tag",
        ),
        ("a: !kanarie", "exports.yml:1: a '!' here begins an unknown tag"),
        ("a: !kanarie!x y", "exports.yml:1: this is not YAML"),
        ("a: *kanarie", "exports.yml:1: this is not YAML: found undefined alias"),
        ('a: "x\\0y"', "exports.yml:1: a: the text contains a NUL"),
        (
            'a: "\\ud800"',
            "exports.yml:1: a: the text contains a NUL, or a character that is not valid Unicode",
        ),
        (b"a: \xff", "cannot be read: 'utf-8' codec can't decode"),
        ("- a", "exports.yml:1: expected keys and values"),
        ("", "exports.yml:1: expected keys and values"),
        ("a: x\n" + "# \n" * 2_000_000, "6,000,005 bytes; the limit is 5,000,000"),
    ],
)
def test_oversized_and_invalid_files_are_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "kanarie" not in str(caught.value)


def test_a_variable_that_is_not_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "RAW", os.fsdecode(b"kanarie\xff"))
    with pytest.raises(ConfigError, match=r"exports\.yml:1: a: the text contains") as caught:
        read(tmp_path, "a: \"{{ env_var('RAW') }}\"")
    assert "kanarie" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "state: kanarie",
        "state: 'mysql://root:kanarie@h/x'",
        "state: 'postgresql://u:kan@kanarie@h/x'",
        "notify: kanarie://x",
        "notify: [kanarie]",
        "destinations: kanarie",
        "destinations: {a: kanarie}",
        "destinations: {a: {sftp: kanarie}}",
        "destinations: {a: {sftp: {host: h, username: u, port: kanarie}}}",
        "destinations: {a: {sftp: {host: [kanarie], username: u, password: [kanarie]}}}",
        "destinations: {a: {sftp: {host: h, username: u, password: {x: kanarie}}}}",
        'destinations: {a: {directory: "-----BEGIN kanarie"}}',
        "defaults: {activity_fields: [{column: x, salt: kanarie}]}",
        "defaults: {activity_fields: [{column: x, hash: kanarie1, salt: kanarie}]}",
        "defaults: {activity_fields: [{column: x, hash: sha256, salt: [kanarie]}]}",
        "defaults: {activity_fields: {column: x, hash: sha256, salt: kanarie}}",
        "defaults: {additional_fields: {activities: [{column: x, salt: kanarie, hash: x}]}}",
        "defaults: {salt: kanarie}",
    ],
)
def test_a_secret_in_a_wrong_place_is_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "exports.yml"
    lines = ["destinations: {there: {directory: there}}", "exports: [{brand: A}]"]
    key = line.split(":", maxsplit=1)[0]
    path.write_text("\n".join([*(each for each in lines if not each.startswith(key)), line]))
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    shown = str(caught.value).replace(": 'kanarie1': expected", "").replace("port: 'kanarie'", "")
    assert "kanarie" not in shown


def test_a_salt_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "exports.yml"
    fields = "[{column: email_address, hash: sha256, salt: kanarie}]"
    path.write_text(
        "destinations: {there: {directory: there}}\n"
        f"exports: [{{brand: A, activity_fields: {fields}}}]"
    )
    loaded = config.read(path)
    assert "kanarie" not in repr(loaded)
    path.write_text(path.read_text().replace("kanarie", '""'))
    with pytest.raises(ConfigError, match=r"salt: must not be empty"):
        config.read(path)
    path.write_text(path.read_text().replace("hash: sha256, ", "").replace('""', "x"))
    with pytest.raises(ConfigError, match="salt has no meaning without hash: sha256"):
        config.read(path)


@pytest.mark.parametrize(
    "text", ['a: "kanarie', "a: kanarie: b", "a: [kanarie", "a:\n\tkanarie: b"]
)
def test_a_profile_that_is_not_yaml_is_refused_without_quoting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path))
    (tmp_path / "profiles.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"profiles\.yml:\d+: this is not YAML: ") as caught:
        project.find(tmp_path, None)
    assert "kanarie" not in str(caught.value)
