"""Every rendered xl.cfg, read back by a strict reader of xl's grammar, is what was planned."""

from __future__ import annotations

import re

import pytest

from tests.golden.test_golden import CASES, rendered
from tests.golden.xl_config import Place, disk, places, read, virtio, xl_takes
from vtool.base.units import format_cpu_list
from vtool.cli.common import prepare
from vtool.data_paths import DataPath

GUESTS = {
    f"{case}-{guest.name}": (case, guest)
    for case in CASES
    if case.startswith("xen")
    for guest in prepare(CASES[case]).plan.boards[0].xen_guests
}


@pytest.mark.parametrize("name", GUESTS)
def test_what_xl_reads_is_what_was_planned(name: str) -> None:
    case, guest = GUESTS[name]
    text = rendered(CASES[case])[f"board0/generation/domains/{guest.name}/{guest.name}.cfg"]
    assert xl_takes(text)
    settings = read(text)
    assert (settings["name"], settings["memory"]) == (guest.name, guest.memory_bytes >> 20)
    assert settings["extra"] == guest.bootargs
    assert places(settings) == [Place(d.place.base, d.intid, d.data_path is DataPath.GRANT) for d in guest.virtio]
    # xl/xl_parse.c: nr_spis and shadow_memory (MiB) are numbers, sve is a word, llc_colors a list of words.
    value = {setting.row.field: setting.value for setting in guest.settings}
    wanted = {
        "vuart": "sbsa_uart" if value["uart"] else None,
        "nr_spis": value["spis"],
        "shadow_memory": value["p2m_memory"] >> 20 if value["p2m_memory"] else None,
        "trap_unmapped_accesses": None if value["trap_unmapped_accesses"] else 0,
        "sve": None if value["sve"] is None else str(value["sve"] or "hw"),
        "llc_colors": format_cpu_list(value["llc_colors"]).split(",") if value["llc_colors"] else None,
        "arm_sci": "type=scmi_smc" if value["scmi_smc"] else None,
        "pool": value["cpupool"],
        **{name: value[name] for name in ("max_grant_version", "max_grant_frames", "max_maptrack_frames")},
    }
    plain = {
        s.row.xl.word: s.value for s in guest.settings if s.row.xl and s.row.xl.write and s.row.xl.word not in wanted
    }
    assert {word: settings.get(word) for word in (wanted | plain)} == wanted | {
        w: None if v is False else v for w, v in plain.items()
    }
    disks = [disk(text) for text in settings["disk"]]  # type: ignore[union-attr]
    mine = [*guest.disks, *(device.disk for device in guest.virtio if device.disk)]
    wanted_disks = [(d.virtual_device, d.link, None) for d in mine]
    wanted_disks += [(d.virtual_device, d.target, d.backend) for d in guest.served_disks]
    assert sorted((d["vdev"], d["target"], d.get("backend")) for d in disks) == sorted(wanted_disks)
    # A guest that starts anew by itself would have a number that no backend knows.
    assert settings["on_reboot"] == ("destroy" if guest.virtio else "restart")


@pytest.mark.parametrize(
    "text",
    [
        "format=raw,vdev=xvda,access=rw,backendtype=standalone,target=/x",
        "format=raw,vdev=xvda,access=rw,backendtype=phy,specification=virtio,target=/x",
        "format=qcow2,vdev=xvda,access=rw,backendtype=phy,target=/x",
        "format=raw,vdev=xvda,access=rw,backendtype=phy",
    ],
)
def test_disks_that_xl_refuses_are_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        disk(text)


@pytest.mark.parametrize(
    "text", ["type=device22,transport=mmio", "type=virtio,device,transport=pci", "type=virtio,device,x=1"]
)
def test_virtio_devices_that_xl_refuses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no type|does not know"):
        virtio(text)


@pytest.mark.parametrize("text", ['a = "x" b = 1\n', "a = [=]\n", 'a = ["x" "y"]\n', "a = 1\na = 2\n", "a: 1\n"])
def test_files_that_xl_refuses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(text)


def test_xenpvh_gets_its_devices_in_libxls_order() -> None:
    for case, guest in GUESTS.values():
        if guest.qemu is None:
            continue
        unit = rendered(CASES[case])[f"board0/generation/units/{guest.qemu.unit}"]
        assert re.findall(r"-device virtio-\S+?,id=device-([^,\s]+)", unit) == [d.name for d in guest.virtio]
        assert "bus=virtio-mmio" not in unit  # QEMU counts those buses downwards


def test_units_come_in_the_order_that_libxl_needs() -> None:
    # libxl waits for the backend of a virtio disk while it makes the domain; QEMU needs the domain's number.
    case, guest = GUESTS["xen-virtio-grant-fe1"]
    units = {name.rpartition("/")[2]: text for name, text in rendered(CASES[case]).items() if "/units/" in name}
    daemons = [device.daemon.unit for device in guest.virtio if device.daemon]
    create = units[guest.create_unit or ""]
    assert daemons and all(f"After={unit}\n" in create for unit in daemons)
    qemu = GUESTS["xen-virtio-grant-fe0"][1].qemu
    assert qemu is not None and "After=vtool-create-fe0.service\n" in units[qemu.unit]
    assert f"After={qemu.unit}\n" in units["vtool-domain-fe0.service"]


@pytest.mark.parametrize("case", [case for case in CASES if "virtio" in case or case == "dom0less-pool"])
def test_programs_in_dom0_may_open_what_they_need(case: str) -> None:
    """Root without capabilities is anybody to files of others, and a closed device answers EPERM, not ENOENT."""
    units = {name: text for name, text in rendered(CASES[case]).items() if "/units/" in name}
    of_xen = {name: text for name, text in units.items() if "/dev/xen/" in text}
    assert of_xen
    for name, text in of_xen.items():
        # Xen tools/libs/call/linux.c stops at any other error than ENOENT of `hypercall`.
        nodes = set(re.findall(r"^DeviceAllow=/dev/xen/(\w+) rw$", text, re.M))
        assert {"privcmd", "hypercall", "evtchn", "gntdev", "xenbus"} <= nodes, name
        capabilities = re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.M)[-1]
        # The board program gives images to vtool-backend, mode 0600.
        assert ("CAP_DAC_OVERRIDE" in capabilities) == ("filename=/var/lib/vtool/disks/" in text), name
        # Folders of the daemons' sockets are 0750, their group is vtool.
        assert ("SupplementaryGroups=vtool\n" in text) == ("--socket-path" in text), name


def test_xen_vhost_frontend_finds_its_daemons_where_they_listen() -> None:
    # It looks for `<kind>.sock<N>` behind the path as it is written, and counts from 0 for each kind.
    _, guest = GUESTS["xen-virtio-vhost-fe0"]
    frontend = guest.vhost_frontend
    assert frontend is not None and not frontend.foreign
    assert [link.removeprefix(frontend.folder) for link, _ in frontend.links] == [
        "/i2c.sock0",
        "/i2c.sock1",
        "/gpio.sock0",
    ]
    assert [socket for _, socket in frontend.links] == [d.backend.socket for d in guest.virtio if d.backend]
    units = rendered(CASES["xen-virtio-vhost"])
    assert f"--socket-path {frontend.folder}/\n" in units[f"board0/generation/units/{frontend.unit}"]
    assert f"After={frontend.unit}\n" in units[f"board0/generation/units/{guest.create_unit}"]
    other = GUESTS["xen-virtio-vhost-foreign-fe0"][1].vhost_frontend
    unit = rendered(CASES["xen-virtio-vhost-foreign"])[f"board0/generation/units/{other.unit}"]  # type: ignore[union-attr]
    assert "--foreign-mapping\n" in unit
