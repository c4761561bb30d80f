"""Device types that QEMU or Xen serve, whoever else does: a file a type, named as the type, with its ``TYPE``."""
