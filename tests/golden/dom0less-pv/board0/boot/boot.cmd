# vtool: board0 boots xen
setenv linux_args 'console=hvc0 root=/dev/vda2 rootfstype=ext4 rw rootwait panic=10 systemd.watchdog_sec=90 i6300esb.heartbeat=180'
setenv linux_args "${linux_args} vtool.generation=${vtool_generation} vtool.boot=${vtool_set}"
pci enum
pci write.w 0.1.0 60 0
mw.l 1000000c 80; mw.l 1000000c 86; mw.l 10000000 16800
mw.l 1000000c 80; mw.l 1000000c 86; mw.l 10000004 16800
mw.l 1000000c 80; mw.l 1000000c 86; mw.l 1000000c 100
pci write.b 0.1.0 68 3
setenv xen_args 'console=dtuart dtuart=/pl011@9000000 dom0_mem=1024M dom0_max_vcpus=1 conring_size=1m'
load virtio 0:1 0x48000000 vtool/${vtool_set}/xen
load virtio 0:1 0x4a000000 vtool/${vtool_set}/Image
setenv kernel_size 0x${filesize}
load virtio 0:1 0x46000000 vtool/${vtool_set}/board.dtb
fdt addr 0x46000000
fdt resize 0x1000
fdt set /chosen \#address-cells <2>
fdt set /chosen \#size-cells <2>
fdt set /chosen xen,xen-bootargs "${xen_args}"
fdt set /chosen xen,dom0-bootargs "${linux_args}"
fdt mknode /chosen module@4a000000
fdt set /chosen/module@4a000000 compatible "multiboot,kernel" "multiboot,module"
fdt set /chosen/module@4a000000 reg <0x0 0x4a000000 0 ${kernel_size}>
load virtio 0:1 0x50000000 vtool/${vtool_set}/du0.Image
fdt set /chosen/domain-du0/module@50000000 reg <0x0 0x50000000 0 0x${filesize}>
load virtio 0:1 0x52000000 vtool/${vtool_set}/du0.ramdisk
fdt set /chosen/domain-du0/module@52000000 reg <0x0 0x52000000 0 0x${filesize}>
load virtio 0:1 0x54000000 vtool/${vtool_set}/du1.Image
fdt set /chosen/domain-du1/module@54000000 reg <0x0 0x54000000 0 0x${filesize}>
load virtio 0:1 0x56000000 vtool/${vtool_set}/du1.ramdisk
fdt set /chosen/domain-du1/module@56000000 reg <0x0 0x56000000 0 0x${filesize}>
booti 0x48000000 - 0x46000000
