"""Private names of other packages, each with a probe and a fallback, so that a rename upstream breaks nothing."""
