"""Switches that keep libraries from reporting to their makers, set before any is loaded."""

import os

# Environment variables that switch a library's reports off, and their values.
SWITCHES = {
    # onnxruntime 1.32 writes a device id and a database below ~/.cache/Microsoft and reports
    # machine and interpreter, from its import on: `disable_telemetry_events()` comes too late for
    # the files.
    "ORT_DISABLE_TELEMETRY": "1",
    # wandb 0.31 sends its own errors and counters, from Python and from its Go part, offline as
    # well.
    "WANDB_ERROR_REPORTING": "false",
    # DVC's commands report their use; `core.analytics` in .dvc/config is for those given by hand.
    "DVC_NO_ANALYTICS": "1",
    # The same sender, when another tool of DVC's makers calls it.
    "ITERATIVE_DO_NOT_TRACK": "1",
    # google-cloud-storage 3.17 asks each bucket for its project and place, in a thread beside the
    # first request, to tell a tracer that nobody has switched on. The right to do so is one more
    # than the job's role has.
    "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
    # Nothing of ours needs these two, but an own model may bring the one, and a page the other.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    # What libraries have agreed on; several of those above heed it, and others will.
    "DO_NOT_TRACK": "1",
}


def switch_off() -> None:
    """Set all switches for this process and for those that it starts.

    A value that was set by hand is replaced: what runs here reports to nobody, whatever the shell
    had left in the environment.
    """
    os.environ.update(SWITCHES)
