"""Addresses and routes of an interface, as iproute2 tells and takes them: read from one, put on another.

What the kernel makes by itself (a link's own addresses, the route to an address's network) is left to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .base import run
from .typed import Any

FOREVER = 2**32 - 1
"""Seconds that the kernel says of what does not end."""
SETTINGS = Path("/proc/sys/net/ipv6/conf")
FOLLOWED = ("accept_ra", "autoconf", "addr_gen_mode", "use_tempaddr")
"""What decides which IPv6 addresses an interface gives itself (Linux Documentation/networking/ip-sysctl.rst)."""
_OF_THE_KERNEL = ("local", "broadcast", "anycast", "multicast")


def ip_json(*words: str) -> list[dict[str, Any]]:
    """Return what ``ip -j`` says; BoardError VT704 where it cannot."""
    found = json.loads(run("ip", "-j", *words).stdout or "[]")
    return [each for each in found if each]


def addresses_of(interface: str) -> list[dict[str, Any]]:
    """Return an interface's addresses: family, text, whether a lease ends it, and the words that give it to another."""
    found = []
    for link in ip_json("address", "show", "dev", interface):
        for address in link.get("addr_info", []):
            if address.get("temporary") or (address["family"] == "inet6" and address.get("scope") == "link"):
                continue
            found.append(
                {
                    "family": address["family"],
                    "address": address["local"],
                    "leased": address.get("valid_life_time", FOREVER) != FOREVER,
                    "words": list(_words_of_address(address)),
                }
            )
    return found


def _words_of_address(address: dict[str, Any]) -> Iterator[str]:
    prefix = address["prefixlen"]
    if "address" in address:  # the other end's
        yield from (address["local"], "peer", f"{address['address']}/{prefix}")
    else:
        yield f"{address['local']}/{prefix}"
    if "broadcast" in address:
        yield from ("broadcast", address["broadcast"])
    if address.get("scope", "global") != "global":
        yield from ("scope", address["scope"])
    if "metric" in address:
        yield from ("metric", str(address["metric"]))
    if address.get("valid_life_time", FOREVER) != FOREVER:
        yield from ("valid_lft", str(address["valid_life_time"]))
        yield from ("preferred_lft", str(address.get("preferred_life_time", 0)))
    if address.get("noprefixroute"):
        yield "noprefixroute"
    if address["family"] == "inet6":
        yield "nodad"  # it is the same interface's, on the same link


def routes_of(interface: str) -> list[dict[str, Any]]:
    """Return an interface's routes of all tables, in the order in which they can be made again."""
    found = []
    for family in ("-4", "-6"):
        for route in ip_json(family, "-N", "route", "show", "table", "all", "dev", interface):
            # Numbers of rtnetlink(7): RTPROT_KERNEL 2; the kernel makes these with their addresses.
            if route.get("type") in _OF_THE_KERNEL or str(route.get("protocol")) in ("2", "kernel"):
                continue
            found.append({"family": family, "words": list(_words_of_route(route))})
    return sorted(found, key=lambda route: "via" in route["words"])


def rules_of(family: str) -> list[dict[str, Any]]:
    """Return the policy rules of a family; a kernel without CONFIG_IP_MULTIPLE_TABLES has none, and says so."""
    done = run("ip", "-j", family, "rule", "show", check=False)
    return [each for each in json.loads(done.stdout or "[]") if each] if done.returncode == 0 else []


def _words_of_route(route: dict[str, Any]) -> Iterator[str]:
    yield route["dst"]
    if "via" in route:
        yield from ("via", route["via"]["family"], route["via"]["host"])
    elif "gateway" in route:
        yield from ("via", route["gateway"])
    for key, word in (("prefsrc", "src"), ("metric", "metric"), ("table", "table"), ("protocol", "proto")):
        if key in route:
            yield from (word, str(route[key]))
    if "scope" in route and "gateway" not in route:
        yield from ("scope", str(route["scope"]))
    for metrics in route.get("metrics", []):
        for key in ("mtu", "advmss", "hoplimit"):
            if key in metrics:
                yield from (key, str(metrics[key]))
    if route.get("expires"):
        yield from ("expires", str(route["expires"]))
    if "onlink" in route.get("flags", []):
        yield "onlink"


def put(addresses: list[dict[str, Any]], routes: list[dict[str, Any]], interface: str, *, check: bool) -> None:
    """Give addresses and routes to an interface, those that it has as they are said now."""
    for address in addresses:
        run("ip", "address", "replace", *address["words"], "dev", interface, check=check)
    for route in routes:
        run("ip", route["family"], "route", "replace", *route["words"], "dev", interface, check=check)


def follow_settings(source: str, target: str) -> None:
    """Let an interface find IPv6 addresses as another does."""
    for name in FOLLOWED:
        value = setting(source, name)
        if value is not None and setting(target, name) not in (None, value):
            (SETTINGS / target / name).write_text(value)


def setting(interface: str, name: str) -> str | None:
    """Return an IPv6 setting of an interface, None where there is none."""
    try:
        return (SETTINGS / interface / name).read_text().strip()
    except OSError:
        return None


def without_ipv6(interface: str, *, off: bool) -> None:
    """Switch an interface's IPv6 off, with all of its addresses, or on again."""
    path = SETTINGS / interface / "disable_ipv6"
    if path.exists():
        path.write_text("1" if off else "0")
