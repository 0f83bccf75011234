"""Offline training: python -m train fit | eval | card. Imports seg, never seg.ui."""
