"""The load, its clock, its calibration."""
