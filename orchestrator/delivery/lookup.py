"""Lookup: which of some paths are files at destinations."""

import asyncio
from collections.abc import Collection, Mapping

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import Destination, StoredKind, by_name, visit


def existing(requests: Mapping[str, tuple[DestinationConfig, Collection[str]]]) -> dict[str, str]:
    """Return one of the paths that exist at each destination, by its name; raise nothing.

    A destination that has none of its paths, or that cannot be asked, is left out.
    """
    found = asyncio.run(by_name({name: _existing(*request) for name, request in requests.items()}))
    return {name: min(paths) for name, paths in found.items() if paths}


async def _existing(config: DestinationConfig, paths: Collection[str]) -> set[str]:
    found: set[str] = set()

    async def look(destination: Destination, path: str) -> None:
        stored = await destination.find(path)
        if stored and stored.kind is StoredKind.FILE:
            found.add(path)

    await visit(config, paths, look)
    return found
