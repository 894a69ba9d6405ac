"""From verdicts to a report: figures, sentences, sections, HTML and Markdown."""
