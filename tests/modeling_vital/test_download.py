"""Addresses: opt-in, public ones only, whatever the redirects and name servers say, within limits."""

import http.server
import io
import ipaddress
import re
import socket
import threading
import time

import pytest
from PIL import Image

from modeling_vital import download_vital
from modeling_vital.download_vital import download, is_public
from modeling_vital.media_vital import MediaError, load_media


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (9, 8, 7)).save(buffer, format="PNG")
    return buffer.getvalue()


SPECIAL = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.0 127.255.255.255
168.63.129.16 169.254.0.0 169.254.169.254 169.254.169.253 169.254.170.2 169.254.255.255 172.16.0.0 172.31.255.255
192.0.0.0 192.0.0.9 192.0.0.10 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255 192.31.196.1 192.52.193.1 192.88.99.0
192.88.99.1 192.88.99.255 192.168.0.0 192.168.255.255 192.175.48.1 198.18.0.0 198.19.255.255 198.51.100.7
203.0.113.7 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255
:: ::1 ::7f00:1 ::ffff:192.0.0.192 ::ffff:168.63.129.16 64:ff9b::a83f:8110 64:ff9b::c000:c0 64:ff9b:1::808:808 100::1
100:0:0:1::1 2001::1 2001:0:808:808::1 2001:1::1 2001:2::1 2001:4:112::1 2001:20::1 2001:30::1
2001:1ff:ffff::1 2001:db8::1
2002:a83f:8110:: 2002:c058:6301:: 2620:4f:8000::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::a9fe:a9fe
fec0::1 ff02::1 4000::1 2600::5efe:a00:1 2600::200:5efe:7f00:1
""".split()
NEIGHBOURS = """
1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
::ffff:8.8.8.8 64:ff9b::808:808 2001:200::1 2003::1 2606:4700::1111 2600::5efe:808:808
""".split()
_OK = b"HTTP/1.1 200 OK\r\n"
# A beginning, and what follows for ever, byte by byte or line by line.
DRIPS = {
    "/slow-status": (b"HTTP/1.1 200 O", b"O"),
    "/slow-header": (_OK + b"X: ", b"x"),
    "/many-continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "/slow-chunk-size": (_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "/slow-chunk": (_OK + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"x"),
    "/slow-trailers": (_OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "/slow-body": (_OK + b"Content-Length: 9999\r\n\r\n", b"x"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Host"]))
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.02)
        elif self.path in DRIPS:
            self.wfile.write(DRIPS[self.path][0])
            for _ in range(200):
                self.wfile.write(DRIPS[self.path][1])
                time.sleep(0.02)
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "99999")
            self.end_headers()
            self.wfile.write(b"x" * 20)
        else:
            self.send_response(200 if self.path == "/a%20b.png" else 404)
            self.end_headers()
            self.wfile.write(png())

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:  # The client had enough.
            pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def allowed(monkeypatch):
    """Lets a test connect to its own server; no argument does that."""
    monkeypatch.setattr(download_vital, "is_public", lambda address: True)


def test_addresses_are_opt_in(server, allowed):
    url = f"{server.url}/a b.png"
    with pytest.raises(MediaError, match="allow_url=True"):
        load_media(url)
    assert server.seen == []
    for address in (url, f"{server.url}/to?/a%20b.png", f"{server.url}/to?{server.url}/to?/a%20b.png"):
        assert load_media(address, allow_url=True).getpixel((0, 0)) == (9, 8, 7)


@pytest.mark.parametrize(
    "path, reason",
    [
        ("/missing.png", "missing.png'.*404"),
        ("/to?file:///etc/hostname", "hostname'.* https "),
        ("/to?ftp://127.0.0.1/a", "ftp:.* https "),
        ("/short", "early"),
    ],
)
def test_bad_answers_are_media_errors(server, allowed, path, reason):
    with pytest.raises(MediaError, match=reason):
        download(server.url + path, repr(path))


def test_endless_redirects_slow_and_large_answers_are_given_up(server, allowed, monkeypatch):
    with pytest.raises(MediaError, match="5 redirects"):
        download(f"{server.url}/to?" + "/to?" * 9 + "/a%20b.png", "'loop'")
    monkeypatch.setattr(download_vital, "DOWNLOAD_TIMEOUT_S", 0.1)
    began = time.monotonic()
    with pytest.raises(MediaError, match="0.1 s"):
        download(f"{server.url}/slow", "'slow'")
    assert time.monotonic() - began < 1.5
    monkeypatch.setattr(download_vital, "MAX_URL_BYTES", 10)
    with pytest.raises(MediaError, match="MB"):
        download(f"{server.url}/a%20b.png", "'large'")


@pytest.mark.parametrize("path", DRIPS)
def test_one_deadline_holds_for_the_whole_exchange(server, allowed, path, monkeypatch):
    monkeypatch.setattr(download_vital, "DOWNLOAD_TIMEOUT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(MediaError, match="0.3 s"):
        download(server.url + path, "'slow'")
    assert time.monotonic() - began < 1.5


def test_the_deadline_holds_over_redirects_and_slow_name_servers(server, allowed, monkeypatch):
    monkeypatch.setattr(download_vital, "DOWNLOAD_TIMEOUT_S", 0.3)
    with pytest.raises(MediaError, match="0.3 s"):
        download(f"{server.url}/to?/to?/slow-header", "'slow'")
    monkeypatch.setattr(download_vital.socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(2))
    began = time.monotonic()
    with pytest.raises(MediaError, match="0.3 s"):
        download("http://slow.test/a", "'slow'")
    assert time.monotonic() - began < 1.5


def test_the_thread_of_an_exchange_that_was_given_up_ends(server, allowed, monkeypatch):
    monkeypatch.setattr(download_vital, "DOWNLOAD_TIMEOUT_S", 0.2)
    for path in ("/slow-header", "/slow-trailers", "/slow-body"):
        with pytest.raises(MediaError):
            download(server.url + path, "'slow'")
    for thread in [each for each in threading.enumerate() if each.name == "vital download"]:
        thread.join(2)
        assert not thread.is_alive()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:image/png;base64,AA", "http:///a"])
def test_other_schemes_are_refused(url):
    with pytest.raises(MediaError, match=re.escape(repr(url)) + ".* https "):
        load_media(url, allow_url=True)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "169.254.169.254", "10.0.0.1"],
)
def test_private_hosts_are_refused_without_a_connection(server, host):
    with pytest.raises(MediaError, match=" public"):
        download(f"http://{host}:{server.server_port}/a", "'a'")
    assert server.seen == []


# The registries of special-purpose addresses, first and last of each network, and their public neighbours.
PUBLIC = ["8.8.8.8", "2606:4700::1111", *NEIGHBOURS]
PRIVATE = ["172.16.0.1", "192.168.1.1", "100.64.0.1", "224.0.0.1", "fe80::1", "fc00::1", "fec0::1"]
PRIVATE += ["::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:808:808::1", *SPECIAL]


def taken_for_public(addresses):
    return [address for address in addresses if is_public(ipaddress.ip_address(address))]


def test_public_addresses():
    assert taken_for_public(PUBLIC) == PUBLIC
    assert taken_for_public(PRIVATE) == []


def test_the_tables_of_a_python_version_decide_nothing_alone(monkeypatch):
    """Where Python takes all for public, the own list still knows."""
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for name, value in (("is_global", True), ("is_multicast", False), ("is_reserved", False)):
            monkeypatch.setattr(kind, name, value)
    assert taken_for_public(NEIGHBOURS) == NEIGHBOURS
    assert taken_for_public(SPECIAL) == []


def answers(monkeypatch, *addresses):
    """A name server that gives one answer after the other; returns the names it was asked for."""
    left, asked = list(addresses), []

    def getaddrinfo(host, port, *args, **kwargs):
        if host.replace(".", "").isdigit():  # `create_connection` with an address
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(download_vital.socket, "getaddrinfo", getaddrinfo)
    return asked


def test_one_private_address_among_public_ones_is_refused(monkeypatch):
    answers(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(MediaError, match="10.0.0.1"):
        download("http://mixed.test/a", "'a'")


def test_the_connection_goes_to_the_address_that_was_checked(server, monkeypatch):
    """A second look-up would give a private address: there is none, and the Host header keeps the name."""
    asked = answers(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    checked = []
    monkeypatch.setattr(download_vital, "is_public", lambda address: checked.append(str(address)) or True)
    assert download(f"http://rebind.test:{server.server_port}/a%20b.png", "'a'") == png()
    assert asked == ["rebind.test"] and checked == ["127.0.0.1"]
    assert server.seen == [("/a%20b.png", f"rebind.test:{server.server_port}")]


def test_a_redirect_to_a_private_host_is_refused(server, monkeypatch):
    answers(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    monkeypatch.setattr(download_vital, "is_public", lambda address: str(address) == "127.0.0.1")
    with pytest.raises(MediaError, match="10.0.0.1"):
        download(f"http://first.test:{server.server_port}/to?http://second.test/a", "'a'")


def test_proxies_of_the_environment_are_not_used(server, allowed, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert download(f"{server.url}/a%20b.png", "'a'") == png()
