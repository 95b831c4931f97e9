"""GnuPG with a separate keyring: the receiver of encrypted files."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_LONG_AGO = "20200101T000000"


class Gpg:
    """Creates keys, decrypts files and verifies signatures."""

    def __init__(self) -> None:
        # A short path, because the path of the agent's socket has a limit.
        self.home = Path(tempfile.mkdtemp(prefix="gpg-"))
        self._gpg = ["gpg", "--homedir", str(self.home), "--batch"]

    def stop(self) -> None:
        """Stop the agent, and delete all keys."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True)
        shutil.rmtree(self.home)

    def make_key(
        self,
        name: str,
        *,
        subkey: str = "",
        lasts: str = "never",
        old: bool = False,
        passphrase: str = "",
    ) -> str:
        """Create a key, without a subkey unless one is given; return its fingerprint."""
        more = ("--passphrase", passphrase)
        self._run(*more, "--quick-gen-key", name, "ed25519", "sign,cert", lasts, old=old)
        listed = self._run("--list-keys", "--with-colons", f"={name}").decode()
        fingerprint = re.findall(r"^fpr:+(\w+):", listed, re.MULTILINE)[0]
        if subkey:
            self.add_subkey(fingerprint, subkey, old=old)
        return str(fingerprint)

    def add_subkey(self, fingerprint: str, lasts: str, *, old: bool = False) -> None:
        """Add a subkey for encryption."""
        self._run("--quick-add-key", fingerprint, "cv25519", "encr", lasts, old=old)

    def revoke(self, fingerprint: str) -> None:
        """Revoke a key, by the certificate that GnuPG wrote for it."""
        kept = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
        self._run("--import", stdin=kept.read_text().replace(":-----BEGIN", "-----BEGIN").encode())

    def export(
        self, *fingerprints: str, secret: bool = False, armor: bool = True, passphrase: str = ""
    ) -> bytes:
        """Return keys in the format of a key file."""
        how = "--export-secret-keys" if secret else "--export"
        more = ["--armor"] if armor else []
        return self._run("--passphrase", passphrase, *more, how, *fingerprints)

    def verify(self, path: Path, signature: Path) -> bool:
        """Return whether a file's detached signature is valid and by a key of this keyring."""
        command = [*self._gpg, "--verify", str(signature), str(path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def signers(self, data: bytes) -> list[str]:
        """Return the fingerprints of the keys that signed an encrypted message."""
        command = [*self._gpg, "--status-fd", "2", "--decrypt"]
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        return re.findall(r"VALIDSIG (\w+)", done.stderr.decode(errors="replace"))

    def decrypt(self, data: bytes) -> bytes:
        """Return the decrypted content."""
        return self._run("--decrypt", stdin=data)

    def _run(self, *arguments: str, stdin: bytes = b"", old: bool = False) -> bytes:
        command = [*self._gpg, "--quiet", "--yes"]
        command += ["--pinentry-mode", "loopback", "--passphrase", ""]
        command += ["--faked-system-time", _LONG_AGO] if old else []
        done = subprocess.run([*command, *arguments], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout
