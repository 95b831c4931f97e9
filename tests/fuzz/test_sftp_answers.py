"""An SFTP server that fails, lies or disconnects at any request causes no wrong file."""

import asyncio
import faulthandler
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from fault_server import serve
from fuzz_cases import FEW, MANY
from hypothesis import example, given, settings
from hypothesis import strategies as st
from upload_files import deliver, make_upload, random_bytes

from orchestrator.config.destinations import Sftp
from orchestrator.delivery import Outcome, Retry, Upload
from orchestrator.errors import DeliveryError

OLD = b"content of an earlier revision"
REQUESTS = (
    *("open", "close", "read", "write", "lstat", "stat", "mkdir", "remove"),
    *("rename", "posix_rename", "fsync"),
)
ODD = st.sampled_from(
    [
        "refuse",
        "refuse",
        "done but refused",
        "break",
        "hang up",
        "garbage",
        "less",
        "more",
        "silent",
    ]
)
PLANS = st.dictionaries(
    st.tuples(st.sampled_from(REQUESTS), st.integers(0, 5)),
    st.tuples(ODD, st.integers(1, 40), st.text(max_size=5)),
    min_size=1,
    max_size=6,
)
Plan = dict[tuple[str, int], tuple[str, int, str]]


class Unreliable(asyncssh.SFTPServer):
    """Follows a plan: how to answer the n-th request of a kind, over all connections."""

    plan: Plan = {}  # noqa: RUF012 - of the current case
    requests: dict[str, int] = {}  # noqa: RUF012 - the same

    async def _follow(self, request: str, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - any answer
        number = self.requests.get(request, 0)
        self.requests[request] = number + 1
        what, code, reason = self.plan.get((request, number), ("as requested", 0, ""))
        if what == "refuse":
            raise asyncssh.SFTPError(code, reason)
        if what == "break":
            raise RuntimeError(reason)
        if what == "hang up":
            self.connection.abort()
        if what == "garbage":
            self.channel.write(reason.encode() * code)
        if what == "silent":
            await asyncio.sleep(30)
        answer = do()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if what == "done but refused":
            raise asyncssh.SFTPError(code, reason)
        return _untrue(answer, what, code)


def _untrue(answer: Any, what: str, by: int) -> Any:  # noqa: ANN401 - any answer
    """Return an answer with fewer or more bytes than the true one."""
    if what not in ("less", "more"):
        return answer
    if isinstance(answer, bytes):
        return answer[:-by] if what == "less" else answer + bytes(by)
    if size := getattr(answer, "st_size", None) or getattr(answer, "size", None):
        return asyncssh.SFTPAttrs(size=max(0, size - by if what == "less" else size + by))
    return answer


def _override(request: str) -> None:
    def method(self: Unreliable, *arguments: Any) -> Any:  # noqa: ANN401 - any request
        do = partial(getattr(asyncssh.SFTPServer, request), self, *arguments)
        return self._follow(request, do)

    setattr(Unreliable, request, method)


for _request in REQUESTS:
    _override(_request)


@dataclass
class Receiver:
    """The unreliable server, and deliveries to it."""

    folder: Path
    destination: Sftp
    numbers: Iterator[int]

    def check(self, plan: Plan) -> None:
        """Deliver with a plan, then again without; check the files at the server after each."""
        case = f"case{next(self.numbers)}"
        uploads = [
            make_upload(self.folder, f"{case}/new/broadcast.csv", random_bytes(700_000)),
            make_upload(self.folder, f"{case}/activity.csv", random_bytes(50)),
        ]
        root = self.folder / "root"
        (root / case).mkdir()
        (root / uploads[1].file.path).write_bytes(OLD)
        published: list[Upload] = []
        outcome = self.deliver(uploads, plan, published)
        assert list(outcome.uploads_done) == published == uploads[: len(published)]
        assert (outcome.error is None) == (published == uploads)
        if outcome.error:
            assert isinstance(outcome.error, DeliveryError)
            assert len(str(outcome.error)) > 20
            assert outcome.error.exit_code == 1
        for number, upload in enumerate(uploads):
            delivered = root / upload.file.path
            right = upload.local.read_bytes()
            if number < len(published):
                assert delivered.read_bytes() == right
            elif delivered.exists():
                assert delivered.read_bytes() in (right, OLD)
        left = [
            replace(upload, rename_sent=upload == outcome.unsure)
            for upload in uploads[len(published) :]
        ]
        again = self.deliver(left, {}, [])
        assert again.error is None
        assert all((root / u.file.path).read_bytes() == u.local.read_bytes() for u in uploads)
        names = sorted(path.name for path in (root / case).rglob("*") if path.is_file())
        assert names == ["activity.csv", "broadcast.csv"]

    def deliver(self, uploads: list[Upload], plan: Plan, published: list[Upload]) -> Outcome:
        Unreliable.plan, Unreliable.requests = plan, {}
        faulthandler.dump_traceback_later(60, exit=True)  # a delivery must not hang
        try:
            [outcome] = deliver(
                self.destination,
                [uploads],
                published.append,
                retry=Retry(attempts=3, pause=0.01, growth=1),
            )
        finally:
            faulthandler.cancel_dump_traceback_later()
        return outcome


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("unreliable")
    with serve(folder, Unreliable) as destination:
        yield Receiver(folder, destination(seconds=1), count())


LOST_AND_REFUSED: Plan = {
    ("close", 1): ("silent", 1, ""),
    ("lstat", 3): ("done but refused", 24, "no"),
}
"""A rename was announced but never sent; then access to the complete part file is refused."""


@settings(parent=FEW, max_examples=25)
@example(LOST_AND_REFUSED)
@given(PLANS)
def test_no_answer_causes_a_wrong_file(receiver: Receiver, plan: Plan) -> None:
    receiver.check(plan)


@pytest.mark.faults
@MANY
@given(PLANS)
def test_a_thousand_plans_cause_no_wrong_file(receiver: Receiver, plan: Plan) -> None:
    receiver.check(plan)
