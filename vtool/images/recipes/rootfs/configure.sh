#!/bin/sh
# mmdebstrap extract hook: install what was extracted into "$1".
#
# dpkg runs natively from outside, so that unpacking costs nothing; maintainer scripts run inside, under
# emulation. Three programs that work for minutes there are stubbed meanwhile: byte-compiling all of
# Python (left to first use) and compiling the hardware database (not needed).
set -eu
root=$1
devices="null zero full random urandom"
stubbed="usr/bin/python3.13 usr/bin/py3compile usr/bin/systemd-hwdb"

install() {
    dpkg --root="$root" --force-unsafe-io --force-architecture --force-depends --force-confold "$@"
}

leave() {
    for device in $devices; do umount "$root/dev/$device" 2>/dev/null || true; done
    umount "$root/proc" 2>/dev/null || true
}
trap leave EXIT

mount -t proc proc "$root/proc"
for device in $devices; do
    [ -e "$root/dev/$device" ] || : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
# No service is started in here (invoke-rc.d, Debian policy 9.3.3).
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

install --unpack "$root"/var/cache/apt/archives/*.deb
for program in $stubbed; do
    mv "$root/$program" "$root/$program.kept"
    printf '#!/bin/sh\nexit 0\n' > "$root/$program"
    chmod 755 "$root/$program"
done
install --configure --pending
for program in $stubbed; do
    mv "$root/$program.kept" "$root/$program"
done
rm "$root/usr/sbin/policy-rc.d"
dpkg --root="$root" --audit
