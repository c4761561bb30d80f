"""Stage, push, boot, observe, verify, tear down."""
