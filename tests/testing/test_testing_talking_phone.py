from __future__ import annotations

import pytest

from voxtra.errors import ConfigurationError
from voxtra.testing import PrivateAsterisk, TestPhone


def test_without_an_asterisk_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrivateAsterisk, "running", list)
    with pytest.raises(ConfigurationError, match="no PrivateAsterisk runs: start one first"):
        TestPhone()
    both = [PrivateAsterisk(), PrivateAsterisk()]
    monkeypatch.setattr(PrivateAsterisk, "running", lambda: both)
    with pytest.raises(ConfigurationError, match="several run: name one"):
        TestPhone()
    assert TestPhone(both[0]).user == "phone"
