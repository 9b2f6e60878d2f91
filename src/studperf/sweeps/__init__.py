"""Studies: many runs (trials), each chosen by the results of those before it.

Any number of workers take part, and the work of one that dies is not lost. Rooms import no
commands, so the command that starts a study hands in the `Runner` by which a trial is done.
"""
