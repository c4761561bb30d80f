"""A board's address moves to a bridge and back, by real interfaces: also when it is not reached, or killed midway."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.machine import make_key
from tests.network.namespaces import BOARD, Place, until


def test_addresses_and_routes_move_and_come_back_as_they_were(place: Place) -> None:
    """The rest of the board's files are read-only meanwhile: a power cut forgets all of it."""
    before = place.network("eth0")
    assert place.answers() and len(before) > 8
    mac = place.board.ip("link", "show", "dev", "eth0")[0]["address"]
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    assert place.network("br0") == before
    assert place.network("eth0") == ()
    assert place.master() == "br0"
    assert place.board.ip("link", "show", "dev", "br0")[0]["address"] == mac
    assert place.answers() and place.answers("2001:db8::7")
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")  # once more changes nothing
    assert place.network("br0") == before
    place.board.program("give_uplink", "br0")
    assert place.network("eth0") == before
    assert (place.master(), place.bridges()) == ("", [])
    assert place.answers() and place.answers("2001:db8::7")


def test_what_nobody_confirms_is_given_back(place: Place) -> None:
    before = place.network("eth0")
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "2")
    assert place.master() == "br0"
    place.lab.run("ip", "link", "set", "lan0", "down")  # nobody comes through
    until(lambda: place.master() == "")
    place.lab.run("ip", "link", "set", "lan0", "up")
    until(place.answers)
    until(lambda: place.network("eth0") == before)


def test_what_is_confirmed_stays(place: Place) -> None:
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "2")
    assert place.board.program("confirm_uplinks") == {"uplinks": ["br0"]}
    time.sleep(3)
    assert place.master() == "br0" and place.answers()


def test_a_release_that_nobody_confirms_is_taken_again(place: Place) -> None:
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    moved = place.network("br0")
    assert place.board.program("release_uplinks", "--seconds", "2") == {"released": ["br0"]}
    assert (place.master(), place.bridges()) == ("", ["br0"]) and place.network("eth0") == moved
    until(lambda: place.master() == "br0")
    until(lambda: place.network("br0") == moved)
    assert place.board.program("release_uplinks", "--seconds", "2") == {"released": ["br0"]}
    assert place.board.program("confirm_uplinks") == {"uplinks": []}
    time.sleep(3)
    assert place.master() == "" and place.answers()
    place.board.program("give_uplink", "br0")
    assert place.bridges() == []


# `ip` that ends the program which called it, at its N-th change; a line a change in /run/calls.
_KILLER = """#!/bin/sh
case " $* " in *" show "*) ;; *)
  echo "$*" >>/run/calls
  [ "$(wc -l </run/calls)" -ne "$(cat /run/kill-at)" ] || { kill -9 $PPID; exit 1; } ;;
esac
exec /usr/sbin/ip "$@"
"""


def test_a_program_that_is_killed_at_any_step_is_given_back_by_its_unit(place: Place) -> None:
    """The unit's ExecStopPost runs whatever became of its start."""
    before = place.network("eth0")
    place.board.shim("ip", _KILLER)
    killed = 0
    while True:
        place.board.run("sh", "-c", f"rm -f /run/calls; echo {killed + 1} >/run/kill-at")
        said = place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0", check=False)
        if "killed" not in said:
            break
        killed += 1
        place.board.run("sh", "-c", "echo 0 >/run/kill-at")
        place.board.program("give_uplink", "br0")
        assert place.network("eth0") == before, f"killed at change {killed}"
        assert (place.master(), place.bridges()) == ("", [])
        assert place.answers()
    assert killed > 12  # as many changes as there are


def test_the_guard_gives_back_what_a_killed_program_left(place: Place) -> None:
    before = place.network("eth0")
    place.board.shim("ip", _KILLER)
    place.board.run("sh", "-c", "echo 7 >/run/kill-at")
    assert "killed" in place.board.program("take_uplink", "br0", "eth0", "--guard-s", "8", check=False)
    assert not place.answers()
    place.board.run("sh", "-c", "echo 0 >/run/kill-at")
    until(place.answers)
    until(lambda: place.network("eth0") == before)


def test_a_step_that_fails_gives_all_back(place: Place) -> None:
    before = place.network("eth0")
    place.board.shim(
        "ip", '#!/bin/sh\ncase "$*" in *"route replace default"*br0) exit 1;; esac\nexec /usr/sbin/ip "$@"\n'
    )
    said = place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0", check=False)
    assert said["error"]["code"] == "VT704" and "route replace default" in said["error"]["message"]
    assert place.network("eth0") == before and place.bridges() == []


def test_a_connection_of_ssh_outlives_the_move_and_a_new_one_confirms_it(place: Place, tmp_path: Path) -> None:
    files = place.board.files
    make_key(files / "host")
    identity = tmp_path / "identity"
    public = make_key(identity)
    (files / "authorized_keys").write_text(public + "\n")
    files.chmod(0o755)
    config = "Port 2222\nHostKey /tmp/board/host\nPidFile none\nUsePAM no\nStrictModes no\n"
    config += "AuthorizedKeysFile /tmp/board/authorized_keys\nPermitRootLogin yes\n"
    (files / "sshd_config").write_text(config)
    sshd = subprocess.Popen([*place.board.prefix, "/usr/sbin/sshd", "-D", "-e", "-f", "/tmp/board/sshd_config"])
    options = (
        "-F",
        "/dev/null",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
    )
    ssh = [
        *place.lab.prefix,
        "ssh",
        *options,
        "-i",
        str(identity),
        "-o",
        "ConnectTimeout=2",
        "-p",
        "2222",
        f"root@{BOARD}",
    ]
    try:
        until(lambda: subprocess.run([*ssh, "true"], capture_output=True).returncode == 0)
        program = f"{sys.executable} -IS /tmp/board/vtool-board"
        with subprocess.Popen([*ssh, "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
            assert held.stdin and held.stdout
            held.stdin.write(f"{program} take_uplink br0 eth0 --guard-s 4\n".encode())
            held.stdin.flush()
            assert b'"bridge": "br0"' in held.stdout.readline()
            done = subprocess.run([*ssh, f"{program} confirm_uplinks"], capture_output=True)
            assert done.stdout == b'{"uplinks": ["br0"]}\n', done.stderr
            held.stdin.close()
            assert held.wait(20) == 0
        time.sleep(5)
        assert place.master() == "br0"
    finally:
        sshd.kill()
        sshd.wait()


# ---------------------------------------------------------------- who has the addresses


def client(place: Place, name: str, *words: str) -> None:
    """Start a DHCP client that does nothing but be there, and start others of its kind."""
    place.board.shim(name, "#!/bin/sh\nwhile :; do sleep 1; done\n")
    words = (*place.board.prefix, f"/run/shims/{name}", *words)
    place.processes.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))


_MINE = """
own=$(readlink /proc/self/ns/net)
for P in /proc/[0-9]*; do
    case "$(tr '\\0' ' ' <$P/cmdline)" in "/bin/sh /run/shims/$1 "*) ;; *) continue ;; esac
    [ "$(readlink $P/ns/net)" = "$own" ] || continue
    $2 ${P#/proc/}
done 2>/dev/null
true
"""


def clients(place: Place, name: str) -> list[str]:
    """Return the command lines of the clients that run in the board's network."""
    said = place.board.run(
        "sh", "-c", f"show() {{ tr '\\0' ' ' </proc/$1/cmdline; echo; }}; {_MINE}", "sh", name, "show"
    )
    return sorted(line.split(f"{name} ", 1)[1].strip() for line in said.stdout.splitlines())


def end(place: Place, name: str) -> None:
    place.board.run("sh", "-c", _MINE, "sh", name, "kill -9")


@pytest.mark.parametrize("name", ["udhcpc", "dhclient"])
def test_a_dhcp_client_is_started_again_for_the_bridge_and_then_for_its_interface(place: Place, name: str) -> None:
    client(place, name, "-b", "-i", "eth0", "-p", f"/run/{name}.eth0.pid")
    until(lambda: clients(place, name))
    try:
        place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
        until(lambda: clients(place, name) == [f"-b -i br0 -p /run/{name}.br0.pid"])
        place.board.program("give_uplink", "br0")
        until(lambda: clients(place, name) == [f"-b -i eth0 -p /run/{name}.eth0.pid"])
    finally:
        end(place, name)


def test_a_lease_keeps_the_time_that_it_has_left(place: Place) -> None:
    lease(place, "7200", "3600")
    client(place, "udhcpc", "-i", "eth0")
    until(lambda: clients(place, "udhcpc"))
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    (link,) = filter(None, place.board.ip("address", "show", "dev", "br0", "to", "198.51.100.7"))
    (address,) = filter(None, link["addr_info"])
    assert 7100 < address["valid_life_time"] <= 7200 and 3500 < address["preferred_life_time"] <= 3600
    end(place, "udhcpc")


def lease(place: Place, valid: str, preferred: str) -> None:
    words = ("valid_lft", valid, "preferred_lft", preferred)
    place.board.run("ip", "address", "change", "198.51.100.7/25", "dev", "eth0", *words)


NETWORK_FILE = """\
[Match]
Name=eth*

[Link]
RequiredForOnline=no

[Network]
DHCP=ipv4
VLAN=eth0.7

[DHCPv4]
UseMTU=yes
"""


def test_networkd_is_told_in_run_alone_and_told_to_forget(place: Place) -> None:
    index = place.board.ip("link", "show", "dev", "eth0")[0]["ifindex"]
    (place.board.files / "10-eth.network").write_text(NETWORK_FILE)
    state = "ADMIN_STATE=configured\\nNETWORK_FILE=/tmp/board/10-eth.network\\n"
    place.board.run("sh", "-c", "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases")
    place.board.run("sh", "-c", f"printf '{state}' >/run/systemd/netif/links/{index}")
    place.board.run("sh", "-c", f"echo CLIENTID=ff0001020a000100 >/run/systemd/netif/leases/{index}")
    place.board.shim(
        "networkctl", '#!/bin/sh\nls /run/systemd/network | tr "\\n" " " >>/run/asked; echo "$@" >>/run/asked\n'
    )
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    told = place.board.run("sh", "-c", "cat /run/systemd/network/00-vtool-br0.network").stdout
    assert told == (
        "[Match]\nName=br0\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=ipv4\n\n[DHCPv4]\nUseMTU=yes\n\n"
        f"[DHCPv4]\nIAID={0x0001020A}\n"
    )
    left = place.board.run("cat", "/run/systemd/network/00-vtool-eth0.network").stdout
    assert left == "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n"
    place.board.program("give_uplink", "br0")
    asked = place.board.run("cat", "/run/asked").stdout
    assert asked == "00-vtool-br0.network 00-vtool-eth0.network reload\nreload\n"


def test_networkd_that_has_not_come_to_the_interface_is_waited_for(place: Place) -> None:
    """At boot: what it does is not known yet, and it would put its address beside the bridge's."""
    index = place.board.ip("link", "show", "dev", "eth0")[0]["ifindex"]
    (place.board.files / "10-eth.network").write_text(NETWORK_FILE)
    place.board.run("sh", "-c", "mkdir -p /run/systemd/netif/links; echo OPER_STATE=routable >/run/systemd/netif/state")
    place.board.run("sh", "-c", f"echo ADMIN_STATE=pending >/run/systemd/netif/links/{index}")
    place.board.shim("networkctl", "#!/bin/sh\n")
    later = "sleep 2; printf 'ADMIN_STATE=configuring\\nNETWORK_FILE=/tmp/board/10-eth.network\\n' "
    later += f">/run/systemd/netif/links/{index}"
    place.processes.append(subprocess.Popen([*place.board.prefix, "sh", "-c", later]))
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    assert "DHCP=ipv4" in place.board.run("cat", "/run/systemd/network/00-vtool-br0.network").stdout


def refused(place: Place, interface: str) -> tuple[str, str, list[str]]:
    before = place.network("eth0")
    error = place.board.program("take_uplink", "br9", interface, "--guard-s", "0", check=False)["error"]
    assert place.network("eth0") == before and "br9" not in place.bridges()
    return error["code"], error["message"], error["hints"]


def test_an_interface_that_cannot_be_one_is_refused_before_anything_changes(place: Place) -> None:
    board = place.board
    assert refused(place, "eth7")[:2] == ("VT471", "the board has no interface 'eth7'")
    board.run("ip", "link", "add", "lan1", "type", "bridge")
    assert refused(place, "lan1")[2] == ["write `bridge: lan1, existing: true`"]
    board.run("ip", "link", "add", "dummy0", "type", "veth", "peer", "name", "dummy1")
    board.run("ip", "link", "set", "dummy0", "master", "lan1")
    code, message, hints = refused(place, "dummy0")
    assert (code, message) == ("VT471", "'dummy0' of the board is a port of 'lan1' already") and "lan1" in hints[0]
    assert refused(place, "lo")[0] == "VT471"
    board.run("ip", "rule", "add", "iif", "eth0", "table", "7", "priority", "99")
    assert refused(place, "eth0")[:2] == ("VT471", "a policy rule of the board (priority 99) names 'eth0'")


def test_a_tool_that_is_not_known_is_not_fought(place: Place) -> None:
    index = place.board.ip("link", "show", "dev", "eth0")[0]["ifindex"]
    # 198.51.100.7 has a lifetime and no client.
    lease(place, "600", "600")
    assert refused(place, "eth0")[:2] == (
        "VT477",
        "the addresses of 'eth0' cannot be moved: nobody is found who renews its lease",
    )
    place.board.run("sh", "-c", "mkdir -p /run/NetworkManager/devices")
    place.board.run("sh", "-c", f"printf '[device]\\nmanaged=true\\n' >/run/NetworkManager/devices/{index}")
    code, message, hints = refused(place, "eth0")
    assert (code, message) == ("VT477", "the addresses of 'eth0' cannot be moved: NetworkManager has it")
    assert "existing: true" in hints[0]
