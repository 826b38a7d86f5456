"""Fetches media from http(s) addresses that are not in private networks."""

import contextlib
import http.client
import ipaddress
import socket
import time
import urllib.parse
from collections.abc import Iterator

from .media_error_vital import MediaError


MAX_URL_BYTES = 200 * 2**20
URL_TIMEOUT_S = 20.0
DOWNLOAD_TIMEOUT_S = 120.0
MAX_REDIRECTS = 5

_REDIRECTS = {301, 302, 303, 307, 308}


def download(url: str, name: str) -> bytes:
    """Fetches what is at an address.

    The host's name is resolved once, its addresses are checked, and the connection goes to one that was checked: a
    name server that answers differently the second time gains nothing. Redirects are checked like the first address.
    Proxies of the environment are not used: behind one, nothing could be said about where the connection ends.

    Args:
        url (`str`): an http or https address.
        name (`str`): what error messages call it.

    Returns:
        `bytes`: `MAX_URL_BYTES` at most.

    Raises:
        MediaError: for another scheme, a private address, a failure, or what is too large or takes too long.
    """
    deadline_s = time.monotonic() + DOWNLOAD_TIMEOUT_S
    try:
        for _ in range(MAX_REDIRECTS + 1):
            with _get(url, name) as response:
                if response.status in _REDIRECTS and response.headers["Location"]:
                    url = urllib.parse.urljoin(url, response.headers["Location"])
                    continue
                if response.status != 200:
                    raise MediaError(
                        f"{name} cannot be downloaded ({response.status} {response.reason}); check the address."
                    )
                return _read(response, name, deadline_s)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name} cannot be downloaded ({error}); check the address.") from error
    raise MediaError(f"{name} cannot be downloaded (over {MAX_REDIRECTS} redirects); check the address.")


@contextlib.contextmanager
def _get(url: str, name: str) -> Iterator[http.client.HTTPResponse]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MediaError(f"{name} is not an http or https address, or leads to another; give the file itself.")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = _resolve(parts.hostname, port, name)
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname, port, timeout=URL_TIMEOUT_S)
    # The hook of http.client itself: the name stays for the Host header and the certificate, the address is ours.
    connection._create_connection = lambda _, *args, **kwargs: socket.create_connection(
        (address, port), *args, **kwargs
    )
    with contextlib.closing(connection):
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        quoted = urllib.parse.quote(target, safe="/?&=+%:@!$'()*,;~-._[]")
        connection.request("GET", quoted, headers={"User-Agent": "modeling-vital", "Accept-Encoding": "identity"})
        yield connection.getresponse()


def _resolve(host: str, port: int, name: str) -> str:
    addresses = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in addresses:
        if not is_public(ipaddress.ip_address(text.partition("%")[0])):
            raise MediaError(f"{name} is at or leads to {text}, an address that is not public; give the file itself.")
    return addresses[0]


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the open internet, also where IPv4 is wrapped in IPv6 (mapped, 6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _read(response: http.client.HTTPResponse, name: str, deadline_s: float) -> bytes:
    data = bytearray()
    while block := response.read1(2**16):
        data += block
        if len(data) > MAX_URL_BYTES:
            raise MediaError(f"{name} is over {MAX_URL_BYTES // 2**20} MB; download it yourself and give the file.")
        if time.monotonic() > deadline_s:
            raise MediaError(f"{name} takes over {DOWNLOAD_TIMEOUT_S:g} s; download it yourself and give the file.")
    if response.length:
        raise MediaError(f"{name} ended {response.length} bytes early; try again.")
    return bytes(data)
