"""Stored results, and the pictures drawn from them."""
