"""A board's address moves to a bridge and back, by real interfaces: also when it is not reached, or killed midway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.network.namespaces import BOARD, PYTHON, SSH_PORT, Place, Sshd, until


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
ROOT = Path(__file__).parents[2]
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


def test_a_kernel_without_policy_routing_has_no_rules(place: Place) -> None:
    """As vtool:linux: it answers that there is no such operation."""
    no_rules = '#!/bin/sh\ncase "$*" in *"rule show") echo \'[]\'; exit 255;; esac\nexec /usr/sbin/ip "$@"\n'
    place.board.shim("ip", no_rules)
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    assert place.master() == "br0" and place.answers()


def test_a_step_that_fails_gives_all_back(place: Place) -> None:
    before = place.network("eth0")
    place.board.shim(
        "ip", '#!/bin/sh\ncase "$*" in *"route replace default"*br0) exit 1;; esac\nexec /usr/sbin/ip "$@"\n'
    )
    said = place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0", check=False)
    assert said["error"]["code"] == "VT704" and "route replace default" in said["error"]["message"]
    assert place.network("eth0") == before and place.bridges() == []


# The controller, in the lab's namespace: what a deploy does with a board that it holds when its addresses move.
CONTROLLER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from vtool.board.protocols import BoardClock, SshTarget
from vtool.deploy import uplinks
from vtool.deploy.job import Job, Report
from vtool.diagnostics import VtoolError

folder, verb, *bridges = sys.argv[1:]
target = SshTarget("192.0.2.7", 2222, "root", Path(folder, "identity"), Path(folder, "known_hosts"))
board = SimpleNamespace(name="board0", ssh=lambda: target, patience=1.0, clock=BoardClock.REAL)
uplinks.GUARD_S = 4.0
uplinks.LEASE_S = 4.0
with Job(board, Report(SimpleNamespace(name="board0"))) as job:
    job.hold()
    boot = job.held_board.run("observe", stdin='{"steps": []}')
    print("held", flush=True)
    sys.stdin.readline()
    try:
        uplinks.moved(job, verb, bridges)
    except VtoolError as error:
        print(error.diagnostics[0].code, flush=True)
        print(error.diagnostics, file=sys.stderr)
    else:
        job.held_board.run("observe", stdin='{"steps": []}')
        print("still held", flush=True)
"""
# systemd, as far as a bridge's unit goes: the guard has less time than it would have.
SYSTEMCTL = """#!/bin/sh
case "$*" in
"start vtool-bridge-br0.service") set -- take_uplink br0 eth0 --guard-s 4 ;;
"stop --no-block vtool-bridge-br0.service") set -- give_uplink br0 ;;
*) exit 0 ;;
esac
exec PYTHON -IS /usr/local/sbin/vtool-board "$@" >/dev/null
"""


def controller(place: Place, folder: Path, verb: str, *bridges: str) -> subprocess.Popen[bytes]:
    sshd = Sshd(place, folder)
    (folder / "known_hosts").write_text(f"[{BOARD}]:{SSH_PORT} {sshd.host_key}\n")
    place.board.shim("systemctl", SYSTEMCTL.replace("PYTHON", PYTHON))
    generation = json.dumps({"generation": "g1", "networks": [{"name": "br0", "uplink": "eth0"}], "files": []})
    made = "mkdir -p /var/lib/vtool/generations/g1 && ln -s /var/lib/vtool/generations/g1 /run/vtool-current"
    place.board.run("sh", "-c", f"{made} && cat >/var/lib/vtool/generations/g1/generation.json", stdin=generation)
    # What ssh runs finds the shims first.
    place.board.run("sh", "-c", "ln -s /run/shims/systemctl /usr/local/sbin/systemctl")
    words = [*place.lab.prefix, sys.executable, "-c", CONTROLLER, str(folder), verb, *bridges]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdout and process.stdout.readline() == b"held\n"
    return process


def test_a_deploy_holds_the_board_still_and_confirms_over_a_new_connection(place: Place, tmp_path: Path) -> None:
    with controller(place, tmp_path, "start_uplinks", "br0") as process:
        said, _ = process.communicate(b"\n", timeout=60)
    assert said == b"still held\n"
    assert place.master() == "br0" and place.answers()
    time.sleep(5)  # longer than the guard waits
    assert place.master() == "br0"


def test_a_deploy_that_loses_the_board_says_so_and_the_board_has_its_address_back(place: Place, tmp_path: Path) -> None:
    before = place.network("eth0")
    with controller(place, tmp_path, "start_uplinks", "br0") as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(lambda: place.master() == "br0")
        place.lab.run("ip", "link", "set", "lan0", "down")
        until(lambda: place.master() == "", 30)
        place.lab.run("ip", "link", "set", "lan0", "up")
        assert process.stdout.readline() == b"VT475\n"
    until(place.answers)
    until(lambda: place.network("eth0") == before)
    assert place.bridges() == []


def test_down_gives_the_address_back_and_holds_the_board_still(place: Place, tmp_path: Path) -> None:
    before = place.network("eth0")
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    with controller(place, tmp_path, "release_uplinks") as process:
        said, _ = process.communicate(b"\n", timeout=60)
    assert said == b"still held\n"
    assert place.master() == "" and place.network("eth0") == before


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
