# vtool: board1 boots kvm
setenv linux_args 'console=ttyAMA0 root=/dev/vda2 rootfstype=ext4 rw rootwait panic=10 systemd.watchdog_sec=90 i6300esb.heartbeat=180'
setenv linux_args "${linux_args} vtool.generation=${vtool_generation} vtool.boot=${vtool_set}"
pci enum
pci write.w 0.1.0 60 0
mw.l 1000000c 80; mw.l 1000000c 86; mw.l 10000000 16800
mw.l 1000000c 80; mw.l 1000000c 86; mw.l 10000004 16800
mw.l 1000000c 80; mw.l 1000000c 86; mw.l 1000000c 100
pci write.b 0.1.0 68 3
load virtio 0:1 0x4a000000 vtool/${vtool_set}/Image
load virtio 0:1 0x50000000 vtool/${vtool_set}/initrd
setenv ramdisk_size 0x${filesize}
load virtio 0:1 0x46000000 vtool/${vtool_set}/board.dtb
setenv bootargs "${linux_args}"
booti 0x4a000000 0x50000000:${ramdisk_size} 0x46000000
