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
_LARGEST = 1024 * 1024  # bytes of a key file; a key with hundreds of signatures has ten thousand
_EXPORT_SECRET_KEY = "export one in use, as 'gpg --armor --export-secret-keys KEY' writes it"  # noqa: S105 - no secret
_ASK_RECEIVER = "ask the receiver for one in use, as 'gpg --armor --export KEY' writes it"


def check_public_key(path: Path) -> Path:
    """Return the path of a file with one public key.

    Raises ValueError if the file contains no key, several keys, or a secret key.
    """
    _read_public_key(path)
    return path


def recipient(path: Path) -> "Cert":
    """Return a public key that files can be encrypted for now.

    Raises ValueError if the file contains none, or if the key is expired or revoked.
    """
    return _recipient(path, _changed_at(path))


@cache
def _recipient(path: Path, changed_at: int) -> "Cert":
    """Read the key once: a thousand exports with one key would read it three thousand times."""
    del changed_at  # part of the key of the cache, so that a replaced file is read again
    from pysequoia import encrypt  # noqa: PLC0415 - most configs have no key

    cert = _read_public_key(path)
    try:
        _check_in_use(cert, path, _ASK_RECEIVER)
        cert = _without_expired_subkeys(cert, datetime.now(UTC))
        encrypt(b"", recipients=[cert], armor=False)
    except RuntimeError:
        raise ValueError(
            f"{path}: no subkey is usable for encryption: none is meant for it, or it expired, was "
            f"revoked, or is too weak: {_ASK_RECEIVER}"
        ) from None
    return cert


def check_secret_key(path: Path) -> Path:
    """Return the path of a file with one secret key.

    Raises ValueError if the file contains no secret key, or several keys.
    """
    _read_secret_key(path)
    return path


def signer(path: Path, passphrase: str | None) -> "PySigner":
    """Return the signer of a secret key.

    Raises ValueError if the key is expired or revoked, if no part of it can sign, or if its
    passphrase is missing or wrong.
    """
    return _signer(path, passphrase, _changed_at(path))


@cache
def _signer(path: Path, passphrase: str | None, changed_at: int) -> "PySigner":
    del changed_at  # part of the key of the cache, so that a replaced file is read again
    from pysequoia import sign  # noqa: PLC0415 - most configs have no key

    secret = _read_secret_key(path)
    _check_in_use(secret.extract_certificate(), path, _EXPORT_SECRET_KEY)
    try:
        found = secret.signer(passphrase)
        sign(found, b"", armor=False)
    except RuntimeError as error:
        if str(error).startswith("No suitable"):
            reason = f"no part of the key can sign now: {_EXPORT_SECRET_KEY}"
        else:  # sequoia has several texts for a wrong passphrase: it fails to parse the secret
            reason = f"the passphrase of the key is {'wrong' if passphrase else 'missing'}: "
            reason += "set sign_passphrase"
        raise ValueError(f"{path}: {reason}") from None
    return found


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # the error of the reader says why


def _check_in_use(cert: "Cert", path: Path, advice: str) -> None:
    if cert.is_revoked:
        raise ValueError(f"{path}: the key was revoked: {advice}")
    if cert.expiration and cert.expiration <= datetime.now(UTC):
        raise ValueError(f"{path}: the key expired on {cert.expiration:%Y-%m-%d}: {advice}")


def _content(path: Path, kind: str) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a named pipe would block
            raise ValueError(f"{path}: is not a file; expected a file with an OpenPGP {kind} key")
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); expected a file with an OpenPGP {kind} key"
        ) from error


def _read_secret_key(path: Path) -> "Tsk":
    from pysequoia import Cert, Tsk  # noqa: PLC0415 - most configs have no key

    data = _content(path, "secret")
    try:
        count, has_secret = len(Cert.split_bytes(data)), _has_secret(data)
    except RuntimeError:
        count, has_secret = 0, False
    if count != 1 or not has_secret:
        found = f"found {count} keys" if count != 1 else "found only its public part"
        raise ValueError(f"{path}: expected one OpenPGP secret key, {found}: {_EXPORT_SECRET_KEY}")
    return Tsk.from_bytes(data)


def _has_secret(data: bytes) -> bool:
    """Tell whether the data contains a secret key. Raises RuntimeError if it is not OpenPGP."""
    from pysequoia.packet import PacketPile, Tag  # noqa: PLC0415 - most configs have no key

    tags = (packet.tag for packet in PacketPile.from_bytes(data))
    return any(tag in (Tag.SecretKey, Tag.SecretSubkey) for tag in tags)


def _read_public_key(path: Path) -> "Cert":
    from pysequoia import Cert  # noqa: PLC0415 - most configs have no key

    data = _content(path, "public")
    try:
        certs, has_secret = Cert.split_bytes(data), _has_secret(data)
    except RuntimeError:
        certs, has_secret = [], False
    if b"PRIVATE KEY BLOCK" in data or has_secret:
        raise ValueError(
            f"{path}: contains a secret key, which only its owner may have. Remove it, and "
            f"{_ASK_RECEIVER}"
        )
    if len(certs) != 1:
        raise ValueError(
            f"{path}: expected one OpenPGP public key, found {len(certs)}: {_ASK_RECEIVER}"
        )
    return certs[0]


def _without_expired_subkeys(cert: "Cert", now: datetime) -> "Cert":
    """Return the key without expired subkeys: Sequoia uses them if there is no other subkey."""
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
    """Tell whether a subkey has expired, by the newest signature that binds it to its key."""
    from pysequoia.packet import SignatureType  # noqa: PLC0415 - most configs have no key

    bindings = [p for p in subkey if p.signature_type == SignatureType.SubkeyBinding]
    newest = max(bindings, key=lambda p: p.signature_created or now, default=None)
    created, valid = subkey[0].key_created, newest.key_validity_period if newest else None
    return bool(created and valid and created + valid <= now)
