"""Results on stdout, in the format asked for. Nothing else writes there."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.command.console.text import printable
from cloudmesh.cluster.core.errors import UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.core.model import JobStatus

DEFAULT = "table"
FORMATS = (DEFAULT, "json", "yaml", "csv")
MAX_CELL_WIDTH = 100

Row = dict[str, Any]


def check(output: str) -> str:
    """Return `output` if it names a format, in any case.

    Raises:
        UsageError: there is no such format.
    """
    if output.lower() not in FORMATS:
        raise UsageError(f"--output={output} is not valid: use one of {', '.join(FORMATS)}")
    return output.lower()


def render(value: Any, output: str, columns: Sequence[str] = ()) -> str:
    """Return `value` as text that ends with a line break, or "" for an empty table.

    Args:
        value: a dataclass, a mapping, or a sequence of them.
        output: one of FORMATS. json and yaml hold all there is, as it is; table and csv hold one line for each item.
        columns: the columns of table and csv; if not given, all fields. What is nested counts as a number of items.
    """
    plain = as_plain(value)
    if output == "json":
        import json

        return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    rows = [flat(row) for row in (plain if isinstance(plain, list) else [plain])]
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    return _csv(rows, names) if output == "csv" else _table(rows, names)


def as_plain(value: Any) -> Any:
    """Return `value` made of what JSON and YAML know: dataclasses as mappings, enums as strings, tuples as lists."""
    if isinstance(value, Enum):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def job_row(status: JobStatus, output: str) -> Row:
    """Return a job as a row: RFC 3339 times and seconds for programs, readable ones for a table; no internal fields."""
    from datetime import datetime, timezone

    row = {**as_plain(status), "hosts": list(status.hosts)}
    del row["digest"], row["volumes"]
    submitted = datetime.fromtimestamp(status.submitted, timezone.utc) if status.submitted else None
    if output == "table":
        row["submitted"] = submitted.astimezone().strftime("%Y-%m-%d %H:%M:%S") if submitted else ""
        row["duration"] = f"{status.duration:.0f} s"
    else:
        row["submitted"] = submitted.isoformat(timespec="seconds").replace("+00:00", "Z") if submitted else None
    return row


def flat(row: Mapping[str, Any]) -> Row:
    """Return a plain row with one plain value in each cell."""
    return {name: _cell(value) for name, value in row.items()}


def emit(text: str) -> None:
    """Write `text` to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return len(value) if any(isinstance(item, dict) for item in value) else ",".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value


def _csv(rows: Sequence[Row], names: Sequence[str]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(rows: Sequence[Row], names: Sequence[str]) -> str:
    if not rows:
        return ""
    from cloudmesh.common.Printer import Printer

    cells = [{name: _short(row.get(name, "")) for name in names} for row in rows]
    table = Printer.write(cells, order=list(names), output="table", sort_keys=False, max_width=MAX_CELL_WIDTH)
    return f"{table}\n"


def _short(value: Any) -> str:
    """Return a number without digits that say nothing, and text without what would break the table's lines."""
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else printable(str(value)).replace("\n", " ")
