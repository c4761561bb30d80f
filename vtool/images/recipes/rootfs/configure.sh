#!/bin/sh
# mmdebstrap extract hook: install VTOOL_PACKAGES into "$1", in which the essential packages are extracted.
#
# dpkg runs natively from outside, so that unpacking costs nothing; maintainer scripts run inside, under
# emulation. What takes minutes there is kept from it:
# - the interpreters of those scripts (one start of perl costs two seconds) are the host's own meanwhile.
#   Its libraries have a folder of their own (multiarch), so both architectures live side by side;
# - byte-compiling all of Python (left to first use) and the hardware database (not needed) are stubbed.
set -eu
root=$1
devices="null zero full random urandom"
stubbed="usr/bin/python3.13 usr/bin/py3compile usr/bin/systemd-hwdb"
native=
libraries=
# Others have their own folder for libraries; an arm64 host needs nothing of this.
if [ "$(dpkg --print-architecture)" = amd64 ]; then
    native="usr/bin/perl usr/bin/dash usr/bin/bash"
    libraries="usr/lib/x86_64-linux-gnu usr/share/perl"
    loader=lib64/ld-linux-x86-64.so.2
fi

install() {
    dpkg --root="$root" --force-unsafe-io --force-architecture --force-depends --force-confold "$@"
}

leave() {
    for device in $devices; do umount "$root/dev/$device" 2>/dev/null || true; done
    for folder in $libraries; do umount "$root/$folder" 2>/dev/null || true; done
    umount "$root/proc" 2>/dev/null || true
}
trap leave EXIT

lend_interpreters() {
    [ -n "$native" ] || return 0
    mkdir "$root/lib64"
    cp -L "/$loader" "$root/$loader"
    for folder in $libraries; do
        mkdir "$root/$folder"
        [ ! -d "/$folder" ] || mount --bind "/$folder" "$root/$folder"
    done
    for program in $native; do cp "/$program" "$root/$program"; done
}

take_interpreters_back() {
    [ -n "$native" ] || return 0
    for folder in $libraries; do
        umount "$root/$folder" 2>/dev/null || true
        rmdir "$root/$folder"
    done
    rm "$root/$loader"
    rmdir "$root/lib64"
}

# shellcheck disable=SC2086 # a list
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet=2 --yes --download-only install $VTOOL_PACKAGES

mount -t proc proc "$root/proc"
for device in $devices; do
    [ -e "$root/dev/$device" ] || : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
# No service is started in here (invoke-rc.d, Debian policy 9.3.3).
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

set -f # these are patterns for dpkg, not for this shell
# shellcheck disable=SC2086 # a list
set -- $VTOOL_EXCLUDED
set +f
for pattern in "$@"; do
    shift
    set -- "$@" "--path-exclude=$pattern"
done
install "$@" --unpack "$root"/var/cache/apt/archives/*.deb

for program in $stubbed $native; do mv "$root/$program" "$root/$program.kept"; done
for program in $stubbed; do
    printf '#!/bin/sh\nexit 0\n' > "$root/$program"
    chmod 755 "$root/$program"
done
lend_interpreters
install --configure --pending
for program in $stubbed $native; do mv "$root/$program.kept" "$root/$program"; done
take_interpreters_back

rm "$root/usr/sbin/policy-rc.d"
dpkg --root="$root" --audit
