"""Does it hold: claims, evidence, mutants, audits, benchmarks and reports."""
