"""A report that nobody reads."""


class Silent:
    """Takes what long work reports, and drops it."""

    def step(self, where: str, what: str) -> None:
        """Take a step."""

    def done(self, where: str, what: str = "") -> None:
        """Take an end."""

    def failed(self, where: str, why: str) -> None:
        """Take a failure."""

    def note(self, text: str) -> None:
        """Take a note."""
