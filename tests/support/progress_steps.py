"""The steps that a command reports."""

from collections.abc import Callable


class Steps:
    """A `Progress` that records each step, with the function that returns its details."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._details: dict[str, Callable[[], str]] = {}

    def __call__(self, step: str, detail: Callable[[], str] | None = None, /) -> None:
        self.names.append(step)
        if detail:
            self._details[step] = detail

    def details(self) -> list[str]:
        """Return the current details of the steps that have any."""
        return [detail() for detail in self._details.values()]
