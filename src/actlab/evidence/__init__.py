"""From a study to verdicts: summaries, intervals, comparisons, claims."""
