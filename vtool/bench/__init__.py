"""Measuring what a data path costs: a matrix of topologies and workloads, run on boards, every number kept.

What is written is in ``vtool/results``, so that what compares and reports needs none of this.
"""
