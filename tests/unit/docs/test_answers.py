"""The page of missing answers names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "answers.md").read_text()


def test_each_place_on_the_page_of_answers_is_a_file() -> None:
    places = re.findall(r"`([a-z_*/-]+\.(?:py|sh))`", PAGE)
    assert len(places) > 30
    for place in places:
        folders = (ROOT / "cloudmesh" / "cluster", ROOT / "cloudmesh", ROOT / "cloudmesh" / "images" / "host")
        assert any(list(folder.glob(place)) for folder in folders), place
