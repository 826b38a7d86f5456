"""Fetches media from http(s) addresses that are not in private networks."""

import contextlib
import http.client
import ipaddress
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

from .media_error_vital import MediaError


MAX_URL_BYTES = 200 * 2**20
URL_TIMEOUT_S = 20.0
DOWNLOAD_TIMEOUT_S = 120.0
MAX_REDIRECTS = 5

_GLOBAL_UNICAST, _NAT64 = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("64:ff9b::/96")
_ISATAP = 0x5EFE  # before the IPv4 address in the lower half; one bit above it says whether that is unique
_NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared between customers of a provider; 100.100.100.200 tells secrets in one cloud
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # a cloud's host, seen from its guests
        "169.254.0.0/16",  # link-local; 169.254.169.254 tells secrets in most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 tells secrets in one cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112, for names of private networks
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # relays from IPv6, no longer in use
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # tests of networks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments, Teredo and tests of networks among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, no longer in use; Python takes it for public up to 3.12
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
"""Special-purpose networks. Of IPv6 only those inside of `_GLOBAL_UNICAST`: all outside of it are refused."""

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
        MediaError: for another scheme, a private address, a failure, or what is too large or takes too long: all
            of the exchange, with names, redirects, headers and body, has `DOWNLOAD_TIMEOUT_S` seconds.
    """
    exchange = _Exchange(url, name)
    # A thread of its own: no time limit of a socket bounds a server that sends one byte of a header now and then, nor
    # a slow name server.
    thread = threading.Thread(target=exchange.run, name="vital download", daemon=True)
    thread.start()
    try:
        thread.join(DOWNLOAD_TIMEOUT_S)
        late = thread.is_alive()  # before it is stopped: a broken connection may look like the end of an answer
    finally:
        exchange.stop()
    if late:
        raise MediaError(f"{name} takes over {DOWNLOAD_TIMEOUT_S:g} s; download it yourself and give the file.")
    if exchange.error is not None:
        raise exchange.error
    assert exchange.data is not None  # it is over, and without an error
    return exchange.data


class _Exchange:
    """All that is said over the network for one address, in one thread.

    Attributes:
        data (`bytes` or `None`): what came; error (`BaseException` or `None`): why nothing did.
    """

    def __init__(self, url: str, name: str) -> None:
        self.data: bytes | None = None
        self.error: BaseException | None = None
        self._url, self._name, self._stopped = url, name, False
        self._socket: socket.socket | None = None
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Fetches; never raises."""
        try:
            self.data = self._fetch()
        except MediaError as error:
            self.error = error
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.error = MediaError(f"{self._name} cannot be downloaded ({str(error)[:200]}); check the address.")
            self.error.__cause__ = error
        except BaseException as error:  # raised again by who waits
            self.error = error

    def stop(self) -> None:
        """Breaks the connection, so that the thread ends: whatever it waits for fails."""
        self._stopped = True
        sockets: list[socket.socket | None] = [self._connection.sock if self._connection else None, self._socket]
        for held in sockets:
            if held is not None:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)

    def _fetch(self) -> bytes:
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            with self._get(url) as response:
                if response.status in _REDIRECTS and response.headers["Location"]:
                    url = urllib.parse.urljoin(url, response.headers["Location"])
                    continue
                if response.status != 200:
                    said = f"{response.status} {response.reason[:80]}"
                    raise MediaError(f"{self._name} cannot be downloaded ({said}); check the address.")
                return self._read(response)
        raise MediaError(f"{self._name} cannot be downloaded (over {MAX_REDIRECTS} redirects); check the address.")

    @contextlib.contextmanager
    def _get(self, url: str) -> Iterator[http.client.HTTPResponse]:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MediaError(
                f"{self._name} is not an http or https address, or leads to another; give the file itself."
            )
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        address = _resolve(parts.hostname, port, self._name)
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname, port, timeout=URL_TIMEOUT_S)

        def connect(_: object, *args: Any, **kwargs: Any) -> socket.socket:
            if self._stopped:
                raise OSError("stopped")
            self._socket = socket.create_connection((address, port), *args, **kwargs)
            return self._socket

        # The hook of http.client itself: the name stays for the Host header and the certificate, the address is ours.
        connection._create_connection = connect  # type: ignore[attr-defined]  # no public name; in all of 3.10 to 3.13
        self._connection = connection
        with contextlib.closing(connection):
            target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            quoted = urllib.parse.quote(target, safe="/?&=+%:@!$'()*,;~-._[]")
            connection.request("GET", quoted, headers={"User-Agent": "modeling-vital", "Accept-Encoding": "identity"})
            yield connection.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        data = bytearray()
        while block := response.read1(2**16):
            data += block
            if len(data) > MAX_URL_BYTES:
                raise MediaError(
                    f"{self._name} is over {MAX_URL_BYTES // 2**20} MB; download it yourself and give the file."
                )
        if response.length:
            raise MediaError(f"{self._name} ended {response.length} bytes early; try again.")
        return bytes(data)


def _resolve(host: str, port: int, name: str) -> str:
    addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in addresses:
        if not is_public(ipaddress.ip_address(text.partition("%")[0])):
            raise MediaError(f"{name} is at or leads to {text}, an address that is not public; give the file itself.")
    return addresses[0]


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Says whether an address is one of the open internet.

    Python's own tables differ by version, so an address must pass them and the lists here: IANA's registries of
    special-purpose addresses, and addresses at which clouds tell a machine its secrets. An IPv4 address wrapped in
    IPv6 (mapped, NAT64, ISATAP) is judged by itself.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if address in _NAT64 or int(address) >> 32 & 0xFDFFFFFF == _ISATAP:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not is_public(inner):
            return False
        if address.ipv4_mapped or address in _NAT64:
            return True
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
