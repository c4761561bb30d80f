# QEMU's Kconfig: virtio-mmio with all its devices. Without TCG and KVM no machine but Xen's asks for them.
CONFIG_VIRTIO_MMIO=y
