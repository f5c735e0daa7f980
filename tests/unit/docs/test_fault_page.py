"""The page of the faults has the last outcome of each, whichever of them a run tried."""

from pathlib import Path

from support import fault_table
from support.fault_table import Result

LOST = "tests/faults/test_lost_server.py::test_the_others_are_asked"


def test_a_run_writes_its_own_rows_and_leaves_the_others(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    fault_table.write(page, [Result(f"{LOST}[nomad]", "passed", 12.4), Result(f"{LOST}[kubernetes]", "failed", 30)])
    fault_table.write(page, [Result(f"{LOST}[kubernetes]", "passed", 31.6)])
    fault_table.write(page, [Result("tests/faults/test_mirror.py::test_it_is_told", "passed", 1)])
    fault_table.write(page, [Result("tests/faults/test_rotate.py::test_it_goes_on[nomad-debian-12]", "passed", 2)])
    assert page.read_text().removeprefix(fault_table.HEADER).splitlines() == [
        "| lost server | the others are asked | passed, 12 s | passed, 32 s |",
        "| mirror | it is told | passed, 1 s | – |",
        "| rotate | it goes on (debian-12) | passed, 2 s | not run |",
    ]
