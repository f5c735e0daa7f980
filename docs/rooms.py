"""Draws the rooms of the package, its top-level folders and `cluster.py`, from the imports: docs/rooms.svg.

    python docs/rooms.py            writes the picture
    python docs/rooms.py --check    prints the counts; ends with 1 where an arrow leads back up or there are too many
                                    rooms or floors

A room stands one floor above the highest of the rooms that it imports from.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cloudmesh" / "cluster"
PICTURE = ROOT / "docs" / "rooms.svg"
NAME = "cloudmesh.cluster"
MAX_ROOMS, MAX_FLOORS = 22, 9
WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 38, 24, 44


def rooms() -> dict[str, set[str]]:
    """Return the rooms that each room imports from."""
    uses: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        room = _room(".".join(file.relative_to(PACKAGE).with_suffix("").parts))
        if room:
            targets = {_room(module) for module in _imports(file)}
            uses.setdefault(room, set()).update(targets - {"", room})
    return uses


def floors(uses: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room, the ground floor being 0.

    Raises:
        ValueError: an arrow leads back up, so that there is no lowest room.
    """
    levels: dict[str, int] = {}
    while len(levels) < len(uses):
        ready = [room for room in uses if room not in levels and uses[room] <= levels.keys()]
        if not ready:
            rest = sorted(uses.keys() - levels.keys())
            raise ValueError(f"these rooms import from each other: {', '.join(rest)}")
        for room in ready:
            levels[room] = 1 + max((levels[target] for target in uses[room]), default=-1)
    return levels


def draw(uses: dict[str, set[str]], levels: dict[str, int]) -> str:
    """Return the picture as SVG: the highest floor on top, an arrow for each import between rooms."""
    top = max(levels.values())
    by_floor = [sorted(room for room in levels if levels[room] == floor) for floor in range(top, -1, -1)]
    width = max(len(row) for row in by_floor) * (WIDTH + GAP_X) + GAP_X
    height = len(by_floor) * (HEIGHT + GAP_Y) + GAP_Y
    place: dict[str, tuple[float, float]] = {}
    for row, names in enumerate(by_floor):
        left = (width - len(names) * (WIDTH + GAP_X) + GAP_X) / 2
        for column, name in enumerate(names):
            place[name] = (left + column * (WIDTH + GAP_X), GAP_Y + row * (HEIGHT + GAP_Y))
    arrows = [
        f'<path d="M{place[room][0] + WIDTH / 2:.0f} {place[room][1] + HEIGHT:.0f} '
        f'L{place[target][0] + WIDTH / 2:.0f} {place[target][1]:.0f}"/>'
        for room in sorted(uses)
        for target in sorted(uses[room])
    ]
    boxes = [
        f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x + WIDTH / 2:.0f}" y="{y + HEIGHT / 2 + 5:.0f}">{name}</text></g>'
        for name, (x, y) in sorted(place.items())
    ]
    style = (
        "path{stroke:#9aa5b1;stroke-width:1;fill:none}rect{fill:#f4f6f8;stroke:#52606d}"
        "text{font:14px sans-serif;text-anchor:middle;fill:#1f2933}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
    return "\n".join([head, f"<style>{style}</style>", *arrows, *boxes, "</svg>"]) + "\n"


def _room(module: str) -> str:
    """Return the room of a module below the package; empty for the package's own front door."""
    first = module.partition(".")[0]
    return "" if first == "__init__" else first


def _imports(file: Path) -> set[str]:
    """Return the modules of this package that a file imports, by their names below it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == NAME:
                modules.update(alias.name for alias in node.names)
            elif node.module.startswith(f"{NAME}."):
                modules.add(node.module.removeprefix(f"{NAME}."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith(f"{NAME}.")]
            modules.update(name.removeprefix(f"{NAME}.") for name in names)
    existing = {path.stem for path in PACKAGE.iterdir()}
    return {module for module in modules if module.partition(".")[0] in existing}


def main() -> int:
    """Write the picture, or check the counts; return the exit code."""
    uses = rooms()
    try:
        levels = floors(uses)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    arrows = sum(len(targets) for targets in uses.values())
    count, height = len(levels), max(levels.values()) + 1
    sys.stdout.write(f"{count} rooms, {height} floors, {arrows} arrows, none of them back up\n")
    if "--check" not in sys.argv:
        PICTURE.write_text(draw(uses, levels), "utf-8")
    return 0 if count <= MAX_ROOMS and height <= MAX_FLOORS else 1


if __name__ == "__main__":
    raise SystemExit(main())
