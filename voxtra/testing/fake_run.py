"""``run_call``: a handler and a caller meet, without any Asterisk and in no time."""

from __future__ import annotations

from collections.abc import Mapping

from voxtra.app import VoxtraApp
from voxtra.router import Handler, Router
from voxtra.speech.base import LLM
from voxtra.testing.clock import run_virtual
from voxtra.testing.fake_asterisk import Dialplan
from voxtra.testing.fake_office import FakeOffice, Script
from voxtra.testing.fake_result import CallResult


def run_call(
    app: VoxtraApp | Router | Handler,
    caller: Script | None = None,
    *,
    number: str = "100",
    caller_id: str = "4711",
    llm: LLM | None = None,
    prompts: Mapping[str, float | None] | None = None,
    endpoints: Mapping[str, object] | None = None,
    dialplan: Mapping[str, Dialplan] | None = None,
    variables: Mapping[str, str] | None = None,
    check: bool = True,
) -> CallResult:
    """Let ``caller`` call ``app``, and return what became of it. Takes milliseconds, however long the call.

    The app's own session, turn-taking and conversation run, on a line and an Asterisk in memory; what hears
    and speaks is replaced by text. Start-up and shutdown hooks are run.

    Args:
        app: an app, a router, or a handler alone (which then has STT and TTS).
        caller: the person who calls; after it the caller stays until the app hangs up. None: says nothing.
        number: what is dialled.
        caller_id: who calls.
        llm: the language model, in place of the app's.
        prompts: lengths of prompts in s (2 s otherwise), ``{"hello-world": 1.5}``; None: no such file.
        endpoints: whom the app may call: ``{"PJSIP/anna": script}``, or ``"busy"``, or a
            :class:`FakeEndpoint`.
        dialplan: what becomes of a call in a context, ``{"voxtra-queue": Dialplan(connects="PJSIP/anna")}``.
        variables: channel variables of the caller's channel.
        check: whether an exception in the app (a handler that failed, a callback) is raised here.

    Raises:
        ExpectationError: (an AssertionError) the call did not go as ``caller`` says.
        FakeCallError: an argument can't be, or the fakes lack what the app asks for.
    """

    async def main() -> CallResult:
        office = FakeOffice(
            app, llm=llm, prompts=prompts, endpoints=endpoints, dialplan=dialplan, check=check
        )
        async with office:
            return await office.call(caller, number=number, caller_id=caller_id, variables=variables)

    return run_virtual(main())
