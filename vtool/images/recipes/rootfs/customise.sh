#!/bin/sh
# mmdebstrap extract hook: make the installed system in "$1" an emulated board's.
set -eu
root=$1

printf '/dev/vda2 / ext4 defaults,noatime 0 1\n/dev/vda1 /boot vfat umask=0077 0 2\n' > "$root/etc/fstab"
printf 'board\n' > "$root/etc/hostname"
: > "$root/etc/machine-id"

# The hypervisor is handed to the boot loader by vtool; the FAT boot partition is mounted over /boot.
mkdir -p "$root/usr/lib/vtool-images"
mv "$root"/boot/xen-*-arm64 "$root/usr/lib/vtool-images/xen"
rm -rf "$root"/boot/*

mkdir -p "$root/etc/systemd/network" "$root/etc/systemd/system.conf.d" "$root/etc/ssh/sshd_config.d"
printf '[Match]\nKind=!*\nType=ether\nDriver=virtio_net\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n' \
    > "$root/etc/systemd/network/10-first.network"
printf '[Manager]\nDefaultTimeoutStopSec=20s\n' > "$root/etc/systemd/system.conf.d/vtool.conf"
# PAM and the key exchange that withstands quantum computers double what a connection costs under emulation.
printf 'PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\nUsePAM no\nKexAlgorithms -mlkem*,sntrup*\n' \
    > "$root/etc/ssh/sshd_config.d/vtool.conf"
rm -f "$root"/etc/ssh/ssh_host_*

# A lab board: root on the serial console, of Linux and of dom0.
for console in ttyAMA0 hvc0; do
    mkdir -p "$root/etc/systemd/system/serial-getty@$console.service.d"
    printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 - $TERM\n' \
        > "$root/etc/systemd/system/serial-getty@$console.service.d/autologin.conf"
done

# Guest consoles are logged, as vtool reads them.
printf 'XENCONSOLED_ARGS="--log=guest --timestamp=none"\n' >> "$root/etc/default/xen"
mkdir -p "$root/var/log/xen/console" "$root/var/log/journal"

# What vtool-board and Ansible import is compiled now, not by the board at its first deploy.
# (Not with the caller's environment: PYTHONDONTWRITEBYTECODE would make this write nothing.)
env -i PATH="$PATH" chroot "$root" python3 -c 'import argparse, ast, base64, contextlib, copy, ctypes, datetime, \
fcntl, gzip, hashlib, importlib.util, json, locale, logging, platform, pwd, queue, runpy, select, selectors, shlex, shutil, \
socket, subprocess, tarfile, tempfile, termios, threading, traceback, tty, typing, urllib.parse, uuid, zipfile'

chroot "$root" systemctl enable systemd-networkd ssh
chroot "$root" systemctl disable xendomains
chroot "$root" systemctl mask systemd-networkd-wait-online.service e2scrub_reap.service \
    e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    modprobe@.service systemd-modules-load.service \
    getty-static.service getty@tty1.service systemd-firstboot.service systemd-hwdb-update.service systemd-pcrlock.socket

mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"

rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
