"""The whole way on a real emulated board: both examples in turn, what must fail, and leaving it clean.

The tests of this file run in order on one board, as a day of work would.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = pytest.mark.board
KVM, XEN, DOM0LESS = (EXAMPLES / f"{name}.yaml" for name in ("kvm-pool", "xen-pv", "dom0less"))
UNIT = "vtool-domain-fe0.service"


def test_nothing_is_there_before(bench: Bench) -> None:
    assert "not made" in bench.vtool("board", "list").stdout
    assert "VT602" in bench.vtool("board", "power", "on", code=3).stderr
    assert "power not made" in bench.vtool("status", KVM, code=3).stdout


def test_kvm_pool_is_deployed_and_proven(bench: Bench) -> None:
    report = bench.deploy(KVM)
    assert report["proven"] and report["changed"] and report["rebooted"]
    rows = {row["what"]: row["seen"] for row in report["rows"]}
    assert rows["features the driver accepted (of bits 32 and 33)"] == "VIRTIO_F_VERSION_1, VIRTIO_F_IOMMU_PLATFORM"
    assert rows["guest memory it maps"] == "16MiB in 1 memory object(s)"
    assert int(rows["slots of 'pool0' used by that I/O (high-water mark)"]) > 0
    assert len(report["rows"]) == 16 and rows["release of its QEMU"].startswith("10.0.")


def test_a_second_deploy_changes_nothing(bench: Bench) -> None:
    before = bench.ssh("cat /proc/sys/kernel/random/boot_id; systemctl show -p MainPID " + UNIT)
    report = bench.deploy(KVM)
    assert report["proven"]
    assert not report["changed"] and not report["rebooted"] and report["restarted"] == []
    assert bench.ssh("cat /proc/sys/kernel/random/boot_id; systemctl show -p MainPID " + UNIT) == before


def test_a_play_by_hand_finds_what_was_deployed(bench: Bench) -> None:
    before = bench.ssh("cat /proc/sys/kernel/random/boot_id; systemctl show -p MainPID " + UNIT)
    for words in ((), ("--check", "--diff")):
        assert re.search("board0 .* changed=0 .* failed=0", bench.play("deploy", KVM, *words))
    assert bench.ssh("cat /proc/sys/kernel/random/boot_id; systemctl show -p MainPID " + UNIT) == before
    bench.play("verify", KVM)


def test_the_interactive_verbs(bench: Bench) -> None:
    assert "running" in bench.vtool("status", KVM).stdout
    assert bench.vtool("exec", "fe0", "--", "echo 'a  b' \"$((6*7))\"").stdout == "a  b 42\n"
    bench.vtool("exec", "fe0", "--", "exit 7", code=7)
    missing = bench.vtool("exec", "fe1", "--", "true", code=3).stderr
    assert "VT711" in missing and "did you mean 'fe0'?" in missing
    assert "created restricted DMA pool" in bench.vtool("logs", "fe0", "-n", "400").stdout
    assert "vhost-user-blk" in bench.vtool("logs", "disk0").stdout
    assert re.search(r"board0 +emulated +qemu-virt +on", bench.vtool("board", "list").stdout)


def test_the_backend_runs_confined(bench: Bench) -> None:
    pid = bench.ssh("systemctl show -p MainPID --value vtool-backend-disk0.service").strip()
    status = bench.ssh(f"cat /proc/{pid}/status; ps -o user= -p {pid}")
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    assert "vtool-backend"[:8] in status.splitlines()[-1]


def restart_domain(bench: Bench) -> None:
    bench.ssh(f"systemctl daemon-reload; systemctl stop {UNIT}; systemctl start {UNIT}")


def test_a_region_moved_by_hand_is_found(bench: Bench, tmp_path: Path) -> None:
    bench.change_tree(KVM, tmp_path, {"0x50000000": "0x48000000", "@50000000": "@48000000"})
    restart_domain(bench)
    said = bench.ssh("cat /var/log/vtool/fe0/console.log.old")
    assert "reboot: Power down" in said, "it was asked to end, and did"
    output = bench.vtool("verify", KVM, code=3).stdout
    assert "expected [0x50000000, 0x51000000); seen [0x48000000, 0x49000000)" in output
    assert "NOT PROVEN" in output and "tail of domain 'fe0'" in output
    assert "expected [0x50000000, 0x51000000); seen [0x48000000, 0x49000000)" in bench.play("verify", KVM, code=2)
    assert "is not what was deployed" in bench.vtool("status", KVM, code=3).stdout


def test_what_was_changed_by_hand_is_put_right(bench: Bench) -> None:
    for shown in (
        bench.vtool("plan", KVM, "--against-board", code=2).stdout,
        bench.play("deploy", KVM, "--check", "--diff"),
    ):
        assert "restarts: " in shown and UNIT in shown
    assert re.search("board0 .* changed=[123] .* failed=0", bench.play("deploy", KVM))
    assert all(row["proven"] for row in bench.verify(KVM))


def test_a_wrong_host_key_is_refused(bench: Bench, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    pinned = bench.board_folder / "known_hosts"
    right = pinned.read_text()
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    pinned.write_text(f"{right.split()[0]} {kind} {key}\n")
    try:
        assert "VT604" in bench.vtool("deploy", KVM, code=3).stderr
        assert "VT604" in bench.vtool("status", KVM, code=3).stderr
        up = bench.vtool("board", "up", code=3)
        assert "VT604" in up.stderr and "answers" not in up.stdout
    finally:
        pinned.write_text(right)


def test_a_full_disk_changes_nothing(bench: Bench) -> None:
    before = bench.ssh("readlink /var/lib/vtool/current")
    bench.ssh("rm -rf /var/lib/vtool/store; fallocate -l $(($(df --output=avail -B1 / | tail -1) - 4000000)) /filler")
    try:
        refused = bench.vtool("deploy", XEN, code=3).stderr
        assert "VT705" in refused and "nothing was changed" in refused
        assert bench.ssh("readlink /var/lib/vtool/current") == before
    finally:
        bench.ssh("rm /filler; sync")


def test_a_board_that_does_not_answer(bench: Bench) -> None:
    pid = int((bench.board_folder / "qemu.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        silent = bench.vtool("status", KVM, code=3).stderr
        assert "VT603" in silent and "\n   | " in silent, "the console's tail is missing"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_power_cut_loses_nothing(bench: Bench) -> None:
    bench.vtool("board", "power", "off")
    assert "power off" in bench.vtool("status", KVM, code=3).stdout
    assert "VT602" in bench.vtool("verify", KVM, code=3).stderr
    begin = time.monotonic()
    report = bench.deploy(KVM)
    print(f"deploy to a board that was off: {time.monotonic() - begin:.0f} s")
    assert report["proven"] and not report["changed"]


def test_xen_follows_on_the_same_board(bench: Bench) -> None:
    report = bench.deploy(XEN)
    assert report["proven"] and report["rebooted"]
    subjects = {row["subject"] for row in report["rows"]}
    assert subjects == {"hypervisor", "domain dom0", "region region0", "domain fe0", "device disk0", "device net0"}
    assert "hypervisor xen" in bench.vtool("status", XEN).stdout
    assert bench.vtool("exec", "fe0", "--", "cat /sys/hypervisor/type").stdout == "xen\n"
    assert bench.ssh("ls /run/systemd/generator /etc/systemd/system | grep -c fe0.*kvm || true").strip() == "0"


def test_another_topology_than_what_runs_is_not_verified(bench: Bench) -> None:
    wrong = bench.vtool("verify", KVM, code=3).stderr
    assert "VT703" in wrong and "'xen-pv' is deployed on board 'board0', not 'kvm-pool'" in wrong


def test_domains_that_xen_builds_at_boot(bench: Bench) -> None:
    report = bench.deploy(DOM0LESS)
    assert report["proven"] and report["rebooted"]
    seen = {(row["subject"], row["what"]): row["seen"] for row in report["rows"]}
    assert seen["domain be0", "Xen built it as domain 1"] == "128 MiB, 1 CPUs"
    assert seen["event channel bell", "what Xen bound port 7 of 'fe0' to"] == "d=1 p=1"
    assert bench.vtool("logs", "fe0").stdout.count("vtool: domain ready") == 1
    assert "domain    fe0     running" in bench.vtool("status", DOM0LESS).stdout
    assert "Ctrl-A" in bench.vtool("exec", "fe0", "--", "true", code=3).stderr


def test_down_leaves_the_board_clean(bench: Bench) -> None:
    bench.vtool("down", DOM0LESS)
    left = bench.ssh(
        "cat /proc/cmdline; ls -d /var/lib/vtool /run/vtool /usr/local/sbin/vtool-board /boot/vtool 2>/dev/null; "
        "find /etc/systemd/system /etc/systemd/system-generators /run/systemd/generator /boot -name '*vtool*'; "
        "getent passwd | grep vtool; ip link show xenbr0 2>/dev/null; true"
    )
    assert "vtool.boot=factory" in left and len(left.splitlines()) == 1, left
    assert "deployed  board0  nothing" in bench.vtool("status", DOM0LESS, code=3).stdout
    assert "VT703" in bench.vtool("verify", DOM0LESS, code=3).stderr
    assert "ended by itself" in bench.vtool("board", "down").stdout
