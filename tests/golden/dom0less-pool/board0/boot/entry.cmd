# vtool: boot the set that vtool/boot.env names (a line vtool_set=<digest>)
load virtio 0:1 0x50000000 vtool/boot.env
env import -t 0x50000000 ${filesize} vtool_set
load virtio 0:1 0x50000000 vtool/${vtool_set}/boot.scr
source 0x50000000
