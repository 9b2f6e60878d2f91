"""From a trained module to a bundle: `write.export_run` for a run folder, `write.write_bundle` for a module at hand."""
