"""vtool: one topology file to running, verified virtual machines with shared devices on ARM boards."""
