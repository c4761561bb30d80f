"""Results of measuring as data: the records of a run folder and how it is read; what measures is ``vtool/bench``."""
