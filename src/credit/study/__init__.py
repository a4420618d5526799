"""Studies: methods side by side, tuned with one budget and compared by seed; it starts runs and never trains itself.

`plan` reads a study file, `cells` are its runs, `runner` runs them, `finalists` freezes what tuning chose, `results`
makes one row per run, `summary` the numbers that the table and the page show.
"""
