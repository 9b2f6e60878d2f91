"""Vertex AI: a command line becomes a job there, and what it leaves in a bucket comes home. The only room that talks to Google.

The same words go through the same `train.run` in the container: a job is a local run on a rented machine.
"""
