#!/bin/sh
# mmdebstrap extract hook: make the installed system in "$1" what somebody else's board could run.
set -eu
root=$1

printf 'UUID=7654002a-0000-4000-8000-000000000001 / ext4 errors=remount-ro 0 1\n' > "$root/etc/fstab"
printf 'UUID=7654002a-0000-4000-8000-000000000002 /boot ext2 defaults 0 2\n' >> "$root/etc/fstab"
printf 'foreign\n' > "$root/etc/hostname"
: > "$root/etc/machine-id"

# The network card is a port of a bridge, which has the address.
network=$root/etc/systemd/network
mkdir -p "$network"
printf '[NetDev]\nName=br0\nKind=bridge\n' > "$network/10-br0.netdev"
printf '[Match]\nName=br0\n[Network]\nDHCP=ipv4\n' > "$network/20-br0.network"
printf '[Match]\nName=en* eth*\n[Network]\nBridge=br0\n' > "$network/30-port.network"

# One user, who may become root; root itself has no way in.
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 admin
printf 'admin ALL=(ALL) NOPASSWD: ALL\n' > "$root/etc/sudoers.d/admin"
chmod 440 "$root/etc/sudoers.d/admin"
printf 'PermitRootLogin no\nPasswordAuthentication no\n' > "$root/etc/ssh/sshd_config.d/10-keys.conf"
rm -f "$root"/etc/ssh/ssh_host_*

# What it boots by itself, as u-boot-update writes it where /boot is a partition of its own.
printf 'U_BOOT_PARAMETERS="ro console=ttyAMA0"\nU_BOOT_TIMEOUT="10"\n' > "$root/etc/default/u-boot"
chroot "$root" u-boot-update
sed -i 's|/boot/|/|g' "$root/boot/extlinux/extlinux.conf"

chroot "$root" systemctl enable systemd-networkd ssh
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
