# Says of the running system how it was started and what a deploy will stand on, a row each: `key value`.
# Its arguments are files of boot loaders, which it looks for on each file system. It changes nothing.
# What only root may read, such as U-Boot's environment, is missing without it.
say() { [ -n "$2" ] && echo "$1 $2"; }
first() { command -v "$1" 2>/dev/null; }
text() { tr -d '\0' 2>/dev/null <"$1"; }
say cmdline "$(cat /proc/cmdline)"
while read -r source target type options rest; do
  case $type in vfat|ext2|ext3|ext4|btrfs|xfs|f2fs) ;; *) continue ;; esac
  case $source in /dev/*) source=$(readlink -f "$source") ;; esac
  free=$(df -Pk "$target" 2>/dev/null | awk 'NR == 2 { print $4 }')
  echo "mount $source $target $type ${options%%,*} ${free:-0}"
  for file in "$@"; do
    [ -e "${target%/}/$file" ] && echo "has $target $file"
  done
done </proc/mounts
for link in /dev/disk/by-partuuid/*; do
  [ -e "$link" ] && echo "partuuid $(readlink -f "$link") ${link##*/}"
done
for folder in /sys/class/block/*; do
  [ -e "$folder/partition" ] || continue
  disk=$(readlink -f "$folder/..")
  echo "partition ${folder##*/} ${disk##*/} $(cat "$folder/start") $(cat "$folder/size")"
done
say compatible "$(tr '\0' ' ' 2>/dev/null </sys/firmware/devicetree/base/compatible)"
say u-boot "$(text /sys/firmware/devicetree/base/chosen/u-boot,version)"
[ -e /etc/fw_env.config ] && grep -v '^ *\(#\|$\)' /etc/fw_env.config | sed 's/^/fw-env-config /'
if [ -n "$(first fw_printenv)" ]; then
  say fw-printenv "$(first fw_printenv)"
  fw_printenv 2>/dev/null | sed -n 's/^\([A-Za-z0-9_]*\)=/environment \1 /p'
fi
say fw-setenv "$(first fw_setenv)"
say consoles "$(cat /sys/class/tty/console/active)"
for folder in /sys/class/watchdog/*; do
  [ -e "$folder" ] && echo "watchdog ${folder##*/} $(cat "$folder/timeout" 2>/dev/null || echo -) $(cat "$folder/identity" 2>/dev/null)"
done
say hypervisor "$(cat /sys/hypervisor/type)"
say xl "$(first xl)"
for file in /boot/xen* /boot/*/xen*; do
  [ -f "$file" ] && echo "xen-image $file"
done
[ -d /run/systemd/system ] && echo "systemd runs $(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
for python in /usr/bin/python3; do
  [ -x "$python" ] && say python "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
done
say user "$(id -u)"
say fsck-vfat "$(PATH=$PATH:/usr/sbin:/sbin first fsck.vfat)"
say clock "$(date +%s)"
[ -e /dev/kvm ] && echo "kvm yes"
[ -d /sys/firmware/acpi/tables ] && echo "acpi yes"
[ -d /sys/firmware/efi ] && echo "efi yes"
exit 0
