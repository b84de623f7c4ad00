"""docs/search.md lists what may be searched."""

import re
from pathlib import Path

from luthier_api.searchable import PATHS

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_each_path_that_may_be_searched_is_listed_and_no_other() -> None:
    listed = re.findall(r"^\| `([^`]+)` \| (?:choice|number|whole)", PAGE.read_text(), re.MULTILINE)
    assert listed == list(PATHS)
