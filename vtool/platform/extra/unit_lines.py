"""Settings of systemd that are added to a unit of vtool's, as a drop-in would add them.

systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.resource-control(5) of 252: a setting is given once or is
a list, and an empty value takes back what a list had.
"""

from __future__ import annotations

import re

from vtool.platform.extra import Format

SECTIONS = ("Unit", "Service")
_SETTING = re.compile(r"([A-Z][A-Za-z0-9]{1,60})\s*=\s*(.*)")

WRITTEN = frozenset((
    "Description", "Type", "PIDFile", "RemainAfterExit", "ExecStart", "ExecStop", "KillMode", "User", "Group",
    "UMask", "RuntimeDirectory", "RuntimeDirectoryMode", "LogsDirectory", "StateDirectory", "Restart", "RestartSec",
    "TimeoutStartSec", "TimeoutStopSec", "StartLimitIntervalSec", "StartLimitBurst", "AllowedCPUs",
    "EnvironmentFile", "PrivateDevices",
))  # fmt: skip
"""What vtool's units say, and rely on having said alone."""
OF_RUN = frozenset(("Restart", "RestartSec"))
"""Of these what the unit of a guest that QEMU runs leaves to its user: whether one that crashed is started again."""
LISTS = frozenset((
    "After", "Before", "Requires", "Wants", "BindsTo", "PartOf", "AssertPathExists", "ExecStartPre", "ExecStartPost",
    "ExecStopPost", "Environment", "SupplementaryGroups", "DeviceAllow", "ReadWritePaths", "InaccessiblePaths",
))  # fmt: skip
"""What they say, and more can be said of; without a value it would take back what vtool says."""
SANDBOX = frozenset((
    "NoNewPrivileges", "ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules",
    "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "ProtectHostname", "ProtectProc", "ProcSubset",
    "PrivateTmp", "PrivateNetwork", "DevicePolicy", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID",
    "RestrictAddressFamilies", "LockPersonality", "MemoryDenyWriteExecute", "CapabilityBoundingSet",
    "SystemCallArchitectures", "SystemCallFilter", "LimitMEMLOCK", "LimitNOFILE",
))  # fmt: skip
"""What shuts a program in: what is added may need it otherwise, so that the user's word, which stands last, counts."""


def read(line: str) -> tuple[str, ...]:
    """Return the setting of a line as `name=value`. ValueError where systemd would take more than the line for it."""
    found = _SETTING.fullmatch(line)
    if found is None:
        raise ValueError("it is no setting such as Nice=5")
    if line.endswith("\\"):
        raise ValueError("a backslash at its end would make the next line a part of it")
    return (f"{found[1]}={found[2]}",)


def decided(said: str) -> str | None:
    """Return why a setting is vtool's to write."""
    name, _, value = said.partition("=")
    if name in WRITTEN:
        return "vtool's units say it"
    if name in LISTS and not value.strip():
        return "it would take back what vtool's units say"
    return None


def decided_of_run(said: str) -> str | None:
    """Return why a setting of a unit that is a guest's QEMU itself is vtool's to write."""
    return None if said.partition("=")[0] in OF_RUN else decided(said)


OF_UNITS = Format("a setting of systemd", "Nice=5", read, decided)
OF_RUN_UNITS = Format(OF_UNITS.what, OF_UNITS.example, read, decided_of_run)
