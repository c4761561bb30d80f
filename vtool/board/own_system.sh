# Says of the running system, a row each: its release; the file that is its kernel; the ramdisk of that name.
# With the options that its kernel was built with, where Debian has them or the kernel tells.
# A file's row: SHA-256, bytes, `gzip` or `-`, the first 64 bytes in hexadecimal, path; those of what is in it, unpacked.
release=$(uname -r)
banner=$(cat /proc/version)
echo "release $release"
row() {
  digest=$($2 <"$3" | sha256sum)
  head=$($2 <"$3" 2>/dev/null | head -c 64 | od -An -v -tx1 | tr -d ' \n')
  echo "$1 ${digest%% *} $($2 <"$3" | wc -c) $4 $head $3"
}
for file in /boot/vmlinuz-"$release" /boot/Image-"$release" /boot/vmlinux-"$release" /boot/kernel-"$release" \
  /boot/Image /boot/Image.gz /boot/vmlinuz /boot/kernel*.img /boot/*/Image /boot/*/vmlinuz /boot/*/kernel*.img; do
  [ -f "$file" ] || continue
  read=cat packed=-
  [ "$(head -c 2 "$file" | od -An -tx1 | tr -d ' ')" = 1f8b ] && read='gzip -dc' packed=gzip
  if $read <"$file" 2>/dev/null | grep -aF -c -e "$banner" >/dev/null; then
    row kernel "$read" "$file" $packed
    break
  fi
  echo "other $file"
done
for file in /boot/initrd.img-"$release" /boot/initrd-"$release" /boot/initrd-"$release".img \
  /boot/initramfs-"$release".img /boot/initramfs-"$release" /boot/initramfs-"$release".cpio.gz; do
  [ -f "$file" ] || continue
  row ramdisk cat "$file" -
  break
done
if [ -f /boot/config-"$release" ]; then
  sed -n 's/^CONFIG_/option CONFIG_/p' /boot/config-"$release"
elif [ -f /proc/config.gz ]; then
  gzip -dc /proc/config.gz | sed -n 's/^CONFIG_/option CONFIG_/p'
fi
[ -e /sys/firmware/devicetree/base/chosen/linux,initrd-start ] && echo "ramdisk-given yes"
grep -q 'vtool.boot=[^f ]' /proc/cmdline && echo "of-vtool yes"
exit 0
