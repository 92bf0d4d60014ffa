"""Ratios taken in one run."""
