"""The body of an HTTP response within bounds. Imported only where the package `openai`, which brings httpx2, is."""

import time
from collections.abc import Iterator

import httpx2


class BoundedStream(httpx2.SyncByteStream):
    """Ends in an error where a body is too long or takes too long.

    The client's own time-out starts anew with every part, so that a server that drips would never reach it.

    Args:
        response (`httpx2.Response`): not read yet.
        deadline_s (`float`): when the last byte must be here, on the clock of `time.monotonic`.
        max_bytes (`int`): of the body.
    """

    def __init__(self, response: httpx2.Response, deadline_s: float, max_bytes: int) -> None:
        self._stream, self._request = response.stream, response.request
        self._deadline_s, self._max_bytes = deadline_s, max_bytes

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._stream:
            size += len(part)
            if time.monotonic() > self._deadline_s:
                raise httpx2.ReadTimeout("the answer takes too long", request=self._request)
            if size > self._max_bytes:
                raise httpx2.DecodingError(f"the answer is over {self._max_bytes} bytes", request=self._request)
            yield part

    def close(self) -> None:
        """Closes the connection's stream."""
        self._stream.close()
