"""Teaching probes: what a network or a post-processing step does inside, as arrays; no page here."""
