"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets; skips the test where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("OPENBOOK_DATA") or beside)
    if not root.is_dir():
        pytest.skip(f"no real data: neither $OPENBOOK_DATA nor {beside} is a folder")
    return root


@pytest.fixture(autouse=True)
def _no_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the data sets from tests that do not ask for them: some need one to be missing."""
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("OPENBOOK_DATA", raising=False)
