"""From a telephone number to an endpoint of Asterisk."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from voxtra._settings import Settings, shorten
from voxtra.errors import ConfigurationError


def e164(number: str) -> str:
    """``number``, when it is an E.164 number (ITU-T E.164): ``+``, then 7 to 15 digits, no 0 first.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(number, str) or not re.fullmatch(r"\+[1-9][0-9]{6,14}", number):
        raise ConfigurationError(f"{shorten(number)} is no E.164 number: want one like +442071838750")
    return number


def endpoint_template(value: str) -> str:
    """Check an endpoint with ``{number}`` or ``{digits}`` in it; "" is none. Raises ValueError."""
    rest = value.replace("{number}", "", 1) if "{number}" in value else value.replace("{digits}", "", 1)
    # what Dial() and originate would take for more than one endpoint, an option or the end of the value
    if value and (rest == value or not re.fullmatch(r"[A-Za-z0-9]+/[A-Za-z0-9_.:@/=+-]*", rest)):
        raise ValueError("must be an endpoint with {number} in it, like 'PJSIP/{number}@carrier'")
    return value


def _caller_id(value: str) -> str:
    if not re.fullmatch(r'[^\x00-\x1f\x7f"\\;,|&${}]{0,80}', value):
        raise ValueError("must be a number, or 'Name <number>', without quotes, commas, control characters")
    return value


class TrunkConfig(Settings):
    """The way out: how a telephone number becomes an endpoint of Asterisk.

    Attributes:
        endpoint: with ``{number}`` where the number goes, ``"PJSIP/{number}@carrier"``; or ``{digits}``,
            for a carrier that wants it without its ``+``. "" = numbers can't be called.
        caller_id: what the callee sees unless the call says otherwise, ``"+442071838750"`` or
            ``"Acme <+442071838750>"``.
    """

    section = "trunk"
    endpoint: Annotated[str, AfterValidator(endpoint_template)] = ""
    caller_id: Annotated[str, AfterValidator(_caller_id)] = ""

    def shown_of(self, target: str) -> str:
        """The caller id of a call to ``target``: of a number, which goes by this trunk; else none."""
        return self.caller_id if target.startswith("+") else ""

    def dial(self, number: str) -> str:
        """The endpoint of a number: ``"+442071838750"`` → ``"PJSIP/+442071838750@carrier"``.

        Raises:
            ConfigurationError: this is no E.164 number, or ``endpoint`` is not set.
        """
        number = e164(number)
        if not self.endpoint:
            raise ConfigurationError(
                f"no trunk to call {number} by: set trunk.endpoint, as in 'PJSIP/{{number}}@carrier'"
            )
        return self.endpoint.replace("{number}", number).replace("{digits}", number[1:])
