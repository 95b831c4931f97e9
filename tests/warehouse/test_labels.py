"""Labels in the YAML of the views: checked when read, an error only where they are used."""

import re
import shutil
from pathlib import Path

import pytest
from workspace import ROOT, Workspace

from orchestrator.pipeline import Status
from orchestrator.warehouse.contract import LabelError, view_column

NOW = "2026-11-20 07:00"
VIEW = """\
models:
  - name: activities_daily
    columns:
      - name: brand
      - name: os
        config:
          meta:
            labels:
              en: No
              nl: OS
            value_labels:
              ios: {en: on}
              on: {en: Switched on}
"""


@pytest.fixture
def ready(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with a day of ACME and BETA, and a copy of the dbt project to edit."""
    shutil.copytree(ROOT / "dbt_project", tmp_path / "dbt_project")
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    workspace.mailing("ACME", "2026-11-19")
    workspace.mailing("BETA", "2026-11-19", number=2)
    return workspace


def set_labels(project: Path, column: str, text: str) -> None:
    """Replace the labels of a column of activities_daily by a text of YAML."""
    path = project / "dbt_project/models/exports/activities_daily.yml"
    before, found, after = path.read_text().partition(f"      - name: {column}\n")
    head, labels, tail = after.partition("            labels: ")
    assert found
    assert labels
    path.write_text(before + found + head + f"            {text}\n" + tail.partition("\n")[2])


def test_an_invalid_label_is_an_error_only_where_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "activities_daily.yml"
    path.write_text(VIEW)
    labels = {"en": False, "nl": "OS"}
    values = {"ios": {"en": True}, "android": {"en": "Android"}}
    column = view_column(
        "os", {"labels": labels, "value_labels": values}, path=path, model="activities_daily"
    )
    assert column.label("nl") == "OS"
    assert column.labels_of_values("nl") == {}
    at = f"{path}:9: models[activities_daily].columns[os].config.meta.labels.en: "
    with pytest.raises(LabelError) as caught:
        column.label("en")
    assert str(caught.value) == (
        at + "expected text, and YAML reads this as true or false; put the text in quotes"
    )
    with pytest.raises(LabelError, match=r":12: .*value_labels\.ios\.en: expected text, and YAML"):
        column.labels_of_values("en")


@pytest.mark.parametrize(
    "wrong", [{"labels": None}, {"labels": ["OS"]}, {"labels": {"en": ""}}, {"labels": {"en": 5}}]
)
def test_every_invalid_label_is_named(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "activities_daily.yml"
    path.write_text(VIEW)
    column = view_column("os", wrong, path=path, model="activities_daily")
    with pytest.raises(
        LabelError, match=r"activities_daily.yml:[89]: .*\.meta\.labels.*(expected|must)"
    ):
        column.label("en")
    assert column.labels_of_values("en") == {}


def test_an_invalid_label_stops_only_the_exports_that_use_it(
    ready: Workspace, tmp_path: Path
) -> None:
    set_labels(tmp_path, "os", "labels: {en: No, nl: OS}")
    ready.configure(
        "  - {brand: ACME, additional_fields: {activities: [os]}}\n"
        "  - {brand: ACME, directory: nl, labels: nl, additional_fields: {activities: [os]}}\n"
        "  - {brand: ACME, directory: a, additional_fields: {activities: [{column: os, as: OS}]}}\n"
        "  - {brand: BETA}\n"
    )
    ran = ready.run(NOW)
    failed = [each for each in ran.windows if each.status is Status.FAILED]
    assert [each.export for each in failed] == ["ACME daily"]
    assert "activities_daily.yml:" in str(failed[0].error)
    assert "columns[os].config.meta.labels.en: expected text" in str(failed[0].error)
    assert ran.exit_code == 3
    assert ready.text("nl/activity_ACME_20261119.csv").splitlines()[0].endswith(",OS")


@pytest.mark.parametrize("keys", ['"true": {en: Machine}, "false": {en: Person}'])
def test_values_of_a_boolean_have_labels_too(ready: Workspace, tmp_path: Path, keys: str) -> None:
    ready.query("update raw.email_opens set is_machine = (brand = 'ACME')")
    set_labels(
        tmp_path, "is_machine", f"labels: {{en: Machine}}\n            value_labels: {{{keys}}}"
    )
    ready.configure("  - {brand: '*', additional_fields: {activities: [is_machine]}}")
    assert ready.run(NOW).exit_code == 0
    assert ready.text("activity_ACME_20261119.csv").splitlines()[1].endswith(",Machine")
    assert ready.text("activity_BETA_20261119.csv").splitlines()[1].endswith(",Person")


def test_values_that_yaml_reads_as_booleans_are_named(ready: Workspace, tmp_path: Path) -> None:
    keys = "value_labels: {true: {en: Machine}, false: {en: Person}}"
    set_labels(tmp_path, "is_machine", f"labels: {{en: Machine}}\n            {keys}")
    ready.configure(
        "  - {brand: ACME, additional_fields: {activities: [is_machine]}}\n  - {brand: BETA}\n"
    )
    ran = ready.run(NOW)
    (failed,) = (each for each in ran.windows if each.status is Status.FAILED)
    assert failed.brand == "ACME"
    assert "columns[is_machine].config.meta.value_labels" in str(failed.error)
    assert "put the text in quotes" in str(failed.error)


def test_any_language_that_every_exported_column_has_can_be_used(
    ready: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "dbt_project/models/exports/activities_daily.yml"
    labels = re.compile(r"\{en: ([\w -]+), nl: [\w -]+\}")
    path.write_text(labels.sub(r"{en: \1, de: DE \1}", path.read_text()))
    chosen = "activity_fields: [customer_id, activity]"
    own = "broadcast_fields: [{column: subject, as: S}]"
    ready.configure(
        f"  - {{brand: ACME, labels: de, {chosen}, {own}}}\n"
        f"  - {{brand: BETA, labels: de, {chosen}}}\n"
        f"  - {{brand: ACME, directory: fr, labels: fr, {chosen}, {own}}}\n"
    )
    ran = ready.run(NOW)
    assert ready.text("activity_ACME_20261119.csv") == "DE Customer ID,DE Activity\nC1,DE Opens\n"
    second, third = (each for each in ran.windows if each.status is Status.FAILED)
    assert (second.brand, third.brand) == ("ACME", "BETA")
    assert (
        "exports.yml:6: exports[2].labels: the YAML of activities_daily has no 'fr' label of"
        in (str(second.error))
    )
    assert "customer_id, activity, activity (broadcast, open, click, " in str(second.error)
    assert "exports[1].labels: the YAML of broadcasts_daily has no 'de' label of broadcast_id" in (
        str(third.error)
    )
