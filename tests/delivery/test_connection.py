"""Host keys and logins, against a real OpenSSH server."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
import pytest
from fault_server import PASSWORD, Login, serve
from sshd import Sshd, make_key
from upload_files import QUICK, deliver, error_text, ignore, make_upload
from workspace import tree

from orchestrator.config.destinations import Sftp
from orchestrator.delivery import Retry

PASSPHRASE = "open sesame"  # noqa: S105 - of a key that lives for one test
NEVER = Retry(attempts=3, pause=60)  # a retry would hang the test


def delivered(destination: Sftp, folder: Path) -> bool:
    [outcome] = deliver(destination, [[make_upload(folder, "a.csv")]], ignore, retry=NEVER)
    assert outcome.error is None
    return [upload.file.path for upload in outcome.uploads_done] == ["a.csv"]


def refusal(destination: Sftp, folder: Path) -> str:
    [outcome] = deliver(destination, [[make_upload(folder, "a.csv")]], ignore, retry=NEVER)
    assert outcome.uploads_done == ()
    return error_text(outcome)


@pytest.mark.parametrize(
    "line",
    [
        "[{host}]:{port} {key}",
        "other.example.org,[{host}]:{port} {key}",
        "# a comment\n\n[{host}]:* {key}",
        "{host} {key}",  # as in OpenSSH, a line without a port is valid for every port
        "[{host}]:{port} ssh-unknown AAAA\n[{host}]:{port} {key}",
    ],
)
def test_a_pinned_key_is_found_in_each_form(sftp_server: Sshd, tmp_path: Path, line: str) -> None:
    key, port = sftp_server.host_key_line, sftp_server.port
    sftp_server.pin(line.format(host=sftp_server.host, port=port, key=key))

    assert delivered(sftp_server.destination(), tmp_path)


def test_a_hashed_entry_is_found(sftp_server: Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", sftp_server.known_hosts], check=True)

    assert "127.0.0.1" not in sftp_server.known_hosts.read_text()
    assert delivered(sftp_server.destination(), tmp_path)


def test_a_host_name_in_capitals_is_found(sftp_server: Sshd, tmp_path: Path) -> None:
    sftp_server.pin(f"[localhost]:{sftp_server.port} {sftp_server.host_key_line}")

    assert delivered(sftp_server.destination(host="LocalHost"), tmp_path)


def test_a_certified_host_key_is_trusted_by_its_authority(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(certified=True)
    authority = (tmp_path / "sshd0/authority.pub").read_text()
    server.pin(f"@cert-authority [127.0.0.*]:* {authority}")
    assert delivered(server.destination(), tmp_path)

    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    server.pin(f"@cert-authority [127.0.0.*]:* {other}")
    message = refusal(server.destination(), tmp_path)
    assert "Host CA key is not trusted" in message
    assert str(server.known_hosts) in message


def test_an_unknown_key_is_fatal_and_says_how_to_add_it(sftp_server: Sshd, tmp_path: Path) -> None:
    sftp_server.pin(f"elsewhere.example.org {sftp_server.host_key_line}")
    listing = ["ssh-keygen", "-l", "-f", f"{sftp_server.host_key}.pub"]
    fingerprint = (
        subprocess.run(listing, capture_output=True, check=True).stdout.decode().split()[1]
    )

    message = refusal(sftp_server.destination(), tmp_path)

    path, port = sftp_server.known_hosts, sftp_server.port
    assert f"127.0.0.1:{port}: its host key is not in {path}" in message
    assert f"The server's key is ssh-ed25519 {fingerprint}" in message
    assert message.endswith(f"ssh-keyscan -p {port} 127.0.0.1 >> {path}")
    assert tree(sftp_server.root) == []

    keyscan = ["ssh-keyscan", "-p", str(port), "127.0.0.1"]
    scanned = subprocess.run(keyscan, capture_output=True, check=True)
    path.write_bytes(scanned.stdout)
    assert delivered(sftp_server.destination(), tmp_path)


def test_a_missing_known_hosts_file_trusts_nobody(sftp_server: Sshd, tmp_path: Path) -> None:
    sftp_server.known_hosts.unlink()

    assert "is not in" in refusal(sftp_server.destination(), tmp_path)


def test_an_empty_known_hosts_file_trusts_nobody(
    sftp_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home/.ssh"
    home.mkdir(parents=True)
    sftp_server.known_hosts.rename(home / "known_hosts")  # the user's own file would trust it
    monkeypatch.setenv("HOME", str(home.parent))
    sftp_server.pin()

    assert "is not in" in refusal(sftp_server.destination(), tmp_path)


def test_a_key_pinned_for_the_address_is_not_valid_for_the_name(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    assert "is not in" in refusal(sftp_server.destination(host="localhost"), tmp_path)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_changed_key_is_fatal(sftp_server: Sshd, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", other], check=True)
    entry = f"[127.0.0.1]:{sftp_server.port}"
    sftp_server.pin(f"{entry} {other.with_suffix('.pub').read_text()}")

    message = refusal(sftp_server.destination(), tmp_path)

    assert f"its host key differs from the one in {sftp_server.known_hosts}" in message
    assert f"ssh-keygen -R '{entry}' -f {sftp_server.known_hosts}" in message
    assert tree(sftp_server.root) == []


def test_a_revoked_key_is_fatal(sftp_server: Sshd, tmp_path: Path) -> None:
    entry = f"[127.0.0.1]:{sftp_server.port} {sftp_server.host_key_line}"
    sftp_server.pin(entry, f"@revoked {entry}")

    message = refusal(sftp_server.destination(), tmp_path)
    assert f"its host key is marked as @revoked in {sftp_server.known_hosts}" in message
    assert "ssh-key" not in message  # no advice on how to trust it


def test_known_hosts_with_comments_in_latin_1_is_read(sftp_server: Sshd, tmp_path: Path) -> None:
    text = sftp_server.known_hosts.read_text().rstrip()
    sftp_server.known_hosts.write_bytes(
        b"\xef\xbb\xbf" + f"# Schlüssel\n{text} café\n".encode("latin-1")
    )

    assert delivered(sftp_server.destination(), tmp_path)


def test_an_invalid_known_hosts_file_is_named(sftp_server: Sshd, tmp_path: Path) -> None:
    sftp_server.pin("@nonsense x y")

    message = refusal(sftp_server.destination(), tmp_path)

    assert f"{sftp_server.known_hosts}: cannot be read as a known_hosts file" in message


def test_a_key_with_a_passphrase_logs_in(sftp_server: Sshd, tmp_path: Path) -> None:
    set_passphrase(sftp_server.client_key)

    assert delivered(sftp_server.destination(passphrase=PASSPHRASE), tmp_path)


@pytest.mark.parametrize(
    ("passphrase", "words"),
    [("guessed", "the passphrase is wrong"), (None, "does it need a passphrase?")],
)
def test_a_wrong_or_missing_passphrase_is_fatal(
    sftp_server: Sshd, tmp_path: Path, passphrase: str | None, words: str
) -> None:
    set_passphrase(sftp_server.client_key)

    message = refusal(sftp_server.destination(passphrase=passphrase), tmp_path)

    assert f"the private key {sftp_server.client_key} cannot be opened: {words}" in message
    assert PASSPHRASE not in message
    assert "guessed" not in message.replace(str(tmp_path), "")


@pytest.mark.parametrize("passphrase", ["guessed", None])
@pytest.mark.parametrize("kind", ["public", "garbage", "cut"])
def test_a_file_without_a_private_key_is_fatal(
    sftp_server: Sshd, tmp_path: Path, kind: str, passphrase: str | None
) -> None:
    path = tmp_path / "key"
    set_passphrase(sftp_server.client_key)
    path.write_bytes(
        {
            "public": sftp_server.client_key.with_suffix(".pub").read_bytes(),
            "garbage": os.urandom(200),
            "cut": sftp_server.client_key.read_bytes()[:200],
        }[kind]
    )

    message = refusal(sftp_server.destination(private_key=path, passphrase=passphrase), tmp_path)

    assert f"{path} does not contain a private key." in message
    assert "passphrase" not in message


def test_a_key_that_begins_with_a_byte_order_mark_is_read(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    sftp_server.client_key.write_bytes(b"\xef\xbb\xbf" + sftp_server.client_key.read_bytes())

    assert delivered(sftp_server.destination(), tmp_path)


def test_a_key_that_others_can_read_is_refused(sftp_server: Sshd, tmp_path: Path) -> None:
    sftp_server.client_key.chmod(0o640)

    message = refusal(sftp_server.destination(), tmp_path)

    assert "can be read or written by other users of this machine (mode 0640)" in message
    assert message.endswith(f"chmod 600 {sftp_server.client_key}")


OLD = [
    (
        "HostKeyAlgorithms ssh-rsa\nKexAlgorithms curve25519-sha256",
        "ssh-rsa",
        "cannot connect",  # such a server just closes the connection
    ),
    (
        "KexAlgorithms diffie-hellman-group14-sha1\nHostKeyAlgorithms rsa-sha2-256",
        "diffie-hellman-group14-sha1",
        "algorithms: ['diffie-hellman-group14-sha1']",
    ),
]


@pytest.mark.parametrize(("settings", "allowed", "words"), OLD)
def test_algorithms_with_sha_1_are_refused_unless_allowed(
    start_sshd: Callable[..., Sshd], tmp_path: Path, settings: str, allowed: str, words: str
) -> None:
    server = start_sshd(settings=settings, host_key=rsa_key(tmp_path / "rsa", 2048))

    upload = make_upload(tmp_path, "a.csv")
    [outcome] = deliver(server.destination(), [[upload]], ignore, retry=Retry(attempts=1))
    assert words in error_text(outcome)

    assert delivered(server.destination(algorithms=[allowed]), tmp_path)


def test_a_short_rsa_host_key_is_refused_unless_allowed(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(host_key=rsa_key(tmp_path / "rsa", 1024))

    message = refusal(server.destination(), tmp_path)
    assert "its host key is an RSA key of less than 2048 bits" in message
    assert "ssh-keyscan" not in message

    assert delivered(server.destination(algorithms=["rsa-1024"]), tmp_path)


def test_a_short_rsa_client_key_is_refused(sftp_server: Sshd, tmp_path: Path) -> None:
    key = rsa_key(tmp_path / "rsa", 1024)

    message = refusal(sftp_server.destination(private_key=key), tmp_path)

    assert f"the private key {key} is an RSA key of less than 2048 bits" in message


def rsa_key(path: Path, bits: int) -> Path:
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", f"{bits}", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


class Prompting(Login):
    """Asks for the password in a prompt."""

    prompt = "Wachtwoord: "
    answers: ClassVar[list[Sequence[str]]] = []

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:  # noqa: ANN401 - as in asyncssh
        del username, lang, submethods
        return "", "", "", [(self.prompt, False)]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:  # noqa: ANN401 - as in asyncssh
        del username
        self.answers.append(responses)
        if [*responses] == [PASSWORD]:
            return True
        return "", "", "", [(self.prompt, False)]


def test_a_hidden_prompt_in_any_language_is_answered_once(tmp_path: Path) -> None:
    with serve(tmp_path, login=Prompting) as destination:
        assert delivered(destination(), tmp_path)
        Prompting.answers.clear()
        message = refusal(destination(password="guess"), tmp_path)  # noqa: S106 - a wrong one

    assert Prompting.answers == [["guess"]]
    assert "The server says 'Wachtwoord:'" in message


def test_the_message_about_an_expired_password_is_shown(tmp_path: Path) -> None:
    class Expired(Login):
        def validate_password(self, username: str, password: str) -> bool:
            del username, password
            raise asyncssh.PasswordChangeRequired("Your password\x1b[2J has expired")

    with serve(tmp_path, login=Expired) as destination:
        message = refusal(destination(), tmp_path)

    assert r"The server says 'Your password\x1b[2J has expired'." in message


def test_every_address_of_a_host_is_tried(
    sftp_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address refuses, the second accepts and hangs up, the third is the server."""
    port = sftp_server.port
    real = socket.getaddrinfo

    def three(host: str, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as in getaddrinfo
        if host != "three.example.test":
            return real(host, *args, **more)
        addresses = ("127.0.0.3", "127.0.0.2", "127.0.0.1")
        return [found for address in addresses for found in real(address, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", three)
    sftp_server.pin(f"[three.example.test]:{port} {sftp_server.host_key_line}")
    with socket.create_server(("127.0.0.2", port)) as rude:

        def hang_up() -> None:
            rude.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert delivered(sftp_server.destination(host="three.example.test"), tmp_path)


def test_a_missing_key_file_is_fatal(sftp_server: Sshd, tmp_path: Path) -> None:
    message = refusal(sftp_server.destination(private_key=tmp_path / "absent"), tmp_path)

    assert f"{tmp_path}/absent cannot be read (No such file or directory)" in message


def test_only_the_given_key_is_tried(
    sftp_server: Sshd, tmp_path: Path, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of the agent, ~/.ssh/id_ed25519 and ~/.ssh/config would all be accepted."""
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    home = tmp_path / "home/.ssh"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home.parent))
    (home / "id_ed25519").write_bytes(sftp_server.client_key.read_bytes())
    (home / "config").write_text(f"Host *\n  IdentityFile {sftp_server.client_key}\n")
    stranger = make_key(tmp_path / "stranger")

    message = refusal(sftp_server.destination(private_key=stranger), tmp_path)

    server, user = f"127.0.0.1:{sftp_server.port}", sftp_server.username
    assert f"{server}: the server refused the login of user {user}" in message
    assert f"with the key {stranger}. Ask the receiver" in message


def test_a_key_of_the_agent_logs_in(
    sftp_server: Sshd, tmp_path: Path, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    assert delivered(sftp_server.destination(private_key=None), tmp_path)

    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    message = refusal(sftp_server.destination(private_key=None), tmp_path)
    assert f"with 0 key(s) of the agent at {agent}" in message


def test_a_missing_agent_is_named(
    sftp_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))

    message = refusal(sftp_server.destination(private_key=None), tmp_path)

    assert f"no ssh-agent answers at {tmp_path}/gone" in message


def test_missing_credentials_are_reported(
    sftp_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    message = refusal(sftp_server.destination(private_key=None), tmp_path)

    assert "Set private_key or password, or start an ssh-agent" in message


def test_a_password_logs_in_and_a_wrong_one_is_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with serve(tmp_path) as destination:
        assert delivered(destination(), tmp_path)

        message = refusal(destination(password="guess"), tmp_path)  # noqa: S106 - a wrong one

    assert "the server refused the login of user receiver with the password" in message
    assert "guess" not in message
    assert PASSWORD not in message


def test_a_refused_connection_is_retried_and_then_given_up(
    sftp_server: Sshd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sftp_server.kill()
    upload = make_upload(tmp_path, "a.csv")

    [outcome] = deliver(sftp_server.destination(), [[upload]], ignore, retry=QUICK)

    message = error_text(outcome)
    assert f"127.0.0.1:{sftp_server.port}: cannot connect" in message
    assert "Gave up after attempt 3; the next run continues where this one stopped." in message
    assert sum("Trying again" in record.message for record in caplog.records) == 2


def test_a_server_that_comes_back_in_time_gets_the_file(sftp_server: Sshd, tmp_path: Path) -> None:
    sftp_server.kill()
    upload = make_upload(tmp_path, "a.csv")
    threading.Timer(0.5, sftp_server.start).start()

    [outcome] = deliver(
        sftp_server.destination(), [[upload]], ignore, retry=Retry(attempts=9, pause=0.3, growth=1)
    )

    assert outcome.error is None
    assert tree(sftp_server.root) == ["a.csv"]


def test_a_server_that_sends_nothing_is_given_up(sftp_server: Sshd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = sftp_server.destination(
            port=silent.getsockname()[1], timeout=timedelta(seconds=0.5)
        )
        begin = time.monotonic()
        upload = make_upload(tmp_path, "a.csv")
        [outcome] = deliver(destination, [[upload]], ignore, retry=Retry(attempts=1))

    assert "Gave up after attempt 1;" in error_text(outcome)
    assert time.monotonic() - begin < 5


def test_a_server_that_prints_text_instead_of_sftp_is_fatal(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(subsystem="/bin/echo This account is closed.")

    message = refusal(server.destination(), tmp_path)

    assert "the login works, but the server does not speak SFTP" in message


def test_a_server_whose_sftp_never_starts_is_given_up(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(subsystem="/bin/sleep 6")
    destination = server.destination(timeout=timedelta(seconds=1))
    upload = make_upload(tmp_path, "a.csv")
    begin = time.monotonic()

    [outcome] = deliver(destination, [[upload]], ignore, retry=Retry(attempts=1))

    assert "SFTP did not start (no answer)." in error_text(outcome)
    assert time.monotonic() - begin < 5


def set_passphrase(key: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", key], check=True)


@pytest.fixture
def agent(sftp_server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The socket of a real ssh-agent that has the client's key."""
    started = subprocess.run(["ssh-agent", "-c"], capture_output=True, check=True, text=True)
    words = started.stdout.replace(";", "").split()
    path, pid = words[2], int(words[5])
    with monkeypatch.context() as patch:
        patch.setenv("SSH_AUTH_SOCK", path)
        subprocess.run(["ssh-add", "-q", sftp_server.client_key], check=True)
    yield path
    os.kill(pid, signal.SIGTERM)
