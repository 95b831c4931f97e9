"""OpenPGP keys (RFC 9580): to encrypt files for their receiver, and to sign them."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysequoia import Cert, PySigner, Tsk
    from pysequoia.packet import Packet

OPENPGP_SUFFIX = ".pgp"
SIGNATURE_SUFFIX = ".sig"
_LARGEST = 1024 * 1024  # bytes of a key file; hundreds of signatures make some ten thousand
_OWN = "export one in use, as 'gpg --armor --export-secret-keys KEY' writes it"
_ASK = "ask the receiver for one in use, as 'gpg --armor --export KEY' writes it"


def checked(path: Path) -> Path:
    """Return the path of a file with one public key.

    Raises ValueError where the file has none, more than one, or a secret key.
    """
    _read(path)
    return path


def recipient(path: Path) -> "Cert":
    """Return a public key that files can be encrypted for now.

    Raises ValueError where there is none, or it is expired or revoked.
    """
    try:
        changed_at = path.stat().st_mtime_ns
    except OSError:
        changed_at = 0  # reading it reports why
    return _recipient(path, changed_at)


@cache
def _recipient(path: Path, changed_at: int) -> "Cert":
    """Return a public key, read once: a thousand brands that share it ask three times each."""
    del changed_at  # part of the key of the cache, so that a replaced file is read again
    from pysequoia import encrypt  # noqa: PLC0415 - most configs have no key

    cert, now = _read(path), datetime.now(UTC)
    try:
        if cert.is_revoked:
            raise ValueError(f"{path}: the key was revoked: {_ASK}")
        if cert.expiration and cert.expiration <= now:
            raise ValueError(f"{path}: the key expired on {cert.expiration:%Y-%m-%d}: {_ASK}")
        cert = _without_expired_subkeys(cert, now)
        encrypt(b"", recipients=[cert], armor=False)
    except RuntimeError:
        raise ValueError(
            f"{path}: no subkey is usable for encryption: none is meant for it, or it expired, was "
            f"revoked, or is too weak: {_ASK}"
        ) from None
    return cert


def checked_secret(path: Path) -> Path:
    """Return the path of a file with one secret key.

    Raises ValueError where the file has none, or more than one.
    """
    _read_secret(path)
    return path


def signer(path: Path, passphrase: str | None) -> "PySigner":
    """Return what signs with a secret key now.

    Raises ValueError where the key is expired or revoked, has no part that signs, or where its
    passphrase is missing or wrong.
    """
    try:
        changed_at = path.stat().st_mtime_ns
    except OSError:
        changed_at = 0  # reading it reports why
    return _signer(path, passphrase, changed_at)


@cache
def _signer(path: Path, passphrase: str | None, changed_at: int) -> "PySigner":
    del changed_at  # part of the key of the cache, as above
    from pysequoia import sign  # noqa: PLC0415 - most configs have no key

    secret = _read_secret(path)
    cert = secret.extract_certificate()
    if cert.is_revoked:
        raise ValueError(f"{path}: the key was revoked: {_OWN}")
    if cert.expiration and cert.expiration <= datetime.now(UTC):
        raise ValueError(f"{path}: the key expired on {cert.expiration:%Y-%m-%d}: {_OWN}")
    try:
        found = secret.signer(passphrase)
        sign(found, b"", armor=False)
    except RuntimeError as error:
        if str(error).startswith("No suitable"):
            reason = f"no part of the key signs now: {_OWN}"
        else:  # with a wrong passphrase the secret cannot be parsed, in any of several ways
            reason = f"the passphrase of the key is {'wrong' if passphrase else 'missing'}: "
            reason += "set sign_passphrase"
        raise ValueError(f"{path}: {reason}") from None
    return found


def _bytes(path: Path, what: str) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a named pipe would block
            raise ValueError(f"{path}: is not a file; expected a file with an OpenPGP {what} key")
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); expected a file with an OpenPGP {what} key"
        ) from error


def _read_secret(path: Path) -> "Tsk":
    from pysequoia import Cert, Tsk  # noqa: PLC0415 - most configs have no key

    data = _bytes(path, "secret")
    try:
        count, has_secret = len(Cert.split_bytes(data)), _has_secret(data)
    except RuntimeError:
        count, has_secret = 0, False
    if count != 1 or not has_secret:
        found = f"found {count} keys" if count != 1 else "found only its public part"
        raise ValueError(f"{path}: expected one OpenPGP secret key, {found}: {_OWN}")
    return Tsk.from_bytes(data)


def _has_secret(data: bytes) -> bool:
    """Tell whether there is a secret key among the packets of a file. Raises RuntimeError."""
    from pysequoia.packet import PacketPile, Tag  # noqa: PLC0415 - most configs have no key

    tags = (packet.tag for packet in PacketPile.from_bytes(data))
    return any(tag in (Tag.SecretKey, Tag.SecretSubkey) for tag in tags)


def _read(path: Path) -> "Cert":
    from pysequoia import Cert  # noqa: PLC0415 - most configs have no key

    data = _bytes(path, "public")
    try:
        certs, has_secret = Cert.split_bytes(data), _has_secret(data)
    except RuntimeError:
        certs, has_secret = [], False
    if b"PRIVATE KEY BLOCK" in data or has_secret:
        raise ValueError(
            f"{path}: contains a secret key, which only its owner may have. Remove it, and {_ASK}"
        )
    if len(certs) != 1:
        raise ValueError(f"{path}: expected one OpenPGP public key, found {len(certs)}: {_ASK}")
    return certs[0]


def _without_expired_subkeys(cert: "Cert", now: datetime) -> "Cert":
    """Return the key without expired subkeys: Sequoia uses them where there are no others."""
    from pysequoia import Cert  # noqa: PLC0415 - most configs have no key
    from pysequoia.packet import PacketPile, Tag  # noqa: PLC0415 - the same

    parts: list[list[Packet]] = [[]]  # the packets of the primary key, then of each subkey
    for packet in PacketPile.from_bytes(bytes(cert)):
        if packet.tag == Tag.PublicSubkey:
            parts.append([])
        parts[-1].append(packet)
    alive = [part for part in parts[1:] if not _is_expired(part, now)]
    return Cert.from_packets([packet for part in [parts[0], *alive] for packet in part])


def _is_expired(subkey: "list[Packet]", now: datetime) -> bool:
    """Tell whether the newest signature that binds a subkey says that its validity has ended."""
    from pysequoia.packet import SignatureType  # noqa: PLC0415 - most configs have no key

    bindings = [p for p in subkey if p.signature_type == SignatureType.SubkeyBinding]
    newest = max(bindings, key=lambda p: p.signature_created or now, default=None)
    made, valid = subkey[0].key_created, newest.key_validity_period if newest else None
    return bool(made and valid and made + valid <= now)
