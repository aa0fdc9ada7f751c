"""Names of the files in a results folder."""

SPEC, QUESTION, ENVIRONMENT, COVERAGE = "spec.toml", "question.json", "environment.json", "coverage.json"
# Of each run:
EVALUATIONS, HISTORY, FAILURE, RANGES = "evaluations.jsonl", "history.jsonl", "failed.json", "ranges.json"
ORIGIN = "origin.json"
LANDSCAPE = "landscape.jsonl"
