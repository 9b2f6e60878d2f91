"""The judgement of a run, and of several runs beside each other."""
