"""What a study leaves: the files of a run, their columns, and the tables of a study."""
