"""The readout of campaigns: counts in, a report out. Pure functions; needs the extra `readout` (SciPy, statsmodels).

Read report.py first. docs/readout.md says what each number means.
"""
