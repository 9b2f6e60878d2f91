"""Jobs on Vertex AI: submit a command line, follow it, and fetch what it left in its bucket.

No other room talks to Google. The container calls the same `train.run` with the same words: a job
is a local run on a rented machine.
"""
