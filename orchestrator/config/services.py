"""Services that take notifications: the Apprise URLs of `notify`."""

import logging
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, SecretStr

if TYPE_CHECKING:
    from apprise import NotifyBase


def of(url: SecretStr) -> "NotifyBase | None":
    """Return what sends to a URL, or None where Apprise cannot make sense of it.

    Apprise's own log, which quotes URLs, is not shown from then on: they may hold tokens.
    """
    for name in ("apprise", "urllib3"):  # their words may quote the URL
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    from apprise import Apprise, NotifyBase  # noqa: PLC0415 - half a second

    service = Apprise.instantiate(url.get_secret_value())
    return service if isinstance(service, NotifyBase) else None


def _known(url: SecretStr) -> SecretStr:
    if of(url) is None:
        raise ValueError("expected a URL that Apprise knows, such as mailto://… or slack://…")
    return url


NotifyUrl = Annotated[SecretStr, AfterValidator(_known)]
