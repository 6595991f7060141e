"""Releases of the order desk with a defect, on purpose: the faults bad-deploy and poison. None is loaded unless a file names it."""
