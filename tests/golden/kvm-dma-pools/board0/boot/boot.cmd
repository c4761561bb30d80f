# vtool: board0 boots kvm
setenv linux_args 'console=ttyAMA0 root=/dev/vda2 rootfstype=ext4 rw rootwait'
setenv linux_args "${linux_args} vtool.boot=${vtool_set}"
load virtio 0:1 0x4a000000 vtool/${vtool_set}/Image
load virtio 0:1 0x46000000 vtool/${vtool_set}/board.dtb
setenv bootargs "${linux_args}"
booti 0x4a000000 - 0x46000000
