"""The way from a trained module to a bundle.

`write.export_run` takes a run folder, `write.write_bundle` a module at hand.
"""
