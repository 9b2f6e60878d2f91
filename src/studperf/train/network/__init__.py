"""The training of networks by lightning: the learner, its module, and the fast path."""
