"""A receiver of compressed and encrypted files with completion files, which checks them all."""

import functools
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gpg import Gpg

_NAME = re.compile(r"(.*/)?(broadcast|activity)(_.*\.csv\.gz\.pgp)(\.ready|\.manifest\.json)?")
_ORDER = ["broadcast", "activity", ".ready", ".ready", ".manifest.json"]
_ENCRYPTED = (b"\xc1", b"\x85")
"""How an encrypted message begins (RFC 9580, 4.2 and 5.1), in the new format and in the old."""


class Unpacker:
    """Decrypts and decompresses delivered files; only the unpacker has the key."""

    defaults = {"compression": "gzip", "encrypt_for": "key.asc", "completion": "both"}  # noqa: RUF012 - never changed

    def __init__(self, gpg: Gpg) -> None:
        self.key = gpg.export(gpg.make_key("Receiver of all", subkey="never"))
        self._decrypt = functools.cache(gpg.decrypt)

    def unpacked(self, files: dict[str, bytes]) -> dict[str, Any]:
        """Return the unpacked files; assert that every completion file is correct."""
        found: dict[str, Any] = {}
        by_hash = {
            f"sha256:{hashlib.sha256(text).hexdigest()}": name for name, text in files.items()
        }
        for name, content in files.items():
            of, kind = self._split(name)
            folder = name.rpartition("/")[0]
            if kind == ".ready":
                line = f"{hashlib.sha256(files[of]).hexdigest()}  {Path(of).name}\n"
                assert content == line.encode()
                found[name] = None
            elif kind == ".manifest.json":
                manifest = json.loads(content)
                for file in manifest["resources"]:
                    data = files[f"{folder}/{file['path']}".lstrip("/")]
                    assert file.pop("bytes") == len(data)
                    assert file.pop("hash") == f"sha256:{hashlib.sha256(data).hexdigest()}"
                # Encrypted bytes differ each time, and so does every hash that follows from them.
                del manifest["id"]
                manifest["previous"] = by_hash.get(manifest["previous"], manifest["previous"])
                found[name] = manifest
            else:
                found[name] = gzip.decompress(self._decrypt(content))
        return found

    def assert_unreadable(self, roots: Iterable[Path]) -> None:
        """Assert that these folders have no unencrypted rows, not even in part files.

        Only its owner can read the work folder of a killed run, which the next run removes.
        """
        for path in (path for root in roots for path in _files(root)):
            name = re.sub(r"^\.(.*)\.[0-9a-f]{16}\.part$", r"\1", path.name)
            if _NAME.fullmatch(name) and not self._split(name)[1]:
                assert path.read_bytes()[:1] in (*_ENCRYPTED, b""), path
            else:
                assert b"@" not in path.read_bytes(), path

    def assert_order(self, names: Iterable[str]) -> None:
        """Assert that the files of each window got their names in the documented order."""
        windows: dict[str, list[str]] = {}
        for name in names:
            folder, kind, rest, completion = _NAME.fullmatch(name).groups()  # type: ignore[union-attr] # then it fails
            windows.setdefault(f"{folder}{rest}", []).append(completion or kind)
        assert windows
        for kinds in windows.values():
            assert kinds == _ORDER

    def _split(self, name: str) -> tuple[str, str]:
        suffix = next((end for end in _ORDER[2:] if name.endswith(end)), "")
        return name.removesuffix(suffix), suffix


def _files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        top = path.relative_to(root).parts[0]
        if top == ".work":
            assert (root / top).stat().st_mode & 0o777 == 0o700
        elif path.is_file() and top != ".dbt":
            yield path
