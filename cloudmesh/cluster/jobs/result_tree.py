"""What a task has left in its results directory, as its host lists it, and what of it may come to this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_FIELDS = 9
_BLOCK_BYTES = 512
_PERMISSIONS = 0o777
_ELEVATING = {0o4000: "setuid", 0o2000: "setgid"}
_MOST_HOPS = 40  # the kernel follows no more links for one name
_KINDS = {"p": "a pipe", "s": "a socket", "b": "a block device", "c": "a character device"}


@dataclass(frozen=True)
class Entry:
    """One name in a results directory.

    Attributes:
        name: relative to the directory; what is not UTF-8 in it is there as Python has it (surrogates).
        kind: of `find -printf %y`: "f" a file, "d" a folder, "l" a symbolic link, other letters for what is neither.
        mode: permissions, with the setuid, setgid and sticky bits.
        size: bytes.
        is_sparse: whether it takes less room than its size.
        modified: nanoseconds since the epoch.
        inode: the same for names of the same file (hard links).
        links: how many names the file has, here and elsewhere.
        target: where a symbolic link leads, as written in it.
    """

    name: str
    kind: str
    mode: int
    size: int = 0
    is_sparse: bool = False
    modified: int = 0
    inode: str = ""
    links: int = 1
    target: str = ""

    @property
    def permissions(self) -> int:
        """The permissions that it gets here: its owner may always read it, and enter a folder and change it."""
        return self.mode & _PERMISSIONS | (0o700 if self.kind == "d" else 0o400)


@dataclass(frozen=True)
class Tree:
    """What a task has left.

    Attributes:
        folders: each behind the folder that it is in.
        files: the first name of each regular file.
        hard_links: further names of these files: (name, first name).
        links: symbolic links that stay within the directory.
        refused: what is left out, and of what is not, what of it is: names, and why.
    """

    folders: Sequence[Entry]
    files: Sequence[Entry]
    hard_links: Sequence[tuple[Entry, Entry]]
    links: Sequence[Entry]
    refused: Mapping[str, str]


def parse_listing(listing: bytes) -> list[Entry]:
    """Return the entries that `results.sh list` printed, sorted by name.

    Raises:
        ValueError: it is not what that script prints, or a name leads out of the directory.
    """
    fields = [os.fsdecode(field) for field in listing.split(b"\0")]
    if fields.pop() or len(fields) % _FIELDS:
        raise ValueError("the list of what is there is cut short")
    entries = [_parse_entry(fields[at : at + _FIELDS]) for at in range(0, len(fields), _FIELDS)]
    return sorted(entries, key=lambda entry: PurePosixPath(entry.name).parts)


def _parse_entry(fields: Sequence[str]) -> Entry:
    kind, mode, size, blocks, modified, inode, links, name, target = fields
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"the name {name[:60]!a} leads out of the folder")
    seconds, _, fraction = modified.partition(".")
    nanoseconds = int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))
    is_sparse = int(blocks) * _BLOCK_BYTES < int(size)
    return Entry(name, kind, int(mode, 8), int(size), is_sparse, nanoseconds, inode, int(links), target)


def classify(entries: Sequence[Entry]) -> Tree:
    """Return what of the entries is copied, and how."""
    targets = {entry.name: entry.target for entry in entries if entry.kind == "l"}
    firsts: dict[str, Entry] = {}
    hard_links, links, refused = [], [], {}
    for entry in entries:
        if entry.kind == "f":
            first = firsts.setdefault(entry.inode if entry.links > 1 else entry.name, entry)
            if first is not entry:
                hard_links.append((entry, first))
        elif entry.kind == "l":
            if leads_out(entry.name, targets):
                refused[entry.name] = f"it is a link to {entry.target[:200]}, which leads out of the results"
            else:
                links.append(entry)
        elif entry.kind != "d":
            refused[entry.name] = f"it is {_KINDS.get(entry.kind, 'no file')}"
        for bit, word in _ELEVATING.items():
            if entry.kind == "f" and entry.mode & bit:
                refused[entry.name] = f"its {word} bit; the file itself is there"
    folders = [entry for entry in entries if entry.kind == "d"]
    return Tree(folders, list(firsts.values()), hard_links, links, refused)


def leads_out(name: str, targets: Mapping[str, str]) -> bool:
    """Return whether a symbolic link leads out of the directory, be it by way of other links.

    Args:
        name: of the link.
        targets: where each link of the directory leads, by its name.
    """
    place: list[str] = []
    waiting = name.split("/")[::-1]
    hops = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            if not place:
                return True
            place.pop()
        elif part not in ("", "."):
            place.append(part)
            target = targets.get("/".join(place))
            if target is not None:
                hops += 1
                if target.startswith("/"):
                    return True
                if hops > _MOST_HOPS:
                    return False  # it leads round in a circle, and nowhere
                place.pop()
                waiting += target.split("/")[::-1]
    return False


def batches(files: Sequence[Entry], most_files: int, most_bytes: int) -> Iterator[list[Entry]]:
    """Yield the files in groups of at most so many files, and of so many bytes unless it is one file."""
    batch: list[Entry] = []
    size = 0
    for file in files:
        if batch and (len(batch) >= most_files or size + file.size > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch
