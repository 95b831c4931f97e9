"""Encrypted and signed files. Keys are checked before any file is written."""

import contextlib
import gzip
import json
import os
import re
import resource
import subprocess
import sys
import time
import zipfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # has no types
import pytest
from forked_commands import orchestrate
from gpg import Gpg
from workspace import ROOT, Workspace, days

from orchestrator import config
from orchestrator.commands import check
from orchestrator.config import openpgp
from orchestrator.errors import ConfigError, ExportError
from orchestrator.files.packing import PackedFile
from orchestrator.pipeline import Status

NOW = "2026-11-20 07:00"
ADDRESS = b"jan@example.com"
"""An address that every unencrypted activity file contains."""


@pytest.fixture(scope="module")
def receiver(gpg: Gpg) -> str:
    """The fingerprint of a valid key."""
    return gpg.make_key("Receiver", subkey="never")


@pytest.fixture
def acme(workspace: Workspace, gpg: Gpg, receiver: str) -> Workspace:
    """A mailing of ACME and one of BETA, and the receiver's key next to exports.yml."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.mailing("BETA", "2026-11-19")
    (workspace.folder / "key.asc").write_bytes(gpg.export(receiver))
    return workspace


def refusal(folder: Path, data: bytes, *, at_read: bool) -> str:
    """Return the reason why a key is refused; check that the error names line and key."""
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys/key").write_bytes(data)
    path = folder / "exports.yml"
    text = "destinations: {there: {directory: there}}\nexports:\n"
    path.write_text(f"{text}  - {{brand: ACME, encrypt_for: keys/key}}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:  # noqa: PT012 - either call may raise
        loaded = config.read(path)
        assert not at_read
        loaded.check_keys(loaded.exports[0])
    where, reason = str(caught.value).split(f"{folder}/keys/key: ")
    assert where == f"{path}:3: exports[0].encrypt_for: "
    assert "BEGIN" not in reason
    return reason


def test_a_file_without_one_public_key_is_refused_at_once(
    tmp_path: Path, gpg: Gpg, receiver: str
) -> None:
    other = gpg.make_key("Other", subkey="never")
    for data in (b"", b"no key", b"\x00" * 5000, gpg.export(receiver)[:200]):
        assert "expected one OpenPGP public key, found 0" in refusal(tmp_path, data, at_read=True)
    both = gpg.export(receiver, other)
    assert "public key, found 2: ask the receiver" in refusal(tmp_path, both, at_read=True)
    (tmp_path / "exports.yml").unlink()
    with pytest.raises(ValueError, match="is not a file"):
        openpgp.check_public_key(tmp_path)


@pytest.mark.parametrize("armor", [False, True])
def test_a_secret_key_is_refused(tmp_path: Path, gpg: Gpg, receiver: str, *, armor: bool) -> None:
    secret = gpg.export(receiver, secret=True, armor=armor)
    public = gpg.export(receiver, armor=armor)
    for data in (secret, public + secret, secret + public):
        reason = refusal(tmp_path, data, at_read=True)
        assert reason.startswith("contains a secret key, which only its owner may have. Remove it")


def test_a_key_in_place_of_its_path_is_not_shown(tmp_path: Path, gpg: Gpg, receiver: str) -> None:
    key = gpg.export(receiver, secret=True).decode()
    text = "destinations: {there: {directory: there}}\nexports:\n  - brand: ACME\n"
    text += "    encrypt_for: |\n" + "".join(f"      {line}\n" for line in key.splitlines())
    (tmp_path / "exports.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.read(tmp_path / "exports.yml")
    assert "encrypt_for: expected the path of a file, not its content" in str(caught.value)
    assert not any(line in str(caught.value) for line in key.splitlines() if line)


def test_expired_and_revoked_keys_and_those_that_cannot_encrypt_are_refused(
    tmp_path: Path, gpg: Gpg
) -> None:
    expired = gpg.make_key("Expired", subkey="never", lasts="1d", old=True)
    reason = refusal(tmp_path, gpg.export(expired), at_read=False)
    assert reason.startswith("the key expired on 2020-01-02: ask the receiver for one in use")
    revoked = gpg.make_key("Revoked", subkey="never")
    gpg.revoke(revoked)
    assert refusal(tmp_path, gpg.export(revoked), at_read=False).startswith("the key was revoked")
    without = gpg.make_key("Signs alone")
    rotten = gpg.make_key("Subkey expired", subkey="1d", old=True)
    for fingerprint in (without, rotten):
        reason = refusal(tmp_path, gpg.export(fingerprint), at_read=False)
        assert reason.startswith("no subkey is usable for encryption: none is meant for it, or it")


def test_the_valid_one_of_two_subkeys_is_used(tmp_path: Path, gpg: Gpg) -> None:
    fingerprint = gpg.make_key("Renewed", subkey="1d", old=True)
    gpg.add_subkey(fingerprint, "never")
    key = tmp_path / "key.pgp"
    key.write_bytes(gpg.export(fingerprint, armor=False))
    file = PackedFile(tmp_path / "rows.csv", "gzip", openpgp.check_public_key(key))
    file.write(b"a,b\n" * 100_000)
    size, _ = file.finish()
    file.wait()
    assert gzip.decompress(gpg.decrypt(file.path.read_bytes())) == b"a,b\n" * 100_000
    assert (file.path, size) == (tmp_path / "rows.csv.pgp", file.path.stat().st_size)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [key, file.path]


@pytest.mark.faults
def test_a_large_file_is_encrypted_in_bounded_memory(
    tmp_path: Path, gpg: Gpg, receiver: str
) -> None:
    key = tmp_path / "key.asc"
    key.write_bytes(gpg.export(receiver))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file = PackedFile(tmp_path / "rows.csv", encrypt_for=key)
    for _ in range(1024):
        file.write(b"0,a row\n" * (1 << 17))
    size, _ = file.finish()
    file.wait()
    assert size > 1 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_delivered_file_decrypts_to_the_plain_file(acme: Workspace, gpg: Gpg) -> None:
    acme.configure("  - {brand: ACME}")
    acme.run(NOW)
    plain = acme.all_bytes()
    destinations = "{there: {directory: there}, secret: {directory: secret}}"
    acme.configure(
        "  - {brand: ACME, compression: zip}",
        defaults="{encrypt_for: key.asc, destination: secret}",
        destinations=destinations,
    )
    assert acme.run(NOW, force=True).exit_code == 0
    arrived = acme.all_bytes("secret")
    assert sorted(arrived) == [f"{name}.zip.pgp" for name in sorted(plain)]
    for name, content in plain.items():
        assert ADDRESS not in arrived[f"{name}.zip.pgp"]
        with zipfile.ZipFile(BytesIO(gpg.decrypt(arrived[f"{name}.zip.pgp"]))) as archive:
            assert archive.namelist() == [name]
            assert archive.read(name) == content
    assert {n: acme.all_bytes("outbox").get(n) for n in arrived} == arrived
    assert not (acme.folder / "outbox/.work").exists()


def test_an_invalid_key_stops_only_its_export(acme: Workspace, gpg: Gpg) -> None:
    key = acme.folder / "key.asc"
    good = key.read_bytes()
    key.write_bytes(gpg.export(gpg.make_key("Over", subkey="never", lasts="1d", old=True)))
    acme.configure("  - {brand: ACME, encrypt_for: key.asc}\n  - {brand: BETA}")
    result = acme.run(NOW)
    assert result.exit_code == 3
    statuses = {window.brand: (window.status, window.error) for window in result.windows}
    assert statuses["BETA"] == (Status.DELIVERED, None)
    status, error = statuses["ACME"]
    assert status is Status.FAILED
    assert re.search(
        r"exports.yml:4: exports\[0\].encrypt_for: .* expired on 2020-01-02", str(error)
    )
    assert not any("ACME" in name for name in acme.files() + acme.files("outbox"))
    loaded = config.read(acme.folder / "exports.yml")
    found = check.check_all(loaded, None, now=datetime.now(UTC))
    (finding,) = [finding for finding in found.findings if finding.subject == "OpenPGP keys"]
    assert (finding.ok, finding.text) == (False, error)

    key.write_bytes(good)
    assert [window.brand for window in acme.run(NOW).windows] == ["ACME"]
    name = "activity_ACME_20261119.csv.pgp"
    assert ADDRESS in gpg.decrypt((acme.folder / "there" / name).read_bytes())


def test_plain_files_are_rebuilt_once_encryption_is_configured(acme: Workspace, gpg: Gpg) -> None:
    acme.configure("  - {brand: ACME}")
    acme.run(NOW, deliver=False)
    assert ADDRESS in acme.all_bytes("outbox")["activity_ACME_20261119.csv"]
    acme.configure("  - {brand: ACME, encrypt_for: key.asc}")
    (window,) = acme.run(NOW).windows
    assert (window.status, window.revision) == (Status.DELIVERED, 2)
    assert acme.files() == [f"{kind}_ACME_20261119.csv.pgp" for kind in ("activity", "broadcast")]
    assert [name for name in acme.files("outbox") if not name.endswith((".pgp", ".lock"))] == []
    assert ADDRESS in gpg.decrypt(acme.all_bytes()["activity_ACME_20261119.csv.pgp"])


def test_resend_refuses_plain_files_once_encryption_is_configured(
    acme: Workspace,
) -> None:
    acme.configure("  - {brand: ACME}")
    acme.run(NOW)
    acme.query("delete from raw.email_opens")  # a rebuilt file would lack these rows
    before = acme.all_bytes()
    acme.configure("  - {brand: ACME, encrypt_for: key.asc}")
    with pytest.raises(
        ExportError, match=r"delivered unencrypted, .* --date 2026-11-19 --brand ACME"
    ):
        acme.run(NOW, days=days("2026-11-19"), resend=True)
    assert acme.run(NOW).windows == []  # no window was marked for sending
    assert acme.all_bytes() == before


def test_resend_sends_the_same_encrypted_bytes(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, encrypt_for: key.asc, completion: both}")
    acme.run(NOW, days=days("2026-11-19"))
    before = acme.all_bytes()
    for path in (acme.folder / "there").iterdir():
        path.unlink()
    done = orchestrate(acme.folder, "resend", "--date", "2026-11-19", "--json")
    assert done.returncode == 0, done.stderr
    (window,) = json.loads(done.stdout)["windows"]
    assert acme.all_bytes() == before
    assert [(file["kind"], file["rows"]) for file in window["files"]] == [
        ("broadcast", 1),
        ("activity", 1),
        ("ready", None),
        ("ready", None),
        ("manifest", None),
    ]
    message = "delivered ACME daily 2026-11-19: 1 broadcast, 1 activity, at there"
    assert message in " ".join(done.stderr.split())


def add_sender_key(acme: Workspace, gpg: Gpg, **key: Any) -> str:  # noqa: ANN401 - arguments of make_key
    """Put a sender's secret key next to exports.yml; return its fingerprint."""
    fingerprint = gpg.make_key(" ".join(["Sender", *key]), **key)
    secret = gpg.export(fingerprint, secret=True, passphrase=key.get("passphrase", ""))
    (acme.folder / "sender.asc").write_bytes(secret)
    return fingerprint


def test_a_signature_arrives_next_to_each_file_before_the_completion_files(
    acme: Workspace, gpg: Gpg
) -> None:
    add_sender_key(acme, gpg)
    acme.configure("  - {brand: ACME, sign_with: sender.asc, compression: gzip, completion: both}")
    (window,) = acme.run(NOW).windows
    assert [file.kind for file in window.files] == [
        *("broadcast", "activity", "signature", "signature", "ready", "ready", "manifest")
    ]
    for kind in ("broadcast", "activity"):
        path = acme.folder / f"there/{kind}_ACME_20261119.csv.gz"
        assert gpg.verify(path, Path(f"{path}.sig"))
        path.write_bytes(path.read_bytes() + b"x")
        assert not gpg.verify(path, Path(f"{path}.sig"))
    again = acme.run(NOW, force=True)
    assert again.exit_code == 0
    path = acme.folder / "there/activity_ACME_20261119.csv.gz"
    assert gpg.verify(path, Path(f"{path}.sig"))


def test_an_encrypted_file_has_its_signature_inside(
    acme: Workspace, gpg: Gpg, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sender = add_sender_key(acme, gpg, passphrase="kanarie")  # noqa: S106 - of a test key
    monkeypatch.setenv("SIGN_PASSPHRASE", "kanarie")
    variable = "sign_passphrase: \"{{ env_var('SIGN_PASSPHRASE') }}\""
    line = f"brand: ACME, encrypt_for: key.asc, sign_with: sender.asc, {variable}"
    acme.configure(f"  - {{{line}}}")
    assert acme.run(NOW).exit_code == 0
    assert acme.files() == [f"{kind}_ACME_20261119.csv.pgp" for kind in ("activity", "broadcast")]
    for content in acme.all_bytes().values():
        assert gpg.signers(content) == [sender]
    monkeypatch.delenv("SIGN_PASSPHRASE")
    status = orchestrate(acme.folder, "status", "--json")
    assert status.returncode == 0, status.stderr  # status signs nothing
    with pytest.raises(ConfigError, match=r"SIGN_PASSPHRASE is not set"):
        acme.run(NOW)
    assert "kanarie" not in "".join(capfd.readouterr()) + status.stdout + status.stderr
    assert b"kanarie" not in (acme.folder / "state/ledger.db").read_bytes()


def test_no_process_shows_the_passphrase(acme: Workspace, gpg: Gpg) -> None:
    add_sender_key(acme, gpg, passphrase="kanarie")  # noqa: S106 - of a test key
    variable = "sign_passphrase: \"{{ env_var('SIGN_PASSPHRASE') }}\""
    acme.configure(f"  - {{brand: ACME, sign_with: sender.asc, {variable}}}")
    words = ("daily", "--date", "2026-11-19", "-v", "--log-format", "json")
    environment = {**os.environ, "SIGN_PASSPHRASE": "kanarie", "PYTHONPATH": str(ROOT)}
    shown: set[str] = set()
    log = acme.folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=acme.folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as command,
    ):
        process = psutil.Process(command.pid)
        while command.poll() is None:
            with contextlib.suppress(psutil.Error):
                for each in (process, *process.children(recursive=True)):
                    shown.add(" ".join(each.cmdline()))
            time.sleep(0.01)
    assert command.returncode == 0, log.read_text()
    assert any(name.endswith(".sig") for name in acme.files())
    assert any("orchestrator" in line for line in shown)
    assert "kanarie" not in "".join(shown)
    left = (path for path in acme.folder.rglob("*") if path.is_file() and path.name != "sender.asc")
    secret = (acme.folder / "sender.asc").read_bytes().splitlines()[3]
    for content in (path.read_bytes() for path in left):
        assert b"kanarie" not in content
        assert secret not in content


def test_a_key_that_cannot_sign_is_named(acme: Workspace, gpg: Gpg) -> None:
    def refused(more: str = "") -> str:
        acme.configure(f"  - {{brand: ACME, sign_with: sender.asc{more}}}\n  - {{brand: BETA}}")
        result = acme.run(NOW, force=True)
        statuses = {window.brand: window for window in result.windows}
        assert statuses["BETA"].status is Status.DELIVERED
        assert statuses["ACME"].status is Status.FAILED
        loaded = config.read(acme.folder / "exports.yml")
        found = check.check_all(loaded, None, now=datetime.now(UTC))
        (finding,) = [each for each in found.findings if each.subject == "OpenPGP keys"]
        assert (finding.ok, finding.text) == (False, statuses["ACME"].error)
        where, reason = finding.text.split(f"{acme.folder}/sender.asc: ")
        assert where == f"{acme.folder}/exports.yml:4: exports[0].sign_with: "
        return reason

    add_sender_key(acme, gpg, lasts="1d", old=True)
    assert refused().startswith("the key expired on 2020-01-02: export one in use")
    fingerprint = gpg.make_key("Revoked sender")
    gpg.revoke(fingerprint)
    (acme.folder / "sender.asc").write_bytes(gpg.export(fingerprint, secret=True))
    assert refused().startswith("the key was revoked")
    add_sender_key(acme, gpg, passphrase="kanarie", subkey="")  # noqa: S106 - as above
    assert refused() == "the passphrase of the key is missing: set sign_passphrase"
    wrong = refused(", sign_passphrase: budgie")
    assert wrong == "the passphrase of the key is wrong: set sign_passphrase"


def test_a_public_key_is_refused_for_signing(tmp_path: Path, gpg: Gpg, receiver: str) -> None:
    path = tmp_path / "public.asc"
    path.write_bytes(gpg.export(receiver))
    with pytest.raises(ValueError, match="expected one OpenPGP secret key, found only its public"):
        openpgp.check_secret_key(path)
