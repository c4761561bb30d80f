"""Faults in the middle of deploys, on an emulated board, seeded and replayable.

After each: the board boots, ``vtool status`` says truthfully which generation runs, a plain ``vtool deploy`` succeeds.
"""
