"""A paramiko transport that sends nothing for a channel after its close, and changes keys about as rarely as OpenSSH.

paramiko sends a channel's data outside of the lock under which the channel is closed, so that with several threads data
may follow the close. sshd answers that by ending the whole connection ("data packet referred to nonexistent channel"),
and with it every other channel. Here, data and end-of-file of a channel that has been closed meanwhile are dropped at
the point where all messages are in order.

paramiko changes keys after 512 MiB. If its thread then has to send the close of a channel, it waits for the new keys,
which only this same thread can receive: after 30 s the connection ends ("Key-exchange timed out"). Hence the higher
limit here.

This module imports paramiko, which takes time; import it inside of functions.
"""

from __future__ import annotations

from typing import Any

import paramiko

# Half of OpenSSH's limit for AES: 2^32 blocks, 64 GiB, as RFC 4344, section 3.2, advises.
_REKEY_BYTES = 1 << 35
_GREETING = "Banner: "


class OrderedChannel(paramiko.Channel):
    """A channel whose data and end-of-file messages carry the channel itself, for `OrderedTransport` to look at."""

    def _send(self, s: bytes, m: Any) -> int:
        m.channel = self
        sent: int = super()._send(s, m)  # type: ignore[misc]
        return sent

    def _send_eof(self) -> Any:
        m = super()._send_eof()  # type: ignore[misc]
        if m is not None:
            m.channel = self
        return m


class OrderedTransport(paramiko.Transport):
    """A transport with the changes that the docstring of this module explains.

    Attributes:
        greeting: what the server said before it spoke SSH, which is why it does not want to; empty: nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.greeting = ""
        super().__init__(*args, **kwargs)
        self.packetizer.REKEY_BYTES = _REKEY_BYTES

    def open_channel(self, *args: Any, **kwargs: Any) -> paramiko.Channel:
        """Open a channel as paramiko does."""
        channel = super().open_channel(*args, **kwargs)
        channel.__class__ = OrderedChannel  # open_channel has no parameter for the class
        return channel

    def _send_message(self, data: Any) -> None:
        # Messages of channels come here one at a time, and a channel is marked as closed before its close is sent.
        channel = getattr(data, "channel", None)
        if channel is None or not channel.closed:
            super()._send_message(data)  # type: ignore[misc]

    def _log(self, level: int, msg: Any, *args: Any) -> None:
        if isinstance(msg, str) and msg.startswith(_GREETING):  # paramiko keeps it nowhere else
            self.greeting = f"{self.greeting} {msg.removeprefix(_GREETING)}".strip()
        super()._log(level, msg, *args)  # type: ignore[misc]
