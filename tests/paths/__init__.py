"""Every data path on an emulated board in turn."""
